"""Figures of ``90b_verdict_rates``: wrong verdicts, and planted effects that are found."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from itlib.drawing import drawing
from itlib.figures import new_figure
from itlib.theme import GREY, TWO_COLUMN, colours, markers, themed


@drawing
def errors(rows: pd.DataFrame, draws: int) -> np.ndarray:
    """Draw shares of verdicts, one dot per kind of invented study and a line per claim: wrong ones, and found effects.

    The band is what chance of ``draws`` studies allows around .05, and 5 points and that chance around the promise.

    Args:
        rows: From ``verdict_rates.judged``.
        draws: Invented studies behind every dot.

    Returns:
        Axes of shape (2,): wrong, found.
    """
    kinds = list(dict.fromkeys(rows["claim"]))
    order = {kind: place for place, kind in enumerate(reversed(kinds))}
    sources = list(dict.fromkeys(rows["scores"]))
    paint, shape = colours(sources), markers(sources)
    promised = float(rows["promised"].dropna().iloc[0])
    with themed():
        axes = new_figure(TWO_COLUMN, 2.2).subplots(1, 2, sharey=True)
        for ax, column, level, reach, label in (
            (axes[0], "wrong", 0.05, 0.0, "share of wrong verdicts"),
            (axes[1], "found", promised, 0.05, "share of planted effects found"),
        ):
            error = 2 * math.sqrt(level * (1 - level) / draws)
            low = level - reach - error if reach else 0.0
            ax.axvspan(low, level + reach + error, color=GREY, alpha=0.15, lw=0)
            ax.axvline(level, color=GREY, lw=0.8, ls="--")
            for source in sources:
                chosen = rows[(rows["scores"] == source) & rows[column].notna()]
                for kind, group in chosen.groupby("claim", sort=False):
                    heights = order[kind] + np.linspace(-0.25, 0.25, len(group)) if len(group) > 1 else [order[kind]]
                    ax.plot(group[column], heights, shape[source], color=paint[source], ms=3, mew=0, alpha=0.8)
            ax.set(xlabel=label, yticks=list(order.values()), yticklabels=list(order))
        axes[0].set(ylabel="claim", xlim=(0, None))
        handles = [axes[0].plot([], [], shape[s], color=paint[s], ms=3, label=s)[0] for s in sources]
        axes[0].figure.legend(handles=handles, loc="outside upper center", ncols=len(sources))
    return axes


@drawing
def power_by_seeds(rows: pd.DataFrame) -> Axes:
    """Draw the power against a difference of the margin by number of seeds; the dashed line is the usual .8."""
    with themed():
        ax = new_figure().subplots()
        ax.plot(rows["seeds"], rows["power"], "o-", ms=3)
        ax.axhline(0.8, color=GREY, lw=0.8, ls="--")
        ax.set(xlabel="seeds", ylabel=f"power against {rows['margin'].iloc[0]:g}", ylim=(0, 1.02))
    return ax
