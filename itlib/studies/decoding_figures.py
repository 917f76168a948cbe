"""Figures of ``03c_decoding``: dose and response of a contrast and of steering, and what predicts a gain."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from itlib.drawing import drawing
from itlib.figures import new_figure
from itlib.theme import GREY, TWO_COLUMN, colours, markers, themed


@drawing
def weights(runs: pd.DataFrame, *, y_label: str) -> np.ndarray:
    """Draw the score over the weight of the noisy logits, a panel per set of phrasings, a line per noisy instruction.

    Args:
        runs: From ``decoding_tables.weights``. Below every weight stands the guidance scale that it is.
        y_label: Name of the metric and its unit.

    Returns:
        Axes of shape (panels,). Dots are runs, lines their means; the dotted line is plain decoding.
    """
    panels = list(dict.fromkeys(runs["phrasings"]))
    with themed():
        figure = new_figure(TWO_COLUMN, 2.5)
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for ax, panel in zip(axes, panels, strict=True):
            group = runs[runs["phrasings"] == panel]
            _lines(ax, group.rename(columns={"kind": "line", "weight": "x"}))
            ax.axhline(group.loc[group["weight"] == 0, "value"].mean(), ls=":", lw=0.8, color=GREY, zorder=0)
            doses = sorted(group["weight"].unique(), reverse=True)
            ax.set_xticks(doses, [f"{dose:g}\n{1 / (1 + dose):.2f}" for dose in doses])
            ax.invert_xaxis()
            ax.set(title=panel.replace("_", " "), xlabel="weight of the noisy logits, and guidance scale")
        axes[0].set_ylabel(y_label)
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    return axes


@drawing
def degradation(dots: pd.DataFrame, correlation: tuple[float, float, float]) -> Axes:
    """Draw what contrasting a noisy instruction gains against what it costs as the prompt, one dot per kind and family.

    Args:
        dots: From ``decoding_tables.points``.
        correlation: From ``decoding_tables.correlation``; printed.
    """
    kinds = list(dict.fromkeys(dots["kind"]))
    value, low, high = correlation
    interval = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) else ""
    with themed():
        ax = new_figure(height=2.6).subplots()
        paint, shape = colours(kinds), markers(kinds)
        for kind in kinds:
            group = dots[dots["kind"] == kind]
            ax.plot(
                100 * group["cost"], 100 * group["gain"], shape[kind], ms=3.5, mew=0, alpha=0.7, color=paint[kind],
                label=kind,
            )  # fmt: skip
        for line in (ax.axhline, ax.axvline):
            line(0, lw=0.6, color=GREY, zorder=0)
        ax.set(xlabel="cost of the noisy instruction alone (points)", ylabel="gain from contrasting it (points)")
        ax.set_title(f"rank correlation {value:.2f}{interval}")
        ax.figure.legend(loc="outside upper center", ncols=len(kinds))
    return ax


@drawing
def steering(runs: pd.DataFrame, *, y_label: str) -> Axes:
    """Draw the score over the target of steering, one line per number of irrelevant sentences.

    Args:
        runs: From ``decoding_tables.steering``. Dots are runs, lines their means.
        y_label: Name of the metric and its unit.
    """
    with themed():
        ax = new_figure(height=2.6).subplots()
        names = {count: f"{count} sentence{'s' if count != 1 else ''}" for count in sorted(runs["sentences"].unique())}
        _lines(ax, runs.assign(line=runs["sentences"].map(names)).rename(columns={"target": "x"}))
        doses = sorted(runs["target"].unique())
        ax.set_xticks(doses, [f"{dose:g}" for dose in doses])
        ax.set(xlabel="target share of attention on the instruction", ylabel=y_label)
        ax.figure.legend(loc="outside upper center", ncols=len(names))
    return ax


def _lines(ax: Axes, runs: pd.DataFrame) -> None:
    """Draw a mean line per name in ``line`` over ``x``, and a dot per run, lines side by side."""
    names = list(dict.fromkeys(runs["line"]))
    paint, shape = colours(names), markers(names)
    for name in names:
        group = runs[runs["line"] == name]
        means = group.groupby("x")["value"].mean()
        ax.plot(group["x"], group["value"], ".", ms=2.5, mew=0, alpha=0.4, color=paint[name], zorder=1)
        ax.plot(means.index, means, marker=shape[name], color=paint[name], label=name, zorder=2)
