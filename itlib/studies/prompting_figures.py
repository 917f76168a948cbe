"""Figures of ``03f_prompting``: accuracy over demonstrations, similarity of models, stability under new wrappers."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from itlib.drawing import drawing
from itlib.figures import new_figure
from itlib.studies.prompting_tables import CELLS
from itlib.theme import TWO_COLUMN, colours, in_order, markers, themed


@drawing
def accuracy(table: pd.DataFrame) -> np.ndarray:
    """Draw accuracy over the number of demonstrations, a line per model, a panel in and out of distribution.

    Args:
        table: From ``prompting_tables.cells``. Dots are runs, lines means over seeds.

    Returns:
        Axes of shape (4,).
    """
    names = in_order(table["model"])
    paint, shape = colours(names), markers(names)
    shots = sorted(table["n_shots"].unique())
    with themed():
        axes = new_figure(TWO_COLUMN, 2.3).subplots(1, len(CELLS), sharey=True)
        for ax, cell in zip(axes, CELLS.values(), strict=True):
            for name in names:
                rows = table[(table["model"] == name) & (table["cell"] == cell)]
                places = [shots.index(k) for k in rows["n_shots"]]
                means = rows.groupby("n_shots")["accuracy"].mean()
                ax.plot(places, rows["accuracy"], ".", ms=3, mew=0, alpha=0.4, color=paint[name])
                at = [shots.index(k) for k in means.index]
                ax.plot(at, means, marker=shape[name], color=paint[name], label=name)
            ax.set_xticks(range(len(shots)), [str(k) for k in shots])
            ax.set(xlabel="demonstrations", title=cell.replace(", ", ",\n"))
        axes[0].set(ylabel="share of answers right", ylim=(-0.02, 1.02))
        axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(names))
    return axes


@drawing
def layers(table: pd.DataFrame) -> np.ndarray:
    """Draw the similarity of every two models over layers, a line per pair, a panel per set of wrappers.

    Args:
        table: From ``prompting_tables.layers``. Dots are seeds, lines means.

    Returns:
        Axes of shape (sets,).
    """
    sets = list(dict.fromkeys(table["set"]))
    with themed():
        axes = new_figure(TWO_COLUMN, 2.9).subplots(1, len(sets), sharey=True, squeeze=False)[0]
        for ax, which in zip(axes, sets, strict=True):
            _over_layers(ax, table[table["set"] == which], "pair")
            ax.set_title(f"{which.replace('_', ' ')} phrasings")
        axes[0].set_ylabel("linear CKA")
        axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return axes


@drawing
def stability(table: pd.DataFrame) -> Axes:
    """Draw the similarity of each model to itself between known and new wrappers over layers.

    Args:
        table: From ``prompting_tables.stability``. Dots are seeds, lines means.
    """
    with themed():
        ax = new_figure(TWO_COLUMN * 0.7, 2.5).subplots()
        _over_layers(ax, table, "arm")
        ax.set_ylabel("linear CKA, known : new wrappers")
        ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return ax


def _over_layers(ax: Axes, table: pd.DataFrame, by: str) -> None:
    names = in_order(table[by])
    paint, shape = colours(names), markers(names)
    for name in names:
        rows = table[table[by] == name]
        means = rows.groupby("layer")["value"].mean()
        ax.plot(rows["layer"], rows["value"], ".", ms=3, mew=0, alpha=0.4, color=paint[name])
        ax.plot(means.index, means, marker=shape[name], color=paint[name], label=name)
    ax.set_xticks(sorted(table["layer"].unique()))
    ax.set(xlabel="layer", ylim=(-0.02, 1.02))
