"""Figures of ``04c_methods``: accuracy against cost, knowledge against task, sparse arms, placement, data fractions."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from matplotlib.ticker import NullLocator

from itlib.drawing import drawing
from itlib.labels import place_labels
from itlib.stats import sign_flip_interval
from itlib.theme import GREY, ONE_COLUMN, TWO_COLUMN, colours, markers, new_figure, themed

KINDS = ("weights as they are", "low rank", "sparse", "scales and norms", "virtual tokens")
FULL = "full"
BAND = "0.90"
JOINED = "grow and drop"  # arms that differ in density alone, and so are joined by a line


def short(arm: str) -> str:
    """Return an arm as a label: words apart, values without the name of their option."""
    return " ".join(word.partition("=")[2] or word for word in arm.replace("_", " ").split())


@drawing
def parameters(table: pd.DataFrame, y_label: str = "exact match") -> Axes:
    """Draw score against trainable parameters, a named point per method; full tuning is a line with its interval.

    Args:
        table: From ``tuning_methods_tables.methods``.
        y_label: Name of the score.
    """
    return _against(table, "trainable", "trained parameters", y_label, scale="log", intervals=True)


@drawing
def seconds(table: pd.DataFrame, y_label: str = "exact match") -> Axes:
    """Draw score against the median seconds of a run on the machine that ran it; arguments as in ``parameters``.

    Intervals of single methods are those of ``parameters`` and left out.
    """
    x_label = "seconds per run, evaluation included (median, one machine)"
    return _against(table, "seconds", x_label, y_label, scale="linear", intervals=False)


def _against(table: pd.DataFrame, x: str, x_label: str, y_label: str, *, scale: str, intervals: bool) -> Axes:
    with themed():
        ax = new_figure(TWO_COLUMN, 4.2).subplots()
        rows = table[table["score"].notna() & (table[x] > 0)]
        paint, shape = colours(KINDS), markers(KINDS)
        _reference(ax, table[table["arm"] == FULL])
        for kind, group in rows.groupby("kind", sort=False):
            if intervals:
                ax.vlines(group[x], group["low"], group["high"], lw=0.5, color=paint[kind], alpha=0.6, zorder=1)
            ax.plot(group[x], group["score"], shape[kind], color=paint[kind], ms=3.5, mew=0, label=kind, zorder=3)
        ax.set_xscale(scale)
        ax.margins(x=0.12, y=0.12)
        ax.set(xlabel=x_label, ylabel=y_label)
        if len(rows):
            ax.figure.legend(loc="outside upper center", ncols=len(KINDS))
            names = [short(arm) for arm in rows["arm"]]
            paints = [paint[kind] for kind in rows["kind"]]
            lines = [*(_intervals(rows, x) if intervals else []), *_level(ax, table[table["arm"] == FULL])]
            place_labels(ax, list(rows[x]), list(rows["score"]), names, paints, lines=lines)
    return ax


def _intervals(rows: pd.DataFrame, x: str) -> list[np.ndarray]:
    """Return the vertical lines of intervals, which labels leave free."""
    known = rows[np.isfinite(rows["low"])]
    return [np.array([[at, low], [at, high]]) for at, low, high in known[[x, "low", "high"]].to_numpy(dtype=float)]


def _level(ax: Axes, row: pd.DataFrame) -> list[np.ndarray]:
    """Return the horizontal line of full tuning, which labels leave free."""
    left, right = ax.get_xlim()
    return [np.array([[left, score], [right, score]]) for score in row["score"]]


def _reference(ax: Axes, row: pd.DataFrame) -> None:
    """Draw full tuning as a line with the interval over its seeds."""
    for full in row.itertuples():
        if np.isfinite(full.low):
            ax.axhspan(full.low, full.high, color=BAND, lw=0, zorder=0)
        ax.axhline(full.score, color=GREY, lw=0.7, zorder=0)


@drawing
def knowledge(table: pd.DataFrame, points: pd.DataFrame, before: float, y_label: str = "exact match") -> Axes:
    """Draw score against facts recalled, an arrow from the plain adapter to each start, and the region it may end in.

    Args:
        table: From ``tuning_methods_tables.trade``. The ellipse is the joint 95 % region of the mean difference, drawn
            around the tip of the arrow: where it leaves out the plain adapter, the two differ.
        points: From ``tuning_methods_tables.points``: a small dot per run.
        before: What the untuned bases recall; NaN where nothing is known.
        y_label: Name of the score.
    """
    with themed():
        ax = new_figure(TWO_COLUMN * 0.75, 3.2).subplots()
        known = table[table[["recall", "score"]].notna().all(axis=1)]
        names = list(known["arm"])
        paint, shape = colours(names), markers(names)
        for row in known.itertuples():
            runs = points[points["arm"] == row.arm]
            look = {"color": paint[row.arm], "mew": 0}
            ax.plot(runs["recall"], runs["score"], shape[row.arm], ms=2.2, alpha=0.4, **look)
            ax.plot(row.recall, row.score, shape[row.arm], ms=5, zorder=4, **look)
            plain = known[known["arm"] == row.plain]
            if row.arm != row.plain and len(plain):
                _arrow(ax, plain.iloc[0], row, paint[row.arm])
        if np.isfinite(before):
            ax.axvline(before, color=GREY, lw=0.7, ls="--", zorder=0, label="untuned bases recall")
            ax.figure.legend(loc="outside upper center")
        ax.margins(0.12)
        ax.set(xlabel="told facts recalled in the form of documents", ylabel=f"{y_label} on tuned tasks")
        if names:
            shown, paints = [short(arm) for arm in names], [paint[arm] for arm in names]
            lines = _arrows(known)
            place_labels(ax, list(known["recall"]), list(known["score"]), shown, paints, lines=lines)
    return ax


def _arrows(known: pd.DataFrame) -> list[np.ndarray]:
    """Return the lines of arrows and ellipses, which labels leave free."""
    places = known.set_index("arm")[["recall", "score"]]
    rows = known[(known["arm"] != known["plain"]) & known["plain"].isin(places.index)]
    lines = [places.loc[[row.plain, row.arm]].to_numpy(dtype=float) for row in rows.itertuples()]
    round_about = np.linspace(0, 2 * np.pi, 25)
    for row in rows[np.isfinite(rows["width"])].itertuples():
        x, y, turn = row.width / 2 * np.cos(round_about), row.height / 2 * np.sin(round_about), np.radians(row.angle)
        across, up = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
        lines.append(np.column_stack([row.recall + across, row.score + up]))
    return lines


def _arrow(ax: Axes, start: pd.Series, row: tuple, colour: str) -> None:
    line = {"arrowstyle": "->", "lw": 0.8, "color": colour, "shrinkA": 3, "shrinkB": 3}
    ax.annotate("", xy=(row.recall, row.score), xytext=(start["recall"], start["score"]), arrowprops=line)
    if np.isfinite(row.width):
        where = ((row.recall, row.score), row.width, row.height)
        ax.add_patch(Ellipse(*where, angle=row.angle, fill=False, ec=colour, lw=0.7, zorder=2))


@drawing
def sparsity(table: pd.DataFrame, methods: pd.DataFrame, y_label: str = "exact match") -> Axes:
    """Draw the score of sparse arms against the numbers in training, their densities written beside them.

    Args:
        table: From ``tuning_methods_tables.densities``.
        methods: From ``tuning_methods_tables.methods``, for full tuning as a line.
        y_label: Name of the score.
    """
    with themed():
        ax = new_figure(TWO_COLUMN * 0.75, 3.0).subplots()
        rows = table[table["score"].notna()]
        kinds = list(dict.fromkeys(rows["kind"]))
        paint, shape = colours(kinds), markers(kinds)
        _reference(ax, methods[methods["arm"] == FULL])
        for kind, group in rows.groupby("kind", sort=False):
            look = {"marker": shape[kind], "color": paint[kind], "mew": 0, "label": kind}
            ax.vlines(group["trainable"], group["low"], group["high"], lw=0.5, color=paint[kind])
            ax.plot(group["trainable"], group["score"], ls="-" if kind == JOINED else "none", **look)
        ax.set_xscale("log")
        ax.margins(y=0.15)
        ax.set(xlabel="numbers in training", ylabel=y_label)
        if len(rows):
            ax.set_xlim(rows["trainable"].min() / 3, rows["trainable"].max() * 3)
            ax.figure.legend(loc="outside upper center", ncols=len(kinds))
            pairs = zip(rows["arm"], rows["density"], strict=True)
            names = [f"density {density:g}" if np.isfinite(density) else short(arm) for arm, density in pairs]
            joined = rows.loc[rows["kind"] == JOINED, ["trainable", "score"]].to_numpy(dtype=float)
            lines = [*_intervals(rows, "trainable"), *_level(ax, methods[methods["arm"] == FULL]), joined]
            paints = [paint[kind] for kind in rows["kind"]]
            place_labels(ax, list(rows["trainable"]), list(rows["score"]), names, paints, lines=lines)
    return ax


@drawing
def placement(table: pd.DataFrame, y_label: str = "exact match") -> np.ndarray:
    """Draw scores in attention and in feed-forward layers, a line per seed, a panel per pair, the difference printed.

    Args:
        table: From ``tuning_methods_tables.placed``.
        y_label: Name of the score.

    Returns:
        Axes, one per pair; one empty panel where there is no pair.
    """
    pairs = list(dict.fromkeys(table["pair"])) or [""]
    with themed():
        figure = new_figure(min(TWO_COLUMN, ONE_COLUMN * len(pairs)), 2.6)
        axes = figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
        paint = colours(["attention", "feed-forward"])
        for ax, pair in zip(axes, pairs, strict=True):
            rows = table[(table["pair"] == pair) & table["difference"].notna()]
            for row in rows.itertuples():
                ax.plot([0, 1], [row.attention, row.feedforward], "-", color=GREY, lw=0.6, zorder=1)
            for x, name in enumerate(("attention", "feedforward")):
                colour = list(paint.values())[x]
                ax.plot([x] * len(rows), rows[name], "os"[x], color=colour, ms=4, mew=0, zorder=2)
                if len(rows):
                    ax.plot([x - 0.12, x + 0.12], [rows[name].mean()] * 2, "-", color=colour, lw=1.6, zorder=3)
            ax.set_xticks([0, 1], _placed_at(pair))
            ax.set(xlim=(-0.4, 1.4), title=_difference(rows["difference"].to_numpy(dtype=float)))
        axes[0].set_ylabel(y_label)
    return axes


def _placed_at(pair: str) -> list[str]:
    found = pair.split(" and ") if pair else ["attention", "feedforward"]
    return [name.replace("feedforward", "feed-forward") for name in found]


def _difference(differences: np.ndarray) -> str:
    if not len(differences):
        return "no pair of runs"
    low, high = sign_flip_interval(differences)
    interval = f" [{low:+.3f}, {high:+.3f}]" if np.isfinite(low) and np.isfinite(high) else ""
    return f"difference {differences.mean():+.3f}{interval}"


@drawing
def fractions(table: pd.DataFrame, model: str, small_model: str, y_label: str = "exact match") -> Axes:
    """Draw score against the share of the training data; the smaller model on all of it is a line with its interval.

    Args:
        table: From ``tuning_methods_tables.fractions``.
        model: Name of the model.
        small_model: Name of the smaller one.
        y_label: Name of the score.
    """
    with themed():
        ax = new_figure(TWO_COLUMN * 0.6, 2.8).subplots()
        own = table[(table["model"] == "own") & table["score"].notna()]
        arms = list(dict.fromkeys(own["arm"]))
        paint, shape = colours(arms), markers(arms)
        small = table[(table["model"] == "small") & table["score"].notna()]
        _reference(ax, small)
        for arm, group in own.groupby("arm", sort=False):
            ax.vlines(group["fraction"], group["low"], group["high"], lw=0.5, color=paint[arm])
            label = f"{short(arm)}, {model}"
            ax.plot(group["fraction"], group["score"], "-", marker=shape[arm], color=paint[arm], mew=0, label=label)
        ax.set_xscale("log")
        shares = sorted(own["fraction"].unique())
        ax.set_xticks(shares, [f"{100 * share:g} %" for share in shares])
        ax.xaxis.set_minor_locator(NullLocator())
        ax.set(xlabel="share of the training examples, equally many steps", ylabel=y_label)
        if len(small):
            ax.plot([], [], "-", color=GREY, lw=0.7, label=f"full, {small_model}, all data")
        if len(own) or len(small):
            ax.figure.legend(loc="outside upper center", ncols=3 if ax.figure.get_figwidth() > 5 else 2)
    return ax
