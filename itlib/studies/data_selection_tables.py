"""Tables of ``02_data_selection``: scores, differences, costs and contents of selections by kind of pool and arm.

Most take the frame of ``data_selection.evidence``, the kinds of pools and the names of arms within a kind. An arm
without a finished run has NaN or no points: never a zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

from itlib.claims.data_selection import drift, latent_rows
from itlib.result import RunResult
from itlib.selected import mechanism, overlaps, pareto_front, scores
from itlib.stats import bootstrap_interval, holm, sign_flip, sign_flip_interval

SIDES = ("all", "targets")
LABELS = {"all": "all families", "targets": "target families"}
METRIC = "exact_match"
ORACLE = "oracle_"


def points(frame: pd.DataFrame, kinds: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Return the exact match of every run: columns ``kind``, ``arm``, ``families``, ``seed``, ``value``."""
    rows = [
        (kind, name, LABELS[side], seed, value)
        for kind in kinds
        for name in names
        for side in SIDES
        for seed, value in _scores(frame, f"{kind}/{name}", side).items()
    ]
    return pd.DataFrame(rows, columns=["kind", "arm", "families", "seed", "value"])


def drifts(frame: pd.DataFrame, kinds: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Return the loss on held-out pretraining text of every run in the columns of ``points``, if it was measured."""
    rows = [
        (kind, name, "pretraining text", seed, value)
        for kind in kinds
        for name in names
        for seed, value in _drift(frame, f"{kind}/{name}").items()
    ]
    return pd.DataFrame(rows, columns=["kind", "arm", "families", "seed", "value"])


def contrasts(frame: pd.DataFrame, kinds: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Return per arm what it gains on random and on the whole pool, on all families and on the targets.

    Columns: ``kind``, ``families``, ``arm``, ``score`` (mean over seeds), ``vs random`` and ``vs full`` (mean of the
    differences paired by seed, each with its sign-flip interval), ``seeds``, ``p`` and ``holm``.

    Named in advance are the comparisons with random on all families, at most twelve per kind of pool: they have a
    p-value of the sign-flip test and one adjusted by Holm over those of their kind. All others are exploratory: an
    interval and no test.
    """
    rows = []
    for kind in kinds:
        for side in SIDES:
            by_arm = {name: _scores(frame, f"{kind}/{name}", side) for name in names}
            for name, values in by_arm.items():
                row = {"kind": kind, "families": side, "arm": name, "score": values.mean()}
                for baseline in ("random", "full"):
                    other = by_arm[baseline] if name != baseline else values[:0]
                    row |= _told(_paired(values, other), f"vs {baseline}")
                rows.append(row | {"seeds": len(values), "p": _tested(values, by_arm["random"], side, name)})
    table = pd.DataFrame(rows).assign(holm=np.nan)
    for _, named in table[table["p"].notna()].groupby("kind"):
        table.loc[named.index, "holm"] = holm(named["p"])
    return table


def _tested(values: pd.Series, random: pd.Series, side: str, name: str) -> float:
    """Return the p-value of a comparison that was named in advance, else NaN."""
    gain = _paired(values, random)
    named = side == "all" and name not in ("random", "full")
    return sign_flip(gain).p_value if named and len(gain) > 1 else np.nan


def knowledge(frame: pd.DataFrame, kinds: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Return per arm what is left of what the base knew, against random.

    Columns: ``kind``, ``arm``, ``latent`` (exact match, mean over latent families), its difference from random and
    interval; ``worst`` (the latent family with the lowest mean over seeds) and its exact match; ``drift`` (loss on
    pretraining text in nats per token), its difference from random and interval.
    """
    rows = []
    known = latent_rows(frame)
    for kind in kinds:
        for name in names:
            arm = f"{kind}/{name}"
            baseline = f"{kind}/random" if name != "random" else ""  # no difference from itself
            latent, loss = _scores(known, arm, "all"), _drift(frame, arm)
            worst = families(known, [kind], [name]).nsmallest(1, "value")
            row = {"kind": kind, "arm": name, "latent": latent.mean()}
            row |= _told(_paired(latent, _scores(known, baseline, "all")), "latent vs random")
            row |= {"worst": "".join(worst["family"]), "its score": worst["value"].sum(min_count=1)}
            row |= {"drift": loss.mean()}
            rows.append(row | _told(_paired(loss, _drift(frame, baseline)), "drift vs random"))
    return pd.DataFrame(rows)


def families(frame: pd.DataFrame, kinds: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Return the exact match of every arm by family, mean over seeds: ``kind``, ``arm``, ``family``, ``value``."""
    order = {f"{kind}/{name}": (kind, name) for kind in kinds for name in names}
    rows = frame[frame["arm"].isin(list(order)) & (frame["metric"] == METRIC)]
    means = rows.groupby(["arm", "family"], sort=False)["value"].mean()
    found = [(*order[arm], family, value) for arm, family, value in means.reset_index().itertuples(index=False)]
    return pd.DataFrame(found, columns=["kind", "arm", "family", "value"]).astype({"value": float})


def contents(results: Mapping[str, Sequence[RunResult]], kinds: Sequence[str], names: Sequence[str]) -> pd.DataFrame:
    """Return what selections are made of and cost, means over finished runs: columns of ``selected.mechanism``."""
    table = mechanism(_done(results, kinds, names)).drop(columns="seed").groupby("arm", sort=False).mean().reset_index()
    kind_and_name = table.pop("arm").str.split("/", n=1, expand=True)
    table.insert(0, "kind", kind_and_name[0])
    table.insert(1, "arm", kind_and_name[1])
    return table


def prices(shown: pd.DataFrame, made_of: pd.DataFrame) -> pd.DataFrame:
    """Return what every arm costs and reaches, and whether it is on the Pareto front of its panel.

    Args:
        shown: From ``points``.
        made_of: From ``contents``.

    Returns:
        Columns ``kind``, ``families``, ``arm``, ``flops`` (selection and training), ``value`` (mean over seeds),
        ``low`` and ``high`` (bootstrap over seeds, for display), ``front``. An oracle reads what nobody can know, so it
        is never on the front.
    """
    cost = made_of.assign(flops=made_of["selection_flops"] + made_of["training_flops"])
    cost = cost.set_index(["kind", "arm"])["flops"]
    rows = []
    for (kind, side, name), group in shown.groupby(["kind", "families", "arm"], sort=False):
        values = group["value"].to_numpy()
        rows.append((kind, side, name, cost[kind, name], values.mean(), *bootstrap_interval(values, seed=0)))
    table = pd.DataFrame(rows, columns=["kind", "families", "arm", "flops", "value", "low", "high"])
    table["front"] = False
    for _, group in table[~table["arm"].str.startswith(ORACLE)].groupby(["kind", "families"]):
        table.loc[group.index, "front"] = pareto_front(group["flops"], group["value"])
    return table


def shared(
    results: Mapping[str, Sequence[RunResult]], kinds: Sequence[str], names: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Return per kind of pool the mean Jaccard overlap of what every two arms selected; see ``selected.overlaps``."""
    tables = {kind: overlaps(_done(results, [kind], names)) for kind in kinds}
    plain = {kind: [arm.partition("/")[2] for arm in table.index] for kind, table in tables.items()}
    return {kind: table.set_axis(plain[kind], axis=0).set_axis(plain[kind], axis=1) for kind, table in tables.items()}


def overlap_rows(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return square tables by kind of pool as one: columns ``kind``, ``left``, ``right``, ``overlap``."""
    rows = [
        (kind, left, right, table.loc[left, right])
        for kind, table in tables.items()
        for left in table.index
        for right in table.columns
    ]
    return pd.DataFrame(rows, columns=["kind", "left", "right", "overlap"])


def curve(
    frame: pd.DataFrame, arms: Mapping[tuple[str, str], Mapping[int, str]], seeds: Sequence[int]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the curve over budgets and the points behind it, on the same seeds everywhere.

    Args:
        frame: The frame.
        arms: From ``data_selection.curve_arms``.
        seeds: Those that have every budget.

    Returns:
        Means with columns ``kind``, ``families``, ``selector``, ``n_train``, ``mean``, ``low`` and ``high`` (bootstrap
        over seeds, for display), ``n_seeds``; points with ``seed`` and ``value`` instead of the last four.
    """
    dots, means = [], []
    for (kind, name), by_size in arms.items():
        for size, arm in by_size.items():
            for side in SIDES:
                values = _scores(frame, arm, side)
                values = values[values.index.isin(list(seeds))]
                place = (kind, LABELS[side], name, size)
                dots += [(*place, seed, value) for seed, value in values.items()]
                means.append((*place, values.mean(), *bootstrap_interval(values.to_numpy(), seed=0), len(values)))
    columns = ["kind", "families", "selector", "n_train"]
    return (
        pd.DataFrame(means, columns=[*columns, "mean", "low", "high", "n_seeds"]),
        pd.DataFrame(dots, columns=[*columns, "seed", "value"]),
    )


def doubled(
    frame: pd.DataFrame, arms: Mapping[tuple[str, str], Mapping[int, str]], n_train: int, *, side: str = "targets"
) -> pd.DataFrame:
    """Return per curve what twice ``n_train`` gains on ``n_train``; no row without that budget."""
    rows = []
    for (kind, name), by_size in arms.items():
        if 2 * n_train in by_size:
            paired = _paired(*(_scores(frame, by_size[size], side) for size in (2 * n_train, n_train)))
            rows.append({"kind": kind, "selector": name, **_told(paired, "gain"), "seeds": len(paired)})
    return pd.DataFrame(rows, columns=["kind", "selector", "gain", "gain interval", "seeds"])


def _scores(frame: pd.DataFrame, arm: str, side: str) -> pd.Series:
    """Return scores by seed; an arm of which no run has a value has no scores."""
    return _or_nothing(scores, frame, arm, on=side, metric=METRIC)


def _drift(frame: pd.DataFrame, arm: str) -> pd.Series:
    return _or_nothing(drift, frame, arm)


def _or_nothing(read: Callable[..., pd.Series], frame: pd.DataFrame, arm: str, **how: str) -> pd.Series:
    try:
        return read(frame, arm, **how)
    except LookupError:
        return pd.Series(dtype=float, index=pd.Index([], dtype=int, name="seed"))


def _paired(left: pd.Series, right: pd.Series) -> np.ndarray:
    return (left - right).dropna().to_numpy(dtype=float)


def _told(paired: np.ndarray, name: str) -> dict[str, object]:
    if not len(paired):
        return {name: np.nan, f"{name} interval": (np.nan, np.nan)}
    return {name: float(paired.mean()), f"{name} interval": sign_flip_interval(paired)}


def _done(
    results: Mapping[str, Sequence[RunResult]], kinds: Sequence[str], names: Sequence[str]
) -> dict[str, list[RunResult]]:
    asked = [f"{kind}/{name}" for kind in kinds for name in names]
    return {arm: [run for run in results[arm] if run.status == "done"] for arm in asked}
