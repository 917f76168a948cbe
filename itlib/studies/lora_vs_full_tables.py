"""Tables of ``04_lora_vs_full``, and what its figures draw: from the frame its claims read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from itlib.claims import Verdict
from itlib.claims.lora_vs_full import LOSS, OWN, UNTUNED, compared, points
from itlib.frame import measure
from itlib.frontier import frontier
from itlib.stats import holm, sign_flip, sign_flip_interval

LEARNED, FORGOT = "learned, own rate", "forgot, own rate"
MATCHED, BELOW = "forgot, equal accuracy", "forgot, up to there"
WHAT = (LEARNED, FORGOT, MATCHED, BELOW)
EQUAL = "at equal accuracy"
WEIGHTS = ("change", "effective_rank", "new", "new_noise", "new_turned")
GRID = 101  # places at which a frontier is drawn


def choice(rates: Mapping[str, float], edges: Mapping[str, bool]) -> pd.DataFrame:
    """Return the rate of every arm, and whether it is the smallest or largest of its candidates."""
    rows = [(arm, rate, edges.get(arm, False)) for arm, rate in rates.items()]
    return pd.DataFrame(rows, columns=["arm", "learning_rate", "edge of the grid"])


def scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``claims.lora_vs_full.points`` by the metric that the data allow, with its name in the column ``metric``.

    That is exact match where there is one right response, else a share of constraints, else a loss.
    """
    metric = measure(frame[frame["kind"] == "test"]).metric
    return points(frame, metric).assign(metric=metric)


def own(table: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return ``arm``, ``seed``, ``learning`` and ``forgetting`` of every run at its own rate, arms in the given order.

    Args:
        table: From ``scores``.
        arms: Names.
    """
    mine = table[(table["point"] == OWN) & table["arm"].isin(list(arms))]
    order = pd.Categorical(mine["arm"], list(arms), ordered=True)
    return mine.assign(place=order).sort_values(["place", "seed"])[["arm", "seed", "learning", "forgetting"]]


def summary(frame: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return one row per arm: means over seeds at its own rate.

    Columns: ``arm``, ``runs`` (finished), the metric of ``scores``, ``forgetting`` and ``reference_loss``.
    """
    table = scores(frame)
    metric = table["metric"].iloc[0]
    losses = frame[frame["metric"] == LOSS].drop_duplicates(["arm", "digest"]).set_index(["arm", "digest"])["value"]
    rows = []
    for arm in (UNTUNED, *arms):
        mine = table[(table["arm"] == arm) & table["point"].isin([OWN, UNTUNED])]
        loss = losses.reindex(pd.MultiIndex.from_frame(mine[["arm", "digest"]]))
        done = int((mine["status"] == "done").sum())
        rows.append((arm, done, mine["learning"].mean(), mine["forgetting"].mean(), loss.mean()))
    return pd.DataFrame(rows, columns=["arm", "runs", metric, "forgetting", LOSS])


def comparisons(table: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return every arm minus the first one, a row per seed and kind of difference, NaN where a seed has none.

    Kinds: learned and forgot at own rates; forgot at the smaller of the two accuracies at own rates; forgot on average
    over the accuracies up to that one. All but the first in nats per token.

    Args:
        table: From ``scores``.
        arms: Names; the first is what others are compared with.

    Returns:
        Columns ``arm``, ``what`` (``WHAT``), ``seed``, ``value`` and ``level``, the accuracy of the third kind.
    """
    first = arms[0]
    seeds = pd.Index(sorted(table["seed"].unique()), name="seed")
    each = own(table, arms).set_index(["arm", "seed"])
    rows = []
    for arm in arms[1:]:
        both = compared(table, arm, first)
        found = {MATCHED: both["left"] - both["right"], BELOW: both["gap"]}
        for what, column in ((LEARNED, "learning"), (FORGOT, "forgetting")):
            mine, other = (_of(each, name, column).reindex(seeds) for name in (arm, first))
            found[what] = mine - other
        rows += [(arm, what, seed, found[what][seed], both["level"][seed]) for what in WHAT for seed in seeds]
    return pd.DataFrame(rows, columns=["arm", "what", "seed", "value", "level"])


def _of(each: pd.DataFrame, arm: str, column: str) -> pd.Series:
    known = arm in each.index.get_level_values("arm")
    return each[column].loc[arm] if known else pd.Series(dtype=float, index=pd.Index([], name="seed"))


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds of ``comparisons`` with the sign-flip interval, p and the seeds that have an answer.

    Args:
        table: From ``comparisons``.

    Returns:
        Columns ``arm``, ``what``, ``mean``, ``interval``, ``p``, ``level`` (mean accuracy of a match) and ``seeds``.
    """
    rows = []
    for (arm, what), group in table.groupby(["arm", "what"], sort=False):
        values = group["value"].dropna().to_numpy(dtype=float)
        mean = float(values.mean()) if len(values) else np.nan
        p_value = sign_flip(values).p_value if len(values) else np.nan
        level = group["level"].mean() if what == MATCHED else np.nan
        rows.append((arm, what, mean, sign_flip_interval(values), p_value, level, len(values)))
    return pd.DataFrame(rows, columns=["arm", "what", "mean", "interval", "p", "level", "seeds"])


def mean_frontiers(table: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return the frontier of every arm between the means of its settings over seeds, the untuned bases among them.

    Claims compare frontiers seed by seed; this one is drawn. A setting in which a run did not finish has no mean.

    Args:
        table: From ``scores``.
        arms: Names.

    Returns:
        Columns ``arm``, ``learning`` (rising) and ``forgetting``; no row for an arm with one setting.
    """
    parts = []
    both = ["learning", "forgetting"]
    base = table.loc[table["point"] == UNTUNED, both].mean()
    for arm in arms:
        settings = table[table["arm"] == arm].groupby(["learning_rate", "budget"])
        means = settings[both].agg(lambda values: values.mean(skipna=False)).dropna()
        if len(means) < 2:
            continue
        hull = frontier(*np.vstack([base, means]).T)
        if len(hull.learning):
            places = np.linspace(*hull.span, GRID)
            parts.append(pd.DataFrame({"arm": arm, "learning": places, "forgetting": hull.at(places)}))
    columns = ["arm", *both]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def recall(frame: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return recall of facts by frequency of a person, before tuning and after: one row per arm, seed and frequency.

    Columns: ``arm`` ("untuned" first), ``seed``, ``frequency``, ``recall`` and ``drop`` (before minus after).
    """
    rows = frame[frame["kind"] == "recall"]
    base = rows[rows["arm"] == UNTUNED].set_index(["base_seed", "frequency"])["value"]
    found = rows[rows["arm"].isin([UNTUNED, *arms])]
    before = base.reindex(pd.MultiIndex.from_frame(found[["base_seed", "frequency"]])).to_numpy(dtype=float)
    place = pd.Categorical(found["arm"], [UNTUNED, *arms], ordered=True)
    found = found.assign(recall=found["value"].astype(float), drop=before - found["value"].astype(float), place=place)
    return found.sort_values(["place", "seed", "frequency"])[["arm", "seed", "frequency", "recall", "drop"]]


def recall_means(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``recall`` by arm and frequency: means over seeds, with the sign-flip interval of the drop."""
    rows = []
    for (arm, frequency), group in table.groupby(["arm", "frequency"], sort=False):
        drops = group["drop"].dropna().to_numpy(dtype=float)
        tuned = arm != UNTUNED and len(drops) > 0
        drop = float(drops.mean()) if tuned else np.nan
        interval = sign_flip_interval(drops) if tuned else (np.nan, np.nan)
        rows.append((arm, frequency, group["recall"].mean(), drop, interval, len(group)))
    return pd.DataFrame(rows, columns=["arm", "frequency", "recall", "drop", "interval", "seeds"])


def weights(frame: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return what tuning did to the weights, one row per arm: means over seeds of the rows of kind "weights"."""
    rows = frame[(frame["kind"] == "weights") & frame["arm"].isin(list(arms))]
    means = rows.pivot_table(index="arm", columns="metric", values="value", aggfunc="mean")
    known = [arm for arm in arms if arm in means.index]
    return means.reindex(index=known, columns=list(WEIGHTS)).rename_axis(None, axis=1).reset_index(names="arm")


def parts(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return every part of every claim: its margin, effect, interval and p, and p corrected for all of them (Holm)."""
    found = [(claim, part) for claim in verdicts for part in claim.parts]
    rows = [
        (claim.id, part.name.replace("_", " "), part.direction, part.margin, part.effect, part.interval, part.p_value)
        for claim, part in found
    ]
    columns = ["claim", "part", "claimed", "margin", "effect", "interval", "p"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_holm=holm(table["p"].to_list()), verdict=[part.verdict for _, part in found])


def sides(table: pd.DataFrame, *, low_rank: str, narrow: str, first: str) -> str:
    """Return, in words, which of the two papers the differences are with.

    Args:
        table: From ``differences``.
        low_rank: Arm of low rank on all linear layers, of which one paper says that it learns and forgets less.
        narrow: Arm of low rank on queries and values, of which the other says that it forgets more at equal accuracy.
        first: What they are compared with.
    """
    by = table.set_index(["arm", "what"])
    asked = [(low_rank, FORGOT, "at its own rate"), (low_rank, MATCHED, EQUAL), (narrow, MATCHED, EQUAL)]
    found = [_side(by, arm, what, where, first) for arm, what, where in asked]
    return " ".join(filter(None, found)) or (
        "These runs do not say what the arms forget, so that the numbers are on no side."
    )


def _side(by: pd.DataFrame, arm: str, what: str, where: str, first: str) -> str:
    if (arm, what) not in by.index or np.isnan(by.loc[(arm, what), "mean"]):
        return ""
    row: Any = by.loc[(arm, what)]
    low, high = row["interval"]
    numbers = f"{row['mean']:+.4f} nats per token, interval {low:+.4f} to {high:+.4f}, {row['seeds']} seeds"
    if low > 0:
        return f"{arm} forgets more than {first} {where} ({numbers}): the side of peft's comparison."
    if high < 0:
        return f"{arm} forgets less than {first} {where} ({numbers}): the side of arXiv:2405.09673."
    return (
        f"Whether {arm} forgets more or less than {first} {where} is open ({numbers}): these numbers take neither side."
    )
