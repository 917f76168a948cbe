"""Estimators of the claims about form and knowledge: one effect per seed, NaN where a run of the seed is missing.

They read the frame of ``studies.knowledge.evidence``: rows of scores and of measures, of two courses and of several
evaluations of their weights. The tables made here, one row per run, are what the figures and tables of the study show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from itlib.arms import select
from itlib.calibration import calibration_error, debiased_calibration_error
from itlib.registry import claims

BASE = "base"  # the arm of a model whose changes are all taken back
SHIFTS = ("unshifted", "marginal", "shifted")
LOADS = ["course", "evaluation", "arm", "edit", "edit_scale", "seed"]  # what names one evaluation of one run


@claims.register("L10")
def form_and_knowledge(
    frame: pd.DataFrame, *, full: str, adapters: str, opening: int, answers: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """L10: share of the change on form and on the opening, and facts lost, between adapters and full tuning."""
    styled = select(_kind(frame, "token_shift"), answers)
    shares = token_shares(styled, opening=opening)
    known = facts(select(_kind(frame, "recall"), answers))

    def more(table: pd.DataFrame, column: str) -> np.ndarray:
        return of_arm(frame, table, adapters, column) - of_arm(frame, table, full, column)

    return {
        "form_share": more(shares, "form"),
        "opening_share": more(shares, "opening"),
        "frequent_facts_lost": more(known, "frequent"),  # what the base knew is the same for both and cancels
        "rare_facts_lost": more(known, "rare"),
    }


@claims.register("L11")
def borrowing(frame: pd.DataFrame, *, full: str, adapters: str, families: Sequence[str]) -> dict[str, np.ndarray]:
    """L11: wrong answers that are the response to a nearest training question, beyond chance, full minus adapters."""
    table = borrowed(frame, families)
    return {
        "borrowed_beyond_chance": of_arm(frame, table, full, "excess") - of_arm(frame, table, adapters, "excess"),
    }


@claims.register("L18")
def grafting(frame: pd.DataFrame, *, tuned: str, edit: str, share: float) -> dict[str, np.ndarray]:
    """L18: share of the gain that a graft keeps, and its debiased calibration error minus that of the tuned model."""
    kept = gains(frame, tuned)
    kept = kept[(kept["edit"] == edit) & np.isclose(kept["share"], share)]
    errors = calibration(frame)
    errors = errors[errors["arm"] == tuned]
    graft = errors[
        (errors["evaluation"] == "graft") & (errors["edit"] == edit) & np.isclose(errors["edit_scale"], share)
    ]
    whole = errors[(errors["course"] == "taught") & (errors["evaluation"] == "test")]
    return {
        "share_of_gain_kept": of_arm(frame, kept, tuned, "kept"),
        "calibration_error": of_arm(frame, graft, tuned, "error") - of_arm(frame, whole, tuned, "error"),
    }


def token_shares(frame: pd.DataFrame, *, opening: int) -> pd.DataFrame:
    """Return, per styled run, where its divergence from the base lies and how many of its tokens are shifted.

    Columns: ``arm``, ``seed``, ``tokens``, ``divergence`` (nats per token); ``form`` and ``opening``, shares of the
    summed divergence on tokens of form and on the first ``opening`` tokens of answers; ``unshifted``, ``marginal`` and
    ``shifted``, shares of tokens.
    """
    rows = _kind(frame, "token_shift")
    found = []
    for (arm, seed), run in rows.groupby(["arm", "seed"], sort=False):
        nats = run[run["metric"] == "divergence"]
        total, tokens = nats["value"].sum(), run.loc[run["metric"] == "n", "value"].sum()
        parts = [nats.loc[where, "value"].sum() for where in (nats["token"] == "form", nats["position"] < opening)]
        shares = [part / total if total else np.nan for part in parts]
        shifts = [run.loc[run["metric"] == name, "value"].sum() / tokens for name in SHIFTS]
        found.append((arm, seed, int(tokens), total / tokens, *shares, *shifts))
    return pd.DataFrame(found, columns=["arm", "seed", "tokens", "divergence", "form", "opening", *SHIFTS])


def facts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return, per run, exact match on facts as documents tell them, and the loss on held-out documents.

    Columns: ``course``, ``arm`` ("base" for the model without its changes), ``seed``, ``frequent`` (people whom
    documents tell about most), ``rare`` (mean over the levels below), and ``reference`` (nats per token, NaN where no
    document was read).
    """
    rows = _kind(frame, "recall")
    found = []
    for (course, evaluation, arm, seed), run in rows.groupby(["course", "evaluation", "arm", "seed"], sort=False):
        told = run[run["frequency"] > 0].set_index("frequency")["value"]
        rare = told[told.index < told.index.max()].mean()
        name = BASE if evaluation == "before" else arm
        found.append(
            (course, name, seed, told[told.index.max()], rare, _reference(frame, course, evaluation, arm, seed))
        )
    return pd.DataFrame(found, columns=["course", "arm", "seed", "frequent", "rare", "reference"])


def _reference(frame: pd.DataFrame, course: str, evaluation: str, arm: str, seed: int) -> float:
    rows = frame[(frame["metric"] == "reference_loss") & (frame["seed"] == seed) & (frame["arm"] == arm)]
    rows = rows[(rows["course"] == course) & (rows["evaluation"] == evaluation)]
    return float(rows["value"].mean()) if len(rows) else np.nan


def borrowed(frame: pd.DataFrame, families: Sequence[str] = ()) -> pd.DataFrame:
    """Return, per run and evaluation, how often wrong answers are the response to a nearest training question.

    Args:
        frame: The frame.
        families: Counts are summed over these; empty takes all that an evaluation asked.

    Returns:
        Columns ``evaluation``, ``arm``, ``seed``, ``wrong`` (answers), ``wrong_share`` (of those asked), ``borrowed``
        and ``chance`` (shares of wrong answers; equally near questions count in parts), and ``excess``, their
        difference. NaN shares where nothing is wrong.

    Raises:
        LookupError: No run was asked one of the families.
    """
    rows = _kind(frame, "borrowing")
    for name in families:
        if not (rows["family"] == name).any():
            raise LookupError(f"no run was asked {name}, and looked at for borrowed answers")
    rows = rows[rows["family"].isin(families)] if len(families) else rows
    keys = ["evaluation", "arm", "seed"]
    table = rows.pivot_table(index=keys, columns="metric", values="value", aggfunc="sum", sort=False).reset_index()
    wrong = table["n_wrong"].where(table["n_wrong"] > 0)
    shares = {"borrowed": table["n_near"] / wrong, "chance": table["chance"] / wrong}
    named = table[keys].assign(wrong=table["n_wrong"].astype(int), wrong_share=table["n_wrong"] / table["n"], **shares)
    return named.assign(excess=named["borrowed"] - named["chance"])


def gains(frame: pd.DataFrame, tuned: str) -> pd.DataFrame:
    """Return, per graft and seed, its exact match and the share of the gain of tuning that it keeps.

    Columns: ``arm``, ``seed``, ``edit``, ``share``, ``accuracy``, ``base``, ``whole`` (exact match of the base and of
    the tuned model) and ``kept``, NaN where tuning gained nothing or one of the three is missing.

    Raises:
        LookupError: The arm was not grafted, or its base not asked.
    """
    scores = frame[(frame["metric"] == "exact_match") & (frame["arm"] == tuned) & (frame["course"] == "taught")]
    means = scores.groupby([*LOADS, "kind"], sort=False)["value"].mean().reset_index()
    ends = {}
    for name, kind in (("whole", "test"), ("base", "before")):
        rows = means[means["kind"] == kind]
        if not len(rows):
            raise LookupError(f"no {kind} evaluation of arm '{tuned}' in the taught course")
        ends[name] = rows.set_index("seed")["value"]
    grafts = means[means["kind"] == "graft"].rename(columns={"edit_scale": "share", "value": "accuracy"})
    table = grafts[["arm", "seed", "edit", "share", "accuracy"]].reset_index(drop=True)
    table = table.assign(**{name: table["seed"].map(values).astype(float) for name, values in ends.items()})
    gain = table["whole"] - table["base"]
    return table.assign(kept=(table["accuracy"] - table["base"]) / gain.where(gain > 0))


def calibration(frame: pd.DataFrame) -> pd.DataFrame:
    """Return, per evaluation, how sure a model is of the first token of an answer and how often it is right.

    Columns: those of ``LOADS``, ``items``, ``confidence`` and ``accuracy`` (means), ``error`` (debiased, about 0 for a
    calibrated model) and ``usual_error`` (expected calibration error, never 0).
    """
    rows = _kind(frame, "calibration")
    found = []
    for names, run in rows.groupby(LOADS, sort=False):
        sums = run.pivot(index="bin", columns="metric", values="value")
        bins = [sums[name].to_numpy(dtype=float) for name in ("n", "confidence", "right")]
        n, sure, right = (part.sum() for part in bins)
        found.append((*names, int(n), sure / n, right / n, debiased_calibration_error(*bins), calibration_error(*bins)))
    return pd.DataFrame(found, columns=[*LOADS, "items", "confidence", "accuracy", "error", "usual_error"])


def of_arm(frame: pd.DataFrame, table: pd.DataFrame, arm: str, column: str) -> np.ndarray:
    """Return a column of an arm's runs, one value per seed of the frame, NaN where a seed has none.

    Raises:
        LookupError: The table has no run of the arm.
    """
    rows = table[table["arm"] == arm]
    if not len(rows):
        raise LookupError(f"no run of arm '{arm}' has what this claim compares")
    return rows.set_index("seed")[column].reindex(sorted(frame["seed"].unique())).to_numpy(dtype=float)


def _kind(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """Return the rows of a measure of finished runs, or raise ``LookupError`` where there is none."""
    rows = frame[frame["kind"] == kind] if "kind" in frame.columns else frame.iloc[:0]
    if not len(rows):
        raise LookupError(f"no run was measured for {kind.replace('_', ' ')}")
    return rows
