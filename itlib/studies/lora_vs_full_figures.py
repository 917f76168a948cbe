"""Figures of ``04_lora_vs_full``: scores at own rates, frontiers, both papers' positions, matched arms, and recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from itlib.claims.lora_vs_full import OTHER, OWN, UNTUNED
from itlib.drawing import drawing
from itlib.studies.lora_vs_full_tables import BELOW, FORGOT, LEARNED, MATCHED
from itlib.theme import GREY, TWO_COLUMN, colours, markers, new_figure, themed

FORGETTING = "rise of the reference loss (nats per token)"
NAMES = {"exact_match": "exact match", "graded": "constraints fulfilled (share)"}
NAMES |= {"response_nll": "response loss (nats per token)"}
PEFT = {"learning": 0.478 - 0.472, "forgetting": 0.050 - 0.030}  # rank 32 on q and v minus full, peft's comparison
COLUMNS = 3
ROOM = 1.6  # how far above the runs at own rates a panel reaches
APART = 0.115  # of the height of a panel, between two labels


@drawing
def own_rates(table: pd.DataFrame, metric: str) -> np.ndarray:
    """Draw learning and forgetting at own rates, a row per arm, a dot per run; a thin line joins the runs of a seed.

    Args:
        table: From ``lora_vs_full_tables.own``.
        metric: Name of what ``learning`` is.

    Returns:
        Two axes.
    """
    arms = list(dict.fromkeys(table["arm"]))
    with themed():
        axes = new_figure(TWO_COLUMN, 0.8 + 0.32 * len(arms)).subplots(1, 2, sharey=True)
        paint, shape = colours(arms), markers(arms)
        for ax, column, label in zip(axes, ("learning", "forgetting"), (NAMES[metric], FORGETTING), strict=True):
            wide = table.pivot(index="seed", columns="arm", values=column).reindex(columns=arms)
            for _, values in wide.iterrows():
                ax.plot(values, range(len(arms)), lw=0.4, color="0.8", zorder=0)
            for place, arm in enumerate(arms):
                values = wide[arm].dropna()
                ax.plot(values, [place] * len(values), shape[arm], ms=3.2, mew=0, alpha=0.7, color=paint[arm])
                if len(values):
                    ax.plot([values.mean()] * 2, [place - 0.3, place + 0.3], lw=1.6, color=paint[arm])
            if wide.isna().all(axis=None):
                _say(ax, "not measured")
            ax.set(xlabel=label, ylim=(len(arms) - 0.5, -0.5))
            ax.set_yticks(range(len(arms)), arms)
        if metric != "response_nll":
            axes[0].set_xlim(left=0)
    return axes


@drawing
def frontiers(table: pd.DataFrame, means: pd.DataFrame, arms: Sequence[str], metric: str) -> np.ndarray:
    """Draw the cloud of every arm in a panel of its own with the frontier between means, and all frontiers in the last.

    Filled dots are runs at the rate that dev chose, open ones runs in other settings. Runs that forget far more than
    those are triangles at the upper edge. The frontier of the first arm is repeated in grey.

    Args:
        table: From ``lora_vs_full_tables.scores``.
        means: From ``lora_vs_full_tables.mean_frontiers``.
        arms: Names, in the order of the panels.
        metric: Name of what ``learning`` is.

    Returns:
        Axes, one per arm and the last one.
    """
    with themed():
        columns = min(COLUMNS, len(arms) + 1)
        rows = -(-(len(arms) + 1) // columns)
        figure = new_figure(TWO_COLUMN, 0.4 + 1.75 * rows)
        axes = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        paint = colours(list(arms))
        top, widest = _edges(table)
        lines = {arm: _below(means[means["arm"] == arm], top) for arm in arms}
        for ax, arm in zip(axes, arms, strict=False):
            if arm != arms[0]:
                ax.plot(lines[arms[0]]["learning"], lines[arms[0]]["forgetting"], color="0.75", lw=2.5, zorder=1)
            ax.plot(lines[arm]["learning"], lines[arm]["forgetting"], color=paint[arm], lw=1.4, zorder=3)
            _cloud(ax, table[table["arm"] == arm], paint[arm], top)
            ax.set_title(arm, loc="left", color=paint[arm])
            ax.set_xlim(-0.03 * widest, 1.05 * widest)
        last = axes[len(arms)]
        for arm in arms:
            last.plot(lines[arm]["learning"], lines[arm]["forgetting"], color=paint[arm], lw=1.4)
        last.set_title("all frontiers", loc="left")
        last.set_xlim(-0.03 * widest, 1.55 * widest)
        for ax in axes:
            ax.xaxis.set_major_locator(MaxNLocator(4))
        axes[0].set_ylim(-0.04 * top, top)
        _label_ends(last, {arm: lines[arm] for arm in arms if len(lines[arm])}, paint, 1.12 * widest, top)
        for ax in axes[len(arms) + 1 :]:
            ax.set_axis_off()
        if table["forgetting"].isna().all():
            _say(last, "forgetting not measured")
        elif not len(means):
            _say(last, "one rate per arm: no frontier")
        figure.supxlabel(NAMES[metric], fontsize=7)
        figure.supylabel(FORGETTING, fontsize=7)
    return axes[: len(arms) + 1]


@drawing
def positions(table: pd.DataFrame, means: pd.DataFrame, *, first: str) -> np.ndarray:
    """Draw forgetting beside what two papers say of it, at own rates over learning and at equal accuracy by arm.

    Both panels share the vertical axis, every arm minus the first: below the line is the side of arXiv:2405.09673,
    above it that of peft's comparison, whose numbers are the open diamonds.

    Args:
        table: From ``lora_vs_full_tables.comparisons``.
        means: From ``lora_vs_full_tables.differences``.
        first: Name of the arm that is compared with.

    Returns:
        Two axes.
    """
    arms = list(dict.fromkeys(table["arm"]))
    narrow = [arm for arm in arms if "qv" in arm.split()]
    by = means.set_index(["arm", "what"])
    with themed():
        left, right = axes = new_figure(TWO_COLUMN, 3.0).subplots(1, 2, sharey=True)
        paint, shape = colours([first, *arms]), markers([first, *arms])
        for arm in arms:
            x, y = (_values(table, arm, what) for what in (LEARNED, FORGOT))
            left.plot(x, y, shape[arm], ms=3, mew=0, alpha=0.45, color=paint[arm], zorder=2)
            left.plot(x.mean(), y.mean(), shape[arm], ms=6, mec="white", mew=0.6, color=paint[arm], zorder=3, label=arm)
        for place, arm in enumerate(arms):
            values = _values(table, arm, MATCHED)
            _strip(right, place, values, by.loc[(arm, MATCHED), "interval"], paint[arm], shape[arm], upright=True)
        if narrow:
            left.plot(PEFT["learning"], PEFT["forgetting"], "D", mfc="none", mec="black", ms=5, label="peft, q and v")
        for arm in narrow:
            right.plot(arms.index(arm), PEFT["forgetting"], "D", mfc="none", mec="black", ms=5, zorder=4)
        left.axvline(0, color=GREY, lw=0.5, zorder=0)
        _sides(axes)
        left.set(xlabel=f"accuracy minus that of {first}, own rates")
        left.set_ylabel(f"forgetting minus that of {first} (nats per token)")
        right.set_xlim(-0.6, max(len(arms), 1) - 0.4)
        right.set_xticks(range(len(arms)), [arm.replace(" ", "\n") for arm in arms])
        right.set_xlabel("at equal accuracy")
        if table.loc[table["what"] == FORGOT, "value"].isna().all():
            _say(left, "not measured", height=0.62)
        left.figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=4, handletextpad=0.3)
    return axes


@drawing
def matched(table: pd.DataFrame, means: pd.DataFrame, *, first: str) -> np.ndarray:
    """Draw forgetting minus that of the first arm, at equal accuracy and on average up to there.

    Dots are seeds; a bar is the mean with its sign-flip interval, where there are seeds enough for one.

    Args:
        table: From ``lora_vs_full_tables.comparisons``.
        means: From ``lora_vs_full_tables.differences``.
        first: Name of the arm that is compared with.

    Returns:
        Two axes.
    """
    arms = list(dict.fromkeys(table["arm"]))
    by = means.set_index(["arm", "what"])
    with themed():
        axes = new_figure(TWO_COLUMN, 0.8 + 0.32 * len(arms)).subplots(1, 2, sharey=True)
        paint, shape = colours([first, *arms]), markers([first, *arms])
        for ax, what, title in zip(
            axes, (MATCHED, BELOW), ("at equal accuracy", "on average up to there"), strict=True
        ):
            for place, arm in enumerate(arms):
                interval = by.loc[(arm, what), "interval"]
                _strip(ax, place, _values(table, arm, what), interval, paint[arm], shape[arm], upright=False)
            ax.axvline(0, color=GREY, lw=0.6, zorder=0)
            ax.set_title(title, loc="left")
            ax.set(xlabel=f"forgetting minus that of {first} (nats per token)", ylim=(len(arms) - 0.5, -0.5))
            ax.set_yticks(range(len(arms)), arms)
            if table.loc[table["what"] == what, "value"].isna().all():
                _say(ax, "not measured")
    return axes


@drawing
def recall(table: pd.DataFrame) -> np.ndarray:
    """Draw recall of facts over the frequency of a person, a panel per arm: thin lines are runs, the base is black.

    Args:
        table: From ``lora_vs_full_tables.recall``.

    Returns:
        Axes, one per arm, or a single one that says that nothing was measured.
    """
    arms = [arm for arm in dict.fromkeys(table["arm"]) if arm != UNTUNED]
    frequencies = sorted(table["frequency"].unique())
    with themed():
        columns = 2 if len(arms) == 4 else min(COLUMNS, max(1, len(arms)))
        rows = -(-max(1, len(arms)) // columns)
        figure = new_figure(TWO_COLUMN, 0.5 + 1.5 * rows)
        axes = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        paint, places = colours(arms), range(len(frequencies))
        before = _by_frequency(table, UNTUNED, frequencies)
        for ax, arm in zip(axes, arms, strict=False):
            after = _by_frequency(table, arm, frequencies)
            ax.plot(places, before.mean(), "o-", color="black", lw=1, ms=3, label="before tuning")
            ax.plot(places, after.T, lw=0.4, alpha=0.5, color=paint[arm])
            ax.plot(places, after.mean(), "s-", color=paint[arm], lw=1.4, ms=3, label="after tuning")
            ax.set_title(arm, loc="left", color=paint[arm])
            ax.set_xticks(places, [_share(frequency) for frequency in frequencies])
        axes[0].set_ylim(-0.03, 1.03)
        for ax in axes[len(arms) if arms else 1 :]:
            ax.set_axis_off()
        if arms:
            axes[0].legend(loc="lower right")
        else:
            _say(axes[0], "not measured: the base was not told these facts")
        figure.supxlabel("how often documents speak of a person", fontsize=7)
        figure.supylabel("facts recalled (share)", fontsize=7)
    return axes[: max(1, len(arms))]


def _by_frequency(table: pd.DataFrame, arm: str, frequencies: Sequence[float]) -> pd.DataFrame:
    wide = table[table["arm"] == arm].pivot(index="seed", columns="frequency", values="recall")
    return wide.reindex(columns=list(frequencies)).astype(float)


def _share(frequency: float) -> str:
    if frequency == 0:
        return "never"
    return "often" if frequency == 1 else f"1/{1 / frequency:.0f}"


def _values(table: pd.DataFrame, arm: str, what: str) -> pd.Series:
    return table[(table["arm"] == arm) & (table["what"] == what)].set_index("seed")["value"].astype(float)


def _cloud(ax: Axes, runs: pd.DataFrame, colour: str, top: float) -> None:
    for point, fill in ((OWN, colour), (OTHER, "white")):
        group = runs[runs["point"] == point].dropna(subset=["learning", "forgetting"])
        inside, above = group[group["forgetting"] <= top], group[group["forgetting"] > top]
        how = {"ls": "", "mec": colour, "mfc": fill, "mew": 0.6}
        ax.plot(inside["learning"], inside["forgetting"], "o", ms=3, zorder=2, **how)
        ax.plot(above["learning"], [0.97 * top] * len(above), "^", ms=3, zorder=2, **how)


def _edges(table: pd.DataFrame) -> tuple[float, float]:
    """Return where panels of frontiers end: above all runs at own rates, and right of all runs."""
    runs = table.loc[table["point"] == OWN, "forgetting"].dropna()
    return ROOM * max([0.0, *runs]) or 1.0, max([0.0, *table["learning"].dropna()]) or 1.0


def _below(line: pd.DataFrame, top: float) -> pd.DataFrame:
    """Return a frontier up to the edge of a panel."""
    return line[line["forgetting"] <= top]


def _label_ends(ax: Axes, lines: Mapping[str, pd.DataFrame], paint: Mapping[str, str], x: float, top: float) -> None:
    """Write the name of every line right of all of them, near the height of its end and joined to it."""
    ends = {name: line.iloc[-1] for name, line in lines.items()}
    places: dict[str, float] = {}
    for name in sorted(ends, key=lambda name: ends[name]["forgetting"]):
        lowest = max(places.values(), default=-np.inf) + APART * top
        places[name] = max(float(ends[name]["forgetting"]), lowest)
    too_high = max(0.0, max(places.values(), default=0.0) - 0.97 * top)
    for name, place in places.items():
        end = ends[name]
        ax.annotate(
            name, (end["learning"], end["forgetting"]), (x, place - too_high), color=paint[name], va="center",
            fontsize=6.5, arrowprops={"arrowstyle": "-", "lw": 0.4, "color": paint[name], "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip


def _strip(
    ax: Axes, place: float, values: pd.Series, interval: tuple[float, float], colour: str, mark: str, *, upright: bool
) -> None:
    """Draw seeds as dots around a place, and beside them their mean and interval."""
    values = values.dropna()
    if not len(values):
        return
    spread = place - 0.12 + np.linspace(-0.1, 0.1, len(values)) if len(values) > 1 else np.array([place - 0.12])
    low, high = interval
    bar = ([low, high] if np.isfinite([low, high]).all() else [values.mean()] * 2, [place + 0.15] * 2)
    mean = ([values.mean()], [place + 0.15])
    dots = (values, spread)
    for (across, along), how in (
        (dots, {"marker": mark, "ls": "", "ms": 3, "mew": 0, "alpha": 0.5}),
        (bar, {"lw": 1.2}),
        (mean, {"marker": mark, "ls": "", "ms": 4.5}),
    ):
        ax.plot(*((along, across) if upright else (across, along)), color=colour, **how)


def _sides(axes: Sequence[Axes]) -> None:
    """Put zero inside a shared vertical axis and say whose side is above it and whose below."""
    reach = 1.5 * max(*map(abs, axes[0].get_ylim()), PEFT["forgetting"])
    axes[0].set_ylim(-reach, reach)
    for ax in axes:
        ax.axhspan(0, reach, color="0.95", lw=0, zorder=-1)
        ax.axhline(0, color=GREY, lw=0.6, zorder=0)
    how = {"fontsize": 6.5, "color": "0.35", "style": "italic"}
    for ax, below in zip(axes, ("learns less, forgets less: arXiv:2405.09673", "forgets less"), strict=True):
        ax.text(0.02, 0.97, "forgets more: peft's comparison", transform=ax.transAxes, va="top", **how)
        ax.text(0.02, 0.03, below, transform=ax.transAxes, va="bottom", **how)


def _say(ax: Axes, text: str, *, height: float = 0.5) -> None:
    ax.text(0.5, height, text, transform=ax.transAxes, ha="center", va="center", color=GREY)
