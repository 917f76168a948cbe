"""Where papers disagree: what each says of an effect, beside what was measured of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from itlib.stats import sign_flip_interval

STANDS = ("agrees with", "speaks against", "cannot decide on")


@dataclass(frozen=True)
class Position:
    """What a paper says of an effect.

    Attributes:
        effect: Name of the effect it speaks about.
        paper: Who says it.
        says: What, in a few words.
        ranges: Ranges of the effect that fit it, as (low, high); infinite where it is open.
    """

    effect: str
    paper: str
    says: str
    ranges: tuple[tuple[float, float], ...]


def measured(effects: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Return per effect mean, 95 % sign-flip interval and number of seeds; NaN seeds are left out.

    Columns: ``effect``, ``mean``, ``low``, ``high``, ``seeds``. Bounds are infinite where seeds are too few for any.
    """
    rows = []
    for name, values in effects.items():
        values = np.asarray(values, dtype=float)
        values = values[np.isfinite(values)]
        low, high = sign_flip_interval(values) if len(values) else (-np.inf, np.inf)
        mean = float(values.mean()) if len(values) else np.nan
        rows.append({"effect": name, "mean": mean, "low": low, "high": high, "seeds": len(values)})
    return pd.DataFrame(rows, columns=["effect", "mean", "low", "high", "seeds"])


def stand(interval: tuple[float, float], position: Position) -> str:
    """Return which of ``STANDS`` an interval takes: inside one range, outside all of them, or neither."""
    low, high = interval
    if any(low > start and high < end for start, end in position.ranges):
        return STANDS[0]
    if all(high < start or low > end for start, end in position.ranges):
        return STANDS[1]
    return STANDS[2]


def sentence(table: pd.DataFrame, positions: Sequence[Position]) -> str:
    """Return one sentence that says, from the numbers of ``measured``, where each position stands."""
    clauses = []
    for row in table.itertuples():
        about = [position for position in positions if position.effect == row.effect]
        if not about:
            continue
        said = ", ".join(f"{stand((row.low, row.high), position)} {position.paper}" for position in about)
        number = f"{row.mean:+.3f}" if row.seeds else "no number"
        number += f" [{row.low:+.3f}, {row.high:+.3f}]" if np.isfinite(row.low) else " and no interval"
        clauses.append(f"{row.effect}, {number} over {row.seeds} seeds, {said}")
    return "; ".join(clauses) + "."
