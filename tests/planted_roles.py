"""Planted labelled frames: what study 1b would store if its arms scored what we say."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

Value = Callable[[int, float], float]  # (seed, level) -> score


def rows(axis: str, role: str, level: float, seed: int, scores: Mapping[str, float], **columns: object) -> list[dict]:
    """One row per family of one run; a family is named "category/family"."""
    return [
        {
            "axis": axis, "level": level, "role": role, "seed": seed, "status": "done", "metric": "exact_match",
            "category": name.partition("/")[0], "family": name, "familiarity": "latent", "phrasing_set": "observed",
            "digest": f"{axis}{level}{seed}", "value": score, "n_items": 50, "error": "",
        } | columns
        for name, score in scores.items()
    ]  # fmt: skip


def frame(cells: list[dict]) -> pd.DataFrame:
    return pd.DataFrame(cells)


def noise(seed: int, *key: object) -> float:
    """A little scatter, centred over eight seeds, so that intervals have a width."""
    return 0.002 * (seed - 3.5) * np.cos(len(str(key)))


def line(
    axis: str, role: str, levels: tuple[float, ...], value: Value, names=("a/x", "b/y"), seeds=range(8), **columns
):
    """Every level on every seed, all families of a role with one score."""
    return [
        row
        for seed in seeds
        for level in levels
        for row in rows(axis, role, level, seed, {name: value(seed, level) for name in names}, **columns)
    ]


def in_context(scores: Mapping[str, float], seeds=range(8)) -> list[dict]:
    return [row for seed in seeds for row in rows("in context", "", 0, seed, scores, metric="document_form")]


def fail(data: pd.DataFrame, axis: str, level: float, seed: int) -> pd.DataFrame:
    """The same frame with one run failed: a single row without family, role, metric and value."""
    gone = (data["axis"] == axis) & (data["level"] == level) & (data["seed"] == seed)
    nothing = {"family": "", "category": "", "role": "", "metric": "", "value": np.nan, "status": "failed"}
    return pd.concat([data[~gone], data[gone].iloc[:1].assign(**nothing)], ignore_index=True)
