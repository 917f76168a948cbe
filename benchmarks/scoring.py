"""Scores of a pool, batched as the package does it and one example at a time as public code does.

Run it as ``python benchmarks/scoring.py [--model M] [--data FILE] [--examples N] [--repetitions N] [--json F]``.
Both sides of each pair compute the same scores, which is checked, from the same weights: IFD by two forward passes per
example, gradients per example of the weights that full fine-tuning moves (all but the embeddings) and of adapters, and
Nuggets by the likelihood of anchors after each example. Rates are examples (Nuggets: pairs of example and anchor) per
second. *Ceiling* is the forward pass of as many tokens in full rectangles, with logits at as many places.
"""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from fine_tuning import rows_of, spec_of, with_rows
from sides import Side, Target, alternate, parser, show, timed, write

from itlib.example import Example
from itlib.execute import load_base
from itlib.features import Features
from itlib.gradient_blocks import gradient_blocks
from itlib.gradients import trainable, trainable_without_embeddings
from itlib.methods import method_of
from itlib.selection import Ledger
from itlib.selectors.nuggets import join, log_likelihoods
from itlib.spec import with_fields
from itlib.template import Encoded, encode, pad_id, stop_token_id

TOLERANCE = 2e-3  # between scores of the two sides, in nats or relative to the largest gradient


def mean_loss(model: Any, ids: np.ndarray, mask: np.ndarray) -> torch.Tensor:
    """Return the mean loss of the marked tokens of one row, as a loop over examples computes it."""
    tokens = torch.as_tensor(ids.astype(np.int64))[None]
    logits = model(input_ids=tokens, use_cache=False).logits[0, :-1]
    losses = torch.nn.functional.cross_entropy(logits, tokens[0, 1:], reduction="none")
    return losses[torch.as_tensor(mask[1:])].mean()


def ifd_one_by_one(
    model: Any, tokenizer: Any, examples: Sequence[Example], max_length: int, prefix: np.ndarray
) -> np.ndarray:
    """Return IFD as the ratio of the loss of a response after its prompt and after ``prefix`` alone.

    The loop turns each text into tokens itself, as public code does; the other side starts from texts, too.
    """
    found = []
    with torch.inference_mode():
        for example in examples:
            (row,), _ = encode([example], tokenizer, max_length=max_length)
            after = float(mean_loss(model, row.input_ids, row.response_mask))
            alone = np.concatenate([prefix, row.input_ids[row.response_mask]])
            marks = np.arange(len(alone)) >= len(prefix)
            found.append(after / float(mean_loss(model, alone, marks)))
    return np.array(found)


def gradients_one_by_one(model: Any, rows: Sequence[Encoded], names: Sequence[str]) -> np.ndarray:
    """Return the norm of the gradient of every row by the named weights, by a backward pass each."""
    parameters = dict(model.named_parameters())
    weights = [parameters[name] for name in names]
    found = []
    for row in rows:
        gradients = torch.autograd.grad(mean_loss(model, row.input_ids, row.response_mask), weights)
        found.append(float(torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()))
    return np.array(found)


def gradients_batched(model: Any, rows: Sequence[Encoded], names: Sequence[str], pad: int) -> np.ndarray:
    """Return the same, a block at a time."""
    squares = torch.zeros(len(rows), dtype=torch.float64)
    for positions, _, found in gradient_blocks(model, rows, pad_id=pad, names=names):
        squares[torch.as_tensor(positions)] += found.flatten(1).square().sum(1).double()
    return squares.sqrt().numpy()


def nuggets_one_by_one(model: Any, rows: Any, n_anchors: int) -> np.ndarray:
    """Return the log-likelihood of anchors after every example, a forward pass per pair."""
    found = np.zeros((len(rows.prefixes) - n_anchors, n_anchors))
    with torch.inference_mode():
        for i, prefix in enumerate(rows.prefixes[n_anchors:]):
            for j in range(n_anchors):
                ids = np.concatenate([prefix, rows.suffixes[j]])
                mask = np.concatenate([np.zeros(len(prefix), bool), rows.masks[j]])
                found[i, j] = -float(mean_loss(model, ids, mask)) * mask.sum()
    return found


def ceiling(model: Any, rows: Sequence[Encoded]) -> tuple[float, float]:
    """Read twice as many rectangles as a pool has tokens in both passes, with as many logits."""
    n_tokens = sum(len(row.input_ids) + int(row.response_mask.sum()) + 1 for row in rows)
    n_places = 2 * sum(int(row.response_mask.sum()) for row in rows)
    width, height = round(n_tokens / len(rows) / 2) or 1, 64
    batches = max(1, round(n_tokens / (width * height)))
    ids = torch.as_tensor(np.random.default_rng(0).integers(10, model.config.vocab_size, (batches, height, width)))
    kept = torch.arange(round(n_places / batches)) % (width * height)

    def read() -> None:
        with torch.inference_mode():
            for batch in ids:
                hidden = model.model(input_ids=batch, use_cache=False).last_hidden_state.flatten(0, 1)[kept]
                torch.nn.functional.cross_entropy(model.lm_head(hidden), batch.flatten()[kept])

    return timed(len(rows), read)


def checked(sides: Sequence[Callable[[], np.ndarray]], what: str) -> None:
    """Compute both sides once and refuse to time them if they differ."""
    left, right = (np.asarray(side()) for side in sides)
    off = np.abs(left - right).max() / max(1.0, np.abs(right).max())
    if not off <= TOLERANCE:
        raise SystemExit(f"{what}: the two sides differ by {off:.2g}")


def compare(
    title: str, unit: str, pair: Sequence[Callable[[], np.ndarray]], work: int, target: float, given: Any,
    extra: Sequence[Side] = (), more: Sequence[Target] = (),
) -> dict[str, Any]:  # fmt: skip
    """Time two functions that return the same scores, and print their ratio."""
    checked(pair, title)
    names = ("batched", "one at a time")
    sides = [Side(name, partial(timed, work, function)) for name, function in zip(names, pair, strict=True)]
    rates = alternate([*sides, *extra], given.repetitions)
    return show(title, unit, rates, [Target(*names, target), *more], given.threads)


def main() -> int:
    """Measure and print."""
    options = parser(__doc__.split("\n")[0])
    with_rows(options, rows=256)
    options.add_argument("--anchors", type=int, default=10)
    given = options.parse_args()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(given.threads)
    spec = spec_of(given)
    model, tokenizer = load_base(spec)
    plain, _ = load_base(with_fields(spec, attention="sdpa"))
    model, plain, pad = model.eval(), plain.eval(), pad_id(tokenizer)
    examples, rows = rows_of(spec, tokenizer, given)

    def features() -> Features:
        how = {"name": "base", "dtype": "float32", "max_length": given.max_length, "ledger": Ledger()}
        return Features(lambda: (model, tokenizer), **how)

    def ifd() -> np.ndarray:
        conditional, unconditional = features().response_losses(examples)
        return conditional / unconditional

    real, moved = given.data is not None, trainable_without_embeddings(model)
    prefix = features().prefix
    one_by_one = partial(ifd_one_by_one, plain, tokenizer, examples, given.max_length, prefix)
    found = [
        compare("IFD", "examples", (ifd, one_by_one), len(rows), 1.4 if real else 8, given,
                [Side("ceiling", partial(ceiling, plain, rows))], [Target("batched", "ceiling", 0.8)]),
        compare("gradients of all weights (LESS)", "examples",
                (partial(gradients_batched, model, rows, moved, pad),
                 partial(gradients_one_by_one, plain, rows, moved)), len(rows), 2, given),
    ]  # fmt: skip
    tuning = with_fields(spec, method="lora").tuning
    adapted = [method_of(tuning).attach(m, tuning).eval() for m in (load_base(spec)[0],
               load_base(with_fields(spec, attention="sdpa"))[0])]  # fmt: skip
    for model_with_adapters in adapted:
        generator = torch.Generator().manual_seed(0)
        for name, weight in model_with_adapters.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(0, 0.02, generator=generator)
            elif "lora_A" in name:
                weight.data.normal_(0, 0.1, generator=generator)
    found.append(
        compare("gradients of adapters (LESS)", "examples",
                (partial(gradients_batched, adapted[0], rows, trainable(adapted[0]), pad),
                 partial(gradients_one_by_one, adapted[1], rows, trainable(adapted[1]))), len(rows), 5, given)
    )  # fmt: skip
    few = join(rows[: given.anchors + len(rows) // 4], stop_token_id(tokenizer), tokenizer.bos_token_id)
    n = given.anchors
    how = {"pad_id": pad, "dtype": "float32"}
    shared = partial(log_likelihoods, model, few.prefixes[n:], few.suffixes[:n], few.masks[:n], **how)
    found.append(
        compare("Nuggets", "pairs", (shared, lambda: nuggets_one_by_one(plain, few, n)),
                (len(few.prefixes) - n) * n, 4, given)
    )  # fmt: skip
    write(given.json, found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
