"""Rows side by side instead of padded: a forward pass that spends nothing on padding.

Matrix products, norms and activations run over the real tokens of a batch, one long row of them. Only attention, a
small part of the work at the lengths of instructions, looks at one example at a time: its queries, keys and values are
put into a rectangle for the product and taken out again, so that no token ever sees another example. In half precision
on a GPU the library's own kernel for rows of different lengths takes them as they are. It is an
attention kernel by the name "packed" beside those of the library; a batch that comes padded goes through "sdpa".

The kernel "trimmed" is the same with a last layer that goes on, after its attention, only with tokens whose outputs are
read: nothing looks at the others any more. A loss on responses reads about every tenth.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.errors import RunError

if TYPE_CHECKING:
    import torch

KERNEL = "packed"
TRIMMED = "trimmed"
PADDED = "sdpa"  # the library's, for rows that are padded to one length
PIECE = 1024  # places of a rectangle; rows of one length need no more, and what a layer writes down fits a cache
BLOCK = 128  # queries of a row whose scores are written down at once: no later key is looked at, and they fit a cache
APART = ("llama", "qwen2", "qwen3", "smollm3")  # architectures that hand on to attention what they take, and no windows
WHOLE = 256  # models that read no longer rows, the embedded ones among them, have their rows taken whole


@dataclass(frozen=True, eq=False)
class Rectangle:
    """Where the tokens of a packed batch lie in the rectangle (n_rows, longest) of its attention.

    Attributes:
        n_rows: Rows of the batch.
        lengths: Shape (n_rows,): tokens of each row; not on the device, so that nobody waits for it.
        longest: Tokens of the longest row.
        token_at: Shape (n_rows * longest,): the packed token at each place, any token where the row has ended.
        place_of: Shape (n_tokens,): the place of each packed token.
        future: Shape (longest, longest): minus infinity where a key lies after its query, else 0.
        ends: Shape (n_rows + 1,): 0 and the number of packed tokens up to the end of each row.
        kept: The packed tokens whose outputs are read, for a model that trims its last layer; None for all.
    """

    n_rows: int
    lengths: np.ndarray
    longest: int
    token_at: torch.Tensor
    place_of: torch.Tensor
    future: torch.Tensor
    ends: torch.Tensor
    kept: torch.Tensor | None = None

    @functools.cached_property
    def pieces(self) -> list[tuple[int, int, Rectangle]]:
        """Neighbouring rows in rectangles of at most ``PIECE`` places: first token, end and rectangle of each.

        Rows that differ in length share no rectangle that their longest would leave half empty.
        """
        lengths, ends = self.lengths, np.append(0, np.cumsum(self.lengths)).tolist()
        cuts = [0]
        for row in range(1, self.n_rows):
            if (row + 1 - cuts[-1]) * lengths[cuts[-1] : row + 1].max() > PIECE:
                cuts.append(row)
        bounds = zip(cuts, [*cuts[1:], self.n_rows], strict=True)
        return [(ends[a], ends[b], _rectangle(lengths[a:b], self.ends.device)) for a, b in bounds]


def is_packed(model: Any) -> bool:
    """Return whether a model was loaded with one of these kernels and takes packed batches."""
    return getattr(model.config, "_attn_implementation", None) in (KERNEL, TRIMMED) and not virtual_tokens(model)


def is_trimmed(model: Any) -> bool:
    """Return whether the last layer of a model can leave out tokens whose outputs are not read."""
    return getattr(model.config, "_attn_implementation", None) == TRIMMED


def trim(model: Any) -> None:
    """Let the last layer of a Llama leave out tokens, in place; weights and their names stay as they are."""
    last = model.model.layers[-1]
    last.__class__ = _trimmed(type(last))


@functools.cache
def _trimmed(layer: type) -> type:
    class Trimmed(layer):
        def forward(self, hidden_states: torch.Tensor, **settings: Any) -> torch.Tensor:
            rectangle = settings.get("rectangle")
            if rectangle is None or rectangle.kept is None:
                return super().forward(hidden_states, **settings)
            mixed, _ = self.self_attn(hidden_states=self.input_layernorm(hidden_states), **settings)
            states = (hidden_states + mixed).index_select(1, rectangle.kept)
            return states + self.mlp(self.post_attention_layernorm(states))

    return Trimmed


def virtual_tokens(model: Any) -> int:
    """Return how many tuned vectors rows begin with, a soft prompt or a prefix; packed rows have no room for them."""
    config = getattr(model, "active_peft_config", None)
    return config.num_virtual_tokens if getattr(config, "is_prompt_learning", False) else 0


def leading_outputs(model: Any) -> int:
    """Return how many outputs come before those of a row: a soft prompt has some, a prefix of keys and values none."""
    config = getattr(model, "active_peft_config", None)
    return 0 if getattr(config, "peft_type", "") == "PREFIX_TUNING" else virtual_tokens(model)


def packed(rows: Sequence[np.ndarray], device: Any, kept: Any = None) -> dict[str, Any]:
    """Return the arguments of a forward pass over token rows of any length, each row attending to itself alone.

    With ``kept`` a model that is trimmed gives outputs for these packed tokens only, in their order.
    """
    import torch

    lengths = np.array([len(row) for row in rows])
    positions = np.concatenate([np.arange(length) for length in lengths])
    return {
        "input_ids": torch.as_tensor(np.concatenate(rows).astype(np.int64), device=device)[None],
        "position_ids": torch.as_tensor(positions, device=device)[None],
        "attention_mask": torch.zeros(1, 1, 1, 1, device=device),  # four dimensions keep the library from making one
        "rectangle": _rectangle(lengths, device, kept),
        "use_cache": False,
    }


def _rectangle(lengths: np.ndarray, device: Any, kept: Any = None) -> Rectangle:
    import torch

    starts = np.cumsum(lengths) - lengths
    columns = np.arange(lengths.max())
    real = columns < lengths[:, None]
    return Rectangle(
        n_rows=len(lengths),
        lengths=lengths,
        longest=int(lengths.max()),
        token_at=torch.as_tensor(np.where(real, starts[:, None] + columns, 0).ravel(), device=device),
        place_of=torch.as_tensor(np.flatnonzero(real.ravel()), device=device),
        future=torch.full((len(columns), len(columns)), float("-inf"), device=device).triu(1),
        ends=torch.as_tensor(np.append(0, np.cumsum(lengths)).astype(np.int32), device=device),
        kept=kept,
    )


def kernel_for(architecture: str) -> str:
    """Return the fastest kernel that a model of this type is known to be right with."""
    return TRIMMED if architecture == "llama" else KERNEL if architecture in APART else PADDED


def keeps_rows_apart(model: Any, precision: Any = None, *, near: float = 1e-3) -> bool:
    """Return whether packed rows get the logits that each gets alone: not every architecture hands on what it takes.

    Args:
        model: Loaded with one of the kernels.
        precision: The context of its forward passes, if any.
        near: How far logits may lie apart, over their spread or 1 if that is less.
    """
    import torch

    rows = [np.arange(3, 3 + length) % model.config.vocab_size for length in (5, 3, 7)]
    with torch.inference_mode(), precision or contextlib.nullcontext():
        together = model(**packed(rows, next(model.parameters()).device)).logits[0].float()
        alone = [model(input_ids=torch.as_tensor(row, device=model.device)[None]).logits[0].float() for row in rows]
    return bool((together - torch.cat(alone)).abs().max() <= near * max(1.0, float(together.std())))


@functools.cache
def register_kernel() -> None:
    """Make the kernels known to the library; needed before a model is loaded with one."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    for name in (KERNEL, TRIMMED):
        AttentionInterface.register(name, _attention)
        AttentionMaskInterface.register(name, sdpa_mask)


def _attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    rectangle: Rectangle | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """Return causal attention within each row; query, key and value have the shape (1, heads, n_tokens, size)."""
    import torch

    if rectangle is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **settings
        )
    window = settings.get("sliding_window")
    if window is not None and rectangle.longest > window:
        raise RunError(f"attention: packed rows of {rectangle.longest} tokens look back {window} at most; use sdpa")
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    precision = half_precision(query)
    if precision is not None and not (dropout and module.training):
        return variable_length(query, key, value, rectangle, scale, precision), None
    dropout = dropout if module.training else 0.0
    if getattr(module.config, "max_position_embeddings", 0) <= WHOLE:
        return _in_rectangle(query, key, value, rectangle, scale=scale, dropout=dropout), None
    apart = functools.partial(_in_rectangle, dropout=dropout) if dropout else _in_blocks
    taken = (([x[:, :, first:end] for x in (query, key, value)], piece) for first, end, piece in rectangle.pieces)
    return torch.cat([apart(*tokens, piece, scale=scale) for tokens, piece in taken], dim=1), None


def _in_blocks(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rectangle: Rectangle, *, scale: float
) -> torch.Tensor:
    """Return the attention of the rows of one rectangle, some queries at a time; shapes as in ``_attention``."""
    import torch

    from itlib.block_attention import causal_attention

    (_, n_heads, _, size), n_shared = query.shape, key.shape[1]
    precision = torch.promote_types(query.dtype, torch.float32)  # scores and their sums are never in half precision

    def laid_out(x: torch.Tensor) -> torch.Tensor:
        rows = x[0].transpose(0, 1).reshape(-1, x.shape[1] * size).index_select(0, rectangle.token_at)
        rows = rows.view(rectangle.n_rows, rectangle.longest, n_shared, -1, size).permute(0, 2, 4, 3, 1)
        return rows.to(precision).reshape(rectangle.n_rows * n_shared, size, -1, rectangle.longest)

    with torch.autocast(query.device.type, enabled=False):
        mixed = causal_attention(
            laid_out(query), laid_out(key).squeeze(2), laid_out(value).squeeze(2), scale=scale, block=BLOCK
        )
    mixed = mixed.view(rectangle.n_rows, n_shared, size, -1, rectangle.longest).permute(0, 4, 1, 3, 2)
    flat = mixed.reshape(-1, n_heads * size).index_select(0, rectangle.place_of)
    return flat.to(query.dtype).view(1, -1, n_heads, size)


def _in_rectangle(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rectangle: Rectangle, *, scale: float, dropout: float
) -> torch.Tensor:
    """Return the attention of the rows of one rectangle, all at once; shapes as in ``_attention``."""
    import torch

    n_heads, size = query.shape[1], query.shape[3]

    def laid_out(x: torch.Tensor) -> torch.Tensor:
        x = x.repeat_interleave(n_heads // x.shape[1], dim=1)  # grouped queries share keys and values
        rows = x[0].transpose(0, 1).reshape(-1, n_heads * size).index_select(0, rectangle.token_at)
        rows = rows.view(rectangle.n_rows, rectangle.longest, n_heads, size).transpose(1, 2)
        return rows.reshape(-1, rectangle.longest, size)

    queries, keys, values = laid_out(query), laid_out(key), laid_out(value)
    hidden = rectangle.future.to(query.dtype).expand(len(queries), -1, -1)
    scores = hidden.baddbmm(queries, keys.mT, alpha=scale)
    mixed = torch.nn.functional.dropout(scores.softmax(-1), p=dropout) @ values
    mixed = mixed.view(rectangle.n_rows, n_heads, rectangle.longest, size)
    flat = mixed.transpose(1, 2).reshape(-1, n_heads * size).index_select(0, rectangle.place_of)
    return flat.view(1, -1, n_heads, size)


def half_precision(query: torch.Tensor) -> torch.dtype | None:
    """Return the half precision that attention runs in on a GPU, under autocast or not; None elsewhere.

    None, too, with a version of torch whose kernel knows no shared keys: rectangles give the same there, later.
    """
    import torch

    if not (query.is_cuda and _has_variable_length()):
        return None
    wanted = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else query.dtype
    return wanted if wanted in (torch.bfloat16, torch.float16) else None


@functools.cache
def _has_variable_length() -> bool:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return {"window_size", "enable_gqa"} <= inspect.signature(varlen_attn).parameters.keys()


def variable_length(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    rectangle: Rectangle,
    scale: float,
    precision: torch.dtype,
) -> torch.Tensor:
    """Return causal attention within each row by the library's kernel for rows of different lengths.

    Shapes are those of ``_attention``. The kernel exists on GPUs and in half precision alone.
    """
    from torch.nn.attention.varlen import varlen_attn

    tokens = (x[0].transpose(0, 1).to(precision).contiguous() for x in (query, key, value))
    ends, longest = rectangle.ends, rectangle.longest
    shared = query.shape[1] != key.shape[1]  # grouped queries share keys and values
    mixed = varlen_attn(
        *tokens, ends, ends, longest, longest, scale=scale, window_size=(-1, 0), enable_gqa=shared
    )  # a window that ends at the query itself is causal
    return mixed[None]
