"""Tables of ``04c_methods``: rates, one row per method, and what its figures draw, from the frame its claims read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import f as f_distribution

from itlib.claims.tuning_methods import by_seed
from itlib.frame import measure
from itlib.stats import bootstrap_interval, sign_flip_interval
from itlib.studies.tuning_methods import (
    SMALL,
    UNTUNED,
    UNTUNED_SMALL,
    TuningMethodsParams,
    candidate_rates,
    fraction_name,
    pairs,
    placements,
    starts,
    trials,
    tuned,
)
from itlib.studies.tuning_methods_scores import family_of

FULL = "full"
SCORE, RECALL, FORGETTING = "score", "recall", "forgetting"
COSTS = ("trainable", "gflops")
REGION = 0.95


def rates(params: TuningMethodsParams, chosen: Mapping[str, float]) -> pd.DataFrame:
    """Return per cell its learning rate, the candidates, and whether it is at their edge or shared with a relative."""
    shared, tried = dict(pairs(params, "shared_rates")), trials(params)
    rows = []
    for cell in tuned(params):
        rates = candidate_rates(params, cell.arm)
        edge = len(rates) > 2 and chosen[cell.name] in (rates[0], rates[-1])
        remark = f"rate of {shared[cell.name]}" if cell.name in shared else "edge of the grid" * edge
        shown = " ".join(f"{rate:g}" for rate in rates) if tried[cell.name] else ""
        rows.append((cell.name, f"{chosen[cell.name]:g}", shown, remark))
    return pd.DataFrame(rows, columns=["arm", "learning_rate", "candidates", "remark"])


def values(frame: pd.DataFrame, arm: str, what: str) -> pd.Series:
    """Return one number per seed of the frame for an arm, NaN where no run has it.

    Args:
        frame: From ``tuning_methods_scores.evidence``.
        arm: Name of a cell.
        what: "score" (exact match where there is one right answer, else see ``frame.measure``), "recall" of facts that
            documents told, "forgetting" (nats per token on held-out documents, minus that of the untuned base of the
            same run), "trainable" or "gflops".
    """
    seeds = sorted(frame["seed"].unique())
    try:
        if what == FORGETTING:
            return by_seed(frame, arm, "reference_loss") - _of_bases(frame, arm, seeds)
        if what == SCORE:
            return by_seed(frame, arm, measure(frame[frame["kind"] == "test"]).metric)
        return by_seed(frame, arm, what, RECALL if what == RECALL else "cost")
    except LookupError:
        return pd.Series(np.nan, index=seeds)


def _of_bases(frame: pd.DataFrame, arm: str, seeds: Sequence[int]) -> pd.Series:
    """Return the reference loss of the untuned base that each seed of an arm tunes."""
    rows = frame[(frame["kind"] == "test") & (frame["metric"] == "reference_loss")]
    before = rows[rows["arm"].isin([UNTUNED, UNTUNED_SMALL])].set_index("model_fingerprint")["value"].to_dict()
    tuned_rows = rows[rows["arm"] == arm].set_index("seed")["model_fingerprint"]
    return tuned_rows.map(before).reindex(seeds).astype(float)


def points(frame: pd.DataFrame, arms: Sequence[str], what: Sequence[str] = (SCORE, RECALL, FORGETTING)) -> pd.DataFrame:
    """Return ``arm``, ``seed`` and one column per kind of number, a row per run."""
    parts = []
    for arm in arms:
        columns = {name: values(frame, arm, name) for name in what}
        parts.append(pd.DataFrame(columns).rename_axis("seed").reset_index().assign(arm=arm))
    return pd.concat(parts, ignore_index=True)[["arm", "seed", *what]]


def methods(frame: pd.DataFrame, arms: Sequence[str], ledger: pd.DataFrame) -> pd.DataFrame:
    """Return one row per method: what it trains, how well it does, what it keeps and what it costs.

    Args:
        frame: The frame.
        arms: Names of cells, in the order of the result.
        ledger: From ``fairness.ledger``; its median seconds are shown, and judged nowhere.

    Returns:
        Columns ``arm``, ``kind`` of method, ``runs``, ``trainable``, ``score`` with a bootstrap interval over seeds
        (``low``, ``high``), ``minus_full`` (the paired difference from full tuning) with its sign-flip ``interval``,
        ``recall``, ``forgetting``, ``operations`` (over those of full tuning) and ``seconds``.
    """
    full = {what: values(frame, FULL, what) for what in (SCORE, "gflops")}
    seconds = ledger.set_index("arm")["seconds"].to_dict()
    rows = []
    for arm in arms:
        score = values(frame, arm, SCORE)
        paired = (score - full[SCORE]).dropna().to_numpy(dtype=float)
        low, high = bootstrap_interval(score.dropna().to_numpy(dtype=float), seed=0)
        compared = arm != FULL and len(paired) > 0
        rows.append(
            {
                "arm": arm,
                "kind": family_of(arm),
                "runs": int(score.notna().sum()),
                "trainable": _whole(values(frame, arm, "trainable").mean()),
                "score": score.mean(),
                "low": low,
                "high": high,
                "minus_full": float(paired.mean()) if compared else np.nan,
                "interval": sign_flip_interval(paired) if compared else (np.nan, np.nan),
                "recall": values(frame, arm, RECALL).mean(),
                "forgetting": values(frame, arm, FORGETTING).mean(),
                "operations": (values(frame, arm, "gflops") / full["gflops"]).mean(),
                "seconds": seconds.get(arm, np.nan),
            }
        )
    return pd.DataFrame(rows)


def _whole(mean: float) -> float:
    """Return a mean of whole numbers as one; NaN stays NaN."""
    return round(mean) if np.isfinite(mean) else mean


def bases(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per untuned base: what it scores without tuning, what it recalls, its loss on documents."""
    rows = []
    metric = measure(frame[frame["kind"] == "test"]).metric
    for name in (UNTUNED, UNTUNED_SMALL):
        mine = frame[frame["arm"] == name]
        for base, group in mine.groupby("base_seed"):
            told = group[(group["kind"] == RECALL) & (group["metric"] == RECALL)]
            told = told[told["frequency"] > 0] if len(told) else told
            found = {
                "score": group.loc[group["metric"] == metric, "value"].mean(),
                "recall": told["value"].mean(),
                "reference_loss": group.loc[group["metric"] == "reference_loss", "value"].mean(),
            }
            rows.append({"base": name, "base_seed": base, **found})
    return pd.DataFrame(rows, columns=["base", "base_seed", "score", "recall", "reference_loss"])


def trade(frame: pd.DataFrame, params: TuningMethodsParams) -> pd.DataFrame:
    """Return, per start and the plain adapter of its rank, recall and score, and the region of their difference.

    Columns ``arm``, ``plain`` (whose row has itself), ``runs``, means ``recall`` and ``score``, and ``width``,
    ``height`` and ``angle`` (degrees) of the joint 95 % region of the mean paired difference from the plain adapter;
    NaN for the plain adapter, and with fewer than four complete seeds.
    """
    rows = []
    for plain, others in starts(params).items():
        first = points(frame, [plain], (RECALL, SCORE)).set_index("seed")[[RECALL, SCORE]]
        for arm in (plain, *others):
            mine = points(frame, [arm], (RECALL, SCORE)).set_index("seed")[[RECALL, SCORE]]
            region = (np.nan,) * 3 if arm == plain else joint_region((mine - first).dropna().to_numpy(dtype=float))
            rows.append(
                (arm, plain, int(mine.notna().all(axis=1).sum()), mine[RECALL].mean(), mine[SCORE].mean(), *region)
            )
    return pd.DataFrame(rows, columns=["arm", "plain", "runs", "recall", "score", "width", "height", "angle"])


def joint_region(pairs_of: np.ndarray, confidence: float = REGION) -> tuple[float, float, float]:
    """Return width, height and angle in degrees of the ellipse that holds the mean of pairs of numbers.

    Hotelling's region: n (m - mu)' S^-1 (m - mu) <= 2 (n - 1) / (n - 2) F(2, n - 2), with m and S the mean and the
    covariance of n pairs.

    Args:
        pairs_of: Shape (n, 2).
        confidence: Probability that the region holds the mean.

    Returns:
        The full axes, the longer one first, and the angle of the longer one from the horizontal; NaN below four pairs.
    """
    n = len(pairs_of)
    if n < 4:
        return (math.nan,) * 3
    bound = 2 * (n - 1) / (n - 2) * f_distribution.ppf(confidence, 2, n - 2) / n
    spread, directions = np.linalg.eigh(np.cov(pairs_of.T))
    half = np.sqrt(np.maximum(spread, 0.0) * bound)
    angle = math.degrees(math.atan2(directions[1, 1], directions[0, 1]))
    return float(2 * half[1]), float(2 * half[0]), angle


def densities(frame: pd.DataFrame, params: TuningMethodsParams) -> pd.DataFrame:
    """Return what the figure of sparse tuning draws: sparse arms, and low-rank arms with as many parameters.

    Columns ``arm``, ``kind`` ("grow and drop", "lottery ticket", "low rank"), ``density``, ``trainable``, ``score``,
    ``low``, ``high`` and ``equal_to``, the sparse arm that a low-rank arm has as many parameters as.
    """
    equal = {}
    for left, right in pairs(params):
        for sparse, other in ((left, right), (right, left)):
            if family_of(sparse) == "sparse" and family_of(other) == "low rank":
                equal.setdefault(other, sparse)
    rows = []
    for arm in params.arms:
        if family_of(arm) != "sparse" and arm not in equal:
            continue
        score = values(frame, arm, SCORE)
        low, high = bootstrap_interval(score.dropna().to_numpy(dtype=float), seed=0)
        kind = "low rank" if arm in equal else arm.split()[0].replace("_", " ")
        mean = _whole(values(frame, arm, "trainable").mean())
        rows.append((arm, kind, _density(arm), mean, score.mean(), low, high, equal.get(arm, "")))
    names = ["arm", "kind", "density", "trainable", "score", "low", "high", "equal_to"]
    return pd.DataFrame(rows, columns=names).sort_values(["kind", "trainable"], ignore_index=True)


def _density(arm: str) -> float:
    """Return the share of entries that an arm of grow and drop has in training; NaN for other methods."""
    from itlib.methods import method_of
    from itlib.spec import MethodSpec
    from itlib.studies.tuned_arms import arm_fields

    return getattr(method_of(MethodSpec(**arm_fields(arm))), "density", math.nan)


def placed(frame: pd.DataFrame, params: TuningMethodsParams) -> pd.DataFrame:
    """Return, per pair and seed, the score in attention and in feed-forward layers, and the difference."""
    parts = []
    for attention, feedforward in placements(params):
        found = {"attention": values(frame, attention, SCORE), "feedforward": values(frame, feedforward, SCORE)}
        table = pd.DataFrame(found).rename_axis("seed").reset_index()
        table["difference"] = table["feedforward"] - table["attention"]
        parts.append(table.assign(pair=f"{attention} and {feedforward}"))
    names = ["pair", "seed", "attention", "feedforward", "difference"]
    return pd.concat(parts, ignore_index=True)[names] if parts else pd.DataFrame(columns=names)


def fractions(frame: pd.DataFrame, params: TuningMethodsParams) -> pd.DataFrame:
    """Return score by share of the training data, and of the smaller model on all of it.

    Columns ``arm``, ``model`` ("own" or "small"), ``fraction``, ``examples``, ``runs``, ``score``, ``low``, ``high``.
    """
    named = [
        (arm, "own", fraction, fraction_name(arm, fraction) if fraction < 1 else arm)
        for arm in (params.fraction_arms if params.fractions else ())
        for fraction in (*sorted(params.fractions), 1.0)
    ]
    named += [(FULL, "small", 1.0, SMALL)] if params.small_model else []
    rows = []
    for arm, model, fraction, name in named:
        score = values(frame, name, SCORE)
        low, high = bootstrap_interval(score.dropna().to_numpy(dtype=float), seed=0)
        examples = max(1, round(fraction * params.n_train))
        rows.append((arm, model, fraction, examples, int(score.notna().sum()), score.mean(), low, high))
    return pd.DataFrame(rows, columns=["arm", "model", "fraction", "examples", "runs", "score", "low", "high"])
