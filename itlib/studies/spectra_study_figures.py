"""Figures of ``04b_spectra``: counts by threshold and by rank, effective ranks, forgetting, and edited weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from itlib.claims.spectra_study import CHANGE, INTRUDERS, NOISE, RANK, SPAN, TUNED, TURNED
from itlib.drawing import drawing
from itlib.studies.spectra_study_tables import EPSILON, WHAT
from itlib.theme import GREY, PALETTE, TWO_COLUMN, colours, markers, new_figure, themed

COLUMNS = 4
FLOOR = 0.01  # counts below are not drawn
LINEAR = 0.1  # counts below are drawn on a linear scale, so that zero has a place
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
LINES = {
    TUNED: (PALETTE[0], "-", 1.4, "tuned"),
    SPAN: (PALETTE[4], "-.", 1.0, "tuned, exchanges of neighbours forgiven"),
    NOISE: (PALETTE[1], "--", 1.0, "noise of the same size"),
    TURNED: (PALETTE[2], ":", 1.2, "same spectrum, random directions"),
}
# Change of forgetting in percent when the first new direction is scaled, arXiv:2410.21228v3: (scale, percent)
PAPER = ((0.3, -33.3), (0.5, -25.2), (0.7, -33.2), (0.5, -19.8), (0.5, -13.7), (0.7, -28.2), (0.5, -24.4))


@drawing
def curves(table: pd.DataFrame) -> np.ndarray:
    """Draw counts per matrix over the threshold, a panel per arm and base, with both controls and the null band.

    A line begins where something is counted; the thin vertical line is the threshold of the claims.

    Args:
        table: From ``spectra_study_tables.curves``.

    Returns:
        Axes, one per panel.
    """
    panels = list(dict.fromkeys(zip(table["base"], table["arm"], strict=True)))
    several = table["base"].nunique() > 1
    with themed():
        rows = -(-len(panels) // COLUMNS)
        figure = new_figure(TWO_COLUMN, 0.7 + 1.3 * rows)
        axes = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False).ravel()
        for ax, (base, arm) in zip(axes, panels, strict=False):
            rows_here = table[(table["base"] == base) & (table["arm"] == arm)]
            null = rows_here.drop_duplicates("epsilon").sort_values("epsilon")
            low, high, mean = (np.maximum(null[f"random{side}"], FLOOR / 2) for side in ("_low", "_high", ""))
            ax.fill_between(null["epsilon"], low, high, color="0.78", lw=0)
            ax.plot(null["epsilon"], mean, color="0.6", lw=0.8)
            for variant, (colour, style, width, _) in LINES.items():
                line = rows_here[rows_here["variant"] == variant].sort_values("epsilon")
                ax.plot(line["epsilon"], line["mean"].where(line["mean"] > 0), style, lw=width, color=colour)
            ax.axvline(EPSILON, lw=0.5, color=GREY, zorder=0)
            ax.set_title(f"{arm}\n{base}" if several else arm, loc="left", fontsize=6.5)
        for ax in axes[len(panels) :]:
            ax.set_axis_off()
        for ax in axes[max(0, len(panels) - COLUMNS) : len(panels)]:
            ax.tick_params(labelbottom=True)
        axes[0].set(yscale="log", ylim=(FLOOR, 15), xlim=(0, 1))
        axes[0].yaxis.set_major_locator(FixedLocator([0.01, 0.1, 1, 10]))
        axes[0].yaxis.set_major_formatter(PLAIN)
        figure.supxlabel("threshold of the cosine", fontsize=7)
        figure.supylabel("new directions per matrix, of the first ten", fontsize=7)
        handles = [axes[0].plot([], [], style, lw=width, color=colour)[0] for colour, style, width, _ in LINES.values()]
        handles.append(axes[0].fill_between([], [], [], color="0.78", lw=0))
        labels = [*(label for *_, label in LINES.values()), "all directions random"]
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return axes[: len(panels)]


@drawing
def ranks(points: pd.DataFrame, band: pd.DataFrame, epsilon: float = EPSILON) -> np.ndarray:
    """Draw new directions per matrix over the rank, a line per rule of scale and a panel per base; a dot is a run.

    Dashed lines are the counts with the change replaced by noise of its size; the band at the top is what random
    directions would give.

    Args:
        points: From ``spectra_study_tables.by_rank``.
        band: From ``spectra_study_tables.null_band``.
        epsilon: The threshold of both.

    Returns:
        Axes, one per base.
    """
    names = list(dict.fromkeys(points["base"]))
    with themed():
        axes = new_figure(TWO_COLUMN, 2.6).subplots(1, max(1, len(names)), sharey=True, squeeze=False)[0]
        for ax, base in zip(axes, names, strict=False):
            here = points[points["base"] == base]
            null = band[(band["base"] == base) & np.isclose(band["epsilon"], epsilon)]
            ax.set_yscale("symlog", linthresh=LINEAR, linscale=0.5)
            ax.set_ylim(-0.02, 18)
            if len(null):
                ax.axhspan(null["low"].iloc[0] * 0.97, null["high"].iloc[0] * 1.03, color="0.78", lw=0)
                place = {"xy": (0.02, null["high"].iloc[0] * 1.1), "xycoords": ("axes fraction", "data")}
                ax.annotate("all directions random", **place, fontsize=6, va="bottom", color="0.4")
            _over_ranks(ax, here, INTRUDERS, control=NOISE)
            ax.set_title(f"{base} (dashed: noise of the same size)", loc="left")
        axes[0].set_ylabel("new directions per matrix")
        axes[0].yaxis.set_major_locator(FixedLocator([0, 0.1, 1, 10]))
        axes[0].yaxis.set_major_formatter(PLAIN)
        axes[0].yaxis.set_minor_locator(NullLocator())
    return axes


@drawing
def effective_ranks(points: pd.DataFrame) -> np.ndarray:
    """Draw the effective rank of the change over the rank, both logarithmic, a line per rule; dotted: the rank itself.

    Args:
        points: From ``spectra_study_tables.by_rank``.

    Returns:
        Axes, one per base.
    """
    names = list(dict.fromkeys(points["base"]))
    with themed():
        axes = new_figure(TWO_COLUMN, 2.5).subplots(1, max(1, len(names)), sharey=True, squeeze=False)[0]
        for ax, base in zip(axes, names, strict=False):
            here = points[points["base"] == base]
            ax.set_yscale("log")
            ax.set_ylim(0.8, 1.3 * max(2.0, here[RANK].max(), here["rank"].max()))
            _over_ranks(ax, here, RANK)
            adapters = sorted(set(here.loc[here["rank"] > 0, "rank"]))
            ax.plot(adapters, adapters, ":", lw=0.8, color=GREY, zorder=0)
            ax.set_title(f"{base} (dotted: the rank itself)", loc="left")
        axes[0].set_ylabel("effective rank of the change")
        axes[0].yaxis.set_major_formatter(PLAIN)
    return axes


@drawing
def forgetting(runs: pd.DataFrame, correlations: pd.DataFrame, *, score: str = "exact match") -> np.ndarray:
    """Draw forgetting and score of every run of the sweep over its count, and forgetting over the size of its change.

    Small grey crosses are the same runs at the count that noise of the same size would have. Correlations, printed
    above each panel, are means over seeds.

    Args:
        runs: From ``spectra_study_tables.sweep``.
        correlations: From ``spectra_study_tables.correlation_table``.
        score: Name of the score.

    Returns:
        Axes of shape (3,).
    """
    arms = list(dict.fromkeys(runs["arm"]))
    panels = ((TUNED, "forgetting"), (CHANGE, "forgetting"), (TUNED, "score"))
    labels = {TUNED: "new directions per matrix", CHANGE: "norm of the change", "score": f"{score}, new items"}
    labels |= {"forgetting": "forgetting (nats per token)"}
    with themed():
        figure = new_figure(TWO_COLUMN, 2.9)
        axes = figure.subplots(1, len(panels))
        paint, shape = colours(arms), markers(arms)
        for ax, (x, y) in zip(axes, panels, strict=True):
            if x == TUNED:
                ax.plot(runs[NOISE], runs[y], "x", ms=2, mew=0.4, color="0.7", zorder=0)
            for arm in arms:
                dots = runs[runs["arm"] == arm]
                ax.plot(dots[x], dots[y], shape[arm], ms=3, mew=0, alpha=0.65, color=paint[arm])
            if x == TUNED:
                ax.set_xscale("symlog", linthresh=LINEAR, linscale=0.5)
                ax.set_xlim(-0.02, max(1.0, 1.6 * np.nanmax([*runs[TUNED], *runs[NOISE], 0.0])))
                ax.xaxis.set_major_locator(FixedLocator([0, 0.1, 1, 10]))
                ax.xaxis.set_major_formatter(PLAIN)
                ax.xaxis.set_minor_locator(NullLocator())
            ax.set(xlabel=labels[x], ylabel=labels[y])
            ax.set_title(_told(correlations, x, y), loc="left", fontsize=6.5)
        handles = [axes[0].plot([], [], shape[arm], ms=3, mew=0, color=paint[arm])[0] for arm in arms]
        handles += axes[0].plot([], [], "x", ms=2, mew=0.4, color="0.7")
        figure.legend(
            handles, [*arms, "noise of the same size"], loc="outside upper center", ncols=min(6, len(arms) + 1)
        )
    return axes


@drawing
def intervention(means: pd.DataFrame, runs: pd.DataFrame, *, score: str = "exact match") -> np.ndarray:
    """Draw what scaling a direction does to the loss on documents and to the score; thin lines are runs.

    The last panel has the loss in percent of what the unchanged weights forgot, beside the source's values (open
    diamonds, for the new direction, on other models); it is empty where nothing was forgotten.

    Args:
        means: From ``spectra_study_tables.dose_means``.
        runs: From ``spectra_study_tables.dose``.
        score: Name of the score.

    Returns:
        Axes of shape (3,).
    """
    edits = list(dict.fromkeys(means["edit"]))
    panels = {"loss": "loss on documents (nats)", "score": f"{score}, new items", "percent": "loss, in % of forgetting"}
    with themed():
        axes = new_figure(TWO_COLUMN, 2.5).subplots(1, len(panels))
        paint, shape = colours(edits), markers(edits)
        paper = paint.get("intruder", GREY)
        for ax, (column, label) in zip(axes, panels.items(), strict=True):
            ends = []
            ax.axhline(0, lw=0.6, color=GREY, zorder=0)
            for edit in edits:
                if column in runs.columns:
                    for _, run in runs[runs["edit"] == edit].groupby("seed"):
                        run = run.sort_values("scale")
                        ax.plot(run["scale"], run[column], "-", lw=0.4, alpha=0.3, color=paint[edit])
                line = means[means["edit"] == edit].sort_values("scale")
                ax.plot(line["scale"], line[column], f"-{shape[edit]}", ms=3, color=paint[edit])
                if len(line) and np.isfinite(line[column].iloc[0]):
                    ends.append((line[column].iloc[0], edit.replace("_", " "), paint[edit]))
            if column == "percent":
                ax.plot(*zip(*PAPER, strict=True), "D", ms=4, mfc="none", mec=paper, mew=0.8)
                ax.set_ylim(bottom=min(ax.get_ylim()[0], -41))
                how = {"textcoords": "offset points", "ha": "center", "va": "bottom", "fontsize": 6}
                ax.annotate("paper", (0.5, -13.7), (0, 4), **how, color=paper)
            ax.set(xlabel="singular value multiplied by", ylabel=f"change of {label}", xlim=(1.04, -0.04))
            ax.set_xticks([1, 0.7, 0.5, 0.3, 0], ["1", ".7", ".5", ".3", "0"])
            _end_labels(ax, ends)
    return axes


def _over_ranks(ax: Axes, points: pd.DataFrame, column: str, control: str = "") -> None:
    """Draw a column over the rank: a line per rule, a dot per run; arms without a rank stand at the right."""
    rules = list(dict.fromkeys(points["rule"]))
    paint, shape = colours(rules), markers(rules)
    most = max(1, points["rank"].max())
    ticks = {rank: str(rank) for rank in sorted(set(points.loc[points["rank"] > 0, "rank"]))}
    ends = []
    for rule in rules:
        rows = points[points["rule"] == rule].assign(place=lambda rows: rows["rank"].where(rows["rank"] > 0, 4 * most))
        means = rows.groupby("place")[column].mean()
        ax.plot(rows["place"], rows[column], ".", ms=2.5, mew=0, alpha=0.4, color=paint[rule])
        ax.plot(means.index, means, f"-{shape[rule]}", ms=3.5, color=paint[rule])
        if control:
            other = rows.groupby("place")[control].mean()
            ax.plot(other.index, other, "--" if len(other) > 1 else "_", lw=0.7, ms=6, color=paint[rule])
        if (rows["rank"] == 0).all():
            ticks[4 * most] = " ".join(filter(None, (ticks.get(4 * most), rule)))
        else:
            ends.append((means.iloc[-1], rule.replace(", ", ",\n").replace(" inner", "\ninner"), paint[rule]))
    ax.set_xscale("log", base=2)
    ax.set_xlim(min(ticks) / 1.6, max(ticks) * 1.6)
    ax.xaxis.set_major_locator(FixedLocator(list(ticks)))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels(list(ticks.values()))
    ax.set_xlabel("rank of the adapter")
    _end_labels(ax, ends)


def _end_labels(ax: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write names at the right of a panel, as near to the height of their lines as they fit above each other."""
    low, high = ax.transScale.transform([(1, value) for value in ax.get_ylim()])[:, 1]
    heights = [(ax.transScale.transform((1, value))[1] - low) / (high - low) for value, _, _ in ends]
    points = ax.figure.get_figheight() * 72 * 0.68  # of the panel, roughly
    below = -0.02
    for height, (_, text, colour) in sorted(zip(heights, ends, strict=True), key=lambda pair: pair[0]):
        room = 8.0 * (text.count("\n") + 1) / points
        centre = max(height, below + room / 2)
        below = centre + room / 2
        how = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "center", "annotation_clip": False}
        ax.annotate(text, (1, centre), (3, 0), **how, fontsize=6, color=colour)


def _told(correlations: pd.DataFrame, x: str, y: str) -> str:
    """Return what is printed above a panel: the rank correlation, and the one given the size of the change."""
    rows = correlations[(correlations["what"] == WHAT[x]) & (correlations["goes_with"] == y)].set_index("given")
    lines = []
    for given, words in (("nothing", "rank correlation"), ("size of the change", "given the size")):
        if given in rows.index:
            value = float(rows["mean"][given])
            lines.append(f"{words} {value:.2f}" if np.isfinite(value) else f"{words}: none")
    return "\n".join(lines)
