"""Tables of ``03c_decoding``: what interventions in decoding gain, and what they cost, paired by seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.meta_analysis import combine_effects

from itlib.claims.decoding import METRIC, by_family, cost_and_gain, rank_correlation, scores
from itlib.microworld.noisy_instructions import KINDS
from itlib.result import ITEM_COLUMNS, REFERENCE, RunResult
from itlib.stats import holm, sign_flip, sign_flip_interval
from itlib.studies.decoding import NEGATED, DecodingParams, phrasing_sets

DRAWS = 2000
NONE = "none"


def weights(frame: pd.DataFrame, params: DecodingParams, metric: str = METRIC) -> pd.DataFrame:
    """Return the score of every contrast, one row per set of phrasings, kind, weight (0 is plain) and seed."""
    rows = []
    for which in phrasing_sets(params):
        plain = _values(frame, which, metric)
        for kind in KINDS:
            rows += [(which, kind, 0.0, seed, value) for seed, value in plain.items()]
            for weight in params.contrast_weights:
                found = _values(frame, which, metric, contrast=kind, contrast_weight=weight)
                rows += [(which, kind, weight, seed, value) for seed, value in found.items()]
    return pd.DataFrame(rows, columns=["phrasings", "kind", "weight", "seed", "value"])


def gains(frame: pd.DataFrame, params: DecodingParams, metric: str = METRIC) -> pd.DataFrame:
    """Return what each noisy instruction costs as the prompt and gains at the judged weight, in points.

    Columns: ``phrasings``, ``kind``, ``cost``, ``gain``, its sign-flip ``interval`` and ``p``, ``families won`` (share
    of families that are better with the contrast, on the mean over seeds, ties counting half) and ``seeds``.
    """
    rows = []
    for which in phrasing_sets(params):
        plain = by_family(frame, which, metric)
        for kind in KINDS:
            alone = by_family(frame, which, metric, noisy_prompt=kind)
            better = by_family(frame, which, metric, contrast=kind, contrast_weight=params.judged_weight) - plain
            means = better.mean()
            won = ((means > 0) + 0.5 * (means == 0)).mean()
            cost = float((plain - alone).mean(axis=1, skipna=False).mean())
            row = {"phrasings": which, "kind": kind, "cost": 100 * cost}
            tested = _tested(better.mean(axis=1, skipna=False).to_numpy(), "gain")
            rows.append(row | tested | {"families won": won, "seeds": tested["seeds"]})
    return pd.DataFrame(rows)


def by_task(results: Mapping[str, Sequence[RunResult]], params: DecodingParams) -> pd.DataFrame:
    """Return what contrasting changes item by item at the judged weight: one row per kind and family.

    Columns: ``kind``, ``family``, ``gained`` (items right with the contrast only), ``lost`` (right without it only),
    the exact McNemar ``p``, and the logarithm of the odds of gaining over losing with its variance (half an item added
    to either). Items are those of all seeds: a seed asks the same questions of another model.
    """
    plain = {run.spec.seed: _right(run) for run in results["tuned"] if run.status == "done"}
    rows = []
    for kind in KINDS:
        pairs = [
            plain[run.spec.seed].to_frame("before").join(_right(run).rename("after"), how="inner")
            for run in results["contrast"]
            if _judged(run, kind, params) and run.spec.seed in plain
        ]
        if not pairs:
            continue
        both = pd.concat(pairs)
        for family, group in both.groupby(level="family"):
            gained = int(((group["after"] == 1) & (group["before"] == 0)).sum())
            lost = int(((group["after"] == 0) & (group["before"] == 1)).sum())
            p = float(mcnemar([[0, gained], [lost, 0]], exact=True).pvalue)
            log_odds, variance = np.log((gained + 0.5) / (lost + 0.5)), 1 / (gained + 0.5) + 1 / (lost + 0.5)
            rows.append((kind, family, gained, lost, p, log_odds, variance))
    columns = ["kind", "family", "gained", "lost", "p", "log_odds", "variance"]
    return pd.DataFrame(rows, columns=columns)


def over_tasks(rows: pd.DataFrame) -> pd.DataFrame:
    """Return, per kind, the odds of gaining over losing an item by a random-effects mean over families.

    Columns: ``kind``, ``odds``, its 95 % ``interval`` (DerSimonian and Laird), ``spread`` (standard deviation of the
    logarithm between families), ``families`` with any change, and how many are ``better`` or ``worse`` by McNemar's
    test after Holm's correction. Families without a change say nothing and are left out; with fewer than two of them
    there is no interval.
    """
    found = []
    for kind, group in rows.groupby("kind", sort=False):
        group = group[group["gained"] + group["lost"] > 0]
        significant = holm(group["p"]) < 0.05
        up = group["log_odds"] > 0
        row = {"kind": kind, "odds": np.nan, "interval": (np.nan, np.nan), "spread": np.nan, "families": len(group)}
        if len(group) > 1:
            pooled = combine_effects(group["log_odds"].to_numpy(), group["variance"].to_numpy(), method_re="dl")
            which = "random effect" if pooled.tau2 > 0 else "fixed effect"  # alike beyond chance: one effect for all
            mean, low, high = pooled.summary_frame().loc[which, ["eff", "ci_low", "ci_upp"]].astype(float)
            row |= {"odds": np.exp(mean), "interval": (float(np.exp(low)), float(np.exp(high)))}
            row["spread"] = float(np.sqrt(max(pooled.tau2, 0.0)))
        found.append(row | {"better": int((significant & up).sum()), "worse": int((significant & ~up).sum())})
    return pd.DataFrame(found)


def _judged(run: RunResult, kind: str, params: DecodingParams) -> bool:
    evaluate = run.spec.evaluate
    same = evaluate.contrast == kind and evaluate.contrast_weight == params.judged_weight
    return same and evaluate.eval_phrasing_set == params.eval_phrasing_set and run.status == "done"


def _right(run: RunResult) -> pd.Series:
    items = pd.DataFrame(list(run.items), columns=list(ITEM_COLUMNS))
    items = items[(items["family"] != REFERENCE) & items[METRIC].notna()]
    return items.set_index(["family", "item"])[METRIC].astype(int)


def points(frame: pd.DataFrame, params: DecodingParams, metric: str = METRIC) -> pd.DataFrame:
    """Return cost and gain of every kind and family as means over seeds: ``kind``, ``family``, ``cost``, ``gain``."""
    table = cost_and_gain(frame, params.eval_phrasing_set, params.judged_weight, KINDS, metric)
    return table.groupby(["kind", "family"], sort=False)[["cost", "gain"]].mean().reset_index()


def correlation(dots: pd.DataFrame, *, seed: int = 0) -> tuple[float, float, float]:
    """Return the rank correlation of cost and gain of ``points`` with bounds from resampled families, for display.

    A family comes with all its kinds: they share its items. Bounds are NaN for fewer than three families.
    """
    value = rank_correlation(dots["cost"], dots["gain"])
    cost, gain = (dots.pivot(index="family", columns="kind", values=name).to_numpy() for name in ("cost", "gain"))
    if len(cost) < 3 or np.isnan(cost).any() or np.isnan(gain).any():
        return value, float("nan"), float("nan")
    picks = np.random.default_rng(seed).integers(len(cost), size=(DRAWS, len(cost)))
    ranks = [rankdata(side[picks].reshape(DRAWS, -1), axis=1) for side in (cost, gain)]
    left, right = (side - side.mean(axis=1, keepdims=True) for side in ranks)
    with np.errstate(invalid="ignore"):
        drawn = (left * right).sum(axis=1) / np.sqrt((left**2).sum(axis=1) * (right**2).sum(axis=1))
    low, high = np.nanquantile(drawn, [0.025, 0.975]) if np.isfinite(drawn).any() else (np.nan, np.nan)
    return value, float(low), float(high)


def remedies(params: DecodingParams) -> dict[str, dict[str, Any]]:
    """Return the fields of an evaluation under each judged remedy, by its name; "none" is plain decoding."""
    named: dict[str, dict[str, Any]] = {NONE: {}}
    for kind in KINDS:
        named[f"contrast, {kind}"] = {"contrast": kind, "contrast_weight": params.judged_weight}
    return named | {f"steering to {params.judged_target:g}": {"steering": params.judged_target}}


def compliance(frame: pd.DataFrame, params: DecodingParams, metric: str = METRIC) -> pd.DataFrame:
    """Return how often plain and negated instructions are followed under each remedy, one row per run.

    Columns: ``remedy``, ``asked`` ("as asked" for the phrasings of the study, "negated"), ``seed``, ``value``.
    """
    rows = []
    for label, which in (("as asked", params.eval_phrasing_set), (NEGATED, NEGATED)):
        for name, fields in remedies(params).items():
            found = _values(frame, which, metric, **fields)
            rows += [(name, label, seed, value) for seed, value in found.items()]
    return pd.DataFrame(rows, columns=["remedy", "asked", "seed", "value"])


def changes(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what each remedy changes in ``compliance``, in points, paired by seed; Holm over remedies of one kind."""
    rows = []
    for label, group in runs.groupby("asked", sort=False):
        table = group.pivot(index="seed", columns="remedy", values="value")
        for name in dict.fromkeys(group["remedy"]):
            if name == NONE:
                continue
            tested = _tested((table[name] - table[NONE]).to_numpy(), "change")
            rows.append({"asked": label, "remedy": name, "without": 100 * table[NONE].mean(), **tested})
    found = pd.DataFrame(rows)
    found["holm"] = np.concatenate([holm(group["p"]) for _, group in found.groupby("asked", sort=False)])
    return found


def steering(frame: pd.DataFrame, params: DecodingParams, metric: str = METRIC) -> pd.DataFrame:
    """Return the score under every target, one row per ``sentences`` beside the instruction, ``target`` and seed."""
    rows = []
    for count in params.distractors:
        for target in (0.0, *params.steering_targets):
            found = _values(frame, params.eval_phrasing_set, metric, steering=target, sentences=count)
            rows += [(count, target, seed, value) for seed, value in found.items()]
    return pd.DataFrame(rows, columns=["sentences", "target", "seed", "value"])


def steering_changes(runs: pd.DataFrame) -> pd.DataFrame:
    """Return what each target changes in ``steering``, in points, paired by seed; exploratory, not adjusted."""
    rows = []
    for count, group in runs.groupby("sentences"):
        table = group.pivot(index="seed", columns="target", values="value")
        for target in table.columns[table.columns > 0]:
            tested = _tested((table[target] - table[0.0]).to_numpy(), "change")
            rows.append({"sentences": count, "target": target, "without": 100 * table[0.0].mean(), **tested})
    return pd.DataFrame(rows)


def sentence(found: pd.DataFrame) -> str:
    """Return, in words, what ``changes`` says about negated instructions."""
    negated = found[found["asked"] == NEGATED]
    worst = negated.loc[negated["change"].idxmin()] if negated["change"].notna().any() else None
    if worst is None:
        return "No remedy could be compared on negated instructions."
    beyond = "beyond" if worst["holm"] < 0.05 else "not beyond"
    return (
        f"Of {len(negated)} remedies, '{worst['remedy']}' does least for negated instructions: {worst['change']:+.1f} "
        f"points from {worst['without']:.1f}, {beyond} chance at 5 % after Holm."
    )


def _values(frame: pd.DataFrame, which: str, metric: str, **fields: Any) -> Mapping[int, float]:
    return dict(zip(sorted(frame["seed"].unique()), scores(frame, which, metric, **fields), strict=True))


def _tested(differences: np.ndarray, name: str) -> dict[str, Any]:
    """Return the mean of paired differences in points, its sign-flip interval, p value and the seeds behind it."""
    paired = 100 * differences[np.isfinite(differences)]
    mean = float(paired.mean()) if len(paired) else np.nan
    p_value = sign_flip(paired).p_value if len(paired) else np.nan
    return {name: mean, "interval": sign_flip_interval(paired), "p": p_value, "seeds": len(paired)}
