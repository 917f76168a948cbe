"""LESS: examples whose gradients point where the gradients of the target examples point.

Source: LESS: Selecting Influential Data for Targeted Instruction Tuning (Xia et al., ICML 2024, arXiv:2402.04333),
sections 2 and 3.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.errors import InputError, RunError, did_you_mean
from itlib.example import Example
from itlib.features import weights_digest
from itlib.gradient_blocks import distinct, gradient_blocks
from itlib.gradients import per_example_gradients, trainable_without_embeddings
from itlib.registry import selectors
from itlib.selectors import Checkpoint, SelectionContext, by_score
from itlib.shards import table
from itlib.template import Encoded

if TYPE_CHECKING:
    import torch

GRADIENTS = ("full", "lora")
VERSION = 1  # raise when a cosine changes its meaning
FIRST_DECAY, SECOND_DECAY, EPSILON = 0.9, 0.999, 1e-8
FEWEST_WARMUP = 20
SMALLEST = 1e-30  # a gradient of exactly zero has no direction; its cosine counts 0


@selectors.register("less_adam")
@by_score
def less_adam(
    pool: Sequence[Example],
    context: SelectionContext,
    *,
    gradients: str = "full",
    checkpoints: int = 4,
    warmup_fraction: float = 0.05,
    epochs: float = 4.0,
    no_warmup: bool = False,
) -> np.ndarray:
    """Score examples by LESS: the cosine between the Adam step an example alone would cause and the target gradients.

    A scorer is tuned on a random share of the pool. At each of its checkpoints, weighted by their learning rates, the
    gradient of a pool example is passed through Adam with the moments of that moment; targets keep their plain
    gradients. The score is the greatest over target families of the mean cosine (sections 3.1 to 3.3); higher comes
    first. The momentum is the same for every example, so even opposite gradients can both score above 0.

    The authors project gradients to 8192 dimensions in half precision and store them. A mean of cosines is one inner
    product with the mean of the normalised target gradients, so here the pool streams past these means: exact, and
    nothing is stored. Moments are found by the name of the parameter, gradients are taken many at a time, the whole
    pool is scored, and families of targets take the place of a list of sub-tasks in the code. As with the authors,
    there is no bias correction and epsilon is inside the root, so that a coordinate that hardly ever moved is treated
    as by SGD.

    Args:
        pool: Candidates.
        context: Targets, tuning and features of the scorer.
        gradients: Of all trained weights ("full") or of low-rank adapters ("lora", as in the paper).
        checkpoints: Evenly spaced moments of the warm-up.
        warmup_fraction: Share of the pool that the warm-up trains on; at least 20 examples.
        epochs: Passes of the warm-up over them.
        no_warmup: Not possible here: Adam has no moments then; see ``less_sgd``.
    """
    if no_warmup:
        raise InputError("selector_options: no_warmup: less_adam needs the moments of a warm-up; use less_sgd")
    tuned = _warm_up(pool, context, gradients, checkpoints, warmup_fraction, epochs)
    return _influences(pool, context, tuned, adam=True)


@selectors.register("less_sgd")
@by_score
def less_sgd(
    pool: Sequence[Example],
    context: SelectionContext,
    *,
    gradients: str = "full",
    checkpoints: int = 4,
    warmup_fraction: float = 0.05,
    epochs: float = 4.0,
    no_warmup: bool = False,
) -> np.ndarray:
    """Score examples by LESS with plain gradients on both sides: the ablation of section 5 of the paper.

    As ``less_adam``, but a pool example is represented by its gradient. With ``no_warmup`` the scorer as it is, is the
    only checkpoint, and its gradients are those of all weights but the embeddings.
    """
    if not no_warmup:
        tuned = _warm_up(pool, context, gradients, checkpoints, warmup_fraction, epochs)
        return _influences(pool, context, tuned, adam=False)
    if gradients != "full":
        raise InputError(f"selector_options: gradients: no_warmup has 'full' gradients only, got '{gradients}'")
    model = context.features.model
    names = trainable_without_embeddings(model)
    return _influences(pool, context, [Checkpoint(model, 1.0)], adam=False, names=names)


# ---- mathematics: tensors in, tensors out -------------------------------------------------------------------


def adam_feature(gradient: torch.Tensor, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Return the direction of the Adam step that a gradient causes, without bias correction, epsilon inside the root.

    m' / sqrt(v' + eps) with m' = .9 m + .1 g and v' = .999 v + .001 g^2. ``gradient`` may have a leading dimension that
    the moments ``first`` and ``second`` lack.
    """
    return _feature(gradient, *_decayed(first, second))


def _decayed(first: torch.Tensor, second: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the parts of m' and of v' + eps that no gradient changes."""
    return FIRST_DECAY * first, SECOND_DECAY * second + EPSILON


def _feature(gradient: torch.Tensor, kept_first: torch.Tensor, kept_second: torch.Tensor) -> torch.Tensor:
    """Return ``adam_feature``; as few passes over the numbers as there can be, since millions of them stream by."""
    scale = kept_second.addcmul(gradient, gradient, value=1 - SECOND_DECAY).rsqrt_()
    return kept_first.add(gradient, alpha=1 - FIRST_DECAY).mul_(scale)


def checkpoint_weights(learning_rates: Sequence[float]) -> np.ndarray:
    """Return the shares of checkpoints in a score: their mean learning rates, scaled to sum 1."""
    rates = np.asarray(learning_rates, dtype=np.float64)
    return rates / rates.sum()


def norms(vectors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the lengths of n vectors whose parts are (n, *shape) by name, shape (n,); never exactly 0."""
    squares = sum((part.flatten(1).float() ** 2).sum(dim=1) for part in vectors.values())
    return squares.sqrt().clamp(min=SMALLEST)


def add_directions(
    means: dict[str, torch.Tensor], vectors: Mapping[str, torch.Tensor], shares: np.ndarray
) -> dict[str, torch.Tensor]:
    """Return ``means`` plus the weighted sums of n normalised vectors.

    Args:
        means: By name, each (n_groups, numbers of the parameter); empty at first.
        vectors: By name, each (n, *shape).
        shares: Weight of every vector in every group, shape (n_groups, n).
    """
    import torch

    lengths = norms(vectors)
    scale = torch.as_tensor(shares, dtype=torch.float32, device=lengths.device) / lengths
    added = {name: scale @ part.flatten(1).float() for name, part in vectors.items()}
    return {name: means[name] + part if means else part for name, part in added.items()}


class Cosines:
    """Mean cosines of vectors with the members of groups; the vectors come in parts, in any order.

    Args:
        n: How many vectors.
        means: Means of the normalised members of every group, by name, each (n_groups, numbers of the parameter).
    """

    def __init__(self, n: int, means: Mapping[str, torch.Tensor]) -> None:
        import torch

        self._means = means
        self._products, self._squares = torch.zeros(len(next(iter(means.values()))), n), torch.zeros(n)

    def add(self, positions: np.ndarray, name: str, part: torch.Tensor) -> None:
        """Take in one part, shape (n_positions, *shape), of the vectors at some positions."""
        import torch

        flat, at = part.flatten(1).float(), torch.as_tensor(positions)
        self._products[:, at] += (self._means[name] @ flat.T).cpu()
        self._squares[at] += torch.linalg.vector_norm(flat, dim=1).square().cpu()

    def result(self) -> np.ndarray:
        """Return the mean cosines, shape (n, n_groups)."""
        return (self._products / self._squares.sqrt().clamp(min=SMALLEST)).T.double().numpy()


def mean_cosines(vectors: Mapping[str, torch.Tensor], means: Mapping[str, torch.Tensor]) -> np.ndarray:
    """Return the mean cosine of n vectors, by name (n, *shape), with the members of every group: (n, n_groups)."""
    n = len(next(iter(vectors.values())))
    cosines = Cosines(n, means)
    for name, part in vectors.items():
        cosines.add(np.arange(n), name, part)
    return cosines.result()


# ---- the method ---------------------------------------------------------------------------------------------


def _warm_up(
    pool: Sequence[Example],
    context: SelectionContext,
    gradients: str,
    checkpoints: int,
    warmup_fraction: float,
    epochs: float,
) -> list[Checkpoint]:
    """Return the checkpoints of a scorer that is tuned on a random share of the pool."""
    if gradients not in GRADIENTS:
        hint = did_you_mean(gradients, GRADIENTS)
        raise InputError(f"selector_options: gradients: must be 'full' or 'lora', got '{gradients}'{hint}")
    if checkpoints < 1:
        raise InputError(f"selector_options: checkpoints: must be at least 1, got {checkpoints}")
    if not 0 < warmup_fraction <= 1:
        raise InputError(f"selector_options: warmup_fraction: must be above 0 and at most 1, got {warmup_fraction:g}")
    if not epochs > 0:
        raise InputError(f"selector_options: epochs: must be above 0, got {epochs:g}")
    n = min(len(pool), max(FEWEST_WARMUP, round(warmup_fraction * len(pool))))
    context.ledger.note("n_warmup", n)
    examples = [pool[row] for row in context.rng.permutation(len(pool))[:n]]
    return context.tune(examples, epochs=epochs, checkpoints=checkpoints, method=gradients)


def _influences(
    pool: Sequence[Example],
    context: SelectionContext,
    checkpoints: Sequence[Checkpoint],
    *,
    adam: bool,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Return the score of every pool example, shape (n_pool,): one backward pass over the pool per checkpoint.

    Examples that repeat another one to the token share its gradient, which is computed once.
    """
    features = context.features
    targets = context.targets()
    if not targets:
        raise InputError("n_targets: LESS aims at target examples, and there is none")
    families = sorted({example.family for example in targets})
    member = np.array([[example.family == family for example in targets] for family in families], dtype=np.float64)
    shares = member / member.sum(axis=1, keepdims=True)
    target_rows = features.encoded(targets)
    pool_rows, copy_of = distinct(features.encoded(pool))
    found = np.zeros((len(pool_rows), len(families)))
    weights = checkpoint_weights([checkpoint.learning_rate for checkpoint in checkpoints])
    context.ledger.note("n_checkpoints", len(checkpoints))  # a short warm-up has fewer steps than were asked for
    how = {"pad_id": features.pad_id, "dtype": features.dtype, "names": names}
    for index, (checkpoint, weight) in enumerate(zip(checkpoints, weights, strict=True)):
        means: dict[str, torch.Tensor] = {}
        for positions, gradients in per_example_gradients(checkpoint.model, target_rows, **how):
            means = add_directions(means, gradients, shares[:, positions])
        moments = _moments(checkpoint, means) if adam else {}
        directions = functools.partial(_directed, checkpoint.model, pool_rows, means, moments, how)
        address = _address(features.name, checkpoint.model, pool_rows, means, moments)
        found += weight * table(features.folder, address, len(pool_rows), directions)["cosines"]
        n_parameters = sum(parameter.numel() for parameter in checkpoint.model.parameters())
        for what, rows in (("targets", target_rows), ("pool", pool_rows)):
            n_tokens = sum(len(row.input_ids) for row in rows)
            name = f"gradients of the {what} at checkpoint {index}"
            context.ledger.backward(name, n_tokens=n_tokens, n_parameters=n_parameters)
    if not np.isfinite(found).all():
        raise RunError("LESS scores are not finite: the warm-up of the scorer diverged; lower learning_rate")
    return found.max(axis=1)[copy_of]


def _directed(
    model: Any,
    rows: Sequence[Encoded],
    means: Mapping[str, torch.Tensor],
    moments: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    how: Mapping[str, Any],
    part: slice,
) -> dict[str, np.ndarray]:
    """Return the mean cosines of some rows with the targets of every family, shape (n, n_families)."""
    cosines = Cosines(part.stop - part.start, means)
    for positions, name, gradients in gradient_blocks(model, rows[part], **how):
        cosines.add(positions, name, _feature(gradients, *moments[name]) if moments else gradients)
    return {"cosines": cosines.result()}


def _address(
    name: str,
    model: Any,
    rows: Sequence[Encoded],
    means: Mapping[str, torch.Tensor],
    moments: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
) -> str:
    """Return the SHA-256 of all that cosines depend on: the checkpoint to its last bit, the targets and the rows."""
    content = hashlib.sha256(f"less {VERSION} {name}".encode())
    content.update(weights_digest(model).encode())
    for key, mean in means.items():
        for tensor in (mean, *moments.get(key, ())):
            content.update(tensor.cpu().numpy().tobytes())
    for row in rows:
        content.update(row.input_ids.tobytes() + b"|" + row.response_mask.tobytes() + b"|")
    return content.hexdigest()


def _moments(checkpoint: Checkpoint, names: Sequence[str]) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    missing = sorted(set(names) - set(checkpoint.moments))
    if missing:
        raise RunError(f"the warm-up left no Adam moments of '{missing[0]}' ({len(missing)} of {len(names)})")
    device = next(checkpoint.model.parameters()).device
    return {name: _decayed(*(moment.to(device) for moment in checkpoint.moments[name])) for name in names}
