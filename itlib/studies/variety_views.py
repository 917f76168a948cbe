"""Labelled frames of study 1b as the frames that its figures and tables show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from itlib.claims.variety import DOCUMENT_FORM, IN_CONTEXT, correlated
from itlib.roles import ALWAYS, HELD_OUT, TUNED, labelled, role_curve, role_points

LINES = {"held out": HELD_OUT, "tuned in every arm": ALWAYS, "all tuned": (ALWAYS, TUNED)}


def role_curves(frame: pd.DataFrame, axes: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return curve and points of every line of ``LINES`` on some axes, with columns ``axis``, ``role``, ``level``.

    Held-out families have equal weight within their category on the axis of categories, as in the claim.
    """
    curves, points = [], []
    for axis in axes:
        for line, roles in LINES.items():
            equal = axis == "categories" and line == "held out"
            found = role_points(frame, axis, roles, per_category=equal)
            points.append(found.assign(axis=axis, role=line))
            curves.append(role_curve(found).assign(axis=axis, role=line))
    return pd.concat(curves, ignore_index=True), pd.concat(points, ignore_index=True)


def template_scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per run of the axis of instructions: what its pool showed, the role asked, seed and value."""
    parts = [
        role_points(frame, "phrasings", roles, x="phrasing_set").assign(role=line)
        for line, roles in (("held-out families", HELD_OUT), ("tuned families", ALWAYS))
    ]
    scores = pd.concat(parts, ignore_index=True)
    order = {name: place for place, name in enumerate(frame["phrasing_set"].dropna().unique())}
    return scores.sort_values("phrasing_set", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def base_and_tuned(frame: pd.DataFrame) -> pd.DataFrame:
    """Return one row per family: accuracy of the bases in context and after tuning on all, means over seeds."""
    tuned, base = correlated(frame)
    about = frame.dropna(subset=["family"]).drop_duplicates("family").set_index("family")["familiarity"]
    names = [name for name in base.columns if name in tuned.columns]
    values = {"in_context": base[names].mean(), "tuned": tuned[names].mean(), "seeds": tuned[names].count()}
    table = pd.DataFrame(values).rename_axis("family").reset_index()
    table.insert(1, "familiarity", table["family"].map(about))
    return table


@dataclass(frozen=True)
class Positions:
    """Where held-out accuracy stands: with the fewest and the most tuned families, and in context before tuning."""

    fewest: int
    most: int
    at_fewest: float
    at_most: float
    in_context: float

    def __str__(self) -> str:
        rise = "rises" if self.at_most > self.at_fewest else "does not rise"
        side = "below" if self.at_most < self.in_context else "not below"
        return (
            f"From {self.fewest} to {self.most} tuned families, held-out accuracy {rise} ({self.at_fewest:.3f} to "
            f"{self.at_most:.3f}), and ends {side} the {self.in_context:.3f} that the bases reach in context."
        )


def positions(frame: pd.DataFrame) -> Positions:
    """Return the numbers that two papers disagree about; ``LookupError`` where the base was not asked in context."""
    curve = role_curve(role_points(frame, "families", HELD_OUT))
    names = labelled(frame, "families", HELD_OUT, "exact_match")["family"].unique()
    asked = labelled(frame, IN_CONTEXT, "", DOCUMENT_FORM)
    base = asked[asked["family"].isin(names)].groupby("seed")["value"].mean().mean()
    first, last = curve.iloc[0], curve.iloc[-1]
    return Positions(int(first["level"]), int(last["level"]), float(first["mean"]), float(last["mean"]), float(base))
