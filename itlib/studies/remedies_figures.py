"""Figures of ``03b_remedies``: what perturbations cost each remedy, gaps and spreads, negations, and cosines."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from itlib.drawing import drawing
from itlib.figures import new_figure, strips_by_arm
from itlib.theme import GREY, PALETTE, TWO_COLUMN, themed

LABELS = {
    "gap": "gap, familiar minus new",
    "sigma": "sigma between new phrasings",
    "new": "exact match, new phrasings",
}
POOLED = {"response": "last token of the row", "prompt": "last token before the answer"}


@drawing
def perturbations(table: pd.DataFrame) -> Axes:
    """Draw the drop rate of every arm under every perturbation as a heat map, each number printed in its cell.

    Args:
        table: From ``remedies_tables.drops``. A cell without a rate stays white and says so. Colours end at a drop of
            everything; a rate below zero (the perturbed instruction does better) has the colour of zero.
    """
    wide = table.pivot(index="arm", columns="perturbation", values="drop")
    wide = wide.reindex(index=list(dict.fromkeys(table["arm"])), columns=list(dict.fromkeys(table["perturbation"])))
    with themed():
        ax = new_figure(TWO_COLUMN, 0.9 + 0.24 * len(wide)).subplots()
        numbers = wide.to_numpy(dtype=float)
        image = ax.imshow(np.ma.masked_invalid(numbers), cmap="cividis_r", vmin=0, vmax=1, aspect="auto")
        for (row, column), value in np.ndenumerate(numbers):
            text = f"{round(value, 2) + 0.0:.2f}" if np.isfinite(value) else "none"
            ax.text(column, row, text, ha="center", va="center", color="white" if value > 0.55 else "black", fontsize=6)
        ax.set_xticks(range(wide.shape[1]), [name.replace("_", "\n") for name in wide.columns])
        ax.set_yticks(range(len(wide)), wide.index)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.figure.colorbar(image, ax=ax, label="share of the clean score that is lost", shrink=0.9)
    return ax


@drawing
def wordings(points: pd.DataFrame) -> np.ndarray:
    """Draw gap, spread and exact match in new phrasings, a dot per run and a bar at the mean of each arm.

    Args:
        points: From ``remedies_tables.points`` with the metrics of ``LABELS``.

    Returns:
        Axes of shape (3,).
    """
    arms = list(dict.fromkeys(points["arm"]))
    with themed():
        axes = new_figure(TWO_COLUMN, 0.7 + 0.2 * len(arms)).subplots(1, len(LABELS), sharey=True)
        for ax, (metric, label) in zip(axes, LABELS.items(), strict=True):
            strips_by_arm(ax, points[points["metric"] == metric], arms)
            ax.axvline(0, lw=0.6, color=GREY, zorder=0)
            ax.set(xlabel=label)
    return axes


@drawing
def negation(points: pd.DataFrame, before: str) -> Axes:
    """Draw how often negated instructions are obeyed, a dot per run, thin lines from before the remedy to after it.

    Args:
        points: From ``remedies_tables.points`` with the metric "negation".
        before: The arm of plain tuning that stands for before.
    """
    arms = [arm for arm in dict.fromkeys(points["arm"]) if arm != before]
    start = points[points["arm"] == before].set_index("seed")["value"]
    with themed():
        ax = new_figure(TWO_COLUMN * 0.7, 0.8 + 0.2 * len(arms)).subplots()
        for place, arm in enumerate(arms):
            rows = points[points["arm"] == arm].set_index("seed")["value"]
            for seed, value in rows.items():
                ax.plot([start.get(seed, np.nan), value], [place] * 2, "-", lw=0.5, alpha=0.5, color=GREY, zorder=0)
        strips_by_arm(ax, points, arms)
        ax.axvline(start.mean(), lw=0.8, ls="--", color=GREY, label=f"mean of {before}")
        ax.set(xlabel="exact match under negated instructions (operands unchanged)")
        ax.figure.legend(handles=[ax.lines[-1]], loc="outside upper center")
    return ax


@drawing
def cosines(table: pd.DataFrame) -> np.ndarray:
    """Draw the cosines of positives and of hard negatives, a line per seed and arm between them, a panel per pooling.

    Args:
        table: From ``remedies_tables.cosines``.

    Returns:
        Axes of shape (2,).
    """
    arms = list(dict.fromkeys(table["arm"]))
    sides = {"positives": (PALETTE[0], "o", "one item, two wordings"), "hard_negatives": (PALETTE[1], "s", "two items")}
    with themed():
        axes = new_figure(TWO_COLUMN, 0.9 + 0.3 * max(1, len(arms))).subplots(1, len(POOLED), sharey=True)
        for ax, (pool, title) in zip(axes, POOLED.items(), strict=True):
            for place, arm in enumerate(arms):
                rows = table[(table["pool"] == pool) & (table["arm"] == arm)]
                for column, (colour, marker, label) in sides.items():
                    heights = [place] * len(rows)
                    ax.plot(rows[column], heights, marker, ms=3, mew=0, alpha=0.6, color=colour, label=label)
                    if len(rows):
                        ax.plot([rows[column].mean()] * 2, [place - 0.25, place + 0.25], "-", lw=1.5, color=colour)
            ax.set(title=title, xlabel="cosine of hidden states", ylim=(max(1, len(arms)) - 0.5, -0.5))
            ax.set_yticks(range(len(arms)), arms)
        named = dict(zip(*reversed(axes[0].get_legend_handles_labels()), strict=True))
        if named:
            axes[0].figure.legend(handles=list(named.values()), loc="outside upper center", ncols=2)
    return axes
