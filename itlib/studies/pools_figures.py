"""Figures of ``02c_pools``: curves over corrupted share and pool size, clusterings, and what is made equal."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from itlib.drawing import drawing
from itlib.figures import new_figure
from itlib.studies.pools import ARMS
from itlib.theme import GREY, ONE_COLUMN, TWO_COLUMN, colours, markers, themed

PAINT, SHAPE = colours(tuple(ARMS)), markers(tuple(ARMS))  # an arm looks the same in every figure


@drawing
def noise(curve: pd.DataFrame, turns: pd.DataFrame, *, y_label: str) -> Axes:
    """Draw exact match on all families over the corrupted share, a line and a band per selector.

    Args:
        curve: From ``pools_tables.curve`` over ``noise_rate``.
        turns: From ``pools_tables.turns``: a triangle per seed where hard examples fall below easy ones.
        y_label: Name of the metric and its unit.
    """
    with themed():
        ax = new_figure(1.45 * ONE_COLUMN, 2.7).subplots()
        _lines(ax, curve[curve["families"] == "all families"], "noise_rate")
        crossings = turns["against_easy"].to_numpy(dtype=float)
        handles = ax.get_legend_handles_labels()[0]
        for rate in crossings[np.isfinite(crossings)]:
            ax.plot([rate], [0.03], "^", ms=4, color=GREY, transform=ax.get_xaxis_transform(), clip_on=False)
        if np.isfinite(crossings).any():
            handles.append(Line2D([], [], ls="", marker="^", ms=4, color=GREY, label="hard below easy (a seed)"))
        ax.set_xticks(sorted(curve["noise_rate"].unique()))
        ax.set(xlabel="corrupted share of the pool", ylabel=y_label)
        ax.figure.legend(handles=handles, loc="outside upper center", ncols=min(4, len(handles)))
    return ax


@drawing
def pool_sizes(curve: pd.DataFrame, *, y_label: str) -> np.ndarray:
    """Draw exact match over the size of the pool, a line and a band per selector, a panel per families.

    Args:
        curve: From ``pools_tables.curve`` over ``pool_size``.
        y_label: Name of the metric and its unit.

    Returns:
        Axes of shape (families,).
    """
    sides = list(curve["families"].unique())
    with themed():
        axes = new_figure(TWO_COLUMN, 2.5).subplots(1, len(sides), squeeze=False)[0]
        sizes = sorted(curve["pool_size"].unique())
        for ax, side in zip(axes, sides, strict=True):
            _lines(ax, curve[curve["families"] == side], "pool_size")
            ax.set_xscale("log")
            ax.set_xticks(sizes, [f"{size:g}" for size in sizes])
            ax.minorticks_off()
            ax.set(title=side, xlabel="examples in the pool")
        axes[0].set_ylabel(y_label)
        handles = axes[0].get_legend_handles_labels()[0]
        axes[0].figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return axes


@drawing
def clusters(table: pd.DataFrame, *, y_label: str) -> Axes:
    """Draw exact match over silhouette: a dot per run, a thin line per seed, a large mark at each number's mean.

    Args:
        table: From ``pools_tables.clusterings``.
        y_label: Name of the metric and its unit.
    """
    with themed():
        ax = new_figure(1.45 * ONE_COLUMN, 2.7).subplots()
        names = [f"{k:g} clusters" for k in sorted(table["n_clusters"].unique())]
        paint, shape = colours(names), markers(names)
        for _, rows in table.groupby("seed"):
            rows = rows.sort_values("silhouette")
            ax.plot(rows["silhouette"], rows["value"], "-", lw=0.4, alpha=0.5, color=GREY, zorder=1)
        for k, rows in table.groupby("n_clusters"):
            name = f"{k:g} clusters"
            ax.plot(rows["silhouette"], rows["value"], shape[name], ms=2.5, mew=0, alpha=0.55, color=paint[name])
            place = rows[["silhouette", "value"]].mean()
            ax.plot(*([value] for value in place), shape[name], ms=5.5, mec="black", mew=0.5, color=paint[name])
        handles = [Line2D([], [], ls="", marker=shape[name], color=paint[name], label=name) for name in names]
        if handles:
            ax.figure.legend(handles=handles, loc="outside upper center", ncols=3)
        ax.set(xlabel="silhouette of the clustering", ylabel=y_label)
    return ax


@drawing
def regimes(points: pd.DataFrame, *, x_label: str) -> np.ndarray:
    """Draw a dot per run and a mark at each mean, a row per regime, a panel per kind of pool.

    Args:
        points: From ``pools_tables.regime_points``.
        x_label: Name of the metric and its unit.

    Returns:
        Axes of shape (kinds,).
    """
    kinds, rows, arms = (list(points[name].unique()) for name in ("kind", "regime", "arm"))
    with themed():
        figure = new_figure(TWO_COLUMN, 0.8 + 0.5 * max(1, len(rows)))
        axes = figure.subplots(1, max(1, len(kinds)), sharey=True, sharex=True, squeeze=False)[0]
        shifts = np.linspace(-0.22, 0.22, len(arms)) if len(arms) > 1 else [0.0]
        for ax, kind in zip(axes, kinds, strict=False):
            for place, regime in enumerate(rows):
                for shift, arm in zip(shifts, arms, strict=True):
                    here = (points["kind"] == kind) & (points["regime"] == regime) & (points["arm"] == arm)
                    values = points.loc[here, "value"]
                    ax.plot(values, [place + shift] * len(values), ".", ms=3.5, mew=0, alpha=0.5, color=PAINT[arm])
                    if len(values):
                        ax.plot(
                            [values.mean()], [place + shift], SHAPE[arm], ms=5, mfc="none", mew=1.1, color=PAINT[arm]
                        )
            for border in range(1, len(rows)):
                ax.axhline(border - 0.5, lw=0.4, color=GREY, alpha=0.5, zorder=0)
            ax.set(title=f"{kind} pools", xlabel=x_label, ylim=(len(rows) - 0.5, -0.5))
            ax.set_yticks(range(len(rows)), rows)
            ax.locator_params(axis="x", nbins=6)
        handles = [Line2D([], [], ls="", marker=SHAPE[arm], mfc="none", color=PAINT[arm], label=arm) for arm in arms]
        if handles:
            figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return axes


def _lines(ax: Axes, curve: pd.DataFrame, x: str) -> None:
    """Draw a line with a band per selector; a place without a finished run is a gap."""
    for name in curve["selector"].unique():
        rows = curve[curve["selector"] == name].sort_values(x)
        place, low, high = (rows[column].to_numpy(dtype=float) for column in (x, "low", "high"))
        ax.fill_between(place, low, high, where=np.isfinite(low), color=PAINT[name], alpha=0.15, lw=0, zorder=1)
        ax.plot(place, rows["mean"], marker=SHAPE[name], color=PAINT[name], label=name, zorder=3)
