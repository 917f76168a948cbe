"""Accuracy against robustness along the four axes of LMentry, on item rows, and the robustness that chance would give.

A set of accuracies should be equal: of items whose right answer is the first or the second operand, of easy and hard
pairs, of the instructions of a family, of families about one kind of operand. Robustness is 100 minus the largest
difference, in points. The largest of many noisy differences is large even where nothing differs, so beside it stands
what is left when the members of a set are shuffled.

Source: Efrat, Honovich and Levy (2022), LMentry, arXiv:2211.02069.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from itlib.robustness import lmentry_score

AXES = ("argument order", "argument content", "template", "adjacent tasks")
BY = ["arm", "seed"]
SET = [*BY, "axis", "set"]
MEMBER, BLOCK = [*SET, "member"], [*SET, "block"]
SHUFFLES = 20


def axis_items(rows: pd.DataFrame) -> pd.DataFrame:
    """Return which values belong to which member of which set, for all four axes.

    Args:
        rows: One value per arm, seed, family, instruction and item; ``order``, ``content`` and ``operand`` say where
            the right answer stands, how hard a pair is (both empty where there is no pair) and what is asked about.

    Returns:
        Columns ``arm``, ``seed``, ``axis``, ``set``, ``member``, ``block`` and ``value``; values may be shuffled within
        a block. Members are items, but for templates, where they are an item in one instruction and an item is a
        block. Sets with one member only are left out.
    """
    keys = [*BY, "family", "item", "order", "content", "operand"]
    items = rows.groupby(keys, sort=False)["value"].mean().reset_index()
    pairs = items[items["order"] != ""]
    parts = {
        "argument order": pairs.assign(set=pairs["family"], member=pairs["order"], block=""),
        "argument content": pairs.assign(set=pairs["family"], member=pairs["content"], block=""),
        "template": rows.assign(set=rows["family"], member=rows["instruction"], block=rows["item"]),
        "adjacent tasks": items.assign(set=items["operand"], member=items["family"], block=""),
    }
    columns = [*BY, "axis", "set", "member", "block", "value"]
    found = pd.concat([part.assign(axis=axis)[columns] for axis, part in parts.items()], ignore_index=True)
    members = found.groupby(SET)["member"].transform("nunique")
    return found[members > 1].reset_index(drop=True)


def scores(rows: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Return accuracy, robustness and LMentry score of every arm and seed.

    Args:
        rows: As for ``axis_items``.
        seed: Of the shuffles.

    Returns:
        Columns ``arm``, ``seed``, ``accuracy`` (points, mean over families), one per axis (points; NaN where no set
        has two members), ``robustness`` (their mean, NaN where one is), ``chance`` (robustness of shuffled members,
        mean over the shuffles) and ``score`` (accuracy times robustness / 100).
    """
    items = axis_items(rows)
    accuracy = rows.groupby([*BY, "family"])["value"].mean().groupby(BY).mean()
    values = items["value"].to_numpy(dtype=float)
    cells, cell = _numbered(items, MEMBER)
    found = _axes(cells.assign(value=_means(values, cell))).reindex(accuracy.index)
    found.insert(0, "accuracy", 100 * accuracy)
    found["robustness"] = found[list(AXES)].mean(axis=1, skipna=False)
    _, block = _numbered(items, BLOCK)
    shuffles = _shuffles(values, block, np.random.default_rng(seed))
    shuffled = [_axes(cells.assign(value=_means(moved, cell))).mean(axis=1, skipna=False) for moved in shuffles]
    found["chance"] = pd.concat(shuffled, axis=1).mean(axis=1, skipna=False)
    found["score"] = [lmentry_score(a / 100, [r]) for a, r in zip(found["accuracy"], found["robustness"], strict=True)]
    return found.reset_index()


def _numbered(items: pd.DataFrame, keys: Sequence[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the distinct combinations of some columns, one row each, and which of them every item has.

    Shuffles then group by numbers and never by names again.
    """
    return items[list(keys)].drop_duplicates(), items.groupby(list(keys), sort=False).ngroup().to_numpy()


def _means(values: np.ndarray, number: np.ndarray) -> np.ndarray:
    return pd.Series(values).groupby(number).mean().to_numpy()


def _axes(cells: pd.DataFrame) -> pd.DataFrame:
    """Return robustness by arm and seed (index) and axis (columns), as ``robustness.axis_robustness`` but all at once.

    Cells are the means of members. NaN where an axis has no set.
    """
    ends = cells.groupby(SET)["value"].agg(["min", "max"])
    table = (100 - 100 * (ends["max"] - ends["min"]).groupby([*BY, "axis"]).mean()).unstack("axis")
    return table.reindex(columns=list(AXES))


def _shuffles(values: np.ndarray, block: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield the values again and again, shuffled among the items of each block."""
    places = np.argsort(block, kind="stable")
    for _ in range(SHUFFLES):
        moved = np.empty_like(values)
        moved[places] = values[np.lexsort((rng.random(len(values)), block))]
        yield moved
