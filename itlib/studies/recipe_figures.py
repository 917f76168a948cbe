"""Figures of ``01d_recipe``: what is learned when, what a setting reaches, and what its first quarter tells."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import StrMethodFormatter

from itlib.drawing import drawing
from itlib.figures import new_figure
from itlib.theme import GREY, TWO_COLUMN, colours, markers, themed

LINES = {
    "instruction_following_full": "instruction following (full instructions)",
    "instruction_following_truncated": "the same, truncated instructions",
    "exact_match": "exact match",
}


@drawing
def learning(probes: pd.DataFrame, stops: pd.DataFrame) -> np.ndarray:
    """Draw form and content over steps, and the loss on pretraining text below; one thin line per run, the mean thick.

    Args:
        probes: Probe rows: ``digest``, ``step``, ``metric``, ``value``.
        stops: From ``recipe_tables.stops``: each run's stopping step is a tick on the axis of steps.

    Returns:
        Axes of shape (2,).
    """
    with themed():
        axes = new_figure(height=3.6).subplots(2, 1, sharex=True)
        shown = {name: label for name, label in LINES.items() if name in set(probes["metric"])}
        paint = colours(list(shown.values()))
        for name, label in shown.items():
            _runs_and_mean(axes[0], probes[probes["metric"] == name], paint[label], label)
        _runs_and_mean(axes[1], probes[probes["metric"] == "reference_loss"], GREY, "")
        for stop in stops["stop"].dropna():
            axes[1].plot([stop], [0.03], "^", ms=4, color="black", transform=axes[1].get_xaxis_transform())
        axes[0].set(ylabel="share of dev items", ylim=(-0.03, 1.03))
        axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
        axes[1].set(
            ylabel="reference loss (nats per token)", xlabel="optimiser steps (triangles: where the rule stops)"
        )
        axes[1].set_xscale("symlog", linthresh=1)
        axes[1].xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes[1].set_xlim(left=0)
    return axes


@drawing
def batches(scores: pd.DataFrame, *, y_label: str) -> Axes:
    """Draw the final score over the learning rate, one line per batch size, one dot per run.

    Args:
        scores: From ``recipe_tables.grid_scores``.
        y_label: Name of the metric and its unit.
    """
    with themed():
        ax = new_figure().subplots()
        sizes = sorted(scores["batch_size"].unique())
        names = [f"batch {size}" for size in sizes]
        paint, shape = colours(names), markers(names)
        for size, name in zip(sizes, names, strict=True):
            group = scores[scores["batch_size"] == size]
            means = group.groupby("learning_rate")["value"].mean()
            ax.plot(group["learning_rate"], group["value"], ".", ms=3, mew=0, alpha=0.5, color=paint[name])
            ax.plot(means.index, means, marker=shape[name], color=paint[name], label=name)
        rates = sorted(scores["learning_rate"].unique())
        ax.set_xscale("log")
        ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
        ax.minorticks_off()
        ax.set(xlabel="peak learning rate", ylabel=y_label)
        ax.legend()
    return ax


@drawing
def signals(table: pd.DataFrame, *, y_label: str) -> np.ndarray:
    """Draw the final score against early gradient norm and early loss; the runs of one seed share a colour.

    Args:
        table: From ``claims.recipe.early_table``.
        y_label: Name of the metric and its unit.

    Returns:
        Axes of shape (2,).
    """
    labels = {"gradient_norm": "early gradient norm", "early_loss": "early loss (nats per token)"}
    with themed():
        axes = new_figure(TWO_COLUMN, 2.3).subplots(1, 2, sharey=True)
        batch_sizes = [f"batch {size}" for size in sorted(table["batch_size"].unique())]
        shape = markers(batch_sizes)
        paint = colours([f"seed {seed}" for seed in sorted(table["seed"].unique())])
        for ax, (column, label) in zip(axes, labels.items(), strict=True):
            for (seed, size), group in table.groupby(["seed", "batch_size"]):
                ax.plot(
                    group[column], group["value"], shape[f"batch {size}"], ms=3.5, mew=0, alpha=0.7,
                    color=paint[f"seed {seed}"],
                )  # fmt: skip
            ax.set_xlabel(label)
        axes[0].set_ylabel(y_label)
        handles = [axes[1].plot([], [], shape[name], color=GREY, label=name)[0] for name in batch_sizes]
        axes[1].legend(handles=handles)
    return axes


def _runs_and_mean(ax: Axes, rows: pd.DataFrame, colour: str, label: str) -> None:
    for _, run in rows.groupby("digest"):
        run = run.sort_values("step")
        ax.plot(run["step"], run["value"], lw=0.5, alpha=0.4, color=colour)
    mean = rows.groupby("step")["value"].mean()
    ax.plot(mean.index, mean, marker="o", ms=2.5, color=colour, label=label or None)
