"""The order in which a run sees its examples: which visits a budget buys, and how they are arranged.

Every order but "dual_stage" is a permutation of the visits that "mixed" makes, so under equal budgets each example is
seen equally often and only the order differs. Pretraining documents stay where "mixed" puts them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from itlib.batching import plan_steps
from itlib.errors import InputError
from itlib.microworld.families import FAMILIARITIES
from itlib.spec import TrainSpec, stream
from itlib.template import Encoded

ORDERS = (
    "mixed", "sequential", "dual_stage", "phased", "curriculum", "reverse", "interleaved", "dependency", "as_given",
)  # fmt: skip
NEEDS_SECOND_PART = ("sequential", "dual_stage")
NEEDS_FAMILIES = ("phased", "interleaved", "dependency")
FIRST, SECOND, DOCUMENT = 1, 2, 3
BASES, DEPENDENT = ("latent", "weak"), ("composed",)  # familiarities of "dependency"
SHIFT = 0.1  # share of dependent visits that "dependency" moves from the first third to the last


@dataclass(frozen=True)
class Traits:
    """What an order knows of a training example: its id, its part (``FIRST``, ``SECOND``, ``DOCUMENT``), what it asks.

    Its difficulty is the length of its response in tokens and is read off its encoding.
    """

    id: str
    part: int
    family: str
    familiarity: str


def training_steps(
    examples: Sequence[Encoded], spec: TrainSpec, *, seed: int, traits: Sequence[Traits] = ()
) -> list[np.ndarray]:
    """Return the rows of every effective batch, shape (n_steps,) of (batch,).

    * mixed: whole shuffled passes over all examples.
    * sequential: the first part, then the second.
    * dual_stage: the first part, then the second mixed with ``kept_fraction`` of the first, drawn once; the budget
      counts the examples of both stages (DMT: Dong et al. 2023, arXiv:2310.05492, section 3).
    * phased: families by familiarity, from latent to unknown, each phase as long as it has examples.
    * curriculum, reverse: from short to long responses, or back; equally long ones by visit, then by id, so that an
      example returns only when its equals were seen.
    * interleaved: every family from easy to hard at the same time, in proportion to its visits.
    * dependency: in thirds of the visits. A tenth of the composed ones of the first third trade places with latent or
      weak ones of the last third, drawn at random; the middle third is as mixed as ever (DT-CSFT: arXiv:2409.07045,
      which does so with a tenth of its base categories over three epochs).
    * as_given: pass by pass in the order of the examples, unshuffled. With one epoch of examples that come phase by
      phase, such as those of the augmentation "noise_phases", a run sees one phase after another.

    A batch at a border holds examples of both sides.

    Args:
        examples: Encoded training examples.
        spec: Budget, batch size and order.
        seed: Feeds the streams "order" and, for dual_stage and dependency, "kept" and "dependency".
        traits: One per example; "mixed" needs none.

    Raises:
        InputError: The budget buys no step, or ``kept_fraction`` keeps no example.
    """
    rows, in_stage_two = _rows(spec, traits, len(examples), seed)
    steps = plan_steps(
        [_counted(examples[row], spec.budget_unit) for row in rows],
        budget=spec.budget,
        budget_unit=spec.budget_unit,
        batch_size=spec.batch_size,
        rng=stream(seed, "order"),
    )
    if spec.order == "mixed":
        return steps
    visits = np.concatenate(steps)
    movable = np.flatnonzero([traits[rows[place]].part != DOCUMENT for place in visits])
    moving = visits[movable]
    if spec.order == "dual_stage":
        ranks = in_stage_two[moving]
    elif spec.order == "dependency":
        ranks = _traded([traits[row].familiarity for row in rows[moving]], seed)
    else:
        ranks = _ranks(spec.order, rows[moving], examples, traits)
    visits[movable] = moving[np.argsort(ranks, kind="stable")]
    arranged = rows[visits]
    return [arranged[start : start + spec.batch_size] for start in range(0, len(arranged), spec.batch_size)]


def _counted(example: Encoded, unit: str) -> int:
    return int(example.response_mask[1:].sum()) if unit == "response_tokens" else len(example.input_ids)


def kept_count(fraction: float, n_first: int) -> int:
    """Return how many examples of the first part the second stage keeps, to the nearest one.

    Raises:
        InputError: That is none, so that the order would silently be "sequential".
    """
    kept = round(fraction * n_first)
    if not kept:
        raise InputError(f"kept_fraction: {fraction:g} of {n_first} examples is not one example")
    return kept


def _rows(spec: TrainSpec, traits: Sequence[Traits], n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that passes go over, and which of them belong to a second stage.

    Rows of the first part that the second stage keeps are there twice.
    """
    rows = np.arange(n)
    if spec.order != "dual_stage":
        return rows, np.zeros(n, dtype=bool)
    parts = np.array([trait.part for trait in traits])
    first = np.flatnonzero(parts == FIRST)
    kept = stream(seed, "kept").permutation(first)[: kept_count(spec.kept_fraction, len(first))]
    return np.concatenate([rows, np.sort(kept)]), np.concatenate([parts == SECOND, np.ones(len(kept), dtype=bool)])


def _ranks(order: str, rows: np.ndarray, examples: Sequence[Encoded], traits: Sequence[Traits]) -> list:
    """Return the sorting key of every visit, as a number; equal keys keep their mixed order."""
    if order == "sequential":
        return [traits[row].part for row in rows]
    if order == "as_given":
        return (np.array(_visit_numbers(rows), dtype=int) * len(examples) + rows).tolist()
    if order == "phased":
        return [FAMILIARITIES.index(traits[row].familiarity) for row in rows]
    sign = -1 if order == "reverse" else 1
    keys = [
        (sign * int(examples[row].response_mask.sum()), visit, traits[row].id)
        for row, visit in zip(rows, _visit_numbers(rows), strict=True)
    ]
    by_difficulty = np.empty(len(rows), dtype=int)
    by_difficulty[sorted(range(len(rows)), key=keys.__getitem__)] = np.arange(len(rows))
    if order != "interleaved":
        return by_difficulty.tolist()
    return _spread(by_difficulty, [traits[row].family for row in rows])


def _traded(familiarities: Sequence[str], seed: int) -> np.ndarray:
    """Return new places of visits: some dependent ones of the first third and bases of the last one swap theirs."""
    kinds, places = np.array(familiarities), np.arange(len(familiarities))
    third = len(kinds) // 3
    early = np.flatnonzero(np.isin(kinds[:third], DEPENDENT))
    late = np.flatnonzero(np.isin(kinds[len(kinds) - third :], BASES)) + len(kinds) - third
    count = min(round(SHIFT * len(early)), len(late))
    rng = stream(seed, "dependency")
    early, late = rng.permutation(early)[:count], rng.permutation(late)[:count]
    places[early], places[late] = late, early
    return places


def _visit_numbers(rows: np.ndarray) -> list[int]:
    """Return, for every visit, how often its row was visited before."""
    seen: dict[int, int] = {}
    numbers = []
    for row in rows.tolist():
        numbers.append(seen.get(row, 0))
        seen[row] = numbers[-1] + 1
    return numbers


def _spread(by_difficulty: np.ndarray, families: Sequence[str]) -> list[float]:
    """Return places in (0, 1) that spread each family's visits evenly, in the order of their difficulty."""
    places = np.empty(len(families))
    names = np.array(families)
    for family in sorted(set(families)):
        mine = np.flatnonzero(names == family)
        places[mine[np.argsort(by_difficulty[mine])]] = (np.arange(len(mine)) + 0.5) / len(mine)
    return places.tolist()
