"""What ``03g_own_scores`` shows of a table of accuracies: its contents, gaps, spreads and worst instructions."""

from __future__ import annotations

import numpy as np
import pandas as pd

from itlib import robustness
from itlib.instruction_table import InstructionTable, two_sided
from itlib.studies.instruction_scores import planted

POOLED = "pooled"
SIDES = {"observed": True, "unobserved": False}
PANELS = 12  # models with a panel or a strip of their own; tables hold all of them
FOREST = 60


def contents(table: InstructionTable) -> pd.DataFrame:
    """Return per model: tasks, those with both sides, instructions by side, accuracies and their mean by side."""
    compared = two_sided(table.rows)
    found = []
    for model, rows in table.rows.groupby("model", sort=False):
        row = {"model": model, "tasks": rows["task"].nunique()}
        row["tasks_compared"] = compared.loc[compared["model"] == model, "task"].nunique()
        row |= {f"{name}_instructions": _side(rows, side)["instruction"].nunique() for name, side in SIDES.items()}
        found.append(row | {"accuracies": len(rows)})
    return pd.DataFrame(found)


def remarks(table: InstructionTable) -> pd.DataFrame:
    """Return what the reader of the file had to say, and what is not drawn; one row at least."""
    n = table.rows["model"].nunique()
    lines = list(table.remarks)
    if n > PANELS:
        lines.append(f"{table.name}: {n} models; {PANELS} of them have a panel, {min(n, FOREST)} a row in the forest")
    return pd.DataFrame({"remark": lines or [f"{table.name}: nothing to remark"]})


def slopes(table: InstructionTable) -> pd.DataFrame:
    """Return ``model``, ``task``, ``observed``, ``unobserved``, ``gap``; tasks of both sides, models in their order."""
    columns = ["model", "task", "observed", "unobserved", "gap"]
    gaps = robustness.task_gaps(_replicates(table)).rename(columns={"replicate": "model"})
    return _in_order(gaps[columns], table, PANELS)


def gaps(table: InstructionTable, *, draws: int, seed: int) -> pd.DataFrame:
    """Return the gap of every model and, of several models, of their mean on the tasks that all of them share.

    Args:
        table: The accuracies.
        draws: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        Columns ``model``, ``observed`` and ``unobserved`` (means over tasks), ``gap``, ``p``, ``interval`` (both from
        the sign-flip test over tasks), ``shown_interval`` (bootstrap over tasks and instructions), ``tasks`` and
        ``tasks_lower`` (with unobserved instructions).
    """
    rows = _replicates(table)
    by_task = robustness.task_gaps(rows)
    found = []
    for model in dict.fromkeys(rows["replicate"]):
        mine = {"rows": rows[rows["replicate"] == model], "by_task": by_task[by_task["replicate"] == model]}
        found.append({"model": model, **_gap(**mine, draws=draws, seed=seed)})
    if len(found) > 1:
        found.append({"model": POOLED, **_gap(rows, by_task, draws=draws, seed=seed)})
    names = ["model", "observed", "unobserved", "gap", "p", "interval", "shown_interval", "tasks", "tasks_lower"]
    return pd.DataFrame(found, columns=names)


def forest_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Return what the forest plot draws, from ``gaps``: its first models and the pooled row, bounds in columns."""
    table = table.assign(pooled=[len(table) > 1 and place == len(table) - 1 for place in range(len(table))])
    shown = pd.concat([table[~table["pooled"]].head(FOREST), table[table["pooled"]]])
    bounds = {
        f"{name}{end}": [pair[place] for pair in shown[column]]
        for name, column in (("", "interval"), ("shown_", "shown_interval"))
        for place, end in enumerate(("low", "high"))
    }
    columns = ["model", "gap", "p", "tasks", "pooled"]
    return shown[columns].assign(**bounds).reset_index(drop=True)


def spread(table: InstructionTable) -> pd.DataFrame:
    """Return how far accuracies of one task lie apart, by model and side.

    Returns:
        Columns ``model``; ``sd_observed`` and ``sd_unobserved``, root mean squares over tasks of the sample standard
        deviation, chance included; ``ratio``, ``p`` and ``tasks``, the geometric mean over tasks of their ratio with
        the sign-flip test; ``sigma_observed`` and ``sigma_unobserved``, from the crossed analysis of variance of
        instructions by tasks; ``crossed_observed`` and ``crossed_unobserved``, how many instructions these rest on.
    """
    rows = _replicates(table)
    by_task = robustness.task_gaps(rows)
    ratios = robustness.spread_ratio(by_task, by=["replicate"], sample=True).set_index("replicate")
    found = []
    for model in dict.fromkeys(rows["replicate"]):
        mine, tasks = rows[rows["replicate"] == model], by_task[by_task["replicate"] == model]
        crossed = {name: _crossed(_side(mine, side)) for name, side in SIDES.items()}
        row = {"model": model} | {f"sd_{name}": _pooled_deviation(tasks, name) for name in SIDES}
        row |= dict(zip(("ratio", "p", "tasks"), ratios.loc[model, ["ratio", "p_value", "n"]], strict=True))
        row |= {f"sigma_{name}": cell.sigma_instruction for name, cell in crossed.items()}
        found.append(row | {f"crossed_{name}": cell.n_instructions for name, cell in crossed.items()})
    of_sides = [[f"{what}_{name}" for name in SIDES] for what in ("sd", "sigma", "crossed")]
    names = ["model", *of_sides[0], "ratio", "p", "tasks", *of_sides[1], *of_sides[2]]
    return pd.DataFrame(found, columns=names).astype({"tasks": int})


def deviations(table: InstructionTable) -> pd.DataFrame:
    """Return every accuracy minus the mean of its task with observed instructions, of tasks with both sides."""
    rows = two_sided(table.rows)
    level = rows[rows["observed"]].groupby(["model", "task"])["accuracy"].mean().rename("level").reset_index()
    rows = rows.merge(level, on=["model", "task"], how="left")
    rows["deviation"] = rows["accuracy"] - rows["level"]
    return _in_order(rows[["model", "task", "instruction", "observed", "accuracy", "deviation"]], table, PANELS)


def worst(table: InstructionTable, k: int) -> pd.DataFrame:
    """Return what the ``k`` worst instructions of a task reach, means over tasks, by model.

    Returns:
        Columns ``model``; ``worst_observed`` and ``worst_unobserved`` of all instructions; ``observed`` and
        ``unobserved`` at equal numbers of instructions, with ``gap``, ``p`` and ``tasks``. Tasks with fewer than ``k``
        instructions on a side do not count.
    """
    found = robustness.worst_gaps(_replicates(table), k=k)
    found = found[found["gap"].notna()]
    tested = robustness.gap_test(found, unit="task", by=["replicate"])
    tested = tested.rename(columns={"effect": "gap", "p_value": "p", "n": "tasks"})[["replicate", "gap", "p", "tasks"]]
    means = found.groupby("replicate")[["worst_observed", "worst_unobserved", "observed", "unobserved"]].mean()
    joined = means.reset_index().merge(tested, on="replicate").rename(columns={"replicate": "model"})
    return _in_order(joined, table)


def recovered(table: InstructionTable, gap_table: pd.DataFrame, spread_table: pd.DataFrame) -> pd.DataFrame:
    """Return what was planted in the synthetic table beside what was found; empty of any other table."""
    found = gap_table[["model", "gap"]].merge(spread_table[["model", "sigma_observed", "sigma_unobserved"]], on="model")
    both = planted(table).merge(found, on="model", suffixes=("_planted", "_found"))
    return both[["model", *sorted(set(both.columns) - {"model"})]]


def _replicates(table: InstructionTable) -> pd.DataFrame:
    return two_sided(table.rows).rename(columns={"model": "replicate"})


def _side(rows: pd.DataFrame, observed: bool) -> pd.DataFrame:
    return rows[rows["observed"] == observed]


def _in_order(found: pd.DataFrame, table: InstructionTable, n_models: int | None = None) -> pd.DataFrame:
    """Sort models and tasks as the file has them, and keep the first models if asked to."""
    names = {column: list(dict.fromkeys(table.rows[column])) for column in ("model", "task") if column in found}
    kept = found[found["model"].isin(names["model"][:n_models])]
    places = {column: {name: place for place, name in enumerate(values)} for column, values in names.items()}
    keys = [kept[column].map(place) for column, place in places.items()]
    order = np.lexsort(keys[::-1]) if len(kept) else []
    return kept.iloc[order].reset_index(drop=True)


def _gap(rows: pd.DataFrame, by_task: pd.DataFrame, *, draws: int, seed: int) -> dict[str, object]:
    """Return the columns of ``gaps`` for the mean of these models on the tasks that all of them share."""
    tested = robustness.gap_test(by_task, unit="task").iloc[0]
    counts = by_task.groupby("task")["gap"].count()
    shared = by_task[by_task["task"].isin(counts.index[counts == by_task["replicate"].nunique()])]
    return {
        "observed": shared["observed"].mean(),
        "unobserved": shared["unobserved"].mean(),
        "gap": tested["effect"],
        "p": tested["p_value"],
        "interval": (tested["low"], tested["high"]),
        "shown_interval": robustness.gap_interval(rows, draws=draws, seed=seed),
        "tasks": int(tested["n"]),
        "tasks_lower": int(tested["n_above"]),
    }


def _pooled_deviation(tasks: pd.DataFrame, name: str) -> float:
    """Return the root mean square over tasks of the sample standard deviation; one instruction has none."""
    several = tasks[tasks[f"n_{name}"] > 1]
    n = several[f"n_{name}"]
    return float(np.sqrt((several[f"sd_{name}"] ** 2 * n / (n - 1)).mean()))


def _crossed(rows: pd.DataFrame) -> robustness.Crossed:
    """Return the crossed analysis of the instructions that every task was asked in, tasks taking the part of items."""
    scores = rows.pivot(index="instruction", columns="task", values="accuracy")
    return robustness.crossed_anova(scores.dropna())
