"""Tables of ``02b_selectors``: differences to a random selection, what was selected, what it cost, what scores mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from itlib.claims.selector_arena import MISMATCHED, RIGHT, auc
from itlib.result import RunResult
from itlib.selected import MECHANISM, difference, mechanism, pareto_front
from itlib.stats import holm, sign_flip, sign_flip_interval
from itlib.studies.selector_arena import ARMS, FULL, RANDOM, REDUNDANT

# named before the runs; with eight seeds a Holm family of more than six could never be significant
NAMED = ("ifd top", "ic_ifd", "perplexity top", "lp hard", "nuggets top", "kmq")
SIGNS = {
    "response length": ("longest", "shortest"),
    "perplexity": ("perplexity top", "perplexity bottom"),
    "IFD": ("ifd top", "ifd bottom"),
    "IFD as a ratio of perplexities": ("ifd_ppl", "ifd_ppl bottom"),
    "IC-IFD": ("ic_ifd", "ic_ifd bottom"),
    "learning percentage": ("lp hard", "lp easy"),
    "approximate learning percentage": ("lp_app", "lp_app easy"),
    "gap between warm and strong answers": ("codec_gap", "codec_gap bottom"),
    "golden score": ("nuggets top", "nuggets bottom"),
}
CORRUPTED = ("wrong", MISMATCHED, "truncated")


def arena(frame: pd.DataFrame) -> pd.DataFrame:
    """Return, per kind of pool and arm at the common size, its difference to the random arm in exact match.

    Columns: ``kind``, ``arm``, ``group``, ``named`` (whether the comparison was named before the runs), ``mean``,
    ``low``, ``high`` (sign-flip interval), ``p``, ``holm`` (adjusted over the named ones of the kind, else NaN),
    ``target_mean``, ``target_low``, ``target_high`` (the same on the target families of each seed), ``seeds``. Highest
    mean first within a kind. An arm without a finished run has NaN.
    """
    rows = []
    present = set(frame.loc[frame["metric"] == "exact_match", "arm"])
    for kind in dict.fromkeys(name.split("/")[0] for name in frame["arm"]):
        for name, about in ARMS.items():
            if name == RANDOM or not {f"{kind}/{name}", f"{kind}/{RANDOM}"} <= present:
                continue
            everywhere = _summary(difference(frame, f"{kind}/{name}", f"{kind}/{RANDOM}"))
            aimed = _on_targets(frame, f"{kind}/{name}", f"{kind}/{RANDOM}")
            rows.append((kind, name, about.group, name in NAMED, *everywhere[:4], *aimed[:3], everywhere[4]))
    columns = ["kind", "arm", "group", "named", "mean", "low", "high", "p", "target_mean", "target_low", "target_high"]
    table = pd.DataFrame(rows, columns=[*columns, "seeds"])
    table.insert(8, "holm", np.nan)
    for _, named in table[table["named"]].groupby("kind"):
        table.loc[named.index, "holm"] = holm(named["p"])
    return table.sort_values(["kind", "mean"], ascending=[True, False], kind="stable").reset_index(drop=True)


def pairs(frame: pd.DataFrame, wanted: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return the mean difference in exact match of each pair of arms that are there, its interval, p and seeds."""
    present = set(frame.loc[frame["metric"] == "exact_match", "arm"])
    rows = [
        (f"{left} minus {right}", *_summary(difference(frame, left, right)))
        for left, right in wanted
        if {left, right} <= present
    ]
    return pd.DataFrame(rows, columns=["difference", "mean", "low", "high", "p", "seeds"])


def other_sizes(quarter: int, fifth: int) -> list[tuple[str, str]]:
    """Return the pairs of arms at a quarter and a fifth of a redundant pool that papers compare."""
    of_quarter = [f"{REDUNDANT}/{name} ({quarter})" for name in ("ic_ifd", "ifd top", RANDOM)] if quarter else []
    of_fifth = [f"{REDUNDANT}/iter_select_tune ({fifth})"] if fifth else []
    whole = [(arm, f"{REDUNDANT}/{FULL}") for arm in (*of_quarter, *of_fifth)]
    return [*whole, *((of_quarter[0], other) for other in of_quarter[1:])]


def signs(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of ``arena`` whose arms are the two ends of one score, with ``score`` and ``end`` (high or low).

    High is what the score calls long, surprising, difficult, learned late, or useful as a demonstration.
    """
    parts = []
    for kind in table["kind"].unique():
        for score, arms in SIGNS.items():
            for arm, end in zip(arms, ("high", "low"), strict=True):
                rows = table[(table["kind"] == kind) & (table["arm"] == arm)]
                parts.append(rows.assign(score=score, end=end))
    return pd.concat(parts, ignore_index=True) if parts else table.assign(score="", end="")


def selected(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return what every arm selected and what that cost, means over seeds; operations in units of 1e9."""
    table = mechanism(results).groupby("arm", sort=False)[[*MECHANISM, "training_flops"]].mean().reset_index()
    for name in ("selection_flops", "training_flops"):
        table[name.replace("flops", "gflops")] = table.pop(name) / 1e9
    return table


def costs(table: pd.DataFrame, chosen: pd.DataFrame) -> pd.DataFrame:
    """Return per kind and arm its gain over random, its cost in trainings of the random arm, and the best buys.

    Args:
        table: From ``arena``.
        chosen: From ``selected``.

    Returns:
        Columns ``kind``, ``arm``, ``group``, ``mean``, ``cost`` and ``front``: no other arm gains as much for less. The
        random arm is a row with gain 0; oracles and arms without a finished run are left out.
    """
    total = chosen.set_index("arm")[["selection_gflops", "training_gflops"]].sum(axis=1)
    parts = []
    fair = ~table["arm"].str.startswith("oracle_") & table["mean"].notna()
    for kind, rows in table[fair].groupby("kind", sort=False):
        random = pd.DataFrame([{"kind": kind, "arm": RANDOM, "group": "baseline", "mean": 0.0}])
        rows = pd.concat([random, rows[["kind", "arm", "group", "mean"]]], ignore_index=True)
        spent = total.reindex(f"{kind}/" + rows["arm"]).to_numpy(dtype=float)
        rows["cost"] = spent / spent[0]
        rows = rows[np.isfinite(rows["cost"])]
        parts.append(rows.assign(front=pareto_front(rows["cost"], rows["mean"])))
    columns = ["kind", "arm", "group", "mean", "cost", "front"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def marked(examples: pd.DataFrame) -> pd.DataFrame:
    """Return per scorer and kind of corruption how IFD tells it from right examples, means over seeds.

    Columns: ``scorer``, ``noise`` ("right" for clean examples and repetitions), ``median`` IFD, ``above_1`` (share),
    ``auc`` against right examples (NaN for themselves), ``seeds``.
    """
    rows = examples[(examples["metric"] == "ifd") & np.isfinite(examples["value"].to_numpy(dtype=float))]
    found = []
    for (scorer, seed), group in rows.groupby(["scorer", "seed"], sort=False):
        right = group.loc[group["noise"].isin(RIGHT), "value"].to_numpy(dtype=float)
        for noise in ("right", *CORRUPTED):
            values = right if noise == "right" else group.loc[group["noise"] == noise, "value"].to_numpy(dtype=float)
            if len(values) and len(right):
                area = np.nan if noise == "right" else auc(values, right)
                found.append((scorer, noise, seed, np.median(values), (values > 1).mean(), area))
    table = pd.DataFrame(found, columns=["scorer", "noise", "seed", "median", "above_1", "auc"])
    means = table.groupby(["scorer", "noise"], sort=False)[["median", "above_1", "auc"]].mean()
    return means.assign(seeds=table.groupby(["scorer", "noise"], sort=False)["seed"].nunique()).reset_index()


def per_seed(examples: pd.DataFrame) -> pd.DataFrame:
    """Return per seed the base before any tuning: right answers alone and after a demonstration, length and norm.

    Columns: ``seed``, ``zero_shot`` and ``one_shot`` (share right), ``length_correlation`` (of gradient norm and
    response tokens, by ranks); NaN where it was not measured.
    """
    rows = examples[examples["metric"] != "ifd"]
    found = []
    for seed, group in rows.groupby("seed"):
        right = [group.loc[group["metric"] == f"{shots}_shot_match", "value"].mean() for shots in ("zero", "one")]
        norms = group[group["metric"] == "gradient_norm"]
        varied = norms["response_tokens"].nunique() > 1
        found.append((seed, *right, norms["value"].rank().corr(norms["response_tokens"].rank()) if varied else np.nan))
    return pd.DataFrame(found, columns=["seed", "zero_shot", "one_shot", "length_correlation"])


def self_scoring_sentence(table: pd.DataFrame) -> str:
    """Return, in words, how many of the selectors named before the runs beat random in each kind of pool."""
    said = []
    for kind, rows in table[table["named"]].groupby("kind", sort=False):
        better = int(((rows["holm"] < 0.05) & (rows["mean"] > 0)).sum())
        worse = int(((rows["holm"] < 0.05) & (rows["mean"] < 0)).sum())
        said.append(f"in {kind} pools {better} of {len(rows)} beat it and {worse} lose to it")
    if not said:
        return "None of the selectors that were named before the runs has a finished run."
    return f"Self-scoring against random, adjusted by Holm's method: {'; '.join(said)}."


def signs_sentence(ends: pd.DataFrame) -> str:
    """Return, in words, which end of each score trains better in each kind of pool."""
    said = []
    for kind, rows in ends.groupby("kind", sort=False):
        means = rows.pivot(index="score", columns="end", values="mean")
        if {"high", "low"} <= set(means.columns):
            gaps = (means["high"] - means["low"]).reindex(list(SIGNS)).dropna()
            said.append(f"in {kind} pools " + ", ".join(f"{score} {gap:+.3f}" for score, gap in gaps.items()))
    return f"High minus low end: {'; '.join(said)}." if said else "No score has both of its ends in this arena."


def _summary(effects: np.ndarray) -> tuple[float, float, float, float, int]:
    """Return mean, bounds, p value and number of finite paired differences."""
    effects = effects[np.isfinite(effects)]
    if not len(effects):
        return np.nan, np.nan, np.nan, np.nan, 0
    return float(effects.mean()), *sign_flip_interval(effects), sign_flip(effects).p_value, len(effects)


def _on_targets(frame: pd.DataFrame, left: str, right: str) -> tuple[float, float, float, float, int]:
    """Return ``_summary`` on the target families; NaN where no run of the study aimed at any."""
    try:
        return _summary(difference(frame, left, right, on="targets"))
    except LookupError:
        return np.nan, np.nan, np.nan, np.nan, 0
