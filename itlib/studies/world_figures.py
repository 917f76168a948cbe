"""Pictures of the micro-world and its data: each draws a frame of ``itlib.studies.world`` and computes nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Circle, FancyBboxPatch, Patch, Rectangle
from matplotlib.ticker import NullLocator

from itlib.drawing import drawing
from itlib.microworld import splits, track
from itlib.microworld.families import FAMILIARITIES
from itlib.studies.world import POOLS
from itlib.theme import GREY, PALETTE, TWO_COLUMN, colours, markers, new_figure, themed

PARTS = {"asked once": ("#d9d9d9", ""), "same again": (PALETTE[0], "///"), "corrupted": (PALETTE[3], "xxx")}
_BOX = {"boxstyle": "round,pad=0.02,rounding_size=0.08", "lw": 0.6, "ec": GREY}
_FAMILIES_PER_ROW = 5


@drawing
def world_picture(facts: pd.DataFrame, position: tuple[str, str, str]) -> Figure:
    """Draw facts as a tree from left to right (columns subject, relation, object), and one track position below."""
    with themed():
        figure = new_figure(TWO_COLUMN, 4.3)
        above, below = figure.subplots(2, 1, height_ratios=(4, 1))
        _fact_tree(above, facts)
        _track_board(below, position)
    return figure


def _fact_tree(ax: Axes, facts: pd.DataFrame) -> None:
    places = _tree_places(facts)
    for word, (column, row) in places.items():
        ax.add_patch(FancyBboxPatch((column - 0.32, row - 0.28), 0.64, 0.56, fc="white", **_BOX))
        ax.text(column, row, word, ha="center", va="center", fontsize=7, weight="bold")
    for subject, relation, found in facts.itertuples(index=False):
        (start, high), (end, low) = places[subject], places[found]
        ax.annotate(
            "",
            (end - 0.36, low),
            (start + 0.36, high),
            arrowprops={"arrowstyle": "->", "lw": 0.7, "color": GREY, "shrinkA": 0, "shrinkB": 0},
        )
        # close to the end, where arrows from one word have parted
        at = end - 0.36 - 0.35 * (end - start - 0.72)
        height = low + (high - low) * 0.35 if high != low else low
        label = {"fontsize": 6.5, "color": "#333333", "ha": "center", "va": "center"}
        ax.text(at, height, relation, bbox={"fc": "white", "ec": "none", "pad": 0.6}, **label)
    rows = [row for _, row in places.values()]
    ax.set(xlim=(-0.4, 3.4), ylim=(max(rows) + 0.5, min(rows) - 0.5))
    ax.set_axis_off()


def _tree_places(facts: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """Return (column, row) per word: leaves on rows of their own, every other word amid its objects."""
    children = {subject: list(group["object"]) for subject, group in facts.groupby("subject", sort=False)}
    roots = [subject for subject in children if subject not in set(facts["object"])]
    places: dict[str, tuple[float, float]] = {}
    leaves = iter(range(len(facts)))

    def place(word: str, depth: int) -> float:
        rows = [place(child, depth + 1) for child in children.get(word, ())]
        places[word] = (1.5 * depth, float(np.mean(rows)) if rows else float(next(leaves)))
        return places[word][1]

    for root in roots:
        place(root, 0)
    return places


def _track_board(ax: Axes, position: tuple[str, str, str]) -> None:
    piece, *walls = map(int, position)
    for cell in range(1, track.CELLS + 1):
        hatch = "xxxx" if cell in walls else ""
        ax.add_patch(Rectangle((cell, 0), 1, 1, fc="#eeeeee" if hatch else "white", ec="black", lw=0.6, hatch=hatch))
        ax.text(cell + 0.5, -0.12, str(cell), ha="center", va="top", fontsize=6.5)
    ax.add_patch(Circle((piece + 0.5, 0.5), 0.28, color=PALETTE[0]))
    legal = track.legal_moves(*position)
    for name, distance in track.MOVES.items():
        landing = piece + distance
        if name in legal:
            bow = f"arc3,rad={-0.6 if distance > 0 else 0.6}"
            curve = {"connectionstyle": bow, "arrowstyle": "->", "lw": 0.9, "color": "black"}
            ax.annotate("", (landing + 0.5, 0.95), (piece + 0.5, 0.85), arrowprops=curve)
            ax.text(landing + 0.5, 1.55, name, ha="center", va="bottom", fontsize=7)
    text = f"piece {piece}, walls {walls[0]} {walls[1]}\nlegal: {' '.join(legal)}"
    ax.text(track.CELLS + 1.4, 0.5, text, ha="left", va="center", fontsize=7)
    ax.set(xlim=(0.8, track.CELLS + 4.6), ylim=(-0.6, 2.2), aspect="equal")
    ax.set_axis_off()


@drawing
def family_map(table: pd.DataFrame) -> Figure:
    """Draw every family as a label in the row of its category, with colour and marker of its familiarity."""
    paint, shape = colours(FAMILIARITIES), markers(FAMILIARITIES)
    with themed():
        figure = new_figure(TWO_COLUMN, 3.6)
        ax = figure.subplots()
        row = 0
        for category, group in table.groupby("category", sort=False):
            ax.text(-0.08, row, str(category).replace("_", "-"), ha="right", va="center", weight="bold")
            for place, family in enumerate(group.itertuples()):
                x, y = place % _FAMILIES_PER_ROW, row + place // _FAMILIES_PER_ROW
                ax.plot(x + 0.05, y, shape[family.familiarity], color=paint[family.familiarity], ms=5)
                style = "normal" if family.standard == "yes" else "italic"
                name = family.family.replace("_", " ")
                ax.text(x + 0.11, y, name, ha="left", va="center", style=style, fontsize=6.3)
            row += -(-len(group) // _FAMILIES_PER_ROW)
            ax.axhline(row - 0.5, lw=0.4, color="#cccccc")
        ax.set(xlim=(-0.72, _FAMILIES_PER_ROW + 0.02), ylim=(row - 0.4, -0.6))
        ax.set_axis_off()
        marks = [Line2D([], [], ls="", marker=shape[n], color=paint[n], ms=5, label=n) for n in FAMILIARITIES]
        figure.legend(handles=marks, loc="outside upper center", ncols=len(marks))
    return figure


@drawing
def split_counts(counts: pd.DataFrame) -> Figure:
    """Draw how many operands every family has in each split, on a logarithmic scale, in two columns of families."""
    paint, shape = colours(splits.SPLITS), markers(splits.SPLITS)
    names = list(dict.fromkeys(counts["family"]))
    half = -(-len(names) // 2)
    with themed():
        figure = new_figure(TWO_COLUMN, 0.7 + 0.135 * half)
        for ax, shown in zip(figure.subplots(1, 2, sharex=True), (names[:half], names[half:]), strict=True):
            for split in splits.SPLITS:
                found = counts[(counts["split"] == split) & counts["family"].isin(shown) & (counts["operands"] > 0)]
                rows = [shown.index(name) for name in found["family"]]
                ax.plot(found["operands"], rows, shape[split], color=paint[split], mfc="none", ms=4, label=split)
            ax.set_xscale("log")
            ax.set_yticks(range(len(shown)), [name.replace("_", " ") for name in shown])
            ax.set_ylim(half - 0.5, -0.5)
            ax.grid(axis="y", lw=0.3, color="#dddddd")
            ax.set_xlabel("different operands")
        handles, labels = ax.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


@drawing
def overlap_matrices(shared: pd.DataFrame) -> Figure:
    """Draw one matrix per kind of thing counted: what two splits share; a split shares everything with itself."""
    kinds = list(dict.fromkeys(shared["what"]))
    with themed():
        figure = new_figure(TWO_COLUMN, 2.1)
        for ax, kind in zip(figure.subplots(1, len(kinds)), kinds, strict=True):
            table = shared[shared["what"] == kind].pivot(index="split", columns="other", values="shared")
            table = table.loc[list(splits.SPLITS), list(splits.SPLITS)]
            own = np.eye(len(table), dtype=bool)
            filled = np.where(own, 0.25, np.where(table.to_numpy() > 0, 0.5, 0.0))
            ax.imshow(filled, cmap="Greys", vmin=0, vmax=1)
            for row, column in np.ndindex(table.shape):
                weight = "normal" if row == column else "bold"
                ax.text(column, row, f"{table.iat[row, column]:,}", ha="center", va="center", weight=weight)
            ax.set_xticks(range(len(table)), table.columns)
            ax.set_yticks(range(len(table)), table.index)
            ax.set_title(f"{kind} in both")
            ax.tick_params(length=0)
            ax.spines[:].set_visible(False)
    return figure


@drawing
def pool_compositions(parts: pd.DataFrame) -> Figure:
    """Draw how many examples of every family four pools hold, and how many are repeated or corrupted."""
    pools, names = list(POOLS), list(dict.fromkeys(parts["family"]))
    with themed():
        figure = new_figure(TWO_COLUMN, 3.4)
        for ax, pool in zip(figure.subplots(1, len(pools), sharey=True, sharex=False), pools, strict=True):
            left = np.zeros(len(names))
            for part, (colour, hatch) in PARTS.items():
                found = parts[(parts["pool"] == pool) & (parts["part"] == part)].set_index("family")["examples"]
                width = found.reindex(names).fillna(0).to_numpy()
                ax.barh(range(len(names)), width, left=left, color=colour, hatch=hatch, ec="black", lw=0.4)
                left += width
            ax.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
            ax.set_ylim(len(names) - 0.4, -0.6)
            ax.set_xlim(0, 1.05 * left.max())
            ax.set_title(pool)
            ax.set_xlabel("examples")
        handles = [Patch(fc=c, hatch=h, ec="black", lw=0.4, label=part) for part, (c, h) in PARTS.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


@drawing
def voices(tokens: pd.DataFrame) -> Figure:
    """Draw one content in every wording and style: content white on dark, wording on grey, style slanted and bare."""
    looks = {
        "content": {"weight": "bold", "color": "white", "bbox": {"fc": PALETTE[0], "ec": "black", "lw": 0.5}},
        "wording": {"color": "black", "bbox": {"fc": "#dddddd", "ec": "none"}},
        "style": {"color": PALETTE[3], "style": "italic", "bbox": {"fc": "white", "ec": "none"}},
    }
    rows = list(tokens.groupby(["style", "wording"], sort=False))
    step = 0.0086  # width of a character as a share of the figure
    with themed():
        figure = new_figure(TWO_COLUMN, 0.4 + 0.18 * len(rows))
        ax = figure.subplots()
        for row, ((style, wording), line) in enumerate(rows):
            if wording == "{}":
                ax.text(0.0, row, style, weight="bold", va="center")
                ax.axhline(row - 0.5, lw=0.4, color="#cccccc")
            at = 0.12
            for token, part in zip(line["token"], line["part"], strict=True):
                _token(ax, at + step * len(token) / 2, row, token, looks[part])
                at += step * (len(token) + 1.1)
        ax.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -0.6))
        ax.set_axis_off()
        for place, part in enumerate(looks):
            _token(ax, 0.92, 1.0 + 1.6 * place, part, looks[part])
        ax.xaxis.set_major_locator(NullLocator())
    return figure


def _token(ax: Axes, x: float, y: float, text: str, look: dict) -> None:
    box = {"boxstyle": "round,pad=0.12", **look["bbox"]}
    ax.text(x, y, text, ha="center", va="center", family="DejaVu Sans Mono", fontsize=6.5, **{**look, "bbox": box})
