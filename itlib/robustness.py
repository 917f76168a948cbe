"""How much accuracy depends on the wording of an instruction: frame to frame, without a model.

*Item rows* hold one score per instruction and item of a cell; all instructions of a cell are asked about the same
items. *Accuracy rows* hold one accuracy, from 0 to 1, per ``replicate`` (a seed, or a model), ``task`` and
``instruction``, and say whether the instruction was ``observed`` in tuning. A gap is the accuracy with observed
instructions minus that with unobserved ones: above zero, new wordings cost accuracy. A mean that lacks one of its parts
is NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array, csr_array
from scipy.special import comb
from scipy.stats import hypergeom

from itlib.errors import InputError, did_you_mean
from itlib.signflip import sign_flip, sign_flip_interval

__all__ = [
    "Crossed",
    "all_correct",
    "attack_success",
    "axis_robustness",
    "chain_accuracy",
    "chance_collisions",
    "crossed_anova",
    "equal_size",
    "expected_worst",
    "gap_interval",
    "gap_test",
    "instruction_variance",
    "lmentry_score",
    "log_sigma_ratio",
    "mean_instruction_variance",
    "spread_ratio",
    "task_gaps",
    "worst_gaps",
    "worst_mean",
]

UNITS = ("task", "replicate")
BLOCK = 4_000_000  # numbers drawn at once by the bootstrap


@dataclass(frozen=True)
class Crossed:
    """Crossed analysis of variance of one cell; the three variances are unbiased and may be below zero.

    Attributes:
        n_instructions: Rows of the table.
        n_items: Columns of the table.
        mean_square_instruction: Of the means of instructions, times the number of items.
        mean_square_item: Of the means of items, times the number of instructions.
        mean_square_rest: Of what neither explains.
        variance_instruction: (mean square of instructions - that of the rest) / items.
        variance_item: (mean square of items - that of the rest) / instructions.
        variance_rest: The mean square of the rest.
        sigma_instruction: Root of the variance between instructions, 0 where that is below zero.
    """

    n_instructions: int
    n_items: int
    mean_square_instruction: float
    mean_square_item: float
    mean_square_rest: float
    variance_instruction: float
    variance_item: float
    variance_rest: float
    sigma_instruction: float


# ---- variance between instructions --------------------------------------------------------------------------


def crossed_anova(scores: np.ndarray | pd.DataFrame) -> Crossed:
    """Split the variance of a table of instructions (rows) by items (columns) with one score per cell.

    Accuracies of instructions differ by chance even if no instruction matters, by less where items are shared. Both
    chance and what the items have in common are removed, so a table that ignores instructions gives 0 or less.

    Args:
        scores: Shape (instructions, items). A cell that is NaN makes every number NaN, as does a table with a single
            row or column.

    Source: Method of moments for the two-way random model; Searle, Casella and McCulloch (1992), Variance Components.
    """
    table = np.asarray(scores, dtype=float)
    if table.ndim != 2:
        raise ValueError(f"scores must be a table of instructions by items, not of {table.ndim} dimensions")
    n_rows, n_columns = table.shape
    if min(table.shape) < 2 or np.isnan(table).any():
        return Crossed(n_rows, n_columns, *[float("nan")] * 7)
    by_row, by_column = table.mean(axis=1, keepdims=True), table.mean(axis=0, keepdims=True)
    rest = table - by_row - by_column + table.mean()
    squares = (
        n_columns * by_row.var(ddof=1),
        n_rows * by_column.var(ddof=1),
        (rest**2).sum() / ((n_rows - 1) * (n_columns - 1)),
    )
    between, items, left = (float(square) for square in squares)
    variance = (between - left) / n_columns
    return Crossed(
        n_rows, n_columns, between, items, left, variance, (items - left) / n_rows, left, max(variance, 0.0) ** 0.5
    )


def instruction_variance(rows: pd.DataFrame, *, by: Sequence[str], value: str = "value") -> pd.DataFrame:
    """Return ``crossed_anova`` of every cell of item rows.

    Args:
        rows: Item rows with ``instruction`` and ``item``.
        by: Columns that make a cell, such as arm, seed, family and observed.
        value: Column of the score, 0 or 1 or a share.

    Returns:
        Columns ``[*by, *fields of Crossed]``, sorted. A cell in which an instruction lacks an item is NaN.

    Raises:
        InputError: A column is missing, or an instruction has two scores on one item.
    """
    found = [
        {**names, **asdict(crossed_anova(table))} for names, table in _tables(rows, by, "instruction", "item", value)
    ]
    return pd.DataFrame(found, columns=[*by, *Crossed.__dataclass_fields__])


def mean_instruction_variance(cells: pd.DataFrame, *, by: Sequence[str] = ("arm", "seed")) -> pd.DataFrame:
    """Return the variance between instructions as a mean over families (or whatever else makes a cell).

    Variances are averaged before anything below zero is cut off: the mean of cut ones would be above zero where no
    instruction matters.

    Args:
        cells: From ``instruction_variance``, one row per cell.
        by: Columns of which each combination gets one mean, with equal weight of its cells.

    Returns:
        Columns ``[*by, "variance", "sigma", "n_cells"]``; ``sigma`` is the root, 0 where the variance is below zero.
    """
    found = []
    for names, group in _cells(cells, by, ("variance_instruction",)):
        variance = group["variance_instruction"].mean(skipna=False)
        sigma = np.sqrt(np.maximum(variance, 0.0))
        found.append({**names, "variance": variance, "sigma": sigma, "n_cells": len(group)})
    return pd.DataFrame(found, columns=[*by, "variance", "sigma", "n_cells"])


def log_sigma_ratio(variances: pd.DataFrame, *, by: Sequence[str] = ("arm", "seed")) -> pd.DataFrame:
    """Return the log ratio of two sigmas between instructions, unobserved over observed.

    Args:
        variances: From ``mean_instruction_variance`` with the boolean column ``observed`` among its groups.
        by: The groups without ``observed``; each must have both sides.

    Returns:
        Columns ``[*by, "sigma_observed", "sigma_unobserved", "log_ratio"]``. The ratio is NaN where a variance is 0 or
        less: without a measurable spread there is none to compare, so count these before a mean is taken.
    """
    found = []
    for names, group in _cells(variances, by, ("observed", "sigma")):
        sides = {bool(side): group.loc[group["observed"] == side, "sigma"].to_list() for side in (True, False)}
        if any(len(side) != 1 for side in sides.values()):
            raise InputError(f"sigmas: {names or 'the frame'} must have one observed and one unobserved row")
        seen, new = sides[True][0], sides[False][0]
        ratio = float(np.log(new / seen)) if seen > 0 and new > 0 else float("nan")
        found.append({**names, "sigma_observed": seen, "sigma_unobserved": new, "log_ratio": ratio})
    return pd.DataFrame(found, columns=[*by, "sigma_observed", "sigma_unobserved", "log_ratio"])


# ---- observed minus unobserved ------------------------------------------------------------------------------


def task_gaps(rows: pd.DataFrame, *, by: Sequence[str] = ()) -> pd.DataFrame:
    """Return the gap of every task: the mean over its observed instructions minus that over its unobserved ones.

    Args:
        rows: Accuracy rows.
        by: Further columns that set comparisons apart, such as arm.

    Returns:
        Columns ``[*by, "replicate", "task", "observed", "unobserved", "gap", "sd_observed", "sd_unobserved",
        "n_observed", "n_unobserved"]``, sorted; standard deviations are those of a population (divided by n). NaN
        where a task has one side only or lacks an accuracy.

    Raises:
        InputError: A column is missing, ``observed`` is not boolean, or an instruction has two accuracies in one task.
    """
    found = []
    for names, cell in _accuracy_cells(rows, by):
        row = dict(names)
        for side, values in _sides(cell).items():
            row |= {side: _mean(values), f"sd_{side}": _deviation(values), f"n_{side}": len(values)}
        found.append(row | {"gap": row["observed"] - row["unobserved"]})
    sides = [f"{what}_{side}" for what in ("sd", "n") for side in ("observed", "unobserved")]
    return pd.DataFrame(found, columns=[*by, "replicate", "task", "observed", "unobserved", "gap", *sides])


def gap_test(gaps: pd.DataFrame, *, unit: str, by: Sequence[str] = (), column: str = "gap") -> pd.DataFrame:
    """Return the mean gap with the sign-flip test over tasks or over replicates.

    A test over replicates speaks about new seeds with these tasks and instructions, one over tasks about new tasks with
    these models and instructions. Neither speaks about new instructions; ``gap_interval`` does.

    Args:
        gaps: From ``task_gaps`` or ``worst_gaps``. A task that is NaN in all replicates is left out.
        unit: "task" or "replicate". Gaps are averaged within each unit first; a unit with a NaN gap does not count.
        by: Columns that set comparisons apart; "replicate" gives one test over tasks per replicate.
        column: What is tested against zero.

    Returns:
        Columns ``[*by, "effect", "p_value", "low", "high", "n", "n_above"]``: mean, exact p, the interval got by
        inverting the test (95 %; NaN for fewer than six units), units, and units above zero.

    Raises:
        InputError: Two rows stand for one task of one replicate, because another column varies.
    """
    if unit not in UNITS:
        raise ValueError(f"unit must be {' or '.join(map(repr, UNITS))}, not {unit!r}")
    found = []
    for names, group in _cells(gaps, by, ("replicate", "task", column)):
        table = _table(group, "task", "replicate", column)
        table = table[~np.isnan(table).all(axis=1)]
        values = table.mean(axis=0 if unit == "replicate" else 1) if table.size else np.array([])
        found.append({**names, **_tested(values)})
    return pd.DataFrame(found, columns=[*by, "effect", "p_value", "low", "high", "n", "n_above"])


def gap_interval(
    rows: pd.DataFrame,
    *,
    draws: int,
    seed: int,
    confidence: float = 0.95,
    over: Sequence[str] = ("task", "instruction"),
) -> tuple[float, float]:
    """Return a bootstrap interval of the mean gap over tasks and replicates, for display.

    Every task, every instruction of either side and, if asked for, every replicate gets an exponential weight, the
    same wherever it occurs: the Bayesian form of the pigeonhole bootstrap. An instruction of the same name in two
    tasks is therefore one wording. What is not in ``over`` counts as fixed.

    Args:
        rows: Accuracy rows. Only tasks with both sides in every replicate take part.
        draws: Number of reweighted studies.
        seed: Seed of the weights.
        confidence: Share of the distribution inside the bounds.
        over: What is resampled, of "task", "instruction" and "replicate".

    Returns:
        Bounds; NaN where no task takes part, or where there is only one of what is to be resampled.
    Cost: O(draws * rows).
    Source: Owen and Eckles (2012), Bootstrapping data arrays of arbitrary order, Annals of Applied Statistics 6.
    """
    gaps = task_gaps(rows)
    table = gaps.pivot(index="task", columns="replicate", values="gap")
    table = table[table.notna().all(axis=1)]
    rows = rows[rows["task"].isin(table.index)]
    counts = {"task": table.shape[0], "replicate": table.shape[1], "instruction": _fewest_instructions(rows)}
    if not len(table) or any(counts[name] < 2 for name in over):
        return float("nan"), float("nan")
    sums = _side_sums(rows, table.index, table.columns)
    generator = np.random.default_rng(seed)
    block = max(1, BLOCK // max(sums[0][0].shape))
    sizes = [min(block, draws - start) for start in range(0, draws, block)]
    means = [_weighted_gaps(sums, table.shape, size, over, generator) for size in sizes]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(means), [tail, 1 - tail])
    return float(low), float(high)


def spread_ratio(
    gaps: pd.DataFrame, *, unit: str = "task", by: Sequence[str] = (), sample: bool = False
) -> pd.DataFrame:
    """Return how much wider unobserved instructions spread than observed ones: geometric mean of sd ratios over tasks.

    Accuracies of few items spread by chance as well, equally on both sides, which draws the ratio towards 1; where
    items are known, ``log_sigma_ratio`` is free of that.

    Args:
        gaps: From ``task_gaps``.
        unit: Of the sign-flip test on log ratios, "task" or "replicate".
        by: Columns that set comparisons apart.
        sample: Divide by n - 1 instead of n. The published ratios divide by n, which favours the larger set.

    Returns:
        Columns ``[*by, "ratio", "p_value", "low", "high", "n", "n_above"]``. Tasks without spread on one side do not
        count.
    """
    logs = {}
    for side in ("observed", "unobserved"):
        n = gaps[f"n_{side}"].where(gaps[f"n_{side}"] > 1)
        deviation = gaps[f"sd_{side}"].where(gaps[f"sd_{side}"] > 0)
        logs[side] = np.log(deviation * (np.sqrt(n / (n - 1)) if sample else 1.0))
    ratios = gaps.assign(log_ratio=logs["unobserved"] - logs["observed"])
    tested = gap_test(ratios, unit=unit, by=by, column="log_ratio").rename(columns={"effect": "ratio"})
    for name in ("ratio", "low", "high"):
        tested[name] = np.exp(tested[name])
    return tested


# ---- the worst instructions, and all of them ----------------------------------------------------------------


def worst_mean(accuracies: Sequence[float] | np.ndarray, k: int) -> float:
    """Return the mean accuracy of the ``k`` worst instructions; NaN where there are fewer, or one is NaN."""
    return expected_worst(accuracies, size=len(accuracies), k=k)


def expected_worst(accuracies: Sequence[float] | np.ndarray, *, size: int, k: int) -> float:
    """Return the mean accuracy of the ``k`` worst of ``size`` instructions drawn from these without replacement.

    The minimum of many instructions is lower than that of few even if all are alike. This is the expectation over all
    subsets, in closed form: instruction i of n in rising order is drawn with probability size / n, and is then among
    the k worst if fewer than k of the drawn ones are below it (a hypergeometric probability).

    Returns:
        Accuracy; NaN where ``k`` > ``size``, ``size`` > n or a value is NaN.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    values = np.sort(np.asarray(accuracies, dtype=float))
    n = len(values)
    if k > size or size > n or np.isnan(values).any():
        return float("nan")
    if n == 1:
        return float(values[0])
    weights = hypergeom.cdf(k - 1, n - 1, np.arange(n), size - 1) * size / (n * k)
    return float(weights @ values)


def worst_gaps(rows: pd.DataFrame, *, k: int, by: Sequence[str] = ()) -> pd.DataFrame:
    """Return per task what the ``k`` worst instructions reach on either side, compared at equal numbers of them.

    Args:
        rows: Accuracy rows.
        k: How many instructions count as the worst.
        by: Further columns that set comparisons apart.

    Returns:
        Columns ``[*by, "replicate", "task", "worst_observed", "worst_unobserved", "observed", "unobserved", "gap",
        "size"]``: the worst of all instructions of a side; the expectation of that in subsets of ``size``, the number
        of instructions on the smaller side; and the difference of the latter two. NaN where ``k`` > ``size``.
    """
    found = []
    for names, cell in _accuracy_cells(rows, by):
        sides = _sides(cell)
        size = min(len(values) for values in sides.values())
        row = {f"worst_{side}": worst_mean(values, k) for side, values in sides.items()}
        row |= {side: expected_worst(values, size=size, k=k) for side, values in sides.items()}
        found.append({**names, **row, "gap": row["observed"] - row["unobserved"], "size": size})
    columns = ["worst_observed", "worst_unobserved", "observed", "unobserved", "gap", "size"]
    return pd.DataFrame(found, columns=[*by, "replicate", "task", *columns])


def equal_size(
    observed: Sequence[float] | np.ndarray,
    unobserved: Sequence[float] | np.ndarray,
    statistic: Callable[[np.ndarray], float],
    *,
    draws: int,
    seed: int,
) -> tuple[float, float]:
    """Return any statistic of either side at equal numbers of instructions, by seeded draws without replacement.

    For the worst instructions ``expected_worst`` needs no draws. Ranges, minima and quantiles depend on how many
    instructions there are; here both sides have as many as the smaller one.

    Args:
        observed: One accuracy per instruction.
        unobserved: Likewise.
        statistic: Takes accuracies, returns a number.
        draws: Subsets of the larger side; the smaller side has one only.
        seed: Seed of the subsets.

    Returns:
        The mean of the statistic over subsets, observed and unobserved; NaN where a side is empty.
    """
    sides = [np.asarray(values, dtype=float) for values in (observed, unobserved)]
    size = min(map(len, sides))
    if not size:
        return float("nan"), float("nan")
    generator = np.random.default_rng(seed)
    seen, new = (
        float(statistic(values))
        if len(values) == size
        else float(np.mean([statistic(generator.choice(values, size, replace=False)) for _ in range(draws)]))
        for values in sides
    )
    return seen, new


def all_correct(rows: pd.DataFrame, *, ks: Sequence[int], by: Sequence[str] = (), value: str = "value") -> pd.DataFrame:
    """Return the share of items that are right under all of ``k`` instructions, for several ``k``.

    For fewer than all n instructions it is the expectation over subsets: an item right under c of them counts with
    C(c, k) / C(n, k). At k = 1 it is the accuracy.

    Args:
        rows: Item rows whose scores are 0 or 1.
        ks: Numbers of instructions, each at least 1.
        by: Columns that make a cell.
        value: Column of the score.

    Returns:
        Columns ``[*by, "k", "share", "n_instructions", "n_items"]``. NaN where ``k`` > n or an item lacks a score.

    Raises:
        InputError: A score is neither 0 nor 1, or is given twice.
        ValueError: A ``k`` below 1.
    """
    found = []
    for names, table in _tables(rows, by, "instruction", "item", value):
        _check_binary(table, value)
        for k in ks:
            sizes = {"n_instructions": table.shape[0], "n_items": table.shape[1]}
            found.append({**names, "k": k, "share": _all_of(table, k), **sizes})
    return pd.DataFrame(found, columns=[*by, "k", "share", "n_instructions", "n_items"])


# ---- LMentry, injections, chains ----------------------------------------------------------------------------


def axis_robustness(rows: pd.DataFrame, *, by: Sequence[str] = ("arm", "seed")) -> pd.DataFrame:
    """Return the robustness of LMentry per axis: 100 minus the largest difference of two accuracies, in points.

    The largest difference grows with the number of accuracies in a set and with their noise, so compare sets of one
    size, and read the variance between instructions beside it.

    Args:
        rows: Columns ``axis`` (argument order, argument content, template, adjacent tasks), ``set`` (of accuracies
            that should be equal) and ``accuracy`` (0 to 1).
        by: Columns that set models apart.

    Returns:
        Columns ``[*by, "axis", "robustness", "n_sets"]``: mean over the sets of an axis, in points.
    Source: Efrat, Honovich and Levy (2022), LMentry, arXiv:2211.02069.
    """
    found = []
    for names, group in _cells(rows, [*by, "axis"], ("set", "accuracy")):
        sets = group.groupby("set", sort=True)["accuracy"]
        ranges = [np.ptp(values.to_numpy(dtype=float)) for _, values in sets]
        found.append({**names, "robustness": 100 - 100 * float(np.mean(ranges)), "n_sets": len(ranges)})
    return pd.DataFrame(found, columns=[*by, "axis", "robustness", "n_sets"])


def lmentry_score(accuracy: float, robustness: Sequence[float] | np.ndarray) -> float:
    """Return accuracy (0 to 1) times the mean robustness of the axes (in points); 100 is a perfect model."""
    return float(accuracy * np.mean(np.asarray(robustness, dtype=float)))


def chance_collisions(injected: Sequence[str], outputs: Sequence[str]) -> np.ndarray:
    """Return for every injected answer how often an answerer that reads no instruction would give it.

    Args:
        injected: What the injected instruction asks for, one per item.
        outputs: What an answerer said that never saw the injection, in any order and number.

    Returns:
        Shape (injected,): the share of ``outputs`` that equal the injected answer.
    """
    if not len(outputs):
        raise InputError("collisions: without outputs of an answerer that saw no injection there is no chance rate")
    shares = pd.Series(list(outputs), dtype=object).value_counts(normalize=True)
    return np.array([shares.get(answer, 0.0) for answer in injected], dtype=float)


def attack_success(
    rows: pd.DataFrame, *, by: Sequence[str] = ("arm", "position"), confidence: float = 0.95
) -> pd.DataFrame:
    """Return how often injected instructions are followed, with and without what chance would give.

    Args:
        rows: One per injected item: ``hit`` (the output does what was injected; 0 or 1) and ``collision`` (the chance
            that it does so unread: from ``chance_collisions``, or 1 where task and injection ask for the same).
        by: Columns that set rates apart.
        confidence: Of the Wilson interval.

    Returns:
        Columns ``[*by, "n", "hits", "rate", "low", "high", "collision", "corrected", "corrected_low",
        "corrected_high", "at_most"]``. ``corrected`` subtracts the mean collision, which counts as known, from rate
        and bounds. ``at_most`` is the rule of three, 3 / n, where there is no hit, else NaN: no hit in 600 items is
        needed to say that fewer than half a percent succeed.

    Raises:
        InputError: A hit is neither 0 nor 1, or a collision is no share.
    """
    found = [
        {**names, **_success(group["hit"].to_numpy(dtype=float), group["collision"].to_numpy(dtype=float), confidence)}
        for names, group in _cells(rows, by, ("hit", "collision"))
    ]
    columns = ["rate", "low", "high", "collision", "corrected", "corrected_low", "corrected_high", "at_most"]
    return pd.DataFrame(found, columns=[*by, "n", "hits", *columns])


def chain_accuracy(rows: pd.DataFrame, *, by: Sequence[str] = ("arm", "length")) -> pd.DataFrame:
    """Return how often every step of a chain is right, and how that compares with steps that fail independently.

    Args:
        rows: Columns ``item``, ``step`` and ``value`` (0 or 1), every step of every item once.
        by: Columns that set chains apart, their length among them.

    Returns:
        Columns ``[*by, "n_steps", "n_items", "all_steps", "independent", "ratio"]``: the share of items right in all
        steps, the product of the accuracies of the steps, and the first over the second. Above 1, errors gather in
        few items. NaN where a step is missing; the ratio also where the product is 0.

    Raises:
        InputError: A value is neither 0 nor 1, or a step is given twice.
    """
    found = []
    for names, cell in _cells(rows, by, ("item", "step", "value")):
        table = _table(cell, "item", "step", "value")
        _check_binary(table, "value")
        together = float(table.min(axis=1).mean())
        product = float(table.mean(axis=0).prod())
        ratio = together / product if product > 0 else np.nan
        row = {"n_steps": table.shape[1], "n_items": len(table), "all_steps": together, "independent": product}
        found.append({**names, **row, "ratio": ratio})
    return pd.DataFrame(found, columns=[*by, "n_steps", "n_items", "all_steps", "independent", "ratio"])


# ---- helpers ------------------------------------------------------------------------------------------------


def _require(rows: pd.DataFrame, names: Sequence[str]) -> None:
    for name in names:
        if name not in rows.columns:
            raise InputError(f"frame has no column '{name}'{did_you_mean(name, rows.columns)}")


def _cells(
    rows: pd.DataFrame, by: Sequence[str], needed: Sequence[str]
) -> Iterator[tuple[Mapping[str, Any], pd.DataFrame]]:
    """Yield every combination of the grouping columns with its rows, in sorted order; without columns, all rows."""
    _require(rows, (*by, *needed))
    if not by:
        yield {}, rows
        return
    for names, cell in rows.groupby(list(by), sort=True, dropna=False):
        yield dict(zip(by, names, strict=True)), cell


def _tables(
    rows: pd.DataFrame, by: Sequence[str], row: str, column: str, value: str
) -> Iterator[tuple[Mapping[str, Any], np.ndarray]]:
    """Yield every combination of the grouping columns with its ``_table``, in sorted order.

    Names are numbered once for all cells, which takes a third of the time of doing it cell by cell.
    """
    _require(rows, (*by, row, column, value))
    if not by:
        yield {}, _table(rows, row, column, value)
        return
    row_numbers, column_numbers = (pd.factorize(rows[name], sort=True)[0] for name in (row, column))
    values = rows[value].to_numpy(dtype=float)
    cells = rows.groupby(list(by), sort=True, dropna=False).ngroup().to_numpy()
    order = np.argsort(cells, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(cells[order])) + 1) if len(order) else []
    names = rows[list(by)].iloc[[group[0] for group in groups]].itertuples(index=False, name=None)
    for name, group in zip(names, groups, strict=True):
        table = _filled(row_numbers[group], column_numbers[group], values[group], (row, column, value))
        yield dict(zip(by, name, strict=True)), table


def _table(cell: pd.DataFrame, row: str, column: str, value: str) -> np.ndarray:
    """Return values as a table, NaN where there is none; two values for one place are refused."""
    rows, columns = (pd.factorize(cell[name], sort=True)[0] for name in (row, column))
    return _filled(rows, columns, cell[value].to_numpy(dtype=float), (row, column, value))


def _filled(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, names: tuple[str, str, str]) -> np.ndarray:
    (kinds, rows), (more, columns) = (np.unique(numbers, return_inverse=True) for numbers in (rows, columns))
    places = rows * len(more) + columns
    if len(np.unique(places)) < len(places):
        row, column, value = names
        raise InputError(f"{value}: several values for one {row} and {column}; select one first")
    table = np.full((len(kinds), len(more)), np.nan)
    table[rows, columns] = values
    return table


def _accuracy_cells(rows: pd.DataFrame, by: Sequence[str]) -> Iterator[tuple[Mapping[str, Any], pd.DataFrame]]:
    """Yield the accuracy rows of every task of every replicate, checked."""
    cells = _cells(rows, [*by, "replicate", "task"], ("instruction", "observed", "accuracy"))
    for names, cell in cells:
        if not cell["observed"].isin([True, False]).all():
            raise InputError("observed: must be true or false for every instruction")
        if cell["instruction"].duplicated().any():
            name = cell.loc[cell["instruction"].duplicated(), "instruction"].iloc[0]
            raise InputError(f"instruction {str(name)[:60]!r} has several accuracies in {names}; select one first")
        yield names, cell


def _sides(cell: pd.DataFrame) -> dict[str, np.ndarray]:
    observed = cell["observed"].to_numpy(dtype=bool)
    values = cell["accuracy"].to_numpy(dtype=float)
    return {"observed": values[observed], "unobserved": values[~observed]}


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _deviation(values: np.ndarray) -> float:
    return float(values.std()) if len(values) else float("nan")


def _tested(values: np.ndarray) -> dict[str, float]:
    result = sign_flip(values)
    low, high = sign_flip_interval(values) if result.n else (np.nan, np.nan)
    if not (np.isfinite(low) and np.isfinite(high)):
        low = high = np.nan
    bounds = {"effect": result.effect, "p_value": result.p_value, "low": low, "high": high}
    return bounds | {"n": result.n, "n_above": int(np.sum(values > 0))}


def _all_of(table: np.ndarray, k: int) -> float:
    """Return the expected share of columns that are right in all of ``k`` random rows."""
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}")
    if k > len(table) or np.isnan(table).any():
        return float("nan")
    return float((comb(table.sum(axis=0), k) / comb(len(table), k)).mean())


def _success(hit: np.ndarray, collision: np.ndarray, confidence: float) -> dict[str, float]:
    """Return the columns of ``attack_success`` for one group."""
    from statsmodels.stats.proportion import proportion_confint

    if not np.isin(hit, (0, 1)).all():
        raise InputError("hit: must be 0 or 1 for every item")
    if not ((collision >= 0) & (collision <= 1)).all():
        raise InputError("collision: must be a share between 0 and 1 for every item")
    n, hits, chance = len(hit), int(hit.sum()), float(collision.mean())
    low, high = (float(bound) for bound in proportion_confint(hits, n, alpha=1 - confidence, method="wilson"))
    counts = {"n": n, "hits": hits, "rate": hits / n, "low": low, "high": high, "collision": chance}
    corrected = {"corrected": hits / n - chance, "corrected_low": low - chance, "corrected_high": high - chance}
    return counts | corrected | {"at_most": float("nan") if hits else 3 / n}


def _check_binary(values: np.ndarray, name: str) -> None:
    if not (np.isin(values, (0, 1)) | np.isnan(values)).all():
        raise InputError(f"{name}: must be 0 or 1")


def _fewest_instructions(rows: pd.DataFrame) -> int:
    """Return how many instructions the side with fewer of them has."""
    return min(rows.loc[rows["observed"] == side, "instruction"].nunique() for side in (True, False))


def _side_sums(
    rows: pd.DataFrame, tasks: pd.Index, replicates: pd.Index
) -> tuple[tuple[csr_array, csr_array], tuple[csr_array, csr_array]]:
    """Return, observed and unobserved, matrices of accuracies and of ones: replicates and tasks by instructions."""
    sides = []
    names = pd.Index(rows["instruction"].unique())
    for side in (True, False):
        cells = rows[rows["observed"] == side]
        line = replicates.get_indexer(cells["replicate"]) * len(tasks) + tasks.get_indexer(cells["task"])
        places = (line, names.get_indexer(cells["instruction"]))
        shape = (len(replicates) * len(tasks), len(names))
        values = cells["accuracy"].to_numpy(dtype=float)
        sides.append(tuple(coo_array((data, places), shape=shape).tocsr() for data in (values, np.ones(len(values)))))
    return sides[0], sides[1]


def _weighted_gaps(
    sums: tuple[tuple[csr_array, csr_array], tuple[csr_array, csr_array]],
    shape: tuple[int, int],
    draws: int,
    over: Sequence[str],
    generator: np.random.Generator,
) -> np.ndarray:
    """Return the mean gap under ``draws`` sets of weights; ``shape`` is that of tasks by replicates."""
    n_tasks, n_replicates = shape

    def weights(name: str, n: int) -> np.ndarray:
        return generator.standard_exponential((n, draws)) if name in over else np.ones((n, draws))

    means = []
    for values, ones in sums:  # an instruction that is observed here and unobserved there is drawn for each side
        drawn = weights("instruction", values.shape[1])
        means.append((values @ drawn) / (ones @ drawn))
    gaps = (means[0] - means[1]).reshape(n_replicates, n_tasks, draws)
    of_tasks, of_replicates = weights("task", n_tasks), weights("replicate", n_replicates)
    per_replicate = (gaps * of_tasks).sum(axis=1) / of_tasks.sum(axis=0)
    return (per_replicate * of_replicates).sum(axis=0) / of_replicates.sum(axis=0)
