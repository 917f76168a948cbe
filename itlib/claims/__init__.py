"""The claims ledger: what a paper says, how we measure it, and a verdict from the stored frame.

A claim is declared in ``params/claims/<id>.yaml`` before any run. Its estimator is registered by the same id and
turns a frame into one effect per seed for each part; the judging below is the same for every claim.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from itlib.errors import InputError, did_you_mean
from itlib.stats import (
    equivalence,
    seeds_for_equivalence,
    seeds_needed,
    sign_flip,
    sign_flip_interval,
    smallest_detectable_effect,
)
from itlib.yamlio import load_strict

FOLDER = Path(__file__).resolve().parents[2] / "params" / "claims"
SEVERITY = ("contradicted", "not_run", "inconclusive", "reproduced")
TESTS = {"greater": "sign_flip", "less": "sign_flip", "different": "sign_flip", "equivalent": "equivalence"}


@dataclass(frozen=True)
class Part:
    """One measurable part of a claim.

    Attributes:
        name: Key of the estimator's result.
        estimand: What one number per seed means, in words and units.
        direction: "greater" (the mean effect is above ``margin``), "less" (below it), "different" (outside
            +-``margin``, on whichever side: the paper names none), or "equivalent" (inside +-``margin``).
        margin: In the units of the estimand.
        test: "sign_flip" for greater, less and different, "equivalence" for equivalent.
    """

    name: str
    estimand: str
    direction: str
    margin: float
    test: str


@dataclass(frozen=True)
class Claim:
    """A declared claim; the keys of its YAML file. ``settings`` are keyword arguments of the estimator."""

    id: str
    paper: dict[str, str]
    statement: str
    profile: str
    minimum_seeds: int
    what_a_null_means: str
    what_a_null_does_not_mean: str
    paper_numbers: str
    parts: tuple[Part, ...]
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PartVerdict:
    """Verdict on one part; the fields are those of ``Verdict``.

    ``contradicts`` says whether the part alone contradicts the claim. Of k parts any one can do that by chance, so its
    interval has to be on the wrong side at a k-th of the level, too (Bonferroni). ``effects`` are those of the seeds in
    ascending order, NaN for a seed that has none: with the declaration they are all that a verdict rests on.
    """

    name: str
    estimand: str
    direction: str
    margin: float
    effect: float
    interval: tuple[float, float]
    p_value: float
    smallest_detectable_effect: float
    n_seeds: int
    verdict: str
    reason: str
    seeds_needed: float = math.nan
    contradicts: bool = False
    effects: tuple[float, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """Verdict on a claim.

    All parts must hold: reproduced if every part is, contradicted if any part contradicts the claim, not_run if any
    part could not be measured, inconclusive otherwise. The numbers are those of the deciding part: the one with the
    worst verdict, and among those the largest p value.

    Attributes:
        effect: Mean over seeds of the deciding part's estimand; NaN if not run.
        interval: Inverted sign-flip interval, 95 % for a direction and 90 % for an equivalence.
        p_value: Of the sign-flip test against the margin (two-sided), or of the two one-sided tests.
        smallest_detectable_effect: Distance from the margin found with 80 % power at this n and standard deviation.
        n_seeds: Complete seeds behind the deciding part.
        verdict: "reproduced", "contradicted", "inconclusive" or "not_run".
        reason: One sentence that says why, with the seeds that were left out.
        seeds_needed: Of an inconclusive verdict, the seeds that would settle it with 80 % power if the effect is as
            measured; NaN otherwise. It moves with the measured effect and is a plan, not a promise.
    """

    id: str
    statement: str
    effect: float
    interval: tuple[float, float]
    p_value: float
    smallest_detectable_effect: float
    n_seeds: int
    verdict: str
    deciding_part: str
    parts: tuple[PartVerdict, ...]
    reason: str
    seeds_needed: float = math.nan

    def to_json(self) -> dict[str, Any]:
        """Return plain data for strict JSON: NaN and infinities become None."""
        return _plain(asdict(self))


def claim_ids(folder: str | Path | None = None) -> list[str]:
    """Return the ids of all declared claims, sorted."""
    return sorted(path.stem for path in Path(folder or FOLDER).glob("*.yaml"))


def load_claim(claim_id: str, folder: str | Path | None = None) -> Claim:
    """Read and check ``<folder>/<id>.yaml``; the default folder is the project's ``params/claims``.

    Raises:
        InputError: No such claim, an unknown or missing key, or a value of the wrong kind.
    """
    folder = Path(folder or FOLDER)
    known = claim_ids(folder)
    if claim_id not in known:
        listed = ", ".join(known) or "none"
        raise InputError(f"no claim '{claim_id}' in {folder}{did_you_mean(claim_id, known)}; there are: {listed}")
    path = folder / f"{claim_id}.yaml"
    data = load_strict(path)
    _check_keys(data, Claim, str(path))
    if data["id"] != claim_id:
        raise InputError(f"{path}: id is {data['id']!r}, the file name says '{claim_id}'")
    for key in ("statement", "profile", "what_a_null_means", "what_a_null_does_not_mean", "paper_numbers"):
        _check_text(data[key], f"{path}: {key}")
    minimum = data["minimum_seeds"]
    if not isinstance(minimum, int) or isinstance(minimum, bool) or minimum < 1:
        raise InputError(f"{path}: minimum_seeds must be a whole number of at least 1, not {minimum!r}")
    _check_paper(data["paper"], f"{path}: paper")
    if not isinstance(data.get("settings", {}), dict):
        raise InputError(f"{path}: settings must be a mapping")
    if not isinstance(data["parts"], list) or not data["parts"]:
        raise InputError(f"{path}: parts must be a list with at least one part")
    parts = tuple(_load_part(part, f"{path}: parts[{index}]") for index, part in enumerate(data["parts"]))
    if len({part.name for part in parts}) < len(parts):
        raise InputError(f"{path}: two parts have the same name")
    return Claim(**{**data, "parts": parts})


def judge(claim: Claim, frame: pd.DataFrame, *, blocked: str = "") -> Verdict:
    """Judge a claim on a tidy frame, using complete seeds only.

    ``blocked`` says why no comparison of these runs is fair (``ledger.undeclared``): the claim is then not_run.

    Never raises for missing runs, seeds, families or metrics: that is the verdict "not_run" with its reason. A score
    that a file of scores lacks (``itlib.external_scores``) is never left out with its seed, because whoever made the
    file chose what is in it: a claim with such a seed is not_run.
    """
    from itlib.registry import claims

    estimate = claims.get(claim.id)
    if blocked:
        return _combine(claim, tuple(_not_run(part, 0, blocked) for part in claim.parts))
    if "seed" not in frame.columns or not len(frame):
        parts = tuple(_not_run(part, 0, "the frame has no runs") for part in claim.parts)
        return _combine(claim, parts)
    planned = int(frame["seed"].nunique())
    try:
        effects = estimate(frame, **claim.settings)
    except LookupError as error:
        parts = tuple(_not_run(part, 0, str(error.args[0])) for part in claim.parts)
        return _combine(claim, parts)
    return judge_effects(claim, effects, planned, _absent_scores(frame))


def judge_effects(claim: Claim, effects: Mapping[str, np.ndarray], planned: int, absent: Sequence[str] = ()) -> Verdict:
    """Judge a claim on what its estimator gave.

    Args:
        claim: The claim.
        effects: One effect per seed for every part, NaN where a seed has none.
        planned: Number of seeds that were meant to be run.
        absent: What a file of scores lacks of every seed, or empty texts.
    """
    if set(effects) != {part.name for part in claim.parts}:
        raise ValueError(f"estimator of {claim.id} returned parts {sorted(effects)}, the claim declares others")
    how = {"minimum_seeds": claim.minimum_seeds, "planned": planned, "absent": absent, "n_parts": len(claim.parts)}
    return _combine(claim, tuple(_judge_part(part, effects[part.name], **how) for part in claim.parts))


def _absent_scores(frame: pd.DataFrame) -> list[str]:
    """Return for every seed, ascending, what a file of scores lacks of its runs, or an empty text."""
    if not {"metric", "value", "error"} <= set(frame.columns):
        return []
    told = frame["error"].notna() & (frame["error"] != "")
    rows = frame[(frame["metric"] != "") & frame["value"].isna() & told]
    first = rows.groupby("seed")["error"].first().to_dict()
    return [first.get(seed, "") for seed in sorted(frame["seed"].unique())]


def _judge_part(
    part: Part,
    effects: np.ndarray,
    minimum_seeds: int,
    planned: int,
    absent: Sequence[str] = (),
    n_parts: int = 1,
) -> PartVerdict:
    effects = np.asarray(effects, dtype=float)
    by_seed = tuple(effects.tolist())
    reasons = [reason for reason, effect in zip(absent, effects, strict=False) if reason and not np.isfinite(effect)]
    effects = effects[np.isfinite(effects)]
    n = len(effects)
    if reasons:
        others = f"; so it is in {len(reasons) - 1} more seeds" if len(reasons) > 1 else ""
        return _not_run(part, n, reasons[0] + others, by_seed)
    seeds = f"{n} of {planned} seeds are complete and have an answer" if n < planned else f"{n} seeds"
    if n < minimum_seeds:
        return _not_run(part, n, f"{seeds}, at least {minimum_seeds} are needed", by_seed)
    if part.test == "equivalence":
        result = equivalence(effects, part.margin)
        interval, p_value, holds = result.interval, result.p_value, result.equivalent
        level, fails = 0.1, _sides(interval, part)[1]
        detectable = smallest_detectable_effect(effects, level=0.1)
    else:
        interval = sign_flip_interval(effects)
        p_value = sign_flip(effects - _nearest_margin(effects, part)).p_value
        level, (holds, fails) = 0.05, _sides(interval, part)
        detectable = smallest_detectable_effect(effects)
    contradicts = fails and _sides(sign_flip_interval(effects, 1 - level / n_parts), part)[1]
    verdict = "reproduced" if holds else "contradicted" if fails else "inconclusive"
    both = part.direction == "different"
    where = {
        "reproduced": f"interval wholly {'beyond one of the margins' if both else 'on the claimed side of the margin'}",
        "contradicted": f"interval wholly {'between the margins' if both else 'on the wrong side of the margin'}",
        "inconclusive": "interval reaches across the margin",
    }[verdict]
    if fails and not contradicts:
        where += f", but not with the level divided among the {n_parts} parts of the claim"
    planned_seeds = _settling(effects, part) if verdict == "inconclusive" else math.nan
    if verdict == "inconclusive":
        enough = f"about {planned_seeds:.0f} seeds" if math.isfinite(planned_seeds) else "more than 1000 seeds"
        seeds += f"; {enough} would settle an effect of this size"
    return PartVerdict(
        part.name,
        part.estimand,
        part.direction,
        part.margin,
        float(effects.mean()),
        interval,
        p_value,
        detectable,
        n,
        verdict,
        f"{where}; {seeds}",
        planned_seeds,
        contradicts,
        by_seed,
    )


def _nearest_margin(effects: np.ndarray, part: Part) -> float:
    """Return the margin; of a difference on either side, the one on the side where the mean lies."""
    return math.copysign(part.margin, float(effects.mean())) if part.direction == "different" else part.margin


def _sides(interval: tuple[float, float], part: Part) -> tuple[bool, bool]:
    """Return whether an interval lies wholly where a part claims the effect to be, and wholly where it does not."""
    low, high = interval
    if part.direction == "equivalent":
        return -part.margin < low and high < part.margin, low > part.margin or high < -part.margin
    if part.direction == "different":
        return low > part.margin or high < -part.margin, -part.margin < low and high < part.margin
    above, below = low > part.margin, high < part.margin
    return (above, below) if part.direction == "greater" else (below, above)


def _settling(effects: np.ndarray, part: Part) -> float:
    """Return how many seeds would move the interval off the margin if the mean effect is as measured."""
    mean, sd = float(effects.mean()), float(effects.std(ddof=1))
    if part.test == "equivalence":
        outside = abs(mean) >= part.margin
        return (
            seeds_needed(abs(mean) - part.margin, sd, level=0.1)
            if outside
            else seeds_for_equivalence(mean, part.margin, sd)
        )
    return seeds_needed(mean - _nearest_margin(effects, part), sd)


def _not_run(part: Part, n_seeds: int, reason: str, effects: tuple[float, ...] = ()) -> PartVerdict:
    nan = float("nan")
    return PartVerdict(
        part.name,
        part.estimand,
        part.direction,
        part.margin,
        nan,
        (nan, nan),
        nan,
        nan,
        n_seeds,
        "not_run",
        reason,
        effects=effects,
    )


def _combine(claim: Claim, parts: tuple[PartVerdict, ...]) -> Verdict:
    worst = min(map(_weight, parts), key=SEVERITY.index)
    candidates = [part for part in parts if _weight(part) == worst]
    deciding = max(candidates, key=lambda part: -1.0 if math.isnan(part.p_value) else part.p_value)
    reason = deciding.reason if len(parts) == 1 else f"{deciding.name}: {deciding.reason}"
    return Verdict(
        claim.id,
        " ".join(claim.statement.split()),
        deciding.effect,
        deciding.interval,
        deciding.p_value,
        deciding.smallest_detectable_effect,
        deciding.n_seeds,
        worst,
        deciding.name,
        parts,
        reason,
        deciding.seeds_needed,
    )


def _weight(part: PartVerdict) -> str:
    """Return what a part says about its claim: a contradiction that several parts may give by chance says nothing."""
    return "inconclusive" if part.verdict == "contradicted" and not part.contradicts else part.verdict


def _load_part(data: Any, where: str) -> Part:
    if not isinstance(data, dict):
        raise InputError(f"{where}: a part is a mapping of name, estimand, direction, margin and test")
    _check_keys(data, Part, where)
    _check_text(data["name"], f"{where}: name")
    _check_text(data["estimand"], f"{where}: estimand")
    direction, test, margin = data["direction"], data["test"], data["margin"]
    if direction not in TESTS:
        raise InputError(f"{where}: direction must be one of {', '.join(TESTS)}, not {direction!r}")
    if test != TESTS[direction]:
        raise InputError(f"{where}: test of direction '{direction}' must be '{TESTS[direction]}', not {test!r}")
    if not isinstance(margin, (int, float)) or isinstance(margin, bool) or not math.isfinite(margin):
        raise InputError(f"{where}: margin must be a finite number, not {margin!r}")
    if direction in ("equivalent", "different") and margin <= 0:
        what = "an equivalence" if test == "equivalence" else "a difference"
        raise InputError(f"{where}: margin of {what} must be above 0, not {margin}")
    return Part(data["name"], data["estimand"], direction, float(margin), test)


def _check_keys(data: Mapping[str, Any], kind: type, where: str) -> None:
    known = [item.name for item in fields(kind)]
    for key in data:
        if key not in known:
            raise InputError(f"{where}: unknown key '{key}'{did_you_mean(key, known)}")
    for key in known:
        if key not in data and key != "settings":
            raise InputError(f"{where}: key '{key}' is missing")


def _check_paper(paper: Any, where: str) -> None:
    keys = ("title", "version", "place")
    if not isinstance(paper, dict):
        raise InputError(f"{where} must be a mapping of {', '.join(keys)}")
    for key in paper:
        if key not in keys:
            raise InputError(f"{where}: unknown key '{key}'{did_you_mean(key, keys)}")
    for key in keys:
        if key not in paper:
            raise InputError(f"{where}: key '{key}' is missing")
        _check_text(paper[key], f"{where}: {key}")


def _check_text(value: Any, where: str) -> None:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where} must be text, not {value!r}")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
