"""What ``01c_composition`` shows: frames for its figures, the papers' positions, and the figure of a disagreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from itlib.claims import composition as measures
from itlib.drawing import drawing
from itlib.positions import Position
from itlib.stats import bootstrap_interval
from itlib.studies.composition import CompositionParams
from itlib.theme import GREY, PALETTE, TWO_COLUMN, new_figure, themed

MARGIN = 0.03
OPEN = float("inf")
DMT, CLASS_IT, RECIPE = "DMT (Dong 2023)", "CLASS-IT (Capone 2025)", "Secret Recipe (Pareja 2024)"
BEYOND_IID, CORGI, HUMAN = "Beyond IID", "human curriculum (Lee 2023)", "human-inspired (Yang 2024)"
SPECIAL_SLOPE, GENERAL_SLOPE = "special, per fourfold of general", "general, per fourfold of special"
SAME, OTHER = ((-MARGIN, MARGIN),), ((-OPEN, -MARGIN), (MARGIN, OPEN))
SEQUENTIAL_SPECIAL, SEQUENTIAL_GENERAL = "special: sequential - mixed", "general: sequential - mixed"
DUAL_SPECIAL, PHASED = "special: dual stage - sequential", "all: phased - mixed"
INTERLEAVED, LARGEST = "interleaved - mixed", "best order - mixed"

RATIO_POSITIONS = tuple(
    Position(effect, paper, says, ranges)
    for effect in (SPECIAL_SLOPE, GENERAL_SLOPE)
    for paper, says, ranges in ((DMT, "ratio does not matter", SAME), (BEYOND_IID, "proportions matter", OTHER))
)
STRATEGY_POSITIONS = (
    Position(SEQUENTIAL_SPECIAL, DMT, "sequential forgets", ((-OPEN, 0.0),)),
    Position(DUAL_SPECIAL, DMT, "dual stage restores", ((0.0, OPEN),)),
    Position(SEQUENTIAL_GENERAL, CLASS_IT, "sequential beats merged", ((0.0, OPEN),)),
    Position(PHASED, RECIPE, "phases are as good", SAME),
)
ORDER_POSITIONS = (
    Position(INTERLEAVED, CORGI, "curriculum helps", ((0.0, OPEN),)),
    Position(LARGEST, HUMAN, "gains are small", ((-OPEN, MARGIN),)),
)


def mixing_points(params: CompositionParams, frame: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy of the special families per run: ``training`` ("alone", "mixed"), ``n_train``, ``seed``."""
    tables = measures.mixing_tables(frame, params.general, params.special)
    return _points(tables, "training", "n_train")


def amount_points(params: CompositionParams, frame: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy of the fixed part per run: ``fixed`` part, amount of the ``other`` part, ``seed``, value."""
    lists = (frame, params.general, params.special)
    names = {"special": "n_mix", "general": "n_train"}
    tables = {name: measures.ratio_table(*lists, varying, params.n_fixed) for name, varying in names.items()}
    return _points(tables, "fixed", "other")


def strategy_scores(params: CompositionParams, frame: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy per run, ``part`` ("special", "general") and ``arm`` (order)."""
    tables = {f"{name} families": _strategy_table(params, frame, name) for name in ("special", "general")}
    return _points(tables, "part", "arm")


def cap_scores(params: CompositionParams, frame: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy over all families per run and ``arm`` (cap)."""
    table = measures.cap_table(frame, imbalance=params.imbalance, n_train=params.cap_size, caps=params.caps)
    return _points({"all standard families": table}, "part", "arm")


def share_scores(params: CompositionParams, frame: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy and reference loss per run and ``arm`` (share of documents)."""
    how = {"n_train": params.order_size, "shares": params.pretraining_shares}
    tables = {"exact match": measures.share_table(frame, **how)}
    if params.n_reference:
        tables["reference loss (nats per token)"] = measures.share_table(frame, **how, metric="reference_loss")
    return _points(tables, "part", "arm")


def share_table(params: CompositionParams, frame: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds per share of documents, after a line for the untuned bases: ``documents``, metrics."""
    scores = share_scores(params, frame)
    table = scores.pivot_table(index="arm", columns="part", values="value", sort=False).reset_index(names="documents")
    untuned = frame[frame["n_train"] == 0]
    metrics = {name: "reference_loss" if name.startswith("reference") else "exact_match" for name in table.columns[1:]}
    first = {name: untuned.loc[untuned["metric"] == metric, "value"].mean() for name, metric in metrics.items()}
    return pd.concat([pd.DataFrame([{"documents": "before tuning", **first}]), table], ignore_index=True)


def order_scores(params: CompositionParams, frame: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy over all families per run and ``arm`` (order)."""
    table = measures.order_table(frame, n_train=params.order_size, orders=params.orders)
    return _points({"all standard families": table}, "part", "arm")


def ratio_effects(params: CompositionParams, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return both slopes of ``RATIO_POSITIONS``, one value per seed."""
    slopes = measures.ratio_slopes(frame, general=params.general, special=params.special, fixed=params.n_fixed)
    return {SPECIAL_SLOPE: slopes["special_slope"], GENERAL_SLOPE: slopes["general_slope"]}


def strategy_effects(params: CompositionParams, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the differences of ``STRATEGY_POSITIONS`` that the arms allow, one value per seed."""
    special, general = (_strategy_table(params, frame, name) for name in ("special", "general"))
    effects = {}
    if "sequential" in params.strategies:
        effects[SEQUENTIAL_SPECIAL] = (special["sequential"] - special["mixed"]).to_numpy()
        if "dual_stage" in params.strategies:
            effects[DUAL_SPECIAL] = (special["dual_stage"] - special["sequential"]).to_numpy()
        effects[SEQUENTIAL_GENERAL] = (general["sequential"] - general["mixed"]).to_numpy()
    if "phased" in params.orders:
        effects[PHASED] = measures.phased_difference(frame, n_train=params.order_size)["phased_minus_stacked"]
    return effects


def order_effects(params: CompositionParams, frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return the gain of every order over random order, and of the best as chosen on the other half of the seeds."""
    orders = [order for order in params.orders if order != "mixed"]
    gains = measures.order_gains(frame, n_train=params.order_size, orders=orders)
    largest = measures.largest_gain_of_an_order(frame, n_train=params.order_size, orders=orders)["largest_gain"]
    return {**{f"{order} - mixed": gains[order].to_numpy() for order in orders}, LARGEST: largest}


def curve(points: pd.DataFrame, *, by: str, x: str) -> pd.DataFrame:
    """Return mean over seeds and bootstrap bounds per group and ``x``, as ``figures.scaling_curves`` draws them."""
    rows = []
    for (name, place), group in points.groupby([by, x], sort=True):
        values = group["value"].dropna().to_numpy(dtype=float)
        low, high = bootstrap_interval(values, seed=0)
        mean = float(values.mean()) if len(values) else np.nan
        rows.append({by: name, x: place, "mean": mean, "low": low, "high": high, "n_seeds": len(values)})
    return pd.DataFrame(rows)


@drawing
def disagreement(
    table: pd.DataFrame,
    effects: Mapping[str, np.ndarray],
    positions: Sequence[Position],
    *,
    x_label: str = "difference in exact match",
) -> Axes:
    """Draw every effect, one dot a seed with mean and 95 % interval, and below it what the papers say as grey bars.

    Args:
        table: From ``positions.measured``; an infinite interval is not drawn.
        effects: One value per seed.
        positions: What the papers say; an open end is drawn as an arrow to the border.
        x_label: Name and unit of the effects.
    """
    rows: list[str | Position] = []
    for name in table["effect"]:
        rows += [name, *(position for position in positions if position.effect == name)]
    drawn = np.concatenate([np.asarray(values, dtype=float) for values in effects.values()])
    reach = 1.3 * max([2 * MARGIN, *np.abs(drawn[np.isfinite(drawn)])])
    with themed():
        ax = new_figure(TWO_COLUMN, 0.7 + 0.24 * len(rows)).subplots()
        ax.axvline(0.0, lw=0.6, color=GREY, zorder=0)
        for place, row in enumerate(rows):
            if isinstance(row, Position):
                _draw_position(ax, place, row, reach)
            else:
                _draw_effect(ax, place, table.set_index("effect").loc[row], np.asarray(effects[row], dtype=float))
        labels = [f"{row.paper}: {row.says}" if isinstance(row, Position) else row for row in rows]
        ax.set_yticks(range(len(rows)), labels)
        for tick, row in zip(ax.get_yticklabels(), rows, strict=True):
            tick.set_color(GREY if isinstance(row, Position) else "black")
        ax.set(xlim=(-reach, reach), ylim=(len(rows) - 0.5, -0.5), xlabel=x_label)
    return ax


def _strategy_table(params: CompositionParams, frame: pd.DataFrame, part: str) -> pd.DataFrame:
    """Return the accuracy of one part ("special", "general") as seeds by order."""
    lists = (params.general, params.special, params.n_fixed, getattr(params, part))
    return measures.strategy_table(frame, *lists, orders=params.strategies)


def _draw_effect(ax: Axes, place: int, row: pd.Series, values: np.ndarray) -> None:
    ax.plot(values, [place] * len(values), "o", ms=3, alpha=0.5, mew=0, color=PALETTE[0])
    if np.isfinite(row["low"]):
        ax.plot([row["low"], row["high"]], [place, place], "-", lw=1.2, color=PALETTE[0])
    ax.plot([row["mean"]] * 2, [place - 0.3, place + 0.3], "-", lw=1.5, color=PALETTE[0])


def _draw_position(ax: Axes, place: int, position: Position, reach: float) -> None:
    for low, high in position.ranges:
        start, end = max(low, -reach), min(high, reach)
        ax.plot([start, end], [place, place], "-", lw=4, alpha=0.35, color=GREY, solid_capstyle="butt")
        for edge, open_end, mark in ((start, np.isinf(low), "<"), (end, np.isinf(high), ">")):
            if open_end:
                ax.plot([edge], [place], mark, ms=5, color=GREY, clip_on=False)


def _points(tables: Mapping[str, pd.DataFrame], by: str, x: str) -> pd.DataFrame:
    """Return tables of seeds by ``x`` as rows (``by``, ``x``, seed, value); missing values stay, as NaN."""
    parts = []
    for name, table in tables.items():
        long = table.rename_axis(index="seed", columns=x).reset_index().melt(id_vars="seed", value_name="value")
        parts.append(long.assign(**{by: name}))
    return pd.concat(parts, ignore_index=True)[[by, x, "seed", "value"]]
