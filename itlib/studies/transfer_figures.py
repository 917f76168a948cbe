"""Figures of ``02e_transfer``: scores of two scorers, how far they agree, what they are worth, and rounds."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from itlib.drawing import drawing
from itlib.figures import new_figure
from itlib.studies.transfer import IFD
from itlib.theme import GREY, PALETTE, TWO_COLUMN, themed

CLEAN, CORRUPTED = PALETTE[0], PALETTE[3]
MEASURE = {IFD: "spearman", "lp": "kendall"}  # the one its paper reports


@drawing
def scatter(examples: pd.DataFrame) -> np.ndarray:
    """Draw the scores of single examples under two scorers, a panel per score and pair, a row per kind of pool.

    Args:
        examples: Rows of one seed of ``transfer_scores.example_frame``. Pairs are those with the smallest scorer, the
            first to appear. Corrupted examples have a colour of their own.

    Returns:
        Axes of shape (kinds, pairs).
    """
    kinds = list(dict.fromkeys(examples["kind_of_pool"]))
    pairs = [
        (score, names[0], other)
        for score, group in examples.groupby("score", sort=False)
        for names in [list(dict.fromkeys(group["scorer"]))]
        for other in names[1:]
    ]
    with themed():
        axes = new_figure(TWO_COLUMN, 0.5 + 1.75 * len(kinds)).subplots(len(kinds), len(pairs), squeeze=False)
        for (row, kind), (column, (score, left, right)) in itertools.product(enumerate(kinds), enumerate(pairs)):
            ax = axes[row, column]
            rows = examples[(examples["kind_of_pool"] == kind) & (examples["score"] == score)]
            values = rows.pivot(index="item", columns="scorer", values="value")[[left, right]].dropna()
            right_ones = rows.drop_duplicates("item").set_index("item")["noise"].reindex(values.index) == "none"
            for mask, colour in ((right_ones, CLEAN), (~right_ones, CORRUPTED)):
                dots = values[mask]
                ax.plot(dots[left], dots[right], ".", ms=2.5, mew=0, alpha=0.5, color=colour, rasterized=True)
            if score == IFD:
                ax.set(xscale="log", yscale="log")
            ax.set(xlabel=f"{score}, {left}", ylabel=f"{score}, {right}", title=f"{kind} pool" if column == 0 else "")
        handles = [axes[0, 0].plot([], [], "o", ms=3, color=CLEAN, label="right")[0]]
        if (examples["noise"] != "none").any():
            handles.append(axes[0, 0].plot([], [], "o", ms=3, color=CORRUPTED, label="corrupted")[0])
        axes[0, 0].figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return axes


@drawing
def agreement(rows: pd.DataFrame) -> np.ndarray:
    """Draw how far every two scorers agree, a dot per seed and a bar at the mean, a panel per kind of pool.

    Args:
        rows: From ``transfer_tables.agreement``; of each score the correlation that its paper reports.

    Returns:
        Axes of shape (kinds,).
    """
    shown = rows[rows["metric"] == rows["score"].map(MEASURE)]
    names = shown["score"] + ": " + shown["left"] + " and " + shown["right"] + " (" + shown["metric"] + ")"
    labels, arms = list(dict.fromkeys(names)), list(dict.fromkeys(shown["arm"]))
    lowest = min(0.0, shown["value"].min())
    with themed():
        figure = new_figure(TWO_COLUMN, 0.6 + 0.24 * len(labels))
        axes = figure.subplots(1, len(arms), sharey=True, squeeze=False)[0]
        for ax, arm in zip(axes, arms, strict=True):
            for place, label in enumerate(labels):
                values = shown.loc[(shown["arm"] == arm) & (names == label), "value"].dropna()
                _dots(ax, values, place)
            ax.axvline(0, lw=0.6, color=GREY, zorder=0)
            ax.set(title=f"{arm.partition('/')[0]} pool", xlabel="rank correlation", xlim=(lowest - 0.05, 1.03))
            ax.set(ylim=(len(labels) - 0.5, -0.5))
            ax.set_yticks(range(len(labels)), labels)
    return axes


@drawing
def scorers(points: pd.DataFrame) -> np.ndarray:
    """Draw the exact match of selections by who scored, a dot per run, a panel per selector and kind of pool.

    Args:
        points: From ``transfer_tables.by_scorer``; thin lines join the runs of a seed.

    Returns:
        Axes of shape (panels,).
    """
    panels, rows = list(dict.fromkeys(points["what"])), list(dict.fromkeys(points["scorer"]))
    with themed():
        figure = new_figure(TWO_COLUMN, 0.9 + 0.32 * len(rows))
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, panel in zip(axes, panels, strict=True):
            table = points[points["what"] == panel].pivot(index="seed", columns="scorer", values="value")
            table = table.reindex(columns=rows)
            for _, values in table.iterrows():
                ax.plot(values, range(len(rows)), "-", lw=0.5, alpha=0.4, color=GREY, zorder=0)
            for place, name in enumerate(rows):
                _dots(ax, table[name].dropna(), place)
            ax.set(title=panel.replace(", ", "\n"), xlabel="exact match", ylim=(len(rows) - 0.5, -0.5))
            ax.xaxis.set_major_locator(MaxNLocator(4))
            ax.set_yticks(range(len(rows)), rows)
        axes[0].set_ylabel("selected by")
    return axes


@drawing
def rounds(gains: pd.DataFrame, *, margin: float) -> Axes:
    """Draw what selecting in rounds gains on each tuned model, a dot per seed and a bar at the mean.

    Args:
        gains: From ``transfer_tables.gains_of_rounds``.
        margin: Below which the claim sees no gain; a dashed line.
    """
    models = list(dict.fromkeys(gains["model"]))
    with themed():
        ax = new_figure(TWO_COLUMN * 0.6, 0.8 + 0.3 * max(1, len(models))).subplots()
        for _, values in gains.pivot(index="seed", columns="model", values="value").reindex(columns=models).iterrows():
            ax.plot(values, range(len(models)), "-", lw=0.5, alpha=0.4, color=GREY, zorder=0)
        for place, name in enumerate(models):
            _dots(ax, gains.loc[gains["model"] == name, "value"], place)
        ax.axvline(0, lw=0.6, color=GREY, zorder=0)
        ax.axvline(margin, lw=0.8, ls="--", color=GREY, zorder=0)
        ax.set(xlabel="exact match, in rounds minus at once", ylabel="tuned model")
        ax.set_ylim(max(1, len(models)) - 0.5, -0.5)
        ax.set_yticks(range(len(models)), models)
    return ax


def _dots(ax: Axes, values: pd.Series, place: float) -> None:
    ax.plot(values, [place] * len(values), "o", ms=3, mew=0, alpha=0.6, color=PALETTE[0])
    if len(values):
        ax.plot([values.mean()] * 2, [place - 0.3, place + 0.3], "-", lw=1.5, color=PALETTE[0])
