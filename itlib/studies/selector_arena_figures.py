"""Figures of ``02b_selectors``: who beats random, which end of a score is good, who selects alike, at what cost."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter

from itlib.drawing import drawing
from itlib.figures import new_figure
from itlib.studies.selector_arena import ARMS
from itlib.theme import GREY, ONE_COLUMN, PALETTE, TWO_COLUMN, colours, markers, themed

GROUPS = tuple(dict.fromkeys(about.group for about in ARMS.values()))
ENDS = {"high": ("o", "full"), "low": ("o", "none")}


@drawing
def ranked(table: pd.DataFrame) -> np.ndarray:
    """Draw every arm's difference to random, best on top, a panel per kind; a cross is that on an arm's targets.

    Args:
        table: From ``selector_arena_tables.arena``. Filled dots were named before the runs, open ones are exploratory.

    Returns:
        Axes of shape (kinds,).
    """
    kinds = list(table["kind"].unique())
    most = max((int((table["kind"] == kind).sum()) for kind in kinds), default=1)
    with themed():
        axes = new_figure(TWO_COLUMN, 0.9 + 0.135 * most).subplots(1, max(1, len(kinds)), squeeze=False)[0]
        paint = colours(GROUPS)
        for ax, kind in zip(axes, kinds, strict=False):
            rows = table[table["kind"] == kind].reset_index(drop=True)
            for place, row in rows.iterrows():
                colour = paint[row["group"]]
                _interval(ax, row["low"], row["high"], place, colour)
                ax.plot(row["mean"], place, "o", ms=3.5, color=colour, mfc=colour if row["named"] else "white", mew=0.9)
                if row["group"] == "targets":
                    ax.plot(row["target_mean"], place, "x", ms=3.5, mew=0.9, color=colour)
            ax.axvline(0, lw=0.6, color=GREY, zorder=0)
            ax.set_yticks(range(len(rows)), rows["arm"], fontsize=6)
            ax.set(ylim=(len(rows) - 0.5, -0.5), title=f"{kind} pools", xlabel="exact match minus random")
            ax.xaxis.set_major_locator(MaxNLocator(5))
        handles = [Line2D([], [], ls="", marker="o", color=paint[name], label=name) for name in GROUPS]
        handles += [
            Line2D([], [], ls="", marker="o", mfc="white", color=GREY, label="not named before"),
            Line2D([], [], ls="", marker="x", color=GREY, label="on its targets"),
        ]
        axes[0].figure.legend(handles=handles, loc="outside upper center", ncols=4)
    return axes


@drawing
def both_signs(ends: pd.DataFrame) -> np.ndarray:
    """Draw both ends of every score as differences to random, a panel per kind of pool.

    Args:
        ends: From ``selector_arena_tables.signs``.

    Returns:
        Axes of shape (kinds,).
    """
    kinds, scores = list(ends["kind"].unique()), list(dict.fromkeys(ends["score"]))
    with themed():
        figure = new_figure(TWO_COLUMN, 1.0 + 0.33 * max(1, len(scores)))
        axes = figure.subplots(1, max(1, len(kinds)), sharey=True, sharex=True, squeeze=False)[0]
        for ax, kind in zip(axes, kinds, strict=False):
            for end, (marker, fill) in ENDS.items():
                rows = ends[(ends["kind"] == kind) & (ends["end"] == end)]
                places = [scores.index(score) + (-0.13 if end == "high" else 0.13) for score in rows["score"]]
                for place, (_, row) in zip(places, rows.iterrows(), strict=True):
                    _interval(ax, row["low"], row["high"], place, PALETTE[0])
                mfc = PALETTE[0] if fill == "full" else "white"
                ax.plot(rows["mean"], places, marker, ls="", ms=4, mfc=mfc, color=PALETTE[0])
            ax.axvline(0, lw=0.6, color=GREY, zorder=0)
            ax.set(title=f"{kind} pools", xlabel="exact match minus random", ylim=(len(scores) - 0.5, -0.5))
            ax.set_yticks(range(len(scores)), scores)
        fills = {"high": PALETTE[0], "low": "white"}
        handles = [
            Line2D([], [], ls="", marker="o", mfc=fills[end], color=PALETTE[0], label=f"{end} end") for end in ENDS
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return axes


@drawing
def difficulty(examples: pd.DataFrame) -> np.ndarray:
    """Draw how IFD spreads by kind of corruption, a panel per scorer: median, half and nine tenths of the examples.

    Args:
        examples: Rows of ``selector_arena_scores.example_frame``; those of IFD are drawn, all seeds together.

    Returns:
        Axes of shape (scorers,).
    """
    rows = examples[(examples["metric"] == "ifd") & np.isfinite(examples["value"].to_numpy(dtype=float))]
    scorers = list(rows["scorer"].unique())
    kinds = [name for name in ("none", "duplicate", "wrong", "mismatched", "truncated") if name in set(rows["noise"])]
    with themed():
        width = TWO_COLUMN if len(scorers) > 1 else ONE_COLUMN
        figure = new_figure(width, 0.7 + 0.24 * max(1, len(kinds)))
        axes = figure.subplots(1, max(1, len(scorers)), sharey=True, squeeze=False)[0]
        for ax, scorer in zip(axes, scorers, strict=False):
            for place, noise in enumerate(kinds):
                values = rows.loc[(rows["scorer"] == scorer) & (rows["noise"] == noise), "value"]
                low, quarter, middle, three, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
                ax.plot([low, high], [place] * 2, "-", lw=0.8, color=PALETTE[0])
                ax.plot([quarter, three], [place] * 2, "-", lw=3, color=PALETTE[0], solid_capstyle="butt")
                ax.plot(middle, place, "o", ms=4, mfc="white", color=PALETTE[0])
            ax.axvline(1, lw=0.6, ls="--", color=GREY, zorder=0)
            ax.set(title=f"scorer: {scorer}", xlabel="IFD = L(A|Q) / L(A)", ylim=(len(kinds) - 0.5, -0.5))
            ax.set_yticks(range(len(kinds)), ["clean" if name == "none" else name for name in kinds])
    return axes


@drawing
def overlap(shares: pd.DataFrame, kind: str) -> Axes:
    """Draw what share of their examples two arms have in common, as a heat map.

    Args:
        shares: From ``selected.overlaps``, arms of one kind of pool in rows and columns.
        kind: Names the pools in the title.
    """
    names = [name.partition("/")[2] for name in shares.index]
    side = min(TWO_COLUMN, 1.6 + 0.14 * len(names))
    with themed():
        ax = new_figure(side, side - 0.4).subplots()
        image = ax.imshow(shares.to_numpy(dtype=float), vmin=0, vmax=1, cmap="viridis")
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
        ax.set_yticks(range(len(names)), names, fontsize=6)
        ax.set_title(f"{kind} pools")
        ax.figure.colorbar(image, ax=ax, label="shared (Jaccard)", shrink=0.7)
    return ax


@drawing
def cost(table: pd.DataFrame) -> np.ndarray:
    """Draw gain over random against the cost of selecting and training, a panel per kind; the front has names.

    Args:
        table: From ``selector_arena_tables.costs``.

    Returns:
        Axes of shape (kinds,).
    """
    kinds = list(table["kind"].unique())
    with themed():
        figure = new_figure(TWO_COLUMN, 2.8)
        axes = figure.subplots(1, max(1, len(kinds)), sharey=True, squeeze=False)[0]
        paint, shape = colours(GROUPS), markers(GROUPS)
        for ax, kind in zip(axes, kinds, strict=False):
            rows = table[table["kind"] == kind]
            for group in GROUPS:
                mine = rows[rows["group"] == group]
                ax.plot(mine["cost"], mine["mean"], shape[group], ms=3.5, mew=0, alpha=0.8, color=paint[group])
            front = rows[rows["front"].astype(bool)].sort_values("cost")
            ax.plot(front["cost"], front["mean"], "-", lw=0.7, color=GREY, zorder=0)
            for _, row in front.iterrows():
                ax.annotate(row["arm"], (row["cost"], row["mean"]), (3, 3), textcoords="offset points", fontsize=6)
            ax.axhline(0, lw=0.6, color=GREY, zorder=0)
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            ax.xaxis.set_minor_formatter(NullFormatter())
            ax.set(title=f"{kind} pools", xlabel="selection and training, in trainings of the random arm")
        axes[0].set_ylabel("exact match minus random")
        handles = [Line2D([], [], ls="", marker=shape[name], color=paint[name], label=name) for name in GROUPS]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return axes


def _interval(ax: Axes, low: float, high: float, place: float, colour: str) -> None:
    """Draw an interval where it has bounds; a few seeds give none."""
    if np.isfinite(low) and np.isfinite(high):
        ax.plot([low, high], [place, place], "-", lw=1, color=colour, zorder=1)
