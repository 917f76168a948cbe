"""Figures of ``04d_continual``: accuracy by round and task, what is left by arm, and how it goes on the way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from itlib.drawing import drawing
from itlib.figures import strips_by_arm
from itlib.studies.continual_study import between, method_words, sequential
from itlib.theme import GREY, PALETTE, TWO_COLUMN, colours, new_figure, themed

COLUMNS = (3, 4)
STYLES = {"merged": "-", "persistent": (0, (3, 1.5)), "one": ""}
# Overall performance and backward transfer on TRACE of arXiv:2404.18466, by a secondary summary of its tables.
PAPER = {
    "full": {"overall": 0.457, "backward_transfer": -0.102},
    "half level=category redrawn": {"overall": 0.513, "backward_transfer": -0.056},
    "half level=layer redrawn": {"overall": 0.479, "backward_transfer": -0.083},
    "half level=model redrawn": {"overall": 0.469, "backward_transfer": -0.092},
}
LABELS = {
    "learned": "exact match right\nafter a task's round",
    "backward_transfer": "backward transfer\n(exact match)",
    "overall": "exact match after the\nlast round, all tasks",
    "knowledge": "recall of facts\nfrom documents",
}
TEXT = {"text_after_first": "after the first task", "text_after_last": "after the last task"}


@drawing
def matrix(cells: pd.DataFrame, arms: Sequence[str]) -> np.ndarray:
    """Draw exact match by round (down) and task asked (across), a panel per arm; a frame marks a task's own round.

    Args:
        cells: From ``continual_study_tables.matrix``. A cell without a finished run stays white and says so.
        arms: In the order of the panels.

    Returns:
        Axes, one per arm.
    """
    names = list(dict.fromkeys(cells.sort_values("place")["family"]))
    across = min(len(arms), min(COLUMNS, key=lambda n: -len(arms) % n))  # fewest panels that stay empty
    down = -(-len(arms) // across)
    with themed():
        figure = new_figure(TWO_COLUMN, 0.75 + (0.3 + 0.21 * len(names)) * down)
        axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False).ravel()
        for ax, arm in zip(axes, arms, strict=False):
            own = cells[cells["arm"] == arm].pivot(index="round", columns="place", values="mean")
            numbers = own.reindex(index=range(1, len(names) + 1), columns=range(1, len(names) + 1)).to_numpy(float)
            ax.imshow(np.ma.masked_invalid(numbers), cmap="cividis", vmin=0, vmax=1, aspect="auto")
            for (row, column), value in np.ndenumerate(numbers):
                _cell(ax, column, row, value, own_round=row == column)
            ax.set_title(arm, loc="left", fontsize=6.5)
            told = [name.replace("_", " ") for name in names]
            ax.set_xticks(range(len(names)), told, rotation=60, ha="right", rotation_mode="anchor")
            ax.set_yticks(range(len(names)), told)
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
        for ax in axes[len(arms) :]:
            ax.set_axis_off()
        for ax in axes[max(0, len(arms) - across) : len(arms)]:  # the last panel of every column says what it asks
            ax.tick_params(labelbottom=True)
        figure.supxlabel("task asked", fontsize=7)
        figure.supylabel("after the round of", fontsize=7)
    return axes[: len(arms)]


def _cell(ax: Axes, column: int, row: int, value: float, *, own_round: bool) -> None:
    text = f"{value:.2f}".replace("0.", ".", 1) if np.isfinite(value) else "none"
    colour = "black" if not np.isfinite(value) or value > 0.55 else "white"
    ax.text(column, row, text, ha="center", va="center", color=colour, fontsize=6)
    if own_round:
        edges = [column - 0.46, column + 0.46, column + 0.46, column - 0.46, column - 0.46]
        heights = [row - 0.44, row - 0.44, row + 0.44, row + 0.44, row - 0.44]
        ax.plot(edges, heights, "-", lw=0.9, color=PALETTE[1], scalex=False, scaley=False)


@drawing
def outcome(points: pd.DataFrame) -> np.ndarray:
    """Draw what every arm learned, kept, and knows at the end, a dot per run and a bar at the mean.

    Open diamonds are the paper's values, of other tasks and models: read their order, not their place.

    Args:
        points: From ``continual_study_tables.scores``.

    Returns:
        Axes, one per score.
    """
    arms = list(dict.fromkeys(points["arm"]))
    with themed():
        figure = new_figure(TWO_COLUMN, 0.9 + 0.2 * len(arms))
        axes = figure.subplots(1, len(LABELS), sharey=True)
        for ax, (metric, label) in zip(axes, LABELS.items(), strict=True):
            strips_by_arm(ax, points[points["metric"] == metric], arms)
            ax.set_xlabel(label)
            for place, arm in enumerate(arms):
                if metric in PAPER.get(arm, {}):
                    ax.plot(PAPER[arm][metric], place, "D", ms=4, mfc="white", mec=PALETTE[3], mew=0.9, zorder=0)
        if set(arms) & set(PAPER):
            handle = axes[0].plot([], [], "D", ms=4, mfc="white", mec=PALETTE[3], mew=0.9)[0]
            told = "the paper's value (TRACE, eight other tasks; Llama-2-7B)"
            figure.legend([handle], [told], loc="outside upper center")
    return axes


@drawing
def text(points: pd.DataFrame) -> np.ndarray:
    """Draw how much the loss on pretraining text rose, after the first task and after the last, by arm.

    Args:
        points: From ``continual_study_tables.scores``.

    Returns:
        Axes of shape (2,); their scales differ.
    """
    arms = list(dict.fromkeys(points["arm"]))
    with themed():
        axes = new_figure(TWO_COLUMN, 0.8 + 0.2 * len(arms)).subplots(1, 2, sharey=True)
        for ax, (metric, title) in zip(axes, TEXT.items(), strict=True):
            strips_by_arm(ax, points[points["metric"] == metric], arms)
            ax.axvline(0, lw=0.6, color=GREY, zorder=0)
            ax.set_title(title, loc="left")
            ax.set_xlabel("rise of the loss on pretraining text\n(nats per token)")
    return axes


@drawing
def over_rounds(rows: pd.DataFrame, *, y_label: str) -> Axes:
    """Draw a score over rounds, one line per arm with its name at its end; thin lines are runs.

    Adapters of one rank, or one kind of half, have one colour: solid when started anew or drawn again, dashed when they
    go on. A joint arm is a square at the last round.

    Args:
        rows: From ``continual_study_tables.over_rounds``.
        y_label: What the score is, with its unit.
    """
    arms = list(dict.fromkeys(rows["arm"]))
    paint = colours(list(dict.fromkeys(method_words(arm) for arm in arms)))
    with themed():
        ax = new_figure(TWO_COLUMN, 3.0).subplots()
        last = int(rows["round"].max()) if len(rows) else 0
        ends: dict[str, float] = {}
        for arm in arms:
            own, colour = rows[rows["arm"] == arm], paint[method_words(arm)]
            mean = own.groupby("round")["value"].mean()
            if between(arm) == "one":
                ax.plot(mean.index, mean, "s", ms=4, color=colour)
            else:
                for _, run in own.groupby("seed"):
                    ax.plot(run["round"], run["value"], "-", lw=0.3, alpha=0.25, color=colour, zorder=0)
                ax.plot(mean.index, mean, marker="o", ms=2.5, ls=STYLES[between(arm)], color=colour)
            if last in mean.index:
                ends[arm] = float(mean[last])
        _named_ends(ax, ends, {arm: paint[method_words(arm)] for arm in ends}, last)
        told = rows[rows["arm"].isin(sequential(arms))].drop_duplicates("round").set_index("round")["trained"]
        ax.set_xticks(told.index, [name.replace("_", "\n") for name in told])
        ax.set_xlabel("after the round of")
        ax.set_ylabel(y_label)
    return ax


def _named_ends(ax: Axes, ends: dict[str, float], paint: dict[str, str], last: int) -> None:
    """Write every name beside the end of its line, names apart from each other, thin lines leading to them."""
    low, high = ax.get_ylim()
    step = 0.062 * (high - low)
    order = sorted(ends, key=ends.get)
    heights = apart([ends[arm] for arm in order], step, low, high)
    for arm, height in zip(order, heights, strict=True):
        ax.plot([last + 0.06, last + 0.26], [ends[arm], height], "-", lw=0.4, color=paint[arm], clip_on=False)
        ax.text(last + 0.3, height, arm, va="center", fontsize=6, color=paint[arm])
    ax.set_ylim(min([low, *heights]), max([high, *heights]))
    ax.set_xlim(-0.1, last * 1.38 + 0.3)
    ax.spines["bottom"].set_bounds(0, last)


def apart(values: Sequence[float], step: float, low: float, high: float) -> list[float]:
    """Return ascending heights as near to ascending ``values`` as can be, at least ``step`` apart, within bounds.

    Neighbours that are too near form a block around their mean; where bounds are too narrow for all, the upper one
    gives way.
    """
    blocks: list[list[float]] = []  # of each: the values, from which its centre follows
    for value in values:
        blocks.append([value])
        while len(blocks) > 1 and _first(blocks[-1], step, low, high) < _last(blocks[-2], step, low, high) + step:
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    return [_first(block, step, low, high) + step * i for block in blocks for i in range(len(block))]


def _first(block: Sequence[float], step: float, low: float, high: float) -> float:
    length = step * (len(block) - 1)
    return max(low, min(float(np.mean(block)) - length / 2, high - length))


def _last(block: Sequence[float], step: float, low: float, high: float) -> float:
    return _first(block, step, low, high) + step * (len(block) - 1)
