"""Figures of the ledger: all claims on one scale, and both sides of every disagreement."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from itlib.drawing import drawing
from itlib.figures import new_figure
from itlib.theme import GREY, PALETTE, TWO_COLUMN, themed

COLOURS = {"reproduced": PALETTE[2], "contradicted": PALETTE[3], "inconclusive": GREY}
MARKERS = {"reproduced": "o", "contradicted": "X", "inconclusive": "s"}
LIMIT = 4.0  # detectable effects; beyond it a line ends in an arrow


@drawing
def forest(rows: pd.DataFrame) -> np.ndarray:
    """Draw claims in columns: distance from the margin towards what is claimed, in smallest detectable effects.

    Args:
        rows: From ``claims_ledger.oriented``.

    Returns:
        Axes, one per column of about forty claims.
    """
    n_columns = max(1, min(4, -(-len(rows) // 40)))
    height = -(-len(rows) // n_columns) if len(rows) else 1
    with themed():
        figure = new_figure(TWO_COLUMN, 0.7 + 0.125 * height)
        axes = figure.subplots(1, n_columns, squeeze=False)[0]
        for ax, start in zip(axes, range(0, n_columns * height, height), strict=True):
            part = rows.iloc[start : start + height]
            ax.axvline(0, color=GREY, lw=0.8)
            items: list[Any] = list(part.itertuples())
            for place, row in enumerate(items):
                colour = COLOURS[row.verdict]
                ax.plot(np.clip([row.low, row.high], -LIMIT, LIMIT), [place, place], color=colour, lw=1)
                value = float(np.clip(row.value, -LIMIT, LIMIT))
                ax.plot(value, place, MARKERS[row.verdict], color=colour, ms=3, mew=0)
            ax.set(yticks=range(len(part)), yticklabels=list(part["claim"]), xlim=(-LIMIT * 1.05, LIMIT * 1.05))
            ax.set_ylim(height - 0.4, -0.6)
            ax.tick_params(axis="y", labelsize=6, length=0)
        handles = [
            axes[0].plot([], [], MARKERS[name], color=colour, ms=3, label=name)[0] for name, colour in COLOURS.items()
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
        figure.supxlabel("distance from the margin towards what is claimed [smallest detectable effects]", fontsize=7)
    return axes


@drawing
def sides(rows: pd.DataFrame, scaled: pd.DataFrame) -> np.ndarray:
    """Draw a panel per question: the claims of both sides on the scale of ``forest``, a colour per side.

    Args:
        rows: From ``claims_ledger.disagreements``.
        scaled: From ``claims_ledger.oriented``; a claim without a number is an open mark at zero.

    Returns:
        Axes, one per question.
    """
    questions = list(dict.fromkeys(rows["question"]))
    values = scaled.set_index("claim")
    n_rows = -(-len(questions) // 2)
    with themed():
        figure = new_figure(TWO_COLUMN, 2.0 * n_rows)
        figure.get_layout_engine().set(h_pad=0.2)  # type: ignore[call-arg]
        axes = figure.subplots(n_rows, 2, squeeze=False)
        for ax, question in zip(axes.flat, questions, strict=False):
            part = rows[rows["question"] == question]
            _panel(ax, part, values)
            ax.set_title(textwrap.fill(question, 44), loc="left")
        for ax in list(axes.flat)[len(questions) :]:
            ax.remove()
        figure.supxlabel(
            "distance from the margin towards what the claim says [smallest detectable effects]", fontsize=7
        )
    return axes.ravel()[: len(questions)]


def _panel(ax: Axes, part: pd.DataFrame, values: pd.DataFrame) -> None:
    ax.axvline(0, color=GREY, lw=0.8)
    for place, row in enumerate(part.itertuples()):
        colour = PALETTE[0] if row.side == 1 else PALETTE[1]
        if row.claim in values.index:
            item = values.loc[row.claim]
            ax.plot(np.clip([item["low"], item["high"]], -LIMIT, LIMIT), [place, place], color=colour, lw=1)
            marker = MARKERS[item["verdict"]]
            ax.plot(float(np.clip(item["value"], -LIMIT, LIMIT)), place, marker, color=colour, ms=4, mew=0)
        else:
            ax.plot(0, place, "o", color=colour, ms=4, mfc="none")
    verdicts = part["verdict"].str.replace("_", " ")
    labels = [f"{claim} {verdict}" for claim, verdict in zip(part["claim"], verdicts, strict=True)]
    ax.set(yticks=range(len(part)), yticklabels=labels, xlim=(-LIMIT * 1.05, LIMIT * 1.05))
    ax.set_ylim(len(part) - 0.4, -0.6)
    for label, row in zip(ax.get_yticklabels(), part.itertuples(), strict=True):
        label.set_color(PALETTE[0] if row.side == 1 else PALETTE[1])
        label.set_fontsize(6)
    below = {"xy": (0, 0), "xycoords": "axes fraction", "textcoords": "offset points", "va": "top", "fontsize": 6}
    offset = -14.0
    for number, says in part.drop_duplicates("side")[["side", "says"]].itertuples(index=False):
        lines = textwrap.fill(says, 52)
        colour = PALETTE[0] if number == 1 else PALETTE[1]
        # a long line would narrow all panels; room below is made by the padding of the layout instead
        ax.annotate(lines, xytext=(0, offset), color=colour, in_layout=False, **below)
        offset -= 8.0 * (lines.count("\n") + 1)
