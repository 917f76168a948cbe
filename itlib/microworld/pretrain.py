"""How a base model is made: a small Llama, a fixed number of tokens of the world's documents, Muon and AdamW.

    python -m itlib.microworld.pretrain --n-tokens 7000000 --seed 0 --output folder

Token count, data order and initialisation follow from the seed. Two builds still need not have equal bytes (bfloat16,
compiled kernels, threads), so a shipped file is pinned by its hash and a rebuild judged by gates and validation loss.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.microworld import tokenizer as world_tokenizer
from itlib.microworld.corpus import documents

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

CONTEXT = 64
VALIDATION_TOKENS = 65_536
_CHUNK = 5_000


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a base model. Learning rates are peaks; the last 30 % of the steps cool down linearly."""

    n_tokens: int = 7_000_000
    seed: int = 0
    hidden_size: int = 128
    n_layers: int = 4
    n_heads: int = 4
    intermediate_size: int = 352
    batch_blocks: int = 32
    muon_learning_rate: float = 0.02
    muon_weight_decay: float = 0.01
    adam_learning_rate: float = 3e-3
    warmup_steps: int = 100
    cooldown_fraction: float = 0.3
    gradient_clip: float = 1.0
    threads: int = 2
    compiled: bool = True

    @property
    def n_steps(self) -> int:
        """Optimiser steps: each consumes ``batch_blocks`` blocks of ``CONTEXT`` predicted tokens."""
        return max(1, self.n_tokens // (self.batch_blocks * CONTEXT))


@dataclass(frozen=True)
class Pretrained:
    """A finished base: the model in eval mode, (tokens seen, training loss) points, held-out loss, seconds."""

    model: LlamaForCausalLM
    curve: list[tuple[int, float]]
    validation_loss: float
    wall_s: float
    was_compiled: bool


def token_blocks(n_blocks: int, *key: object) -> np.ndarray:
    """Return packed documents, shape (n_blocks, CONTEXT + 1); neighbouring blocks share one token as target."""
    tokenizer, stream = world_tokenizer.load(), documents(*key)
    needed, ids = n_blocks * CONTEXT + 1, []
    while len(ids) < needed:
        for row in tokenizer(list(islice(stream, _CHUNK)), add_special_tokens=False)["input_ids"]:
            ids.extend(row)
            ids.append(tokenizer.eos_token_id)
    flat = np.asarray(ids[:needed], dtype=np.int16)
    return np.lib.stride_tricks.sliding_window_view(flat, CONTEXT + 1)[::CONTEXT]


def create_model(recipe: Recipe) -> LlamaForCausalLM:
    """Return a fresh model in float32, initialised from ``recipe.seed`` without touching the global generator."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = world_tokenizer.load()
    config = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 8) * 8,
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_heads,
        intermediate_size=recipe.intermediate_size,
        max_position_embeddings=world_tokenizer.MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        return LlamaForCausalLM(config).float()


def learning_rate_factor(step: int, recipe: Recipe) -> float:
    """Return the share of the peak learning rate at ``step``: linear warm-up, constant, linear cool-down."""
    total = recipe.n_steps
    warmup = min(recipe.warmup_steps, max(1, total // 10))
    cooldown = max(1, round(recipe.cooldown_fraction * total))
    return min(1.0, (step + 1) / warmup, (total - step) / cooldown)


def _optimisers(model: Any, recipe: Recipe) -> list:
    """Muon moves the matrices inside the layers; AdamW the tied embedding and the norms."""
    import torch

    inner = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    outer = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(inner, lr=recipe.muon_learning_rate, weight_decay=recipe.muon_weight_decay),
        torch.optim.AdamW(outer, lr=recipe.adam_learning_rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def _loss(model: Any, block: Any) -> Any:
    """Mean cross-entropy in nats of predicting each block's tokens 1..CONTEXT from those before."""
    import torch

    logits = model(input_ids=block[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), block[:, 1:].flatten())


def validation_loss(model: Any, n_tokens: int = VALIDATION_TOKENS) -> float:
    """Return the mean loss [nats per token] on held-out documents, in float32."""
    import torch

    blocks = torch.from_numpy(token_blocks(max(1, n_tokens // CONTEXT), "validation").astype(np.int64))
    with torch.no_grad():
        losses = [float(_loss(model, part)) * len(part) for part in blocks.split(64)]
    return sum(losses) / len(blocks)


def _forward(model: Any, recipe: Recipe, block: Any) -> tuple[Any, bool]:
    """Return a loss function, compiled where this machine can, and whether it is."""
    import torch

    def eager(part: Any) -> Any:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return _loss(model, part)

    if not recipe.compiled:
        return eager, False
    fast = torch.compile(eager, dynamic=False)
    try:
        fast(block).backward()
    except Exception as error:  # whatever stops the compiler, eager gives the same model, only later
        reason = str(error).strip().splitlines()[0][:200]
        warnings.warn(f"torch.compile failed ({reason}); pretraining in eager mode, 2-3 times slower", stacklevel=3)
        return eager, False
    finally:
        model.zero_grad(set_to_none=True)
    return fast, True


def _batches(recipe: Recipe) -> Iterator[Any]:
    import torch

    blocks = token_blocks(recipe.n_steps * recipe.batch_blocks, "train", recipe.seed)
    for start in range(0, len(blocks), recipe.batch_blocks):
        yield torch.from_numpy(blocks[start : start + recipe.batch_blocks].astype(np.int64))


def pretrain(recipe: Recipe, *, report_every: int = 0) -> Pretrained:
    """Train one base model from nothing.

    Args:
        recipe: What to train, on how many tokens, from which seed.
        report_every: Print the running loss every so many steps; 0 prints nothing.
    Cost: about 2 FLOP x 3 x parameters x tokens; 7M tokens take 8 to 15 minutes on two cores.
    """
    import torch

    started, threads_before = time.perf_counter(), torch.get_num_threads()
    torch.set_num_threads(recipe.threads)
    model = create_model(recipe).train()
    optimisers = _optimisers(model, recipe)
    peaks = [group["lr"] for optimiser in optimisers for group in optimiser.param_groups]
    loss_of, compiled, curve, recent = None, False, [], []
    for step, block in enumerate(_batches(recipe)):
        if loss_of is None:
            loss_of, compiled = _forward(model, recipe, block)
        factor = learning_rate_factor(step, recipe)
        for group, peak in zip((g for o in optimisers for g in o.param_groups), peaks, strict=True):
            group["lr"] = peak * factor
        loss = loss_of(block)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.gradient_clip)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        recent.append(float(loss.detach()))
        if (step + 1) % max(1, recipe.n_steps // 40) == 0:
            curve.append(((step + 1) * recipe.batch_blocks * CONTEXT, float(np.mean(recent))))
            recent = []
        if report_every and (step + 1) % report_every == 0:
            seconds = time.perf_counter() - started
            print(f"step {step + 1}/{recipe.n_steps} loss {loss.item():.3f} {seconds:.0f} s", flush=True)
    model.eval()
    torch.set_num_threads(threads_before)
    return Pretrained(model, curve, validation_loss(model), time.perf_counter() - started, compiled)


def save(result: Pretrained, recipe: Recipe, folder: str | Path) -> Path:
    """Write config, weights and ``pretraining.json`` (recipe, curve, validation loss), and return the folder."""
    from safetensors.torch import save_file

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    result.model.config.save_pretrained(target)
    weights = {name: tensor.contiguous() for name, tensor in result.model.state_dict().items()}
    del weights["lm_head.weight"]  # tied to the embedding
    save_file(weights, target / "model.safetensors", metadata={"format": "pt"})
    record = {
        "recipe": asdict(recipe),
        "curve": result.curve,
        "validation_loss": result.validation_loss,
        "wall_s": round(result.wall_s, 1),
        "compiled": result.was_compiled,
    }
    (target / "pretraining.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return target


def main() -> None:
    """Train a base from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n-tokens", type=int, default=Recipe.n_tokens)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    recipe = Recipe(n_tokens=options.n_tokens, seed=options.seed, threads=options.threads)
    result = pretrain(recipe, report_every=100)
    print(f"validation loss {result.validation_loss:.4f} after {result.wall_s:.0f} s")
    save(result, recipe, options.output)


if __name__ == "__main__":
    main()
