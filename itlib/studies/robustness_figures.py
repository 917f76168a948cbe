"""Figures of ``03_robustness``: phrasings in tuning, adversarial instructions, sizes of model, frequency of families.

Slope graphs and strips of instructions are those of ``instruction_scores_figures``.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes

from itlib.drawing import drawing
from itlib.figures import new_figure
from itlib.theme import GREY, PALETTE, TWO_COLUMN, colours, in_order, markers, themed


@drawing
def diversity(table: pd.DataFrame) -> np.ndarray:
    """Draw accuracy and spread over the number of phrasings in tuning, a line per group of instructions.

    Args:
        table: From ``robustness_tables.diversity``. Dots are runs, lines means over seeds.

    Returns:
        Axes of shape (2,).
    """
    names = in_order(table["group"])
    paint, shape = colours(names), markers(names)
    with themed():
        axes = new_figure(TWO_COLUMN, 2.5).subplots(1, 2)
        for ax, column in zip(axes, ("accuracy", "sigma"), strict=True):
            for name in names:
                rows = table[(table["group"] == name) & table[column].notna()]
                means = rows.groupby("k")[column].mean()
                ax.plot(rows["k"], rows[column], ".", ms=3, mew=0, alpha=0.45, color=paint[name])
                ax.plot(means.index, means, marker=shape[name], color=paint[name], label=name)
            ax.set_xscale("log", base=2)
            ax.set_xticks(sorted(table["k"].unique()), [str(k) for k in sorted(table["k"].unique())])
            ax.minorticks_off()
            ax.set_xlabel("phrasings per family in tuning")
        axes[0].set_ylabel("exact match")
        axes[1].set(ylabel="σ between instructions", ylim=(-0.01, None))
        axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(names))
    return axes


@drawing
def adversarial(table: pd.DataFrame) -> Axes:
    """Draw accuracy by family (rows) and kind of instruction (columns) as a heat map with numbers.

    Args:
        table: From ``robustness_tables.adversarial``.
    """
    values = table.set_index("family")
    with themed():
        ax = new_figure(TWO_COLUMN, 0.9 + 0.19 * len(values)).subplots()
        how = {"vmin": 0, "vmax": 1, "cmap": "viridis", "annot": True, "fmt": ".2f", "annot_kws": {"size": 6}}
        seaborn.heatmap(values, ax=ax, cbar_kws={"label": "exact match"}, **how)
        ax.set(xlabel="", ylabel="")
        ax.set_xticklabels([name.replace(" ", "\n", 1) for name in values.columns], rotation=0)
        ax.set_yticklabels([str(name).replace("_", " ") for name in values.index], rotation=0)
        ax.axhline(len(values) - 1, color="white", lw=2)
    return ax


@drawing
def sizes(table: pd.DataFrame) -> np.ndarray:
    """Draw gap and spread over the number of parameters; a dot is a run, the line the mean over seeds.

    Args:
        table: From ``robustness_tables.sizes``.

    Returns:
        Axes of shape (2,).
    """
    with themed():
        axes = new_figure(TWO_COLUMN, 2.2).subplots(1, 2)
        labels = {"gap": "accuracy lost in new instructions", "sigma": "σ between new instructions"}
        for ax, (column, label) in zip(axes, labels.items(), strict=True):
            means = table.groupby("parameters")[column].mean()
            ax.plot(table["parameters"], table[column], ".", ms=4, mew=0, alpha=0.5, color=PALETTE[0])
            ax.plot(means.index, means, marker="D", color=PALETTE[0])
            ax.axhline(0, lw=0.6, color=GREY, zorder=0)
            ax.set_xscale("log")
            ax.set_xticks(means.index, [f"{n / 1e6:.2g}M" for n in means.index])
            ax.minorticks_off()
            ax.set(xlabel="parameters", ylabel=label)
    return axes


@drawing
def frequency(table: pd.DataFrame) -> Axes:
    """Draw the gap of every family and run over how many training examples the family had.

    Args:
        table: From ``robustness_tables.frequency``; a family without examples is drawn at one half.
    """
    with themed():
        ax = new_figure(TWO_COLUMN * 0.7, 2.4).subplots()
        shown = table["examples"].clip(lower=0.5)
        ax.plot(shown, table["gap"], ".", ms=4, mew=0, alpha=0.5, color=PALETTE[0])
        halves = pd.qcut(shown, min(5, shown.nunique()), duplicates="drop")
        means = table.assign(shown=shown).groupby(halves, observed=True)[["shown", "gap"]].mean()
        ax.plot(means["shown"], means["gap"], marker="D", color="black", label="mean of a fifth of the families")
        ax.axhline(0, lw=0.6, color=GREY, zorder=0)
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.set(xlabel="training examples of the family", ylabel="accuracy lost in new instructions")
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return ax


@drawing
def compliance(table: pd.DataFrame) -> Axes:
    """Draw how often adversarial instructions are obeyed, by arm, one line of dots per kind of instruction.

    Args:
        table: From ``robustness_tables.compliance``.
    """
    names, places = in_order(table["set"]), {arm: i for i, arm in enumerate(dict.fromkeys(table["arm"]))}
    paint, shape = colours(names), markers(names)
    with themed():
        ax = new_figure(TWO_COLUMN, 0.7 + 0.32 * len(places)).subplots()
        for offset, name in zip(np.linspace(-0.27, 0.27, len(names)), names, strict=True):
            rows = table[table["set"] == name]
            heights = [places[arm] + offset for arm in rows["arm"]]
            for height, (_, row) in zip(heights, rows.iterrows(), strict=True):
                ax.plot([row["low"], row["high"]], [height] * 2, "-", lw=1, color=paint[name])
            ax.plot(rows["value"], heights, shape[name], ls="", color=paint[name], label=name)
        ax.set_yticks(list(places.values()), list(places))
        ax.set(
            xlabel="share of items answered as the set counts right", ylim=(len(places) - 0.5, -0.5), xlim=(-0.02, 1.02)
        )
        ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside upper center", ncols=len(names))
    return ax


@drawing
def lmentry(table: pd.DataFrame) -> Axes:
    """Draw robustness over accuracy, a dot per run; crosses are what shuffling the members of every set leaves.

    Lines join equal LMentry scores. A run without one of the axes is not drawn.

    Args:
        table: From ``robustness_tables.lmentry``.
    """
    shown = table.dropna(subset=["robustness"])
    names = in_order(shown["arm"])
    paint, shape = colours(names), markers(names)
    with themed():
        ax = new_figure(TWO_COLUMN * 0.7, 3.2).subplots()
        along = np.linspace(1, 100, 200)
        for score in (20, 40, 60, 80):
            ax.plot(along, 100 * score / along, lw=0.6, color=GREY, zorder=0)
            box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
            ax.text(score, 100, str(score), fontsize=6, color=GREY, ha="center", va="center", bbox=box, zorder=0.5)
        for name in names:
            rows = shown[shown["arm"] == name]
            ax.plot(rows["accuracy"], rows["chance"], "x", ms=3, mew=0.7, alpha=0.6, color=paint[name])
            ax.plot(rows["accuracy"], rows["robustness"], shape[name], ls="", ms=4, color=paint[name], label=name)
        ax.set(xlabel="accuracy (points)", ylabel="robustness (points)", xlim=(-2, 102), ylim=(-2, 104))
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax
