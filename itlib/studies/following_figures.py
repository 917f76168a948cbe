"""Figures of ``03e_following``: attack success by place, what else happens, and chains by their length."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from itlib.drawing import drawing
from itlib.injections import ATTACKED, OUTCOMES, PLACES
from itlib.theme import GREY, PALETTE, TWO_COLUMN, colours, markers, new_figure, themed


@drawing
def success(table: pd.DataFrame) -> Axes:
    """Draw attack success beyond chance by place of the injection, with Wilson intervals; a tick bounds zero hits.

    Args:
        table: From ``following_tables.success``.
    """
    with themed():
        ax = new_figure(TWO_COLUMN, 2.4).subplots()
        arms = list(dict.fromkeys(table["arm"]))
        paint, shape = colours(arms), markers(arms)
        for number, arm in enumerate(arms):
            rows = table[table["arm"] == arm].set_index("place").reindex(ATTACKED)
            x = np.arange(len(ATTACKED)) + (number - (len(arms) - 1) / 2) * 0.15
            bounds = [rows["corrected"] - rows["corrected_low"], rows["corrected_high"] - rows["corrected"]]
            label = f"{arm} ({rows['clean'].max():.2f} right without)"
            look = {"fmt": shape[arm], "color": paint[arm], "ms": 3.5, "lw": 0.8}
            ax.errorbar(x, rows["corrected"], np.clip(bounds, 0, None), label=label, **look)
            ax.plot(x, rows["at_most"], "_", ms=6, color=paint[arm])
        ax.axhline(0, color=GREY, lw=0.6)
        ax.set_xticks(range(len(ATTACKED)), ATTACKED)
        ax.set(xlabel="place of the injection in the input", ylabel="injections followed, chance subtracted")
        ax.set_ylim(top=1.03)
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return ax


@drawing
def outcomes(table: pd.DataFrame) -> np.ndarray:
    """Draw shares of outcomes by place, one panel per arm, tasks pooled; the three add up to one.

    Args:
        table: From ``following_tables.outcomes``.

    Returns:
        Axes, one per arm.
    """
    with themed():
        arms = list(dict.fromkeys(table["arm"]))
        axes = new_figure(TWO_COLUMN, 2.2).subplots(1, max(1, len(arms)), sharey=True, squeeze=False)[0]
        paint = dict(zip(OUTCOMES, (PALETTE[3], PALETTE[0], "0.8"), strict=True))
        for ax, arm in zip(axes, arms, strict=False):
            rows = table[table["arm"] == arm]
            weights = rows["n"] / rows.groupby("place")["n"].transform("sum")
            shares = rows[list(OUTCOMES)].mul(weights, axis=0).groupby(rows["place"]).sum().reindex(PLACES)
            bottom = np.zeros(len(PLACES))
            for name in OUTCOMES:
                ax.bar(range(len(PLACES)), shares[name], bottom=bottom, color=paint[name], width=0.8, label=name)
                bottom = bottom + shares[name].fillna(0).to_numpy()
            ax.set_xticks(range(len(PLACES)), PLACES, rotation=45)
            ax.set_title(arm, loc="left")
        axes[0].set_ylabel("share of items")
        axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return axes


@drawing
def chains(frame: pd.DataFrame) -> np.ndarray:
    """Draw chains by length, a colour per arm: all steps right with what independent steps would give, and each step.

    Args:
        frame: Rows of kind "chain" of ``studies.following.evidence``: ``arm``, ``seed``, ``length``, ``metric``,
            ``value``.

    Returns:
        Axes of shape (2,).
    """
    with themed():
        axes = new_figure(TWO_COLUMN, 2.4).subplots(1, 2, sharey=True)
        arms = list(dict.fromkeys(frame["arm"]))
        paint, shape = colours(arms), markers(arms)
        for arm in arms:
            for ax, metric, style in (
                (axes[0], "all_steps", "-"),
                (axes[0], "independent", ":"),
                (axes[1], "step", "-"),
            ):
                rows = frame[(frame["arm"] == arm) & (frame["metric"] == metric)]
                mean = rows.groupby("length")["value"].mean()
                if style == "-":
                    ax.plot(rows["length"], rows["value"], ".", ms=3, mew=0, alpha=0.4, color=paint[arm])
                label = arm if style == "-" else f"{arm}, if steps failed independently"
                marker = shape[arm] if style == "-" else ""
                ax.plot(mean.index, mean, style, marker=marker, color=paint[arm], label=label)
        for ax in axes:
            ax.set_xticks(sorted(int(length) for length in frame["length"].unique()))
            ax.set_xlabel("operations in a row")
        axes[0].set(ylabel="share of chains with every step right", ylim=(-0.03, 1.03))
        axes[1].set_ylabel("share of steps that are right")
        if arms:
            axes[0].legend()
    return axes
