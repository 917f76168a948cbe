"""Figures: functions that draw what ``stats`` and ``scaling`` computed, and compute nothing themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator, StrMethodFormatter

from itlib.curvefit import ALPHA_RANGE
from itlib.drawing import drawing
from itlib.theme import GREY, PALETTE, TWO_COLUMN, colours, in_order, markers, new_figure, save_figure, themed

__all__ = ["arms", "family_grid", "new_figure", "power_law", "reference_drift", "save_figure", "scaling_curves"]


@drawing
def scaling_curves(
    curve: pd.DataFrame,
    *,
    by: str = "familiarity",
    x: str = "n_train",
    points: pd.DataFrame | None = None,
    fits: pd.DataFrame | None = None,
    x_label: str = "",
    y_label: str = "exact match",
    ax: Axes | None = None,
) -> Axes:
    """Draw mean over seeds against training examples, one line per group.

    Args:
        curve: From ``stats.mean_curve``. NaN means become gaps, marked by a cross on the axis; cells with fewer
            seeds than others have an open marker. Bands are drawn where bounds are finite.
        by: Grouping column.
        x: Column on the (logarithmic) horizontal axis; rows at 0 become a dashed horizontal line.
        points: From ``stats.run_points``: one small dot per run.
        fits: From ``scaling.predictions``: dashed curves.
        x_label: Name of the horizontal axis; "" takes the usual name of ``x``.
        y_label: Name of the metric and its unit.
        ax: Where to draw; a new one-column figure without it.
    """
    with themed():
        ax = new_figure().subplots() if ax is None else ax
        names = in_order(curve[by])
        paint, shape = colours(names), markers(names)
        for name in names:
            group = curve[curve[by] == name].sort_values(x)
            if points is not None:
                dots = points[(points[by] == name) & (points[x] > 0)]
                ax.plot(dots[x], dots["value"], ".", ms=2, mew=0, alpha=0.45, color=paint[name], zorder=1)
            if fits is not None and (fits[by] == name).any():
                line = fits[fits[by] == name].sort_values(x)
                ax.plot(line[x], line["fit"], "--", lw=0.8, color=paint[name], zorder=2)
            _draw_group(ax, group, x, paint[name], shape[name], str(name), connect=fits is None)
        _finish(ax, curve, x, y_label)
        if x_label:
            ax.set_xlabel(x_label)
        _legend(ax, fits is not None)
    return ax


@drawing
def family_grid(
    curve: pd.DataFrame,
    labels: Mapping[str, str] | None = None,
    *,
    by: str = "family",
    colour_by: str | None = "familiarity",
    x: str = "n_train",
    points: pd.DataFrame | None = None,
    y_label: str = "exact match",
    columns: int = 5,
    fig: Figure | None = None,
) -> np.ndarray:
    """Draw one small panel per family with a shared scale, its label ("rising", ...) printed inside.

    Args:
        curve: From ``stats.mean_curve(..., by=("familiarity", "family"))`` or ``by=("family",)``.
        labels: Family to label, from ``scaling.describe``.
        by: Column that makes a panel.
        colour_by: Column that gives the colour, if the curve has it.
        x: Column on the horizontal axis.
        points: From ``stats.run_points`` with the same grouping.
        y_label: Name of the metric and its unit.
        columns: Panels per row, fewer where there are fewer families.
        fig: Where to draw; a new two-column figure without it.

    Returns:
        Array of the axes in use, in panel order.
    """
    colour_by = colour_by if colour_by in curve.columns else None
    names = list(curve[by].unique())
    if colour_by:
        names = [
            name for role in in_order(curve[colour_by]) for name in curve.loc[curve[colour_by] == role, by].unique()
        ]
    columns = min(columns, max(1, len(names)))
    rows = -(-len(names) // columns)
    with themed():
        fig = new_figure(TWO_COLUMN, 0.35 + 1.15 * rows) if fig is None else fig
        grid = fig.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        paint = colours(in_order(curve[colour_by])) if colour_by else {}
        for ax, name in zip(grid.flat, names, strict=False):
            group = curve[curve[by] == name].sort_values(x)
            colour = paint[group[colour_by].iloc[0]] if colour_by else PALETTE[0]
            if points is not None:
                dots = points[(points[by] == name) & (points[x] > 0)]
                ax.plot(dots[x], dots["value"], ".", ms=1.8, mew=0, alpha=0.45, color=colour, zorder=1)
            _draw_group(ax, group, x, colour, "o", "", connect=True)
            _finish(ax, curve, x, "")
            ax.set_xlabel("")
            ax.set_title(str(name).replace("_", " "), pad=10)
            if labels and labels.get(name):
                place = {"xy": (0.5, 1.0), "xycoords": "axes fraction", "xytext": (0, 2), "textcoords": "offset points"}
                ax.annotate(
                    labels[name], **place, ha="center", va="bottom", fontsize=6, style="italic", color="#444444"
                )
        for ax in grid.flat[len(names) :]:
            ax.remove()
        for column in range(columns):
            used = [row for row in range(rows) if row * columns + column < len(names)]
            if used:
                grid[used[-1], column].tick_params(labelbottom=True)
        fig.supxlabel(_x_label(curve), fontsize=7)
        fig.supylabel(y_label, fontsize=7)
        handles = [Line2D([], [], marker="o", color=colour, label=name) for name, colour in paint.items()]
        handles += _notes(list(grid.flat[: len(names)]), fitted=False)
        if handles:
            fig.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return grid.ravel()[: len(names)]


@drawing
def arms(
    scores: pd.DataFrame,
    *,
    row: str = "arm",
    panel: str = "skill",
    x_label: str = "exact match",
    other_measures: Sequence[str] = (),
) -> np.ndarray:
    """Draw one dot per run and a bar at the mean of each row, a panel per group; the scale runs from 0 to 1.

    Args:
        scores: One line per run with ``value`` and the two grouping columns; NaN values are left out and counted.
        row: Column whose values become lines, in order of appearance.
        panel: Column whose values become panels.
        x_label: Name of the metric and its unit.
        other_measures: Panels whose values are of another metric: named by the panel, on a scale of their own.

    Returns:
        Axes of shape (panels,).
    """
    with themed():
        panels, rows = list(scores[panel].unique()), list(scores[row].unique())
        height = 0.7 + 0.28 * len(rows)
        axes = new_figure(TWO_COLUMN, height).subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, name in zip(axes, panels, strict=True):
            for place, label in enumerate(rows):
                values = scores.loc[(scores[panel] == name) & (scores[row] == label), "value"].dropna()
                ax.plot(values, [place] * len(values), "o", ms=3, alpha=0.6, mew=0, color=PALETTE[0])
                if len(values):
                    ax.plot([values.mean()] * 2, [place - 0.3, place + 0.3], "-", lw=1.5, color=PALETTE[0])
            ax.set(title=str(name), xlabel=x_label, xlim=(-0.03, 1.03), ylim=(len(rows) - 0.5, -0.5))
            ax.set_yticks(range(len(rows)), rows)
            if name in other_measures:
                ax.set(xlabel=name)
                ax.autoscale(axis="x")
    return axes


@drawing
def reference_drift(
    curve: pd.DataFrame,
    *,
    base: float | None = None,
    by: str = "method",
    x: str = "n_train",
    points: pd.DataFrame | None = None,
    y_label: str = "reference loss (nats per token)",
    ax: Axes | None = None,
) -> Axes:
    """Draw the loss on held-out pretraining text after tuning; the base model's own loss is a dotted line.

    Arguments as in ``scaling_curves``; ``base`` is the loss before tuning.
    """
    with themed():
        ax = scaling_curves(curve, by=by, x=x, points=points, y_label=y_label, ax=ax)
        if base is not None:
            ax.axhline(base, ls=":", lw=1, color=GREY, zorder=0, label="before tuning")
            _legend(ax, False)
    return ax


@drawing
def power_law(
    curve: pd.DataFrame,
    described: pd.DataFrame,
    *,
    fits: pd.DataFrame,
    by: str = "source",
    x: str = "n_train",
    points: pd.DataFrame | None = None,
    y_label: str = "response loss (nats per token)",
    ax: Axes | None = None,
) -> Axes:
    """Draw a loss against training examples with its fitted curve, exponent and interval printed.

    ``described`` is from ``scaling.describe`` and ``fits`` from ``scaling.predictions`` with the same groups; the
    other arguments are those of ``scaling_curves``.
    """
    with themed():
        if ax is None:  # the legend has a row per group, and the curves keep their height below it
            ax = new_figure(height=2.2 + 0.16 * len(described)).subplots()
        ax = scaling_curves(curve, by=by, x=x, points=points, fits=fits, y_label=y_label, ax=ax)
        entries = {str(row[by]): _exponent_text(row, by) for _, row in described.iterrows()}
        for line in ax.lines:
            line.set_label(entries.get(line.get_label(), line.get_label()))
        _legend(ax, True, columns=1)
    return ax


def _draw_group(ax: Axes, group: pd.DataFrame, x: str, colour: str, marker: str, name: str, *, connect: bool) -> None:
    before = group[group[x] <= 0]
    group = group[group[x] > 0]
    for value in before["mean"].dropna():
        ax.axhline(value, ls=(0, (1, 2)), lw=0.8, color=colour, zorder=0, gid="before")
    size, mean = group[x].to_numpy(dtype=float), group["mean"].to_numpy(dtype=float)
    low, high = group["low"].to_numpy(dtype=float), group["high"].to_numpy(dtype=float)
    ax.fill_between(size, low, high, where=np.isfinite(low), color=colour, alpha=0.18, lw=0, zorder=1)
    few = (group["n_seeds"] < group["n_seeds"].max()).to_numpy() & np.isfinite(mean)
    ax.plot(size, mean, ls="-" if connect else "", marker=marker, color=colour, label=name or None, zorder=3)
    if few.any():
        ax.plot(size[few], mean[few], marker=marker, mfc="white", color=colour, zorder=4, ls="", gid="few")
    for position in size[np.isnan(mean)]:
        place = ax.get_xaxis_transform()
        ax.plot([position], [0.02], "x", color=GREY, ms=4, mew=1, transform=place, clip_on=False, gid="gap")


def _finish(ax: Axes, curve: pd.DataFrame, x: str, y_label: str) -> None:
    sizes = sorted(size for size in curve[x].unique() if size > 0)
    ax.set_xscale("log")
    shown = sizes if len(sizes) <= 4 else sizes[:: -(-len(sizes) // 4)]
    ax.xaxis.set_major_locator(FixedLocator(shown))
    ax.xaxis.set_minor_locator(FixedLocator(sizes) if sizes else NullLocator())
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel(_x_label(curve))
    if y_label:
        ax.set_ylabel(y_label)


def _x_label(curve: pd.DataFrame) -> str:
    """One seed shows no spread, so the axis says n=1 where it cannot hide behind a line."""
    return "training examples (n=1 seed)" if curve["n_seeds"].max() == 1 else "training examples"


def _exponent_text(row: pd.Series, by: str) -> str:
    """Say the exponent and its interval; of a curve that does not bend (flat, or straight in ln N) say just that."""
    if row["label"] == "flat":
        return f"{row[by]}: flat"
    if row["alpha"] <= ALPHA_RANGE[0]:
        return f"{row[by]}: exponent at most {ALPHA_RANGE[0]:g} (no bend)"
    digits = 3 if row["alpha"] < 0.1 else 2
    low, high = (f"{row[name]:.{digits}f}" for name in ("alpha_low", "alpha_high"))
    interval = f" [{low}, {high}]" if np.isfinite(row["alpha_low"]) else ""
    return f"{row[by]}: exponent {row['alpha']:.{digits}f}{interval}"


def _notes(axes: Sequence[Axes], *, fitted: bool) -> list[Line2D]:
    """Legend entries for what the marks mean, only for marks that are there."""
    marks = {line.get_gid() for ax in axes for line in ax.lines}
    notes = []
    if fitted:
        notes.append(Line2D([], [], ls="--", lw=0.8, color=GREY, label="fit"))
    if "before" in marks:
        notes.append(Line2D([], [], ls=(0, (1, 2)), lw=0.8, color=GREY, label="before tuning"))
    if "few" in marks:
        notes.append(Line2D([], [], ls="", marker="o", mfc="white", color=GREY, label="fewer seeds"))
    if "gap" in marks:
        notes.append(Line2D([], [], ls="", marker="x", ms=4, color=GREY, label="no complete run"))
    return notes


def _legend(ax: Axes, fitted: bool, columns: int | None = None) -> None:
    handles = ax.get_legend_handles_labels()[0] + _notes([ax], fitted=fitted)
    if columns is None:
        columns = next(count for count in (5, 4, 3, 2, 1) if _row_width(handles, count) <= 46 or count == 1)
    ax.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=min(columns, len(handles)),
        borderaxespad=0.2,
        handlelength=1.6,
        columnspacing=1.0,
        handletextpad=0.5,
    )


def _row_width(handles: Sequence[Artist], columns: int) -> int:
    """Characters in one legend row, each handle counted as five; as many columns, the first ones the longer ones."""
    texts = [len(str(handle.get_label())) + 5 for handle in handles]
    return sum(max(part) for part in map(list, np.array_split(texts, columns)) if part)


def strips_by_arm(ax: Axes, points: pd.DataFrame, arms: Sequence[str]) -> None:
    """Draw a dot per run and a bar at the mean, a line per arm; ``points`` has the columns ``arm`` and ``value``."""
    for place, arm in enumerate(arms):
        values = points.loc[points["arm"] == arm, "value"].dropna()
        ax.plot(values, [place] * len(values), "o", ms=3, mew=0, alpha=0.6, color=PALETTE[0])
        if len(values):
            ax.plot([values.mean()] * 2, [place - 0.3, place + 0.3], "-", lw=1.5, color=PALETTE[0])
    ax.set_ylim(max(1, len(arms)) - 0.5, -0.5)
    ax.set_yticks(range(len(arms)), arms)
