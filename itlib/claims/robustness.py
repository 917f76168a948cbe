"""Estimators of the claims about wordings: one effect per seed, NaN where a seed is incomplete.

They read item rows (``studies.robustness.evidence``): the arm "k=<n>" with the most phrasings is the tuned model, other
arms are sizes of model. An *observed* instruction is one that tuning showed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from itlib import lmentry
from itlib.registry import claims
from itlib.robustness import instruction_variance, mean_instruction_variance

OBSERVED = "observed"
READ = ("seed", "family", "set", "instruction", "item", "trained", "value")


@claims.register("R1")
def unobserved_gap(frame: pd.DataFrame, *, unobserved: str) -> dict[str, np.ndarray]:
    """R1: accuracy in observed instructions minus accuracy in unobserved ones, mean over families."""
    return {"gap": gaps(frame, tuned_arm(frame), unobserved)}


@claims.register("R2")
def unobserved_spread(frame: pd.DataFrame, *, unobserved: str) -> dict[str, np.ndarray]:
    """R2: spread between unobserved instructions minus that between observed ones, as standard deviations."""
    arm = tuned_arm(frame)
    return {"sigma_difference": sigmas(frame, arm, unobserved) - sigmas(frame, arm, OBSERVED)}


@claims.register("R3")
def gap_at_scale(frame: pd.DataFrame, *, unobserved: str, small: str, large: str, kept: float) -> dict[str, np.ndarray]:
    """R3: what is left in the large model of the gap and the spread of the small one, above a share ``kept`` of it."""
    return {
        "gap_kept": gaps(frame, large, unobserved) - kept * gaps(frame, small, unobserved),
        "sigma_kept": sigmas(frame, large, unobserved) - kept * sigmas(frame, small, unobserved),
    }


@claims.register("R4")
def wrong_minus_unseen(frame: pd.DataFrame, *, unobserved: str, wrong: str) -> dict[str, np.ndarray]:
    """R4: accuracy on the own task under observed instructions of another task, minus under unobserved right ones."""
    arm = tuned_arm(frame)
    return {"wrong_minus_unseen": _scores(frame, arm, wrong) - _scores(frame, arm, unobserved)}


@claims.register("R10")
def familiarity_of_wording(frame: pd.DataFrame, *, unfamiliar: str, small: str, large: str) -> dict[str, np.ndarray]:
    """R10: what unfamiliar wrappers cost, and how much more they cost the small model than the large one."""
    return {
        "unfamiliar_gap": gaps(frame, tuned_arm(frame), unfamiliar),
        "small_minus_large": gaps(frame, small, unfamiliar) - gaps(frame, large, unfamiliar),
    }


@claims.register("R13")
def hidden_fragility(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """R13: accuracy minus robustness along the axes of LMentry, and robustness of shuffled sets minus that found."""
    table = lmentry_rows(frame, [tuned_arm(frame)])
    if not len(table) or table["robustness"].isna().all():
        raise LookupError("an axis of LMentry has no set: ask pairs in both orders, and two families about one operand")
    found = table.set_index("seed").reindex(_seeds(frame))
    return {
        "accuracy_minus_robustness": (found["accuracy"] - found["robustness"]).to_numpy(dtype=float),
        "below_chance": (found["chance"] - found["robustness"]).to_numpy(dtype=float),
    }


def lmentry_rows(frame: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return accuracy, robustness and LMentry score of arms by seed, in all observed instructions that were asked.

    Instructions that tuning did not show count too: sets of one size in every arm, so that ranges can be compared.
    """
    columns = {"order", "content", "operand"}
    if not columns <= set(frame.columns):
        raise LookupError("the frame does not say where right answers stand; its runs are not those of this study")
    rows = frame[frame["arm"].isin(list(arms)) & (frame["set"] == OBSERVED) & frame["value"].notna()]
    if not len(rows):
        raise LookupError(f"no run of {', '.join(arms)} was asked in observed instructions")
    return lmentry.scores(rows)


def tuned_arm(frame: pd.DataFrame) -> str:
    """Return the arm of the model that was tuned on the most phrasings, "k=<n>"."""
    arms = [name for name in frame["arm"].unique() if name.startswith("k=")]
    if not arms:
        raise LookupError("no run was tuned on a number of phrasings")
    return max(arms, key=lambda name: int(name.removeprefix("k=")))


def finished(frame: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Return the rows of the runs of one arm that finished, with the columns that statistics read.

    A frame holds all that is known of every answer, mostly text, which takes long to copy.
    """
    wanted = [name for name in READ if name in frame.columns]
    return frame.loc[(frame["arm"] == arm) & frame["value"].notna(), wanted]


def gaps(frame: pd.DataFrame, arm: str, unobserved: str) -> np.ndarray:
    """Return the accuracy in observed instructions minus that in an unobserved set, mean over families, per seed."""
    return _scores(frame, arm, OBSERVED) - _scores(frame, arm, unobserved)


def sigmas(frame: pd.DataFrame, arm: str, which: str) -> np.ndarray:
    """Return the standard deviation between the instructions of a set, binomial noise removed, per seed.

    Variances are averaged over families first; a mean below zero is a spread of 0.
    """
    rows = _set(frame, arm, which)
    cells = instruction_variance(rows, by=["seed", "family"])
    found = mean_instruction_variance(cells, by=["seed"]).set_index("seed")["sigma"]
    return found.reindex(_seeds(frame)).to_numpy(dtype=float)


def _scores(frame: pd.DataFrame, arm: str, which: str) -> np.ndarray:
    """Return the mean over families of the accuracy in a set, all its instructions and items alike, per seed."""
    by_family = _set(frame, arm, which).groupby(["seed", "family"])["value"].mean().unstack("family")
    return by_family.mean(axis=1, skipna=False).reindex(_seeds(frame)).to_numpy(dtype=float)


def _set(frame: pd.DataFrame, arm: str, which: str) -> pd.DataFrame:
    """Return the rows of one arm and set; "observed" means the instructions that tuning showed."""
    mine = finished(frame, arm)
    if not len(mine):
        raise LookupError(f"no run of arm '{arm}' finished")
    rows = mine[mine["trained"].astype(bool)] if which == OBSERVED else mine[mine["set"] == which]
    if not len(rows):
        raise LookupError(f"arm '{arm}' was not asked in {which} instructions")
    return rows


def _seeds(frame: pd.DataFrame) -> Sequence[int]:
    return sorted(frame["seed"].unique())
