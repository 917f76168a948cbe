"""The Llama forward pass of pretraining: the library's module, its parameters, its mathematics, half its time.

Plain matrix products for attention are twice as fast as the flash kernel at such short lengths on a CPU, and a function
without module calls compiles to fewer, larger kernels. It knows no padding and no grouped queries.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM


def loss_function(model: LlamaForCausalLM, length: int, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the mean cross-entropy [nats per token] as a function of blocks of ids, shape (n, length + 1)."""
    logits = logits_function(model, length, dtype)

    def loss(block: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(logits(block[:, :-1]).float(), block[:, 1:].flatten())

    return loss


def logits_function(model: LlamaForCausalLM, length: int, dtype: torch.dtype) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return next-token logits, shape (n * length, vocabulary), as a function of ids, shape (n, length).

    Matrix products are in ``dtype``; residual stream, norms, attention scores and softmax in float32.
    """
    config, body = model.config, model.model
    n_heads, head_size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    angles = torch.arange(length)[:, None] * body.rotary_emb.inv_freq[None, :]
    cosine, sine = angles.cos(), angles.sin()
    future = torch.full((length, length), float("-inf")).triu(1)

    def normed(x: torch.Tensor, norm: torch.nn.Module) -> torch.Tensor:
        return norm.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + config.rms_norm_eps))

    def linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return functional.linear(x.to(dtype), weight.to(dtype))

    def heads(x: torch.Tensor, layer: torch.nn.Linear) -> torch.Tensor:
        return linear(x, layer.weight).view(-1, length, n_heads, head_size).transpose(1, 2)

    def rotated(x: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, -1)
        return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1)

    def attended(x: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
        queries, keys = rotated(heads(x, layer.q_proj)), rotated(heads(x, layer.k_proj))
        scores = queries @ keys.mT * head_size**-0.5 + future
        mixed = scores.softmax(-1).to(dtype) @ heads(x, layer.v_proj)
        return linear(mixed.transpose(1, 2).reshape(x.shape), layer.o_proj.weight)

    def fed_forward(x: torch.Tensor, layer: torch.nn.Module) -> torch.Tensor:
        gate, up = linear(x, layer.gate_proj.weight), linear(x, layer.up_proj.weight)
        return linear(functional.silu(gate) * up, layer.down_proj.weight)

    def logits(ids: torch.Tensor) -> torch.Tensor:
        x = functional.embedding(ids.flatten(), body.embed_tokens.weight, body.embed_tokens.padding_idx)
        for layer in body.layers:
            x = x + attended(normed(x, layer.input_layernorm), layer.self_attn)
            x = x + fed_forward(normed(x, layer.post_attention_layernorm), layer.mlp)
        return linear(normed(x, body.norm), body.embed_tokens.weight)

    return logits
