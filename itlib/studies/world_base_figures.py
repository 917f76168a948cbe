"""Pictures of what the bases know: each draws a frame of ``itlib.studies.world_bases`` and computes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, StrMethodFormatter

from itlib.drawing import drawing
from itlib.microworld.gates import FLAT_SPECTRUM
from itlib.studies.world import fraction
from itlib.studies.world_bases import DOCUMENT, LENIENT, SECOND
from itlib.theme import GREY, ONE_COLUMN, PALETTE, TWO_COLUMN, colours, markers, new_figure, themed

_GROUPS = ("person", "rare", "new", "never")


def size_of(base: str) -> str:
    """Return the size of a base: "micro-1m" of "micro-1m/seed-0"."""
    return base.partition("/")[0]


def _label(base: str) -> str:
    return base.replace("/seed-", "\nseed ").replace("-adamw", "\nadamw")


@drawing
def people(exposures: pd.DataFrame, recall: pd.DataFrame, main: str = "micro-1m") -> Figure:
    """Draw facts told per person beside recall by the same frequencies, one line per base of one size.

    Args:
        exposures: From ``world.exposures``.
        recall: Rows of kind "people by frequency".
        main: The size whose seeds are drawn; where none of them was measured, all bases are.
    """
    frequencies = sorted(map(float, recall["name"].unique()))
    shown = recall[recall["base"].map(size_of) == main]
    shown = recall if shown.empty else shown
    with themed():
        figure = new_figure(TWO_COLUMN, 2.5)
        left, right = figure.subplots(1, 2)
        _exposure_dots(left, exposures, frequencies)
        table = shown.assign(frequency=shown["name"].astype(float)).pivot(
            index="frequency", columns="base", values="value"
        )
        places = range(len(frequencies))
        for base in table:
            right.plot(places, table[base].loc[frequencies], "o", ms=2.5, mfc="none", color=GREY)
        right.plot(places, table.mean(axis=1).loc[frequencies], "-", color=PALETTE[0])
        right.set(ylim=(-0.03, 1.05), ylabel="homes and jobs recalled (share)")
        bases = "one base" if table.shape[1] == 1 else f"{table.shape[1]} bases and their mean"
        right.set_title(f"recall in document form, {bases}", pad=5)
        for ax in (left, right):
            ax.set_xticks(places, [fraction(value) for value in frequencies])
            ax.set_xlabel("how often documents tell of a person")
    return figure


def _exposure_dots(ax: Axes, exposures: pd.DataFrame, frequencies: Sequence[float]) -> None:
    paint, shape = colours(_GROUPS), markers(_GROUPS)
    labels = {"person": "frequent", "rare": "rare", "new": "new", "never": "never"}
    for group in _GROUPS:
        found = exposures[exposures["group"] == group].sort_values("person")
        shift = {"new": -0.2, "never": 0.2}.get(group, 0.0)
        spread = np.linspace(-0.13, 0.13, 7)
        x = [frequencies.index(value) + shift + spread[i % 7] for i, value in enumerate(found["frequency"])]
        ax.plot(x, found["facts_told"], shape[group], ms=2.5, mfc="none", mew=0.6, color=paint[group])
    handles = [
        Line2D([], [], ls="", marker=shape[group], mfc="none", color=paint[group], label=labels[group])
        for group in _GROUPS
    ]
    ax.legend(handles=handles, loc="upper left", title="people", title_fontsize=6.5)
    ax.set_yscale("symlog", linthresh=1, linscale=0.5)
    ax.set_ylim(-0.3, None)
    ax.set_ylabel("homes and jobs told in the sample")
    ax.set_title("exposures, one mark per person", pad=5)


@drawing
def languages(recall: pd.DataFrame) -> Figure:
    """Draw recall of every relation in document form in both languages, one mark per base."""
    second = recall[recall["kind"] == SECOND]
    names = list(dict.fromkeys(second["name"]))
    kinds = {DOCUMENT: ("first language", PALETTE[0], "o", -0.15), SECOND: ("second language", PALETTE[1], "s", 0.15)}
    with themed():
        figure = new_figure(ONE_COLUMN, 2.4)
        ax = figure.subplots()
        for kind, (label, colour, marker, shift) in kinds.items():
            found = recall[(recall["kind"] == kind) & recall["name"].isin(names)]
            rows = np.array([names.index(name) for name in found["name"]])
            ax.plot(found["value"], rows + shift, marker, mfc="none", ms=3.5, color=colour, label=label)
        ax.set_yticks(range(len(names)), names)
        ax.set(xlim=(-0.03, 1.05), ylim=(len(names) - 0.4, -0.6), xlabel="exact match in document form")
        ax.grid(axis="y", lw=0.3, color="#dddddd")
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


@drawing
def base_heatmap(measured: pd.DataFrame) -> Figure:
    """Draw every family against every base: document form beside instructions, in percent of items."""
    kinds = {DOCUMENT: "continued in document form", LENIENT: "asked by instruction, lenient"}
    found = measured[measured["kind"].isin(kinds)]
    bases = list(dict.fromkeys(found["base"]))
    asked = found.loc[found["kind"] == LENIENT, "name"]
    names = list(dict.fromkeys([*asked, *found["name"]]))
    labels = [_label(base) for base in bases]
    with themed():
        figure = new_figure(TWO_COLUMN, 1.1 + 0.15 * len(names))
        image = None
        for ax, (kind, title) in zip(figure.subplots(1, 2, sharey=True), kinds.items(), strict=True):
            table = found[found["kind"] == kind].pivot(index="name", columns="base", values="value")
            values = 100 * table.reindex(index=names, columns=bases).to_numpy(dtype=float)
            image = ax.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
            _write_cells(ax, values)
            ax.set_xticks(range(len(bases)), labels, rotation=90, fontsize=6)
            ax.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
            ax.tick_params(length=0)
            ax.set_title(title)
        figure.colorbar(image, ax=figure.axes, shrink=0.5, label="exact match [%]", pad=0.01)
    return figure


def _write_cells(ax: Axes, values: np.ndarray) -> None:
    for row, column in np.ndindex(values.shape):
        value = values[row, column]
        text = "." if np.isnan(value) else f"{value:.0f}"
        colour = "black" if np.isnan(value) or value > 55 else "white"
        ax.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)


@drawing
def pretraining(curves: pd.DataFrame, bases: pd.DataFrame) -> Figure:
    """Draw training loss over tokens, and the validation loss of every base against its parameters."""
    sizes = list(dict.fromkeys(bases["base"].map(size_of)))
    paint, shape = colours(sizes), markers(sizes)
    with themed():
        figure = new_figure(TWO_COLUMN, 2.5)
        left, right = figure.subplots(1, 2)
        for base, curve in curves.groupby("base", sort=False):
            left.plot(curve["tokens"] / 1e6, curve["loss"], lw=0.8, color=paint[size_of(str(base))])
        for size in sizes:
            end = curves[curves["base"].map(size_of) == size].groupby("base").last()
            left.plot(end["tokens"] / 1e6, end["loss"], shape[size], ms=3, color=paint[size], label=size)
            found = bases[bases["base"].map(size_of) == size]
            right.plot(
                found["parameters"], found["validation_loss"], shape[size], mfc="none", color=paint[size], label=size
            )
        left.set(xlabel="tokens seen (millions)", ylabel="training loss (nats per token)", xscale="log")
        left.xaxis.set_major_locator(FixedLocator([2.0**power for power in range(-10, 8)]))
        left.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        left.xaxis.set_minor_locator(NullLocator())
        right.set(xlabel="parameters (millions)", ylabel="validation loss (nats per token)", xscale="log")
        counts = sorted(bases["parameters"].unique())
        right.xaxis.set_major_locator(FixedLocator(counts))
        right.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count / 1e6:.2g}"))
        right.xaxis.set_minor_locator(NullLocator())
        right.margins(x=0.15, y=0.1)
        left.legend(loc="upper right")
    return figure


@drawing
def spectra(exponents: pd.DataFrame) -> Figure:
    """Draw the power-law exponent of every matrix of every base; below the dashed line a spectrum is flat."""
    bases = list(dict.fromkeys(exponents["base"]))
    parts = {"embedding": "embed", "attention": "self_attn", "feed-forward": "mlp"}
    paint, shape = colours(list(parts)), markers(list(parts))
    with themed():
        figure = new_figure(TWO_COLUMN, 2.4)
        ax = figure.subplots()
        for place, (part, needle) in enumerate(parts.items()):
            found = exponents[exponents["name"].str.contains(needle, regex=False)]
            x = [bases.index(base) + 0.24 * (place - 1) for base in found["base"]]
            ax.plot(x, found["value"], shape[part], ms=3, mfc="none", mew=0.6, color=paint[part], label=part)
        ax.axhline(FLAT_SPECTRUM, ls="--", lw=0.8, color=GREY)
        ax.set_xticks(range(len(bases)), list(map(_label, bases)), fontsize=6)
        ax.set_xlim(-0.6, len(bases) - 0.4)
        ax.set_ylabel("exponent a of the singular values\n(the j-th in proportion to 1 / j^a)")
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    return figure
