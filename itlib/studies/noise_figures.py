"""Figures of ``03d_noise``: both forms over the phases, runs that have not learned yet, and savings."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from itlib.claims.noise import EVENTS
from itlib.drawing import drawing
from itlib.survival import survival_curve
from itlib.theme import GREY, TWO_COLUMN, colours, markers, new_figure, themed

FORM_LABELS = {
    "clean_form": "clean form, new questions",
    "noise_form": "noisy form, new questions",
    "trained_clean_form": "clean form, trained questions",
    "trained_noise_form": "noisy form, trained questions",
}
COLUMNS = 2
STYLES = ("-", "--", ":", "-.")


@drawing
def phases(probes: pd.DataFrame, arms: Sequence[str]) -> np.ndarray:
    """Draw accuracy in both forms over steps, one panel per arm; the mean over runs thick, noisy phases shaded.

    Args:
        probes: Probe rows of ``studies.noise.evidence``.
        arms: In the order of the panels.

    Returns:
        Axes, one per arm.
    """
    with themed():
        rows = -(-len(arms) // COLUMNS)
        figure = new_figure(TWO_COLUMN, 0.5 + 1.35 * rows)
        axes = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
        paint = colours(list(FORM_LABELS.values()))
        for ax, arm in zip(axes, arms, strict=False):
            group = probes[probes["arm"] == arm]
            _shade(ax, group)
            for metric, label in FORM_LABELS.items():
                _runs_and_mean(ax, group[group["metric"] == metric], paint[label], dashed=metric.startswith("trained"))
            ax.set_title(arm.replace("_", " "), loc="left")
            ax.set_ylim(-0.03, 1.03)
        for ax in axes[len(arms) :]:
            ax.set_axis_off()
        figure.supxlabel("optimiser steps (shaded: noisy phases)", fontsize=7)
        figure.supylabel("share of questions answered right", fontsize=7)
        styles = {label: "--" if name.startswith("trained") else "-" for name, label in FORM_LABELS.items()}
        handles = [axes[0].plot([], [], style, color=paint[label])[0] for label, style in styles.items()]
        figure.legend(handles, list(styles), loc="outside upper center", ncols=2)
    return axes[: len(arms)]


@drawing
def survival(milestones: pd.DataFrame, what: Sequence[str] = EVENTS, *, questions: str = "new") -> np.ndarray:
    """Draw the share of runs that have not got there yet over the steps of a phase, a panel each, a line per transform.

    Args:
        milestones: From ``claims.noise.milestones``; controls are drawn in the panel of what they measure.
        what: Kinds of steps, one panel each.
        questions: "new" or "trained".

    Returns:
        Axes, one per kind.
    """
    with themed():
        axes = new_figure(TWO_COLUMN, 2.6).subplots(1, len(what), sharey=True, squeeze=False)[0]
        rows = milestones[milestones["questions"] == questions]
        transforms = list(dict.fromkeys(milestones["transform"]))
        paint = colours(transforms)
        style = dict(zip(transforms, itertools.cycle(STYLES), strict=False))  # lines lie on each other
        for ax, name in zip(axes, what, strict=True):
            for transform, group in rows[rows["what"] == name].groupby("transform", sort=False):
                curve = survival_curve(group["steps"], group["reached"])
                ends = [*curve["step"], group["phase_steps"].iloc[0]]
                shares = [*curve["share"], curve["share"].iloc[-1] if len(curve) else np.nan]
                label = str(transform).replace("_", " ")
                ax.step(ends, shares, style[transform], where="post", color=paint[transform], label=label)
            ax.set_title(name, loc="left")
            ax.set(xlabel="steps of the phase", ylim=(-0.03, 1.03))
        axes[0].set_ylabel("runs that have not got there")
        if rows["what"].isin(what).any():
            named = {line.get_label(): line for ax in axes for line in ax.lines}
            fig = axes[0].figure
            fig.legend(named.values(), named, loc="outside upper center", ncols=len(named))
    return axes


@drawing
def savings(table: pd.DataFrame) -> Axes:
    """Draw relearning over learning, one dot per run, open where it is a bound; left of the line is a saving.

    Args:
        table: From ``noise_tables.savings``; trained questions only are drawn.
    """
    with themed():
        ax = new_figure().subplots()
        rows = table[(table["questions"] == "trained") & table["ratio"].notna()]
        lines = list(dict.fromkeys(zip(rows["transform"], rows["against"], strict=True)))
        names = [f"{transform.replace('_', ' ')}\nover {against}" for transform, against in lines]
        paint, shape = colours(["first time", "control"]), markers(["first time", "control"])
        for place, (transform, against) in enumerate(lines):
            group = rows[(rows["transform"] == transform) & (rows["against"] == against)]
            for bound, runs in group.groupby(group["bound"] != ""):
                shift = place + np.linspace(-0.15, 0.15, len(runs)) if len(runs) > 1 else [place]
                fill = "white" if bound else paint[against]
                ax.plot(runs["ratio"], shift, shape[against], mfc=fill, mec=paint[against], ms=3.5, mew=0.7)
        ax.axvline(1, color=GREY, lw=0.6)
        ax.set_yticks(range(len(lines)), names)
        ax.set_xlim(left=0)
        ax.set_xlabel("steps to learn it again over steps to learn it")
        ax.invert_yaxis()
    return ax


def _shade(ax: Axes, rows: pd.DataFrame) -> None:
    if not len(rows):
        return
    length = rows["phase_steps"].iloc[0]
    for number, kind in enumerate(rows["phases"].iloc[0].split(",")):
        if kind == "noisy":
            ax.axvspan(number * length, (number + 1) * length, color="0.92", lw=0, zorder=0)


def _runs_and_mean(ax: Axes, rows: pd.DataFrame, colour: str, *, dashed: bool) -> None:
    if not dashed:
        for _, run in rows.groupby("digest"):
            run = run.sort_values("step")
            ax.plot(run["step"], run["value"], lw=0.4, alpha=0.35, color=colour)
    mean = rows.groupby("step")["value"].mean()
    ax.plot(mean.index, mean, "--" if dashed else "-", lw=0.8 if dashed else 1.3, color=colour)
