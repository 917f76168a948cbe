"""Figures of ``02d_sources``: sources by skill, teachers by what predicts their worth, and differences by seed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from itlib.drawing import drawing
from itlib.figures import new_figure
from itlib.theme import GREY, PALETTE, TWO_COLUMN, colours, markers, themed

AXES = {
    "reward": "accuracy of the teacher",
    "loss": "loss of the base on it\n(nats per token)",
    "car": "CAR",
}
MEASURES = {"score": "difference in score", "drift": "difference in loss on\npretraining text (nats per token)"}


@drawing
def skill_matrix(table: pd.DataFrame, *, mix: str) -> Axes:
    """Draw what every source reaches on every skill; the best ones of a column are framed, the mix is last.

    A source that rounds to zero is not framed.

    Args:
        table: From ``data_sources_tables.skills``.
        mix: Name of the mix among its sources.
    """
    with themed():
        square = table.set_index("source").drop(columns=["won", "seeds"])
        square = square.loc[[name for name in square.index if name != mix] + [mix]]
        ax = new_figure(TWO_COLUMN, 0.8 + 0.3 * len(square)).subplots()
        seaborn.heatmap(
            square, ax=ax, vmin=0, vmax=1, cmap="Blues", annot=True, fmt=".2f", annot_kws={"size": 6.5},
            cbar_kws={"label": "share of items right"},
        )  # fmt: skip
        single = square.drop(index=mix)
        for column, name in enumerate(single.columns):
            for row in np.flatnonzero((single[name].round(2) > 0) & (single[name] >= single[name].max() - 1e-12)):
                ax.add_patch(Rectangle((column, row), 1, 1, fill=False, ec="black", lw=1.2, clip_on=False, zorder=3))
        ax.axhline(len(single), color="white", lw=3)
        ax.axvline(len(single.columns) - 1, color="white", lw=3)
        ax.set(xlabel="", ylabel="")
        ax.tick_params(length=0)
        ax.tick_params(axis="both", rotation=0)
    return ax


@drawing
def teachers(means: pd.DataFrame, by_seed: pd.DataFrame) -> np.ndarray:
    """Draw what pupils reach over accuracy, loss and CAR of their teachers, and the rank correlation of each by seed.

    Args:
        means: From ``data_sources_tables.teachers``: a mark per teacher, colour and marker by voice.
        by_seed: From ``data_sources_tables.predictors``: a dot per seed, a bar at the mean.

    Returns:
        Axes of shape (4,).
    """
    with themed():
        figure = new_figure(TWO_COLUMN, 2.5)
        axes = figure.subplots(1, 4)
        voices = list(means["voice"].unique())
        paint, shape = colours(voices), markers(voices)
        for ax, (column, label) in zip(axes, AXES.items(), strict=False):
            for voice, group in means.groupby("voice", sort=False):
                ax.plot(group[column], group["score"], shape[voice], color=paint[voice], label=voice)
            ax.set_xlabel(label)
            ax.locator_params(axis="x", nbins=4)
        for ax in axes[1:3]:
            ax.sharey(axes[0])
            ax.tick_params(labelleft=False)
        axes[0].set_ylabel("what its pupil reaches\n(share of items right)")
        names = list(by_seed["predictor"].unique())
        for place, name in enumerate(names):
            values = by_seed.loc[by_seed["predictor"] == name, "value"]
            axes[3].plot([place] * len(values), values, "o", ms=3, mew=0, alpha=0.6, color=PALETTE[0])
            axes[3].plot([place - 0.3, place + 0.3], [values.mean()] * 2, lw=1.5, color=PALETTE[0])
        axes[3].set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
        axes[3].set(ylabel="rank correlation with\nwhat pupils reach", ylim=(-1.05, 1.05))
        axes[3].set_xlim(-0.5, max(len(names), 1) - 0.5)
        axes[3].axhline(0, color=GREY, lw=0.6, zorder=0)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=min(len(voices), 5))
    return axes


@drawing
def differences(points: pd.DataFrame, table: pd.DataFrame) -> np.ndarray:
    """Draw every comparison: a dot per seed, the mean, and the sign-flip interval; scores left, drift right.

    Args:
        points: From ``data_sources_tables.differences``.
        table: From ``data_sources_tables.summary``.

    Returns:
        Axes of shape (measures,).
    """
    with themed():
        rows = list(points["comparison"].unique())
        axes = new_figure(TWO_COLUMN, 0.8 + 0.27 * len(rows)).subplots(1, len(MEASURES), sharey=True)
        for ax, (measure, label) in zip(axes, MEASURES.items(), strict=True):
            ax.axvline(0, color=GREY, lw=0.6, zorder=0)
            for place, name in enumerate(rows):
                values = points.loc[(points["comparison"] == name) & (points["measure"] == measure), "value"]
                ax.plot(values, [place] * len(values), "o", ms=2.5, mew=0, alpha=0.45, color=PALETTE[0])
            for found in table[table["measure"] == measure].itertuples():
                place = rows.index(found.comparison)
                if np.isfinite([found.low, found.high]).all():
                    ax.plot([found.low, found.high], [place] * 2, "-", lw=1.2, color="black")
                ax.plot([found.mean], [place], "D", ms=3.5, color="black")
            ax.set(xlabel=label, ylim=(len(rows) - 0.5, -0.5))
            ax.set_yticks(range(len(rows)), rows)
            ax.locator_params(axis="x", nbins=5)
    return axes
