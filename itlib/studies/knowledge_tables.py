"""Tables of ``04e_knowledge``, from the frame that its claims read; the per-run tables are those of the estimators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from itlib.calibration import calibration_error, debiased_calibration_error
from itlib.claims.knowledge import BASE, SHIFTS, borrowed, calibration, facts, gains, token_shares
from itlib.fairness import budgets, ledger
from itlib.result import RunResult

FULL, ADAPTERS = "full", "lora"  # what the two papers of the contradiction compare
TOLD, NEW, NEVER = "documents tell it", "training tells it", "nothing tells it"
EDITS = {"graft_learned": "learned mask", "graft_largest": "largest changes", "graft_random": "random entries"}
LOSSES = ("frequent_lost", "rare_lost", "reference_rise")


def rates(chosen: Mapping[str, float], edge: Mapping[str, bool]) -> pd.DataFrame:
    """Return the learning rate of every arm, and whether it is the smallest or largest of those tried."""
    rows = [(arm, rate, edge[arm]) for arm, rate in chosen.items()]
    return pd.DataFrame(rows, columns=["arm", "learning_rate", "at_an_end"])


def spent(
    results: Mapping[str, Mapping[str, Sequence[RunResult]]], courses: Sequence[str], trials: Mapping[str, int]
) -> pd.DataFrame:
    """Return the ledger of every course: what each of its arms was given and what it cost."""
    return pd.concat([ledger(results[name], trials).assign(course=name) for name in courses], ignore_index=True)


def given(table: pd.DataFrame, declared: Mapping[str, str]) -> pd.DataFrame:
    """Return, from ``spent``, the least and most of every budget inside a course, and why they differ."""
    parts = [budgets(rows, declared).assign(course=course) for course, rows in table.groupby("course", sort=False)]
    return pd.concat(parts, ignore_index=True)[["course", "budget", "least", "most", "reason"]]


def scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the share of right answers by course, arm, and what tells the fact; means over families and seeds.

    A styled answer is right when it says the right thing in any wording and style.
    """
    asked = frame[frame["kind"].isin(["test", "untaught"]) & frame["metric"].isin(["exact_match", "graded"])]
    asked = asked.assign(told=asked["family"].map(told_by))
    each = asked.groupby(["course", "arm", "told", "seed"], sort=False)["value"].mean()
    table = each.groupby(["course", "arm", "told"], sort=False).mean().unstack("told")
    runs = asked[asked["kind"] == "test"].groupby(["course", "arm"], sort=False)["digest"].nunique().rename("runs")
    columns = [name for name in (TOLD, NEW, NEVER) if name in table]
    return table[columns].join(runs).rename_axis(None, axis=1).reset_index()


def told_by(family: str) -> str:
    """Return what tells the facts that a family asks for."""
    return {"new": NEW, "never": NEVER}.get(family.partition("_")[0], TOLD)


def by_position(frame: pd.DataFrame) -> pd.DataFrame:
    """Return divergence by position of a token and by its kind, over all runs of an arm.

    Columns: ``arm``, ``position`` (from 1), ``token`` ("form", "content"), ``tokens``, ``divergence`` (nats per token)
    and ``reached``, how many of the answers have such a token at this position.
    """
    rows = frame[(frame["kind"] == "token_shift") & frame["metric"].isin(["n", "divergence"])]
    keys = ["arm", "position", "token"]
    sums = rows.pivot_table(index=keys, columns="metric", values="value", aggfunc="sum", sort=False).reset_index()
    first = sums[sums["position"] == 0].groupby("arm")["n"].sum()
    table = sums[keys].assign(
        position=sums["position"] + 1,
        tokens=sums["n"].astype(int),
        divergence=sums["divergence"] / sums["n"],
        reached=sums["n"] / sums["arm"].map(first),
    )
    order = list(dict.fromkeys(rows["arm"]))
    return table.sort_values(keys[1:]).sort_values("arm", key=lambda arms: arms.map(order.index), kind="stable")


def form(frame: pd.DataFrame, opening: int) -> pd.DataFrame:
    """Return ``token_shares`` as means over the runs of an arm, and how many runs there are."""
    table = token_shares(frame, opening=opening).groupby("arm", sort=False)
    columns = ["divergence", "form", "opening", *SHIFTS]
    return table[columns].mean().assign(runs=table.size()).reset_index()


def shifts(frame: pd.DataFrame, opening: int) -> pd.DataFrame:
    """Return the shares of unshifted, marginal and shifted tokens, a row per run and kind."""
    table = token_shares(frame, opening=opening)
    return table.melt(["arm", "seed"], list(SHIFTS), var_name="shift", value_name="value")


def recall(frame: pd.DataFrame) -> pd.DataFrame:
    """Return exact match on facts by how often documents tell about a person, a row per run, the base among the arms.

    The base is the same in every course and stands in each of them.
    """
    rows = frame[frame["kind"] == "recall"]
    rows = rows.assign(arm=rows["arm"].where(rows["evaluation"] != "before", BASE))
    table = rows[["course", "arm", "seed", "frequency", "value"]]
    base = table[table["arm"] == BASE]
    others = [base.assign(course=name) for name in dict.fromkeys(table["course"])]
    return pd.concat([*others, table[table["arm"] != BASE]], ignore_index=True)


def lost(frame: pd.DataFrame) -> pd.DataFrame:
    """Return, per run, what tuning cost against the base of its seed.

    Columns: ``course``, ``arm``, ``seed``, ``frequent_lost`` and ``rare_lost`` (exact match on facts as documents tell
    them) and ``reference_rise`` (loss on held-out documents, nats per token); NaN where the base was not asked.
    """
    table = facts(frame)
    base = table[table["arm"] == BASE].set_index("seed")
    runs = table[table["arm"] != BASE].reset_index(drop=True)
    before = {name: runs["seed"].map(base[name]).astype(float) for name in ("frequent", "rare", "reference")}
    costs = {f"{name}_lost": before[name] - runs[name] for name in ("frequent", "rare")}
    return runs[["course", "arm", "seed"]].assign(**costs, reference_rise=runs["reference"] - before["reference"])


def losses(table: pd.DataFrame) -> pd.DataFrame:
    """Return the means over runs of ``lost``, by course and arm."""
    grouped = table.groupby(["course", "arm"], sort=False)
    return grouped[list(LOSSES)].mean().assign(runs=grouped.size()).reset_index()


def contradiction(table: pd.DataFrame) -> str:
    """Return, from ``losses`` of one course, which of the two papers its means agree with, in words."""
    full = table[table["arm"] == FULL]
    adapters = table[table["arm"].str.split().str[0] == ADAPTERS]
    if not len(full) or not len(adapters):
        return f"Without arms '{FULL}' and '{ADAPTERS}' the two papers cannot be compared."
    named = [
        f"{row.arm} loses {row.rare_lost:.3f} of rare and {row.frequent_lost:.3f} of frequent facts, and its loss on "
        f"documents rises by {row.reference_rise:.3f} nats per token"
        for row in table.itertuples()
    ]
    facts_order = _holds(full["rare_lost"].iloc[0] - adapters["rare_lost"])
    reading_order = _holds(adapters["reference_rise"] - full["reference_rise"].iloc[0])
    return (
        f"{'; '.join(named)}. That full tuning loses more rare facts than adapters (arXiv:2402.05119) holds "
        f"{facts_order}; that adapters read documents worse than full tuning (arXiv:2410.21228v1) holds "
        f"{reading_order}."
    )


def _holds(margins: pd.Series) -> str:
    """Return for how many adapters a mean lies on a paper's side."""
    if margins.isna().any():
        return "for an unknown number, since not all of it was measured"
    return f"in the means of {(margins > 0).sum()} of {len(margins)} adapters"


def borrowing_points(frame: pd.DataFrame) -> pd.DataFrame:
    """Return ``borrowed`` per run by what tells the fact: ``told``, ``arm``, ``seed`` and the shares."""
    families = list(dict.fromkeys(frame.loc[frame["kind"] == "borrowing", "family"]))
    parts = []
    for told in (NEVER, NEW, TOLD):
        group = [name for name in families if told_by(name) == told]
        if group:
            parts.append(borrowed(frame, group).assign(told=told))
    table = pd.concat(parts, ignore_index=True)
    return table[["told", "arm", "seed", "wrong", "wrong_share", "borrowed", "chance", "excess"]]


def borrowing(points: pd.DataFrame) -> pd.DataFrame:
    """Return the means over runs of ``borrowing_points``."""
    grouped = points.groupby(["told", "arm"], sort=False)
    return grouped[["wrong_share", "borrowed", "chance", "excess"]].mean().assign(runs=grouped.size()).reset_index()


def graft_points(frame: pd.DataFrame, tuned: str) -> pd.DataFrame:
    """Return ``gains`` per graft and seed beside the calibration errors of the same model.

    Rows of the base (share 0) and of the tuned model (share 1) come first, with an empty ``edit``.
    """
    table = gains(frame, tuned)
    errors = calibration(frame)
    errors = errors[(errors["arm"] == tuned) & (errors["course"] == "taught")].rename(columns={"edit_scale": "share"})
    keys, values = ["edit", "share", "seed"], ["error", "usual_error"]
    grafts = table.merge(errors.loc[errors["evaluation"] == "graft", keys + values], on=keys, how="left")
    ends = []
    for share, evaluation, column in ((0.0, "before", "base"), (1.0, "test", "whole")):
        accuracy = table.groupby("seed")[column].first().rename("accuracy").reset_index()
        of_end = errors.loc[errors["evaluation"] == evaluation, ["seed", *values]]
        ends.append(accuracy.merge(of_end, on="seed", how="left").assign(edit="", share=share, kept=share))
    return pd.concat([*ends, grafts], ignore_index=True)[[*keys, "accuracy", "kept", *values]]


def grafts(points: pd.DataFrame) -> pd.DataFrame:
    """Return the means over seeds of ``graft_points``, with the way that entries are picked in words."""
    grouped = points.groupby(["edit", "share"], sort=False)
    means = grouped[["accuracy", "kept", "error", "usual_error"]].mean().assign(runs=grouped.size()).reset_index()
    ends = {0.0: "none, the base", 1.0: "all, the tuned model"}
    picked = [EDITS.get(row.edit, ends.get(row.share, row.edit)) for row in means.itertuples()]
    means.insert(0, "entries", picked)
    return means.drop(columns="edit")


def sureness(frame: pd.DataFrame) -> pd.DataFrame:
    """Return how sure the arms of the taught course are and how often right, on what they learned and cannot know."""
    table = calibration(frame)
    table = table[table["evaluation"].isin(["test", "untaught"])]
    grouped = table.groupby(["evaluation", "arm"], sort=False)
    columns = ["confidence", "accuracy", "error", "usual_error"]
    return grouped[columns].mean().assign(runs=grouped.size()).reset_index()


def reliability(frame: pd.DataFrame, tuned: str, share: float) -> pd.DataFrame:
    """Return confidence and accuracy by bin, pooled over seeds, of the taught arms and of one learned graft.

    Columns: ``asked`` ("trained families", "nothing tells it"), ``model``, ``bin``, ``n``, ``confidence``,
    ``accuracy``, and the errors of the pooled bins, ``error`` and ``usual_error``.
    """
    rows = frame[frame["kind"] == "calibration"]
    graft = (rows["evaluation"] == "graft") & (rows["edit"] == "graft_learned") & np.isclose(rows["edit_scale"], share)
    rows = rows[rows["evaluation"].isin(["test", "untaught"]) | (graft & (rows["arm"] == tuned))]
    named = rows["arm"].where(rows["evaluation"] != "graft", f"{tuned}, {share:.3g} of its entries")
    asked = rows["evaluation"].map({"untaught": NEVER}).fillna("trained families")
    keys = ["asked", "model", "bin"]
    sums = rows.assign(asked=asked, model=named).pivot_table(
        index=keys, columns="metric", values="value", aggfunc="sum", sort=False
    )
    parts = []
    for _, group in sums.reset_index().groupby(keys[:2], sort=False):
        group = group.sort_values("bin")
        bins = [group[name].to_numpy(dtype=float) for name in ("n", "confidence", "right")]
        means = {"confidence": group["confidence"] / group["n"], "accuracy": group["right"] / group["n"]}
        errors = {"error": debiased_calibration_error(*bins), "usual_error": calibration_error(*bins)}
        parts.append(group[[*keys, "n"]].assign(**means, **errors))
    return pd.concat(parts, ignore_index=True).astype({"n": int})
