"""Tables of ``03_robustness``: gaps and spreads by arm, adversarial instructions, worst ones, frequency of families.

All take the item rows of ``robustness.evidence``. *Observed* instructions are those that tuning showed; a run that did
not finish counts nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from itlib import robustness as measures
from itlib.claims.robustness import finished, lmentry_rows, tuned_arm
from itlib.result import RunResult
from itlib.stats import bootstrap_interval, sign_flip_interval
from itlib.studies.robustness import (
    ADVERSARIAL,
    IMBALANCED,
    LITERAL,
    OBSERVED,
    PLAIN,
    UNOBSERVED,
    UNTUNED,
    WRAPPER,
    training_counts,
)

NEW = (UNOBSERVED, WRAPPER)


def accuracy_rows(frame: pd.DataFrame, arm: str, unobserved: str = UNOBSERVED) -> pd.DataFrame:
    """Return the accuracy rows of one arm, one per seed, family and instruction, as ``itlib.robustness`` reads them."""
    mine = finished(frame, arm)
    rows = mine[mine["trained"].astype(bool) | (mine["set"] == unobserved)]
    keys = ["seed", "family", "instruction", "trained"]
    found = rows.groupby(keys, sort=False)["value"].mean().rename("accuracy").reset_index()
    return found.rename(columns={"seed": "replicate", "family": "task", "trained": "observed"}).astype(
        {"observed": bool}
    )


def arms(frame: pd.DataFrame) -> list[str]:
    """Return the arms that tuning made, in their order: numbers of phrasings, sizes, unequal families."""
    done = frame.loc[frame["value"].notna(), "arm"].unique()
    return [name for name in done if name != UNTUNED]


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return per arm and unobserved set the gap and the spreads, means over seeds with their sign-flip intervals.

    Columns: ``arm``, ``set`` (what is compared with the observed instructions), ``observed`` and ``unobserved``
    (accuracy), ``gap`` with ``interval`` and ``seeds``, ``sigma_observed`` and ``sigma_unobserved`` (between
    instructions, chance removed; NaN where tuning showed one instruction only).
    """
    rows = []
    for arm in arms(frame):
        for which in NEW:
            by_seed = measures.task_gaps(accuracy_rows(frame, arm, which)).groupby("replicate")
            means = by_seed[["observed", "unobserved", "gap"]].mean()
            row = {"arm": arm, "set": which, **means.mean().to_dict(), "interval": sign_flip_interval(means["gap"])}
            row["seeds"] = len(means)
            rows.append(row | _sigmas(frame, arm, which))
    return pd.DataFrame(rows)


def _sigmas(frame: pd.DataFrame, arm: str, which: str) -> dict[str, float]:
    mine = finished(frame, arm)
    sides = {"observed": mine[mine["trained"].astype(bool)], "unobserved": mine[mine["set"] == which]}
    found = {}
    for side, rows in sides.items():
        cells = measures.instruction_variance(rows, by=["seed", "family"])
        found[f"sigma_{side}"] = measures.mean_instruction_variance(cells, by=["seed"])["sigma"].mean()
    return found


def diversity(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what the number of phrasings in tuning does: one row per arm "k=<n>", seed and group of instructions.

    Columns: ``k``, ``seed``, ``group`` (observed, unobserved, unobserved wrapper), ``accuracy``, ``sigma``.
    """
    rows = []
    for arm in (name for name in arms(frame) if name.startswith("k=")):
        mine = finished(frame, arm)
        groups = {OBSERVED: mine[mine["trained"].astype(bool)]} | {name: mine[mine["set"] == name] for name in NEW}
        for name, group in groups.items():
            cells = measures.instruction_variance(group, by=["seed", "family"])
            sigma = measures.mean_instruction_variance(cells, by=["seed"]).set_index("seed")["sigma"]
            scores = group.groupby(["seed", "family"])["value"].mean().groupby("seed").mean()
            rows += [
                (int(arm.removeprefix("k=")), seed, name.replace("_", " "), score, sigma.get(seed, np.nan))
                for seed, score in scores.items()
            ]
    return pd.DataFrame(rows, columns=["k", "seed", "group", "accuracy", "sigma"])


def slopes(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracy of every family in observed and unobserved instructions, means over seeds, by arm.

    Columns as ``instruction_scores_figures.slopes`` reads them: ``model`` (the arm), ``task``, ``observed``,
    ``unobserved``, ``gap``. Arms are those with the fewest and the most phrasings.
    """
    by_count = sorted((name for name in arms(frame) if name.startswith("k=")), key=lambda name: int(name[2:]))
    parts = []
    for arm in dict.fromkeys([*by_count[:1], *by_count[-1:]]):
        found = measures.task_gaps(accuracy_rows(frame, arm)).groupby("task")[["observed", "unobserved", "gap"]].mean()
        parts.append(found.reset_index().assign(model=arm))
    return pd.concat(parts, ignore_index=True)[["model", "task", "observed", "unobserved", "gap"]]


def strips(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one dot per instruction and family, means over the seeds that were asked in it, and the spreads.

    Both as ``instruction_scores_figures.strips`` reads them; the spread of a side is the standard deviation between
    dots (``sd_*``, chance included) and that of the crossed analysis per run (``sigma_*``).
    """
    dots, spread = [], []
    for arm in arms(frame):
        rows = accuracy_rows(frame, arm)
        means = rows.groupby(["task", "instruction", "observed"])["accuracy"].mean().reset_index()
        level = means[means["observed"]].groupby("task")["accuracy"].mean()
        means["deviation"] = means["accuracy"] - means["task"].map(level)
        dots.append(means.assign(model=arm))
        row = {"model": arm}
        for name, side in (("observed", True), ("unobserved", False)):
            row[f"sd_{name}"] = means[means["observed"] == side].groupby("task")["accuracy"].std().mean()
        spread.append(row | _sigmas(frame, arm, UNOBSERVED))
    return pd.concat(dots, ignore_index=True), pd.DataFrame(spread)


def adversarial(frame: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy by family and kind of instruction, of the model tuned on the most phrasings, means over seeds.

    ``wrong task`` is scored by the item's own task, ``wrong task, literally`` by what the instruction asks for. The
    last row is the mean over families.
    """
    arm = tuned_arm(frame)
    mine = finished(frame, arm)
    kinds = {"observed": mine[mine["trained"].astype(bool)]}
    kinds |= {_label(name): mine[mine["set"] == name] for name in (*PLAIN[1:], *ADVERSARIAL)}
    table = pd.DataFrame({name: rows.groupby("family")["value"].mean() for name, rows in kinds.items()})
    table.loc["mean over families"] = table.mean()
    return table.rename_axis("family").reset_index()


def _label(name: str) -> str:
    return "wrong task, literally" if name == LITERAL else name.replace("_", " ")


def compliance(frame: pd.DataFrame) -> pd.DataFrame:
    """Return how often adversarial instructions are obeyed, by arm: mean over families and seeds, bootstrap interval.

    Columns: ``arm``, ``set``, ``value``, ``low``, ``high``, ``seeds``; the arms are those asked in adversarial sets.
    """
    rows = []
    for (arm, which), group in frame[frame["set"].isin(ADVERSARIAL)].groupby(["arm", "set"], sort=False):
        by_seed = group.groupby(["seed", "family"])["value"].mean().groupby("seed").mean()
        low, high = bootstrap_interval(by_seed.to_numpy(), seed=0)
        rows.append((arm, _label(which), by_seed.mean(), low, high, len(by_seed)))
    return pd.DataFrame(rows, columns=["arm", "set", "value", "low", "high", "seeds"])


def worst(frame: pd.DataFrame, k: int) -> pd.DataFrame:
    """Return what the ``k`` worst instructions of a family reach at equal numbers of instructions, and all-correct.

    Columns: ``arm``; ``observed`` and ``unobserved``, the expected mean of the ``k`` worst of equally many, means over
    families and seeds; ``all_correct_observed`` and ``all_correct_unobserved``, the share of items right in ``k``
    instructions at once, expected over all choices of ``k``.
    """
    rows = []
    for arm in arms(frame):
        found = measures.worst_gaps(accuracy_rows(frame, arm), k=k)
        row = {"arm": arm, **found[["observed", "unobserved"]].mean().to_dict()}
        mine = finished(frame, arm)
        sides = {"observed": mine[mine["trained"].astype(bool)], "unobserved": mine[mine["set"] == UNOBSERVED]}
        for side, items in sides.items():
            shares = measures.all_correct(items, ks=[k], by=["seed", "family"])
            row[f"all_correct_{side}"] = shares["share"].mean()
        rows.append(row)
    return pd.DataFrame(rows)


def frequency(frame: pd.DataFrame, results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return the gap of every family and seed of the arm with unequal families beside how often tuning showed it.

    Columns: ``seed``, ``family``, ``examples`` (in the training set), ``observed``, ``unobserved``, ``gap``.
    """
    counts = {r.spec.seed: training_counts(r.spec) for r in results.get(IMBALANCED, []) if r.status == "done"}
    if not counts:
        return pd.DataFrame(columns=["seed", "family", "examples", "observed", "unobserved", "gap"])
    found = measures.task_gaps(accuracy_rows(frame, IMBALANCED))
    found = found.rename(columns={"replicate": "seed", "task": "family"})
    shown = [counts[seed].get(family, 0) for seed, family in zip(found["seed"], found["family"], strict=True)]
    return found.assign(examples=shown)[["seed", "family", "examples", "observed", "unobserved", "gap"]]


def sizes(frame: pd.DataFrame, parameters: Mapping[str, int]) -> pd.DataFrame:
    """Return gap and spread of every size by seed, with its parameters; the model itself with the most phrasings."""
    rows = []
    for arm in [name for name in arms(frame) if name in parameters or name == tuned_arm(frame)]:
        model = frame.loc[frame["arm"] == arm, "model"].iloc[0]
        gaps = measures.task_gaps(accuracy_rows(frame, arm)).groupby("replicate")["gap"].mean()
        mine = finished(frame, arm)
        mine = mine[mine["set"] == UNOBSERVED]
        cells = measures.instruction_variance(mine, by=["seed", "family"])
        sigma = measures.mean_instruction_variance(cells, by=["seed"]).set_index("seed")["sigma"]
        rows += [(model, parameters[model], seed, gap, sigma[seed]) for seed, gap in gaps.items()]
    return pd.DataFrame(rows, columns=["model", "parameters", "seed", "gap", "sigma"])


def lmentry(frame: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy against robustness of every arm and seed, the untuned bases included; see ``itlib.lmentry``.

    Columns: ``arm``, ``seed``, ``accuracy``, one per axis, ``robustness``, ``chance`` (what shuffling leaves of it) and
    ``score``, all in points; ``sigma``, the standard deviation between observed instructions without chance, which does
    not grow with their number as a range does.
    """
    names = [*(name for name in [UNTUNED] if (frame["arm"] == name).any()), *arms(frame)]
    found = lmentry_rows(frame, names)
    rows = frame[frame["arm"].isin(names) & (frame["set"] == OBSERVED) & frame["value"].notna()]
    cells = measures.instruction_variance(rows, by=["arm", "seed", "family"])
    sigma = measures.mean_instruction_variance(cells)[["arm", "seed", "sigma"]]
    order = {name: place for place, name in enumerate(names)}
    return found.merge(sigma, how="left").sort_values(["arm", "seed"], key=lambda by: by.map(order).fillna(by))
