"""Accuracy against robustness along the four axes of LMentry, on item rows, and the robustness that chance would give.

A set of accuracies should be equal: of items whose right answer is the first or the second operand, of easy and hard
pairs, of the instructions of a family, of families about one kind of operand. Robustness is 100 minus the largest
difference, in points. The largest of many noisy differences is large even where nothing differs, so beside it stands
what is left when the members of a set are shuffled.

Source: Efrat, Honovich and Levy (2022), LMentry, arXiv:2211.02069.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from itlib.robustness import lmentry_score

AXES = ("argument order", "argument content", "template", "adjacent tasks")
BY = ["arm", "seed"]
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
    members = found.groupby([*BY, "axis", "set"])["member"].transform("nunique")
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
    found = _axes(items).reindex(accuracy.index)
    found.insert(0, "accuracy", 100 * accuracy)
    found["robustness"] = found[list(AXES)].mean(axis=1, skipna=False)
    rng = np.random.default_rng(seed)
    shuffled = [_axes(_shuffled(items, rng)).mean(axis=1, skipna=False) for _ in range(SHUFFLES)]
    found["chance"] = pd.concat(shuffled, axis=1).mean(axis=1, skipna=False)
    found["score"] = [lmentry_score(a / 100, [r]) for a, r in zip(found["accuracy"], found["robustness"], strict=True)]
    return found.reset_index()


def _axes(items: pd.DataFrame) -> pd.DataFrame:
    """Return robustness by arm and seed (index) and axis (columns), as ``robustness.axis_robustness`` but all at once.

    NaN where an axis has no set.
    """
    cells = items.groupby([*BY, "axis", "set", "member"], sort=False)["value"].mean()
    ends = cells.groupby([*BY, "axis", "set"]).agg(["min", "max"])
    table = (100 - 100 * (ends["max"] - ends["min"]).groupby([*BY, "axis"]).mean()).unstack("axis")
    return table.reindex(columns=list(AXES))


def _shuffled(items: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return the rows with their values shuffled among the members of each set, within blocks."""
    blocks = items.groupby([*BY, "axis", "set", "block"], sort=False).ngroup().to_numpy()
    values = items["value"].to_numpy(dtype=float)
    moved = np.empty_like(values)
    moved[np.argsort(blocks, kind="stable")] = values[np.lexsort((rng.random(len(values)), blocks))]
    return items.assign(value=moved)
