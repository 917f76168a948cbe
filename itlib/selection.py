"""Selection: from the fields of a spec to the rows of a pool, and what choosing them costs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from itlib.errors import InputError, RunError
from itlib.example import Example
from itlib.files import write_atomic
from itlib.registry import augmentations, selectors
from itlib.schema import options
from itlib.selectors import Scores, ScoreSelector, ranked
from itlib.selectors._ledger import Ledger
from itlib.spec import DataSpec, EvalSpec, RunSpec, canonical_json, flatten, stream, with_fields
from itlib.workbench import WARM, Workbench, scorer_model, selection_context

# fields of DataSpec that say how examples are chosen, not what the pool holds
CHOICE = (
    "selector",
    "selector_options",
    "selection_band",
    "stratified",
    "scorer",
    "target_families",
    "n_targets",
    "augmentation",
    "augmentation_options",
    "describe_selection",
)
# of these, and of the rest of the spec, what no score depends on
NO_SCORE = (
    "n_train",
    "selection_band",
    "stratified",
    "augmentation",
    "augmentation_options",
    "describe_selection",
    "mix_families",
    "n_mix",
    "mix_phrasing_set",
    "pretraining_share",
    "data_path",
)
VERSION = 1  # raise when scoring itself changes; selectors have versions of their own
BANDS = ("top", "middle", "bottom")
BLIND = ("random", "stratified")  # selectors that draw whatever examples say, and so have nothing to rank


@dataclass(frozen=True)
class Selection:
    """The rows a selector chose, best first, and its totals: ``selection_flops``, its own notes, a description."""

    rows: tuple[int, ...]
    totals: dict[str, Any]


def check(data: DataSpec) -> str:
    """Return what identifies the scorer of a resolved spec ("" for the base itself), refusing what cannot be chosen.

    Raises:
        InputError: Unknown or badly valued options, a band or quotas for a selector that gives no scores, a band or
            scorer that is none.
    """
    chosen = selectors.get(data.selector)
    options(chosen, data.selector_options, data.selector)
    options(augmentations.get(data.augmentation), data.augmentation_options, data.augmentation, "augmentation_options")
    if data.selection_band not in BANDS:
        known = ", ".join(BANDS)
        raise InputError(f"selection_band: '{data.selection_band}' is not one of {known}")
    if not isinstance(chosen, ScoreSelector):
        for key, set_ in (("selection_band", data.selection_band != "top"), ("stratified", data.stratified)):
            if set_:
                raise InputError(f"{key}: selector '{data.selector}' gives no scores to take a band or quotas of")
    if data.n_targets < 1:
        raise InputError(f"n_targets: must be greater than 0, got {data.n_targets}")
    unused = data.selector == "random" and data.augmentation == "none"
    if unused or data.scorer == "base" or WARM.fullmatch(data.scorer):
        return ""
    return scorer_model(data.scorer, 0).model_fingerprint


def select(
    spec: RunSpec,
    pool: Sequence[Example],
    budget: int,
    load_base: Callable[[], tuple[Any, Any]],
    folder: Path | None = None,
) -> Selection:
    """Return the rows of ``pool`` that the selector of a resolved spec takes.

    Args:
        spec: A resolved spec.
        pool: Examples that fit ``max_length``.
        budget: How many to take.
        load_base: Returns model and tokenizer of the base, anew at every call.
        folder: Where features are kept for other selectors; None keeps them in memory.

    Raises:
        InputError: An empty pool or one that repeats a single example, a budget of 0 or above the pool, or a selector
            that excludes every example or scores none. A spec with ``n_train`` 0 is the base as it is: it selects
            nothing and is not to be asked.
        RunError: The selector broke its promise of ``budget`` different rows.
    """
    data = spec.data
    chosen = selectors.get(data.selector)
    _check_pool(data.selector, pool)
    if not 1 <= budget <= len(pool):
        raise InputError(f"n_train is {budget}; '{data.selector}' takes 1 to {len(pool)} examples of this pool")
    if isinstance(chosen, ScoreSelector):
        found, totals = _scored(spec, pool, load_base, folder)
        _check_scores(data.selector, found)
        order = banded(ranked(pool, found, stream(spec.seed, "ties of a selection")), data.selection_band, found.n_kept)
        taken = by_family(order, pool, budget) if data.stratified else order[:budget]
        totals = totals | _positive({"n_backfilled": max(0, budget - found.n_kept)})
    else:
        context = selection_context(spec, pool, load_base, folder)
        taken = chosen(pool, budget, context, **options(chosen, data.selector_options, data.selector))
        totals = told(context.ledger)
        if totals.get("n_filtered") == len(pool):
            raise InputError(_nothing_left(data.selector, len(pool), len(pool)))
    rows = tuple(int(row) for row in taken)
    if not len(rows) == len(set(rows)) == budget:
        raise RunError(f"selector '{data.selector}' gave {len(set(rows))} unique rows, not {budget}")
    if data.describe_selection:
        selected = [pool[row] for row in rows]
        losses = Workbench(with_fields(spec, scorer="base"), pool, load_base, None).context().features
        totals |= {
            "selected_rows": list(rows),
            **description(selected),
            "mean_response_loss": float(losses.conditional_losses(selected).mean()),
        }
    return Selection(rows, totals)


def scores(
    spec: RunSpec, pool: Sequence[Example], load_base: Callable[[], tuple[Any, Any]], folder: Path | None = None
) -> Scores:
    """Return what the selector of a resolved spec thinks of every example; arguments as in ``select``.

    Raises:
        InputError: The selector gives no scores, or the pool is empty or repeats a single example.
    """
    _check_pool(spec.data.selector, pool)
    if not isinstance(selectors.get(spec.data.selector), ScoreSelector):
        raise InputError(f"selector '{spec.data.selector}' gives no scores, only a choice")
    return _scored(spec, pool, load_base, folder)[0]


def _check_pool(name: str, pool: Sequence[Example]) -> None:
    """Raise ``InputError`` for a pool of which the selector ``name`` cannot choose: none, or one example repeated."""
    if not pool:
        raise InputError(f"selector '{name}': the pool is empty; there is no example to choose")
    if name not in BLIND and len(pool) > 1 and all(example.turns == pool[0].turns for example in pool):
        raise InputError(
            f"selector '{name}': the {len(pool)} examples of the pool are copies of one; only {' and '.join(BLIND)} "
            "can take some of them"
        )


def _check_scores(name: str, found: Scores) -> None:
    """Raise ``InputError`` where back-fill would be all there is: every example is excluded or without a score."""
    n, n_unscored = len(found.values), int(np.isnan(found.values).sum())
    if n_unscored == n:
        raise InputError(f"selector '{name}': all {n} examples of the pool have the score NaN; nothing can be ranked")
    if not found.n_kept:
        raise InputError(_nothing_left(name, n - n_unscored, n))


def _nothing_left(name: str, n_excluded: int, n: int) -> str:
    rest = "" if n_excluded == n else f" and has no score for the other {n - n_excluded}"
    return (
        f"selector '{name}' excludes {n_excluded} of {n} examples of the pool{rest}: nothing is left to take; "
        "choose another scorer, selector_options or pool"
    )


def _scored(
    spec: RunSpec, pool: Sequence[Example], load_base: Callable[[], tuple[Any, Any]], folder: Path | None
) -> tuple[Scores, dict[str, float]]:
    """Return scores and what they cost, from the disk if the same scoring was done before.

    How many are taken, from which end, and how the model is evaluated afterwards does not change a score, so arms that
    differ in these share one scoring.
    """
    data, place = spec.data, None
    if folder is not None:
        place = folder / "scores" / f"{_scoring(spec, pool)}.safetensors"
        known = _read_scores(place, len(pool))
        if known is not None:
            return known
    chosen = selectors.get(data.selector)
    context = selection_context(spec, pool, load_base, folder)
    found = chosen.scores(pool, context, **options(chosen, data.selector_options, data.selector))
    totals = told(context.ledger)
    if place is not None:
        _write_scores(place, found, totals)
    return found, totals


def _scoring(spec: RunSpec, pool: Sequence[Example]) -> str:
    """Return the address of a scoring: the SHA-256 of everything that a score can depend on."""
    aims = spec.data.target_families or spec.evaluate.eval_families
    plain = {name: DataSpec.__dataclass_fields__[name].default for name in NO_SCORE}
    same = replace(spec, data=replace(spec.data, **plain, target_families=aims), evaluate=EvalSpec())
    kept = tuple(name for name in spec.components if name.split()[0] not in ("perturbation", "augmentation"))
    content = hashlib.sha256(f"scores {VERSION} {canonical_json(flatten(replace(same, components=kept)))}".encode())
    for example in pool:
        turns = [(turn.role, turn.content) for turn in example.turns]
        content.update(canonical_json([example.id, example.family, example.noise, turns]).encode())
    return content.hexdigest()


def _write_scores(path: Path, found: Scores, totals: dict[str, float]) -> None:
    from safetensors.numpy import save

    excluded = np.zeros(len(found.values), dtype=bool) if found.excluded is None else found.excluded
    arrays = {"values": found.values, "excluded": excluded}
    digest = hashlib.sha256(arrays["values"].tobytes() + excluded.tobytes()).hexdigest()
    write_atomic(path, save(arrays, metadata={"totals": json.dumps(totals), "sha256": digest}))


def _read_scores(path: Path, n: int) -> tuple[Scores, dict[str, float]] | None:
    """Return stored scores, or None where there are none or they are not what was written."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            values, excluded = file.get_tensor("values"), file.get_tensor("excluded")
            told_then = file.metadata() or {}
        whole = hashlib.sha256(values.tobytes() + excluded.tobytes()).hexdigest() == told_then["sha256"]
        totals = json.loads(told_then["totals"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None
    return (Scores(values, excluded), totals) if whole and len(values) == n else None


def description(examples: Sequence[Example]) -> dict[str, float]:
    """Return what a selection is made of.

    * clean_share: examples that are no corruption, exact repetitions counted as clean.
    * duplicate_share: examples that ask and answer what an earlier one does.
    * family_entropy: entropy of the families in nats.
    * mean_response_words: mean number of words of a response.
    """
    families = np.unique([e.family for e in examples], return_counts=True)[1] / len(examples)
    texts = {tuple((turn.role, turn.content) for turn in e.turns) for e in examples}
    return {
        "clean_share": float(np.mean([e.noise in ("none", "duplicate") for e in examples])),
        "duplicate_share": 1.0 - len(texts) / len(examples),
        "family_entropy": float(-(families * np.log(families)).sum()),
        "mean_response_words": float(np.mean([len(e.response.split()) for e in examples])),
    }


def told(ledger: Ledger) -> dict[str, float]:
    """Return what goes into the totals of a run; nothing when nothing was spent and nothing is to be told."""
    return _positive({"selection_flops": ledger.flops, **ledger.notes})


def _positive(totals: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in totals.items() if value}


def augment(
    spec: RunSpec,
    pool: Sequence[Example],
    examples: Sequence[Example],
    load_base: Callable[[], tuple[Any, Any]],
    folder: Path | None = None,
) -> tuple[list[Example], dict[str, float]]:
    """Return the selected examples as the augmentation of a resolved spec changes them, and its totals."""
    data = spec.data
    bench = Workbench(spec, pool, load_base, folder)
    change = augmentations.get(data.augmentation)
    given = options(change, data.augmentation_options, data.augmentation, "augmentation_options")
    changed = change(list(examples), bench.augmentation_context(), **given)
    totals = {name.replace("selection", "augmentation"): value for name, value in told(bench.ledger).items()}
    return list(changed), totals | {"n_augmented": len(changed)}


def banded(order: np.ndarray, band: str, n_kept: int | None = None) -> np.ndarray:
    """Return an order of preference that starts at the top, at a third of the way down, or at the bottom.

    The middle band goes on to the bottom and then to the top. What a method filters out (beyond ``n_kept``) stays last.
    """
    n_kept = len(order) if n_kept is None else n_kept
    kept, out = order[:n_kept], order[n_kept:]
    if band == "middle":
        kept = np.roll(kept, -(n_kept // 3))
    elif band == "bottom":
        kept = kept[::-1]
    return np.concatenate([kept, out])


def by_family(order: np.ndarray, pool: Sequence[Example], budget: int) -> np.ndarray:
    """Return the first ``budget`` rows when families take turns, each giving its best; one that is empty is skipped."""
    turn: dict[str, int] = {}
    place = []
    for row in order:
        family = pool[row].family
        place.append(turn.get(family, 0))
        turn[family] = place[-1] + 1
    return order[np.argsort(place, kind="stable")][:budget]
