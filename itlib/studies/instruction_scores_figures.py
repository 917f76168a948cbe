"""Figures of ``03g_own_scores``: tasks from observed to unobserved, instructions one by one, gaps model by model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from itlib.drawing import drawing
from itlib.figures import new_figure
from itlib.theme import GREY, PALETTE, TWO_COLUMN, themed

COLUMNS = 3
SIDES = {"observed": ("o", PALETTE[0], -0.2), "unobserved": ("s", PALETTE[1], 0.2)}  # marker, colour, place in its row
NAMED_TASKS = 16  # more names at the end of lines cannot be read
LINE_HEIGHT = 0.056  # of a name, as a share of the axis
LONGEST = 26  # characters of a name


@drawing
def slopes(table: pd.DataFrame, *, y_label: str = "accuracy") -> np.ndarray:
    """Draw one line per task from observed to unobserved instructions, the mean over tasks thick, a panel per model.

    Args:
        table: From ``instruction_scores_tables.slopes``.
        y_label: Name of the accuracy and its unit.

    Returns:
        Axes of shape (models,).
    """
    names = list(dict.fromkeys(table["model"]))
    columns = min(COLUMNS, len(names))
    rows = -(-len(names) // columns)
    with themed():
        figure = new_figure(TWO_COLUMN if columns > 1 else TWO_COLUMN / 2, 0.3 + 2.3 * rows)
        grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
        panels = dict(zip(names, grid.flat, strict=False))
        for name, ax in panels.items():
            _lines(ax, table[table["model"] == name])
            ax.set(title=_short(name))
        _make_room(next(iter(panels.values())), [table[table["model"] == name] for name in names])
        for name, ax in panels.items():  # the scale that all panels share is known only now
            _name_ends(ax, table[table["model"] == name])
        for ax in grid.flat[len(names) :]:
            ax.remove()
        for ax in grid[:, 0]:
            ax.set_ylabel(y_label)
        handles = [
            Line2D([], [], marker="o", ms=2.5, lw=0.7, color=GREY, label="one task"),
            Line2D([], [], marker="D", ms=5, lw=2.2, color=PALETTE[0], label="mean over tasks"),
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return grid.ravel()[: len(names)]


@drawing
def strips(dots: pd.DataFrame, spread: pd.DataFrame) -> Axes:
    """Draw one dot per instruction and task, a strip per model and side, with standard deviation and sigma printed.

    Args:
        dots: From ``instruction_scores_tables.deviations``. Each task has a line of its own within the strip.
        spread: From ``instruction_scores_tables.spread``. A sigma that is NaN is not printed.
    """
    names = list(dict.fromkeys(dots["model"]))
    numbers = spread.set_index("model")
    with themed():
        ax = new_figure(TWO_COLUMN, 0.8 + 0.62 * len(names)).subplots()
        for place, name in enumerate(names):
            for side, (marker, colour, offset) in SIDES.items():
                mine = dots[(dots["model"] == name) & (dots["observed"] == (side == "observed"))]
                _strip(ax, mine, place + offset, marker, colour)
                text = _spread_text(numbers.loc[name, f"sd_{side}"], numbers.loc[name, f"sigma_{side}"])
                ax.text(1.01, place + offset, text, transform=ax.get_yaxis_transform(), va="center", fontsize=6)
        ax.axvline(0, lw=0.6, color=GREY, zorder=0)
        ax.set(xlabel="accuracy minus the mean of its task with observed instructions", ylim=(len(names) - 0.5, -0.5))
        ax.set_yticks(range(len(names)), [_short(name) for name in names])
        handles = [
            Line2D([], [], ls="", marker=marker, color=colour, label=f"{side} instructions")
            for side, (marker, colour, _) in SIDES.items()
        ]
        handles.append(Line2D([], [], color="black", label="mean"))
        ax.figure.legend(handles=handles, loc="outside upper center", ncols=3)
    return ax


@drawing
def forest(rows: pd.DataFrame) -> Axes:
    """Draw the gap of every model with two intervals, and the mean of all models as a diamond below.

    Args:
        rows: From ``instruction_scores_tables.forest_rows``. Intervals without bounds are not drawn.
    """
    places = np.arange(len(rows)) + rows["pooled"].to_numpy(dtype=float) * 0.4
    with themed():
        ax = new_figure(TWO_COLUMN * 0.8, 0.95 + 0.24 * len(rows)).subplots()
        for place, (_, row) in zip(places, rows.iterrows(), strict=True):
            colour, marker, size = ("black", "D", 5) if row["pooled"] else (PALETTE[0], "o", 4)
            ax.plot([row["shown_low"], row["shown_high"]], [place] * 2, "-", lw=0.8, color=GREY, zorder=1)
            ax.plot([row["low"], row["high"]], [place] * 2, "-", lw=3, color=colour, alpha=0.45, zorder=2)
            ax.plot(row["gap"], place, marker, ms=size, color=colour, zorder=3)
            tasks = "1 task" if row["tasks"] == 1 else f"{row['tasks']} tasks"
            text = f"p {row['p']:.3f}, {tasks}" if row["tasks"] else "no shared task"
            ax.text(1.01, place, text, transform=ax.get_yaxis_transform(), va="center", fontsize=6)
        ax.axvline(0, lw=0.6, color=GREY, zorder=0)
        ax.set(xlabel="accuracy with observed minus unobserved instructions", ylim=(places[-1] + 0.6, -0.6))
        ax.set_yticks(places, [_short(name) for name in rows["model"]])
        ax.xaxis.set_major_locator(MaxNLocator(6))
        handles = [
            Line2D([], [], lw=3, color=PALETTE[0], alpha=0.45, label="over tasks (sign-flip test)"),
            Line2D([], [], lw=0.8, color=GREY, label="over tasks and instructions (bootstrap)"),
        ]
        ax.figure.legend(handles=handles, loc="outside upper center", ncols=2)
    return ax


def _lines(ax: Axes, mine: pd.DataFrame) -> None:
    """Draw the lines of one model, with room for names on the right if there are few enough of them."""
    ends = mine[["observed", "unobserved"]].to_numpy(dtype=float)
    for pair in ends:
        ax.plot([0, 1], pair, "-", lw=0.7, marker="o", ms=2.5, color=GREY, alpha=0.7, zorder=1)
    ax.plot([0, 1], ends.mean(axis=0), "-", lw=2.2, marker="D", ms=5, color=PALETTE[0], zorder=3)
    ax.set(xlim=(-0.15, 1.9 if len(mine) <= NAMED_TASKS else 1.3))
    ax.set_xticks([0, 1], ["observed", "unobserved"])


def _strip(ax: Axes, mine: pd.DataFrame, place: float, marker: str, colour: str) -> None:
    """Draw the dots of one side of one model, a line per task, and a bar at their mean."""
    lines = pd.factorize(mine["task"])[0]
    heights = place + 0.26 * (lines / max(1, lines.max(initial=0)) - 0.5)
    ax.plot(mine["deviation"], heights, marker, ls="", ms=2.2, mew=0, alpha=0.55, color=colour)
    ax.plot([mine["deviation"].mean()] * 2, [place - 0.17, place + 0.17], "-", color="black")


def _make_room(ax: Axes, panels: Sequence[pd.DataFrame]) -> None:
    """Widen the scale that all panels share until the names of every panel fit; ticks stay where values can be."""
    named = [np.sort(mine["unobserved"].to_numpy(dtype=float)) for mine in panels if 0 < len(mine) <= NAMED_TASKS]
    limits, before = ax.get_ylim(), None
    while limits != before:  # sixteen names take 0.9 of the axis at most, so this ends
        before = limits
        places = [_apart(ends, LINE_HEIGHT * (before[1] - before[0])) for ends in named]
        reached = np.concatenate([before, *places])
        limits = (reached.min(), reached.max())
    ax.set_ylim(limits)
    ax.set_yticks([tick for tick in ax.get_yticks() if 0 <= tick <= limits[1]])


def _name_ends(ax: Axes, mine: pd.DataFrame) -> None:
    """Write the name of each task beside the end of its line, moved apart where lines end close to each other."""
    if len(mine) > NAMED_TASKS:
        return
    mine = mine.sort_values("unobserved", kind="stable")
    ends = mine["unobserved"].to_numpy(dtype=float)
    for name, end, place in zip(mine["task"], ends, _apart(ends, LINE_HEIGHT * np.ptp(ax.get_ylim())), strict=True):
        ax.plot([1.06, 1.17], [end, place], "-", lw=0.4, color=GREY, clip_on=False)
        ax.text(1.2, place, _short(name, 15), va="center", fontsize=6, clip_on=False)


def _apart(places: Sequence[float] | np.ndarray, least: float) -> np.ndarray:
    """Return rising places at least so far apart, each group of neighbours centred on where it was."""
    groups: list[list[float]] = []
    for place in places:
        groups.append([float(place)])
        while len(groups) > 1 and np.mean(groups[-1]) - np.mean(groups[-2]) < least * sum(map(len, groups[-2:])) / 2:
            groups[-2:] = [groups[-2] + groups[-1]]
    apart = [np.mean(group) + least * (np.arange(len(group)) - (len(group) - 1) / 2) for group in groups]
    return np.concatenate(apart) if apart else np.array([])


def _spread_text(deviation: float, sigma: float) -> str:
    parts = [f"sd {deviation:.3f}" if np.isfinite(deviation) else "", f"σ {sigma:.3f}" if np.isfinite(sigma) else ""]
    return "   ".join(part for part in parts if part)


def _short(name: object, longest: int = LONGEST) -> str:
    """Return a name on one line, cut in the middle: models and tasks often differ at their ends."""
    text = " ".join(str(name).split())
    text = text if len(text) <= longest else f"{text[: longest // 2 - 1]}…{text[-(longest - longest // 2) :]}"
    return text.replace("$", r"\$")  # two of them would start a formula
