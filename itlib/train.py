"""The training loop for small models on one device.

One story: plan the steps, then for each step run its micro-batches, clip, and move the weights. The schedule
spans the steps that are actually taken. Larger models go through ``itlib.trainer`` with the same batches.
"""

from __future__ import annotations

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.batching import pad_right
from itlib.encoder_decoder import answer_logits, is_encoder_decoder
from itlib.ordering import Traits, training_steps
from itlib.packing import is_packed, is_trimmed, leading_outputs, packed
from itlib.spec import TrainSpec
from itlib.template import Encoded

if TYPE_CHECKING:
    import torch

SCHEDULES = ("constant", "linear", "cosine")
OnStep = Callable[[Any, int, int], None]  # (model, steps taken, steps in all)


@dataclass(frozen=True)
class TrainingTrace:
    """What training leaves behind besides the weights.

    Attributes:
        diverged: The loss stopped being finite; training was stopped there.
        curve: At evenly spaced steps: ``step``, mean ``loss`` since the last point (nats per supervised token)
            and ``gradient_norm`` of the step, before clipping.
        totals: ``n_steps``, ``n_examples_seen``, ``n_tokens``, ``n_response_tokens``, ``n_padded_tokens``; and
            ``compiled``, where the model was.
    """

    diverged: bool
    curve: tuple[dict[str, float], ...]
    totals: dict[str, int]


def learning_rate_factor(step: int, n_steps: int, schedule: str, warmup_fraction: float) -> float:
    """Return the multiple of the peak learning rate at a step (0-based): linear warm-up, then the schedule.

    The warm-up takes ``round(warmup_fraction * n_steps)`` steps; "linear" and "cosine" reach zero after the last step.
    """
    warmup = round(warmup_fraction * n_steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, n_steps - warmup)
    if schedule == "constant":
        return 1.0
    if schedule == "cosine":
        return 0.5 * (1.0 + math.cos(math.pi * progress))
    return 1.0 - progress


def response_logits(model: Any, batch: Sequence[Encoded], pad_id: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Return float32 logits that predict the supervised tokens of a batch, one row per token.

    The language-model head runs on few other places. A model with the kernel "packed" sees no padding at all, see
    ``itlib.packing``; any other gets rows padded on the right, without an attention mask: see ``itlib.batching``. A
    sequence-to-sequence model reads the prompt and is asked for the answer: see ``itlib.encoder_decoder``.

    Args:
        model: A causal or a sequence-to-sequence language model.
        batch: Token rows. The first token of a row is never predicted.
        pad_id: Token id for padding; it is never seen by a real token.

    Returns:
        Logits of shape (n_supervised, vocabulary), row after row; the tokens they predict, shape (n_supervised,); and
        the row of each, shape (n_supervised,).
    """
    import torch

    if is_encoder_decoder(model):
        return answer_logits(model, batch, pad_id)
    device = next(model.parameters()).device
    masks = [np.concatenate([[False], e.response_mask[1:]]) for e in batch]
    row_of = np.repeat(np.arange(len(batch)), [mask.sum() for mask in masks])
    if is_packed(model):
        places = torch.as_tensor(np.flatnonzero(np.concatenate(masks)), device=device)
        before = places - 1
        trimmed = is_trimmed(model)
        arguments = packed([e.input_ids for e in batch], device, kept=before if trimmed else None)
        logits = model(**arguments, logits_to_keep=0 if trimmed else before).logits[0]  # 0 asks for all that is left
        return logits.float(), arguments["input_ids"][0, places], row_of
    input_ids = torch.as_tensor(pad_right([e.input_ids for e in batch], pad_id), device=device)
    logits, places = padded_logits(model, input_ids, pad_right(masks, 0).astype(bool))
    at = torch.as_tensor(places, device=device)
    return logits, input_ids[at[:, 0], at[:, 1]], row_of


def padded_logits(model: Any, input_ids: torch.Tensor, response_mask: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """Return float32 logits that predict the supervised tokens, one row per token, with their (row, column) places.

    Args:
        model: A causal language model. The language-model head runs only on columns that some row needs.
        input_ids: Shape (n_rows, length), padded on the right.
        response_mask: Shape (n_rows, length), True where a token is supervised. Column 0 is never predicted.

    Returns:
        Logits of shape (n_supervised, vocabulary) in row-major order, and the places as an array (n_supervised, 2).
    """
    import torch

    places = np.argwhere(response_mask[:, 1:]) + [0, 1]
    columns = np.unique(places[:, 1]) - 1
    before = leading_outputs(model)  # what the model gives is longer by them
    if _accepts(model, "logits_to_keep"):
        keep = torch.as_tensor(columns + before, device=input_ids.device)
        logits = model(input_ids=input_ids, use_cache=False, logits_to_keep=keep).logits
        column_of = np.searchsorted(columns, places[:, 1] - 1)
    else:
        logits = model(input_ids=input_ids, use_cache=False).logits
        column_of = places[:, 1] - 1 + before
    rows = torch.as_tensor(places[:, 0], device=logits.device)
    return logits[rows, torch.as_tensor(column_of, device=logits.device)].float(), places


def _accepts(model: Any, argument: str) -> bool:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return argument in inspect.signature(base.forward).parameters


def train(
    model: Any,
    examples: Sequence[Encoded],
    spec: TrainSpec,
    *,
    seed: int,
    pad_id: int,
    dtype: str,
    traits: Sequence[Traits] = (),
    paraphrases: Sequence[Encoded] = (),
    on_step: OnStep | None = None,
    optimizer: Callable[[int], torch.optim.Optimizer] | None = None,
) -> TrainingTrace:
    """Tune the weights of ``model`` that require gradients, in place.

    Args:
        model: Prepared by a tuning method.
        examples: Encoded training examples.
        spec: Optimisation settings.
        seed: Feeds the stream "order"; dropout is seeded by the caller.
        pad_id: Token id for padding; it is never seen by a real token.
        dtype: "bfloat16" runs the forward pass under autocast with float32 weights.
        traits: What ``spec.order`` and some objectives look at, one per example; "mixed" alone needs none.
        paraphrases: Every example in another wording, for an objective that is ``paired``; others take none.
        on_step: Called before the first step and after each one; it may look at the model and must leave it as it was.
        optimizer: Gives the optimizer of a run of so many steps; None takes ``adamw``.

    Returns:
        The trace. Loss is that of ``spec.objective``, normalised by the supervised tokens of the effective batch;
        paraphrases count in the totals of tokens, but their responses are those of the examples.
    """
    import torch

    device = next(model.parameters()).device
    objective, whole = _objective(spec, examples, paraphrases, traits)
    steps = training_steps(examples, spec, seed=seed, traits=traits)
    on_step = on_step or _nothing
    weights = [p for p in model.parameters() if p.requires_grad]
    moves = optimizer(len(steps)) if optimizer else adamw(model, spec)
    marks = set(np.unique(np.linspace(1, len(steps), min(spec.curve_points, len(steps))).round().astype(int)))
    model.train()
    losses: list[torch.Tensor] = []
    curve: list[dict[str, float]] = []
    totals = dict.fromkeys(("n_steps", "n_examples_seen", "n_tokens", "n_response_tokens", "n_padded_tokens"), 0)
    on_step(model, 0, len(steps))
    with _compiled(model, on=0 < spec.compile_after <= len(steps), totals=totals):
        for step, rows in enumerate(steps):
            batch = whole.at(rows)
            n_supervised = sum(int(e.response_mask[1:].sum()) for e in batch.rows)
            step_loss = torch.zeros((), device=device)
            for group in map(batch.at, objective.groups(batch, spec.micro_batch_tokens)):
                loss = objective.loss(model, group, pad_id=pad_id, dtype=dtype) / n_supervised
                loss.backward()
                step_loss += loss.detach()
                totals["n_padded_tokens"] += len(group.texts) * max(len(e.input_ids) for e in group.texts)
            gradient_norm = torch.nn.utils.clip_grad_norm_(weights, spec.gradient_clip)
            for parameters in moves.param_groups:
                parameters["lr"] = spec.learning_rate * learning_rate_factor(
                    step, len(steps), spec.schedule, spec.warmup_fraction
                )
            moves.step()
            moves.zero_grad(set_to_none=True)
            losses.append(step_loss)
            totals["n_steps"] += 1
            totals["n_examples_seen"] += len(batch.rows)
            totals["n_tokens"] += sum(batch.lengths)
            totals["n_response_tokens"] += n_supervised
            if step + 1 in marks:  # the only place where a value leaves the device
                mean_loss = float(torch.stack(losses).mean())
                losses.clear()
                if not (math.isfinite(mean_loss) and math.isfinite(float(gradient_norm))):
                    return TrainingTrace(True, tuple(curve), totals)
                curve.append({"step": step + 1, "loss": mean_loss, "gradient_norm": float(gradient_norm)})
            on_step(model, step + 1, len(steps))
    model.eval()
    return TrainingTrace(not finite(weights), tuple(curve), totals)


@contextlib.contextmanager
def _compiled(model: Any, *, on: bool, totals: dict[str, int]) -> Iterator[None]:
    """Compile a model while it is trained; evaluation has other shapes and looks inside. The totals say that it was."""
    if not on:
        yield
        return
    totals["compiled"] = 1
    model.compile(dynamic=True)
    try:
        yield
    finally:
        model._compiled_call_impl = None


def adamw(model: Any, spec: TrainSpec) -> torch.optim.AdamW:
    """Return the optimizer of a run over the weights that require gradients."""
    import torch

    weights = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(weights, lr=spec.learning_rate, weight_decay=spec.weight_decay, fused=True)


def _nothing(model: Any, step: int, n_steps: int) -> None:
    """Watch no step."""


def finite(weights: Sequence[torch.Tensor]) -> bool:
    """Return whether every weight is finite: the last step can break a model after the last loss was read."""
    import torch

    return all(bool(torch.isfinite(weight).all()) for weight in weights)


def _objective(
    spec: TrainSpec, examples: Sequence[Encoded], paraphrases: Sequence[Encoded], traits: Sequence[Traits]
) -> tuple[Any, Any]:
    """Return the objective of a run, and all examples as one batch with what the objective looks at."""
    from itlib.objectives import Batch, check_pairs, objective_of

    objective = objective_of(spec)
    families = [trait.family for trait in traits] if objective.paired or objective.needs_families else ()
    if objective.paired:
        check_pairs(examples, paraphrases)
    return objective, Batch(examples, paraphrases if objective.paired else (), families)


def autocast(device: Any, dtype: str) -> Any:
    """Return the precision context of a forward pass: bfloat16 autocast, or nothing for float32."""
    import torch

    if dtype == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()
