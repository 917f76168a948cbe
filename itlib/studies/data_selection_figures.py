"""Figures of ``02_data_selection``: arms by kind of pool, curves over budgets, cost, overlap and families."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from itlib.drawing import drawing
from itlib.figures import new_figure, scaling_curves
from itlib.theme import GREY, TWO_COLUMN, colours, markers, themed


@drawing
def dumbbells(points: pd.DataFrame, *, x_label: str) -> np.ndarray:
    """Draw a row per arm and a panel per kind of pool: a faint dot per run, a mark at each mean, and a bar between two.

    Args:
        points: One line per run with ``kind``, ``arm``, ``families``, ``value``; at most two values of ``families``.
        x_label: Name of the measure and its unit.

    Returns:
        Axes of shape (kinds,).
    """
    with themed():
        kinds, arms, groups = (list(points[name].unique()) for name in ("kind", "arm", "families"))
        axes = _panels(1, len(kinds), 0.75 + 0.26 * len(arms), sharex=True)[0]
        paint, shape = colours(groups), markers(groups)
        for ax, kind in zip(axes, kinds, strict=True):
            for place, name in enumerate(arms):
                rows = points[(points["kind"] == kind) & (points["arm"] == name)]
                means = rows.groupby("families", sort=False)["value"].mean()
                ax.plot(means, [place] * len(means), "-", lw=1, color=GREY, alpha=0.6, zorder=1)
                for shift, group in zip((-0.13, 0.13), groups, strict=False):
                    values = rows.loc[rows["families"] == group, "value"]
                    ax.plot(values, [place + shift] * len(values), ".", ms=3, mew=0, alpha=0.5, color=paint[group])
                    if len(values):
                        ax.plot([values.mean()], [place], shape[group], ms=5, color=paint[group], zorder=3)
            ax.set(title=f"{kind} pool", xlabel=x_label, ylim=(len(arms) - 0.5, -0.5))
            ax.set_yticks(range(len(arms)), arms)
            ax.locator_params(axis="x", nbins=6)
        if len(groups) > 1:
            handles = [Line2D([], [], ls="", marker=shape[name], color=paint[name], label=name) for name in groups]
            axes[0].figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return axes


@drawing
def budgets(curve: pd.DataFrame, points: pd.DataFrame, *, y_label: str) -> np.ndarray:
    """Draw exact match over the number of selected examples, a line per selector, a panel per families and kind.

    Args:
        curve: Means from ``data_selection_tables.curve``.
        points: One line per run, from the same.
        y_label: Name of the metric and its unit.

    Returns:
        Axes of shape (families, kinds).
    """
    with themed():
        kinds, sides = list(curve["kind"].unique()), list(curve["families"].unique())
        axes = _panels(len(sides), len(kinds), 0.6 + 1.75 * len(sides), sharex=True, sharey="row")
        handles = {}
        sizes = sorted(curve["n_train"].unique())
        for row, side in zip(axes, sides, strict=True):
            for ax, kind in zip(row, kinds, strict=True):
                inside = [table[(table["kind"] == kind) & (table["families"] == side)] for table in (curve, points)]
                scaling_curves(inside[0], by="selector", points=inside[1], y_label=f"{y_label}, {side}", ax=ax)
                legend = ax.get_legend()
                handles |= {handle.get_label(): handle for handle in legend.legend_handles}
                legend.remove()
                ax.set_xticks(sizes, [str(size) for size in sizes])
                ax.minorticks_off()
        for ax, kind in zip(axes[0], kinds, strict=True):
            ax.set_title(f"{kind} pool")
        _outer_labels(axes)
        axes[0, 0].figure.legend(handles=list(handles.values()), loc="outside upper center", ncols=len(handles))
    return axes


@drawing
def costs(prices: pd.DataFrame, *, y_label: str) -> np.ndarray:
    """Draw what an arm reaches over what it costs: the Pareto front is joined and has black edges, oracles are hollow.

    Args:
        prices: From ``data_selection_tables.prices``.
        y_label: Name of the metric and its unit.

    Returns:
        Axes of shape (families, kinds).
    """
    with themed():
        kinds, sides, arms = (list(prices[name].unique()) for name in ("kind", "families", "arm"))
        axes = _panels(len(sides), len(kinds), 0.6 + 1.75 * len(sides), sharex=True, sharey="row")
        paint, shape = colours(arms), markers(arms)
        for row, side in zip(axes, sides, strict=True):
            for ax, kind in zip(row, kinds, strict=True):
                inside = prices[(prices["kind"] == kind) & (prices["families"] == side)]
                front = inside[inside["front"]].sort_values("flops")
                ax.step(front["flops"], front["value"], where="post", lw=0.8, color=GREY, zorder=1)
                for point in inside.itertuples():
                    colour, face = paint[point.arm], "white" if point.arm.startswith("oracle_") else paint[point.arm]
                    ax.plot([point.flops] * 2, [point.low, point.high], "-", lw=0.8, color=colour, alpha=0.6)
                    edge = "black" if point.front else colour
                    ax.plot([point.flops], [point.value], shape[point.arm], ms=5, mfc=face, mec=edge)
                ax.set(xlabel="selection and training (FLOPs)", ylabel=f"{y_label}, {side}")
        for ax, kind in zip(axes[0], kinds, strict=True):
            ax.set_title(f"{kind} pool")
        _outer_labels(axes)
        handles = [_key(name, paint[name], shape[name]) for name in arms]
        handles.append(Line2D([], [], lw=0.8, color=GREY, marker="o", mfc="none", mec="black", label="Pareto front"))
        axes[0, 0].figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), 7))
    return axes


@drawing
def overlap(tables: Mapping[str, pd.DataFrame]) -> np.ndarray:
    """Draw which share of their examples every two arms have in common, a panel per kind of pool.

    Args:
        tables: From ``data_selection_tables.shared``.
    """
    with themed():
        side = max(len(table) for table in tables.values())
        axes = _panels(1, len(tables), 0.9 + 0.3 * side, sharey=True)[0]
        for ax, (kind, table) in zip(axes, tables.items(), strict=True):
            _heat(ax, table, f"{kind} pool")
    return axes


@drawing
def by_family(table: pd.DataFrame) -> np.ndarray:
    """Draw the exact match of every family under every arm, a panel per kind of pool.

    Args:
        table: From ``data_selection_tables.families``; families and arms are drawn in order of appearance.
    """
    with themed():
        kinds, arms, rows = (list(table[name].unique()) for name in ("kind", "arm", "family"))
        axes = _panels(1, len(kinds), 1.0 + 0.17 * len(rows), sharey=True)[0]
        for ax, kind in zip(axes, kinds, strict=True):
            square = table[table["kind"] == kind].pivot(index="family", columns="arm", values="value")
            square = square.reindex(index=rows, columns=arms).rename(index=lambda family: family.replace("_", " "))
            _heat(ax, square, f"{kind} pool")
    return axes


def _panels(rows: int, columns: int, height: float, **shared: object) -> np.ndarray:
    return new_figure(TWO_COLUMN, height).subplots(rows, columns, squeeze=False, **shared)


def _outer_labels(axes: np.ndarray) -> None:
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")


def _heat(ax: Axes, table: pd.DataFrame, title: str) -> None:
    labels = {"xticklabels": list(table.columns), "yticklabels": list(table.index), "annot_kws": {"size": 6}}
    seaborn.heatmap(table, ax=ax, vmin=0, vmax=1, cmap="Blues", cbar=False, annot=True, fmt=".2f", **labels)
    ax.set(title=title, xlabel="", ylabel="")
    ax.tick_params(axis="y", rotation=0)
    for label in ax.get_xticklabels():
        label.set(rotation=40, ha="right", rotation_mode="anchor")


def _key(name: str, colour: str, marker: str) -> Line2D:
    face = "white" if name.startswith("oracle_") else colour
    return Line2D([], [], ls="", marker=marker, mfc=face, color=colour, label=name)
