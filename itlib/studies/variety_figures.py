"""Pictures of study 1b: each draws a frame of ``itlib.studies.variety_views`` and computes nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from itlib.drawing import drawing
from itlib.figures import scaling_curves
from itlib.studies.variety_views import Positions
from itlib.theme import GREY, ONE_COLUMN, PALETTE, TWO_COLUMN, colours, in_order, markers, new_figure, themed

LABEL_STEP = 0.052  # height of a line of text as a share of the scale
FAMILIES_LABEL = "families tuned on"


@drawing
def role_panels(curve: pd.DataFrame, points: pd.DataFrame, labels: Mapping[str, str]) -> np.ndarray:
    """Draw one panel per axis: score against its levels, one line per role, on one scale.

    Args:
        curve: From ``variety_views.role_curves``; so are ``points``.
        points: One dot per run.
        labels: Axis to the words below its panel; also says which panels there are, and their order.
    """
    with themed():
        width = TWO_COLUMN if len(labels) > 1 else ONE_COLUMN
        axes = new_figure(width, 2.4).subplots(1, len(labels), sharey=True, squeeze=False)[0]
        for ax, (axis, label) in zip(axes, labels.items(), strict=True):
            own, dots = (table[table["axis"] == axis] for table in (curve, points))
            scaling_curves(
                own, by="role", x="level", points=dots, ax=ax, y_label="exact match" if ax is axes[0] else ""
            )
            ax.set_xlabel(label)
    return axes


@drawing
def base_against_tuned(table: pd.DataFrame) -> Axes:
    """Draw every family at its accuracy in context (across) and after tuning (up), with the line where both agree."""
    with themed():
        ax = new_figure(TWO_COLUMN, 3.4).subplots()
        names = in_order(table["familiarity"])
        paint, shape = colours(names), markers(names)
        ax.plot([0, 1], [0, 1], ":", lw=0.8, color=GREY, zorder=0)
        for name in names:
            own = table[table["familiarity"] == name]
            ax.plot(own["in_context"], own["tuned"], shape[name], color=paint[name], ls="", label=name)
        for own in (table[table["in_context"] < 0.5], table[table["in_context"] >= 0.5]):
            _name_points(ax, own.sort_values("tuned"), own["in_context"].max() + 0.08)
        ax.set(xlabel="accuracy of the base in context", ylabel="exact match after tuning", xlim=(-0.04, 1.35))
        ax.set_ylim(-0.06, 1.06)
        ax.set_xticks(np.linspace(0, 1, 6))
        ax.set_yticks(np.linspace(0, 1, 6))
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(names))
    return ax


def _name_points(ax: Axes, group: pd.DataFrame, beside: float) -> None:
    """Write names in a column beside their points, far enough apart to be read and inside the scale."""
    heights = group["tuned"].to_list()
    for place in range(1, len(heights)):
        heights[place] = max(heights[place], heights[place - 1] + LABEL_STEP)
    top = 1.0
    for place in reversed(range(len(heights))):
        heights[place] = top = min(heights[place], top)
        top -= LABEL_STEP
    for height, row in zip(heights, group.itertuples(), strict=True):
        ax.plot([row.in_context + 0.012, beside - 0.008], [row.tuned, height], "-", lw=0.4, color=GREY, zorder=0)
        ax.text(beside, height, row.family.replace("_", " "), va="center", fontsize=6)


@drawing
def two_positions(curve: pd.DataFrame, points: pd.DataFrame, found: Positions) -> Axes:
    """Draw held-out accuracy against tuned families, the bases' level in context, and what two papers say of each."""
    own, dots = (t[(t["axis"] == "families") & (t["role"] == "held out")] for t in (curve, points))
    with themed():
        ax = new_figure(TWO_COLUMN, 2.6).subplots()
        scaling_curves(own, by="role", x="level", points=dots, ax=ax)
        ax.axhline(found.in_context, ls="--", lw=1, color=PALETTE[3])
        middle = float(np.sqrt(found.fewest * found.most))
        text = {"ha": "center", "fontsize": 6.5}
        said = "bases in context. FLAN: a small model tuned on other tasks ends below (▼) its base"
        ax.text(middle, found.in_context - 0.02, said, va="top", color=PALETTE[3], **text)
        ax.plot([found.most], [found.in_context - 0.11], "v", color=PALETTE[3], ms=5, clip_on=False)
        said = "OPT-IML: the more tasks are tuned on, the better (▲) held-out ones are done"
        ax.text(middle, found.at_most + 0.09, said, va="bottom", color="#333333", **text)
        ax.plot([found.most], [found.at_most + 0.06], "^", color="#333333", ms=5, clip_on=False)
        ax.set(xlabel=FAMILIES_LABEL, ylim=(-0.04, 1.06))
    return ax
