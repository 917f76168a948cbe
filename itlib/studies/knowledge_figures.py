"""Figures of ``04e_knowledge``: form and content, facts, borrowed answers, grafts, and how sure a model is."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from itlib.claims.knowledge import BASE, SHIFTS
from itlib.drawing import drawing
from itlib.figures import strips_by_arm
from itlib.studies.knowledge_tables import EDITS, NEVER
from itlib.theme import GREY, PALETTE, TWO_COLUMN, colours, markers, new_figure, themed

KINDS = {"form": (PALETTE[0], "o", "-"), "content": (PALETTE[1], "s", "--")}
URIAL = {"unshifted": 0.822, "marginal": 0.125, "shifted": 0.052}  # arXiv:2312.01552, a pair of models with 7 billion
GRAFTING = (1e-4, 0.95)  # arXiv:2302.06600, abstract: a ten-thousandth of the parameters keeps more than 95 %
VIEWS = {
    "facts": "2402.05119: full tuning\nhigher, adapters at 0",
    "reading": "2410.21228 v1: adapters further right; v3: further left after a single task",
}
FREQUENT, RARE = "frequent_lost", "rare_lost"
COLUMNS = 4


@drawing
def divergence(table: pd.DataFrame, opening: int) -> np.ndarray:
    """Draw the divergence from the base by position in the answer, form and content apart, a panel per arm.

    Args:
        table: From ``knowledge_tables.by_position``. Marks are the larger the more answers have such a token there.
        opening: Tokens of an answer that count as its opening, shaded.

    Returns:
        Axes, one per arm.
    """
    arms = list(dict.fromkeys(table["arm"]))
    columns = min(COLUMNS, max(1, len(arms)))
    rows = -(-max(1, len(arms)) // columns)
    with themed():
        figure = new_figure(TWO_COLUMN, 0.6 + 1.6 * rows)
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for ax, arm in zip(axes, arms, strict=False):
            ax.axvspan(0.5, opening + 0.5, color="0.93", lw=0, zorder=0)
            for kind, (colour, marker, style) in KINDS.items():
                part = table[(table["arm"] == arm) & (table["token"] == kind)].sort_values("position")
                ax.plot(part["position"], part["divergence"], style, lw=0.8, color=colour, zorder=1)
                size = 2 + 22 * part["reached"].clip(upper=1)
                ax.scatter(part["position"], part["divergence"], size, colour, marker=marker, lw=0, zorder=2)
            ax.set_title(arm, loc="left")
        for ax in axes[len(arms) :]:
            ax.set_axis_off()
        axes[0].set_ylim(bottom=0)  # at the end: the panels share their scale
        figure.supxlabel(f"position of the token in the answer (shaded: the first {opening})", fontsize=7)
        figure.supylabel("divergence (nats per token)", fontsize=7)
        handles = [axes[0].plot([], [], style + marker, color=c)[0] for c, marker, style in KINDS.values()]
        figure.legend(handles, [f"tokens of {kind}" for kind in KINDS], loc="outside upper center", ncols=2)
    return axes[: len(arms)]


@drawing
def shares(points: pd.DataFrame) -> np.ndarray:
    """Draw which share of tokens is unshifted, marginal and shifted, a dot per run; open diamonds are those of URIAL.

    Args:
        points: From ``knowledge_tables.shifts``.

    Returns:
        Axes of shape (3,).
    """
    arms = list(dict.fromkeys(points["arm"]))
    titles = ("unshifted: first choice of the base", "marginal: second or third", "shifted: below")
    with themed():
        axes = new_figure(TWO_COLUMN, 1.0 + 0.24 * len(arms)).subplots(1, len(SHIFTS), sharey=True)
        for ax, shift, title in zip(axes, SHIFTS, titles, strict=True):
            strips_by_arm(ax, points[points["shift"] == shift], arms)
            low, high = ax.get_ylim()
            (mark,) = ax.plot(URIAL[shift], low - 0.25, "D", mfc="white", mec="black", ms=4, mew=0.8, clip_on=False)
            ax.set_ylim(low, high)
            ax.set(title=title, xlabel="share of tokens")
            ax.margins(x=0.12)
        told = "the paper's value (arXiv:2312.01552, a base with 7 billion parameters and its tuned twin)"
        axes[0].figure.legend([mark], [told], loc="outside upper center")
    return axes


@drawing
def recall(table: pd.DataFrame) -> np.ndarray:
    """Draw exact match on facts by how often documents tell about a person, a panel per course, a line per arm.

    Args:
        table: From ``knowledge_tables.recall``. Dots are runs, lines means over them, the base is grey and dashed.

    Returns:
        Axes, one per course.
    """
    courses, levels = list(dict.fromkeys(table["course"])), sorted(table["frequency"].unique())
    arms = [arm for arm in dict.fromkeys(table["arm"]) if arm != BASE]
    paint, shape = colours(arms) | {BASE: GREY}, markers(arms) | {BASE: "o"}
    with themed():
        axes = new_figure(TWO_COLUMN, 2.6).subplots(1, max(1, len(courses)), sharey=True, squeeze=False)[0]
        for ax, course in zip(axes, courses, strict=False):
            drawn = [arm for arm in (BASE, *arms) if ((table["course"] == course) & (table["arm"] == arm)).any()]
            for shift, arm in zip(np.linspace(-0.22, 0.22, len(drawn)), drawn, strict=True):
                rows = table[(table["course"] == course) & (table["arm"] == arm)]
                places = rows["frequency"].map(levels.index) + shift
                ax.plot(places, rows["value"], ".", ms=2.5, mew=0, alpha=0.4, color=paint[arm])
                means = rows.groupby("frequency")["value"].mean()
                at = [levels.index(level) + shift for level in means.index]
                style = "--" if arm == BASE else "-"
                ax.plot(at, means, style, lw=1, marker=shape[arm], ms=3, color=paint[arm], label=arm)
            ax.set_xticks(range(len(levels)), [_often(level) for level in levels])
            ax.set(title=f"{course} answers" if course == "styled" else "taught new facts", ylim=(-0.03, 1.03))
        axes[0].figure.supxlabel("how often documents tell about a person, beside the most frequent", fontsize=7)
        axes[0].set_ylabel("facts asked as documents tell them\n(exact match)")
        fullest = max(axes, key=lambda ax: len(ax.lines))
        handles, names = fullest.get_legend_handles_labels()
        if handles:
            names = ["base, before tuning" if name == BASE else name for name in names]
            axes[0].figure.legend(handles, names, loc="outside upper center", ncols=len(names))
    return axes


@drawing
def borrowing(points: pd.DataFrame) -> np.ndarray:
    """Draw how many wrong answers are those of a nearest training question, against chance, a panel per kind of fact.

    Args:
        points: From ``knowledge_tables.borrowing_points``. Dots are runs, bars their means, open marks the mean chance.

    Returns:
        Axes, one per kind of fact.
    """
    told, arms = list(dict.fromkeys(points["told"])), list(dict.fromkeys(points["arm"]))
    with themed():
        figure = new_figure(TWO_COLUMN, 1.0 + 0.3 * len(arms))
        axes = figure.subplots(1, max(1, len(told)), sharey=True, sharex=True, squeeze=False)[0]
        for ax, name in zip(axes, told, strict=False):
            rows = points[points["told"] == name]
            strips_by_arm(ax, rows.rename(columns={"borrowed": "value"}), arms)
            for place, arm in enumerate(arms):
                chance = rows.loc[rows["arm"] == arm, "chance"].mean()
                ax.plot(chance, place, "o", mfc="white", mec=PALETTE[3], ms=4.5, mew=1, zorder=4)
            ax.set(title=name, xlabel="share of wrong answers")
        dot = axes[0].plot([], [], "o", ms=3, mew=0, alpha=0.6, color=PALETTE[0])[0]
        chance = axes[0].plot([], [], "o", mfc="white", mec=PALETTE[3], ms=4.5, mew=1)[0]
        names = ["response to a nearest training question (bar: mean)", "expected by chance (mean)"]
        figure.legend([dot, chance], names, loc="outside upper center", ncols=2)
    return axes


@drawing
def grafts(points: pd.DataFrame) -> np.ndarray:
    """Draw exact match and calibration error over the share of entries that keep their change, a line per choice.

    Args:
        points: From ``knowledge_tables.graft_points``. Dots are runs, lines means; dashed lines are the tuned model and
            dotted ones the base. The open diamond is what the paper reports.

    Returns:
        Axes of shape (2,).
    """
    names = [edit for edit in EDITS if (points["edit"] == edit).any()]
    paint, shape = colours(names), markers(names)
    with themed():
        axes = new_figure(TWO_COLUMN, 2.6).subplots(1, 2)
        labels = {"accuracy": "exact match", "error": "debiased calibration error\n(of the first token)"}
        for ax, (column, label) in zip(axes, labels.items(), strict=True):
            for name in names:
                rows = points[points["edit"] == name]
                means = rows.groupby("share")[column].mean()
                ax.plot(rows["share"], rows[column], ".", ms=3, mew=0, alpha=0.45, color=paint[name])
                ax.plot(means.index, means, marker=shape[name], color=paint[name], label=EDITS[name])
            for share, style, text in ((1.0, "--", "tuned model"), (0.0, ":", "base")):
                level = points.loc[(points["edit"] == "") & (points["share"] == share), column].mean()
                ax.axhline(level, ls=style, lw=0.8, color=GREY, zorder=0, label=text)
            ax.set_xscale("log")
            ax.set(xlabel="share of the changed entries that is kept", ylabel=label)
        _paper_graft(axes[0], points)
        axes[0].set_ylim(-0.02, max(0.1, axes[0].get_ylim()[1]))
        handles, texts = axes[0].get_legend_handles_labels()
        axes[0].figure.legend(handles, texts, loc="outside upper center", ncols=3)
    return axes


def _paper_graft(ax: Axes, points: pd.DataFrame) -> None:
    ends = points[points["edit"] == ""].groupby("share")["accuracy"].mean()
    if {0.0, 1.0} <= set(ends.index):
        share, kept = GRAFTING
        at = ends[0.0] + kept * (ends[1.0] - ends[0.0])
        ax.plot(share, at, "D", mfc="white", mec="black", ms=5, mew=0.8, ls="", label="paper: above 95 % of the gain")


@drawing
def reliability(table: pd.DataFrame) -> np.ndarray:
    """Draw accuracy over confidence by bin, pooled over seeds, a panel per kind of question, a line per model.

    Args:
        table: From ``knowledge_tables.reliability``. Marks are the larger the more items a bin holds; below the
            diagonal a model is surer than it is right.

    Returns:
        Axes of shape (2,).
    """
    asked, names = list(dict.fromkeys(table["asked"])), list(dict.fromkeys(table["model"]))
    paint, shape = colours(names), markers(names)
    with themed():
        axes = new_figure(TWO_COLUMN, 3.0).subplots(1, max(1, len(asked)), sharey=True, squeeze=False)[0]
        for ax, name in zip(axes, asked, strict=False):
            ax.plot([0, 1], [0, 1], lw=0.6, color=GREY, zorder=0)
            rows = table[table["asked"] == name]
            for model in [model for model in names if (rows["model"] == model).any()]:
                part = rows[rows["model"] == model]
                size = 3 + 60 * part["n"] / part["n"].sum()
                ax.plot(part["confidence"], part["accuracy"], "-", lw=0.8, color=paint[model])
                how = {"marker": shape[model], "lw": 0, "alpha": 0.8}
                ax.scatter(part["confidence"], part["accuracy"], size, paint[model], **how)
            title = "what training teaches, new questions" if name != NEVER else "what nothing tells"
            ax.set(title=title, xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="confidence in the first token")
            ax.set_aspect("equal")
        axes[0].set_ylabel("accuracy of the first token")
        handles = [axes[0].plot([], [], "-", marker=shape[name], color=paint[name])[0] for name in names]
        axes[0].figure.legend(handles, names, loc="outside upper center", ncols=min(3, max(1, len(names))))
    return axes


@drawing
def contradiction(table: pd.DataFrame, arms: Sequence[str]) -> np.ndarray:
    """Draw facts lost over the rise of the loss on documents, a dot per run and a large mark at the mean of each arm.

    Args:
        table: From ``knowledge_tables.lost``, of one course.
        arms: In the order of the legend.

    Returns:
        Axes of shape (2,): frequent facts, rare facts. What two papers expect stands on the axes.
    """
    paint, shape = colours(list(arms)), markers(list(arms))
    with themed():
        axes = new_figure(TWO_COLUMN, 3.0).subplots(1, 2, sharex=True)
        for ax, column, what in zip(axes, (FREQUENT, RARE), ("frequent", "rare"), strict=True):
            for arm in arms:
                rows = table[table["arm"] == arm].dropna(subset=["reference_rise"])
                ax.plot(rows["reference_rise"], rows[column], shape[arm], ms=2.5, mew=0, alpha=0.4, color=paint[arm])
                means = rows[["reference_rise", column]].mean()
                ax.plot(*means, shape[arm], ms=6, mec="black", mew=0.5, color=paint[arm], ls="", label=arm)
            ax.axhline(0, lw=0.6, color=GREY, zorder=0)
            ax.axvline(0, lw=0.6, color=GREY, zorder=0)
            ax.set_ylabel(f"{what} facts lost (exact match)\n{VIEWS['facts']}")
        if not table["reference_rise"].notna().any():
            axes[0].text(0.5, 0.5, "no document was read", transform=axes[0].transAxes, ha="center", color=GREY)
        axes[0].figure.supxlabel(
            f"rise of the loss on held-out documents (nats per token)\n{VIEWS['reading']}", fontsize=7
        )
        axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=max(1, len(arms)))
    return axes


def _often(frequency: float) -> str:
    return "never" if frequency == 0 else str(Fraction(frequency).limit_denominator(1000))
