"""Tables of ``02d_sources``: what sources teach, what teachers are worth, and what a change of the data brings.

All take the frame of ``data_sources.evidence``. An arm without a finished run has NaN or no row: never a zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from itlib.claims.data_selection import DRIFT
from itlib.claims.data_sources import MIX, SEVERAL, SOURCES, TEACHERS, judged_rows, single_rows, skill_table
from itlib.microworld.families import CATEGORIES
from itlib.stats import sign_flip, sign_flip_interval

SCORE_LABEL, DRIFT_LABEL = "score", "drift"
PREDICTORS = {"reward": "accuracy", "loss": "loss (sign turned)", "car": "CAR"}
CHANGED = ("seeds/plain", "seeds/wrong", "seeds/random", "open/plain", "open/s3ft", "tokens/plain", "tokens/mosaic")
COUNTED = (
    "n_augmented", "n_wrong_first", "n_taught", "share_own", "share_paraphrased", "items_per_row",
    "n_steps", "n_tokens", "augmentation_flops",
)  # fmt: skip


def skills(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the mean over seeds of every source and skill, and how many skills a single source wins.

    Columns: ``source``, one per skill, ``mean`` (over skills), ``won`` (skills in which it gets anything right and
    no other single source has a higher mean; empty for the mix), ``seeds``.
    """
    table = skill_table(frame)
    seeds = table.dropna().groupby("arm").size()
    means = table.groupby("arm", sort=False).mean()
    means = means[sorted(means.columns, key=CATEGORIES.index)]
    single = means.drop(MIX)
    won = ((single > 0) & (single >= single.max() - 1e-12)).sum(axis=1).astype(float)
    wide = means.assign(mean=means.mean(axis=1), won=won, seeds=seeds)
    wide["seeds"] = wide["seeds"].fillna(0).astype(int)
    return wide.rename_axis(columns=None).rename(index=_plain).rename_axis("source").reset_index()


def skills_sentence(table: pd.DataFrame) -> str:
    """Return, in words, which source is best on average and how many skills it wins."""
    single = table[table["source"] != _plain(MIX)]
    best = single.loc[single["mean"].idxmax()]
    n_skills = len(table.columns) - 4
    mixed = table.loc[table["source"] == _plain(MIX), "mean"].iloc[0]
    return (
        f"The best single source on average is {best['source']} ({best['mean']:.3f}); it wins {best['won']:.0f} of "
        f"{n_skills} skills. The mix reaches {mixed:.3f}."
    )


def teachers(table: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds per teacher: ``teacher``, ``voice``, ``reward``, ``loss``, ``car``, ``score``, ``seeds``.

    Args:
        table: From ``claims.data_sources.teacher_table``.
    """
    groups = table.groupby("teacher", sort=False)
    means = groups[["reward", "loss", "car", "score"]].mean().assign(seeds=groups.size()).reset_index()
    means.insert(1, "voice", [" ".join(text.split()[1:]) for text in means["teacher"]])
    return means


def predictors(table: pd.DataFrame) -> pd.DataFrame:
    """Return a row per seed and predictor: ``predictor``, ``seed``, ``value``.

    Args:
        table: From ``claims.data_sources.correlations``.
    """
    rows = [(label, seed, value) for name, label in PREDICTORS.items() for seed, value in table[name].dropna().items()]
    return pd.DataFrame(rows, columns=["predictor", "seed", "value"])


def changed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return per changed arm and its baseline what was trained on, means over seeds; the columns are ``COUNTED``."""
    rows = frame[frame["arm"].isin(CHANGED) & frame["metric"].isin(COUNTED)]
    table = rows.pivot_table(index="arm", columns="metric", values="value", sort=False)
    return table.reindex(index=list(CHANGED), columns=list(COUNTED)).rename_axis(columns=None).reset_index()


def comparisons(kinds: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return what is compared: its name, the changed arm, the plain one."""
    return [
        ("LLM2LLM: like wrong seeds minus seeds alone", "seeds/wrong", "seeds/plain"),
        ("LLM2LLM: like any seeds minus seeds alone", "seeds/random", "seeds/plain"),
        ("LLM2LLM: like wrong minus like any seeds", "seeds/wrong", "seeds/random"),
        ("S3FT minus given responses", "open/s3ft", "open/plain"),
        ("mosaics minus single examples", "tokens/mosaic", "tokens/plain"),
        *((f"dependency minus mixed order, {kind} pool", f"{kind}/dependency", f"{kind}/mixed") for kind in kinds),
    ]


def differences(frame: pd.DataFrame, kinds: Sequence[str]) -> pd.DataFrame:
    """Return every comparison by seed: ``comparison``, ``measure`` ("score" or "drift"), ``seed``, ``value``.

    The score is exact match, or the share of constraints fulfilled, as a mean over families of one question; drift is
    the loss on held-out pretraining text. Mosaics have a further row on families that ask several questions.
    """
    rows = []
    single, several = single_rows(frame), frame[frame["category"] == SEVERAL]
    for name, left, right in comparisons(kinds):
        rows += _paired(name, SCORE_LABEL, _score(single, left), _score(single, right))
        rows += _paired(name, DRIFT_LABEL, _drift(frame, left), _drift(frame, right))
        if left == "tokens/mosaic":
            asked = f"{name}, several questions"
            rows += _paired(asked, SCORE_LABEL, _score(several, left), _score(several, right))
    return pd.DataFrame(rows, columns=["comparison", "measure", "seed", "value"])


def summary(points: pd.DataFrame) -> pd.DataFrame:
    """Return mean, sign-flip interval, p value and number of seeds of every comparison and measure."""
    rows = []
    for (name, measure), group in points.groupby(["comparison", "measure"], sort=False):
        values = group["value"].to_numpy(dtype=float)
        interval = sign_flip_interval(values)
        rows.append((name, measure, values.mean(), *interval, sign_flip(values).p_value, len(values)))
    return pd.DataFrame(rows, columns=["comparison", "measure", "mean", "low", "high", "p", "seeds"])


def _plain(arm: str) -> str:
    return arm.removeprefix(SOURCES).removeprefix(TEACHERS)


def _score(frame: pd.DataFrame, arm: str) -> pd.Series:
    try:
        rows = judged_rows(frame, arm)
    except LookupError:
        return pd.Series(dtype=float, index=pd.Index([], dtype=int, name="seed"))
    return rows[rows["arm"] == arm].groupby("seed")["value"].mean()


def _drift(frame: pd.DataFrame, arm: str) -> pd.Series:
    rows = frame[(frame["arm"] == arm) & (frame["metric"] == DRIFT)]
    return rows.set_index("seed")["value"].astype(float)


def _paired(name: str, measure: str, left: pd.Series, right: pd.Series) -> list[tuple[str, str, int, float]]:
    values = (left - right).dropna()
    return [(name, measure, seed, value) for seed, value in values.items() if np.isfinite(value)]
