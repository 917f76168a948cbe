"""Figures of ``02f_own_data``: where the selected examples lie in each score, and what tuning on them was worth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from itlib.drawing import drawing
from itlib.figures import new_figure
from itlib.studies.own_selection import FULL, RANDOM, UNTUNED
from itlib.theme import GREY, PALETTE, TWO_COLUMN, themed

COLUMNS = 3


@drawing
def spread(bins: pd.DataFrame) -> np.ndarray:
    """Draw the scores of the whole pool and of what was selected, each as a share of its own, a panel per selector.

    Args:
        bins: From ``own_selection_views.score_bins``.

    Returns:
        Axes of shape (selectors,).
    """
    names = list(dict.fromkeys(bins["selector"]))
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    with themed():
        figure = new_figure(TWO_COLUMN, 0.5 + 1.4 * rows)
        grid = figure.subplots(rows, columns, squeeze=False)
        for ax, name in zip(grid.flat, names, strict=False):
            table = bins[bins["selector"] == name]
            edges = [*table["left"], table["right"].iloc[-1]]
            for column, colour in (("pool", GREY), ("selected", PALETTE[0])):
                total = max(1, table[column].sum())
                ax.stairs(table[column] / total, edges, fill=True, alpha=0.45, color=colour)
            ax.set(title=name, xlabel="score", ylabel="share")
            ax.locator_params(axis="both", nbins=5)
        for ax in grid.flat[len(names) :]:
            ax.remove()
        labels = {"pool": GREY, "selected": PALETTE[0]}
        handles = [Patch(color=colour, alpha=0.45, label=label) for label, colour in labels.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return grid.ravel()[: len(names)]


@drawing
def worth(dots: pd.DataFrame, *, x_label: str) -> Axes:
    """Draw one dot per run and a bar at the mean of each arm; lines mark random, the whole pool and the untuned base.

    Args:
        dots: From ``own_selection_views.points``.
        x_label: Name of the measure and its unit.
    """
    arms = [arm for arm in dict.fromkeys(dots["arm"]) if arm not in (UNTUNED, FULL)]
    marks = {UNTUNED: (0, (1, 2)), FULL: "-", RANDOM: "--"}
    with themed():
        ax = new_figure(TWO_COLUMN * 0.7, 0.9 + 0.24 * len(arms)).subplots()
        for place, name in enumerate(arms):
            values = dots.loc[dots["arm"] == name, "value"]
            ax.plot(values, [place] * len(values), "o", ms=3.5, mew=0, alpha=0.6, color=PALETTE[0])
            ax.plot([values.mean()] * 2, [place - 0.3, place + 0.3], "-", lw=1.5, color=PALETTE[0])
        for name, style in marks.items():
            values = dots.loc[dots["arm"] == name, "value"]
            if len(values):
                label = {UNTUNED: "before tuning", FULL: "the whole pool", RANDOM: "random, mean"}[name]
                ax.axvline(values.mean(), ls=style, lw=0.8, color=GREY, zorder=0, label=label)
        ax.set(xlabel=x_label, ylim=(len(arms) - 0.5, -0.5))
        ax.set_yticks(range(len(arms)), arms)
        ax.figure.legend(loc="outside upper center", ncols=3)
    return ax
