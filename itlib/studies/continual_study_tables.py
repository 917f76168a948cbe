"""Tables of ``04d_continual``: accuracy by round and task, one row per arm, and differences, from the claims' frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from itlib.claims import Verdict
from itlib.claims.continual_study import knowledge, sequence
from itlib.execute import REFERENCE_LOSS
from itlib.frame import REFERENCE
from itlib.stats import bootstrap_interval, sign_flip_interval
from itlib.studies.continual_study import UNTUNED, between, method_words, sequential

SCORES = ("learned", "backward_transfer", "overall", "knowledge", "text_after_first", "text_after_last")
COMPARED = ("learned", "backward_transfer", "overall", "knowledge", "text_after_last")


def matrix(frame: pd.DataFrame) -> pd.DataFrame:
    """Return exact match of every family after every round by arm: mean over runs, bootstrap interval, runs.

    Columns: ``arm``, ``round`` (from 1), ``trained``, ``family``, ``place`` (round of the family asked, from 1),
    ``mean``, ``interval`` (for display) and ``runs``.
    """
    rows = frame[(frame["kind"] == "round") & (frame["metric"] == "exact_match")]
    found = []
    for names, cell in rows.groupby(["arm", "round", "trained", "family", "place"], sort=False):
        arm, number, trained, family, place = names
        values = cell["value"].dropna().to_numpy(dtype=float)
        about = (arm, number + 1, trained, family, place + 1)
        mean = float(values.mean()) if len(values) else np.nan
        found.append((*about, mean, bootstrap_interval(values, seed=0), len(values)))
    columns = ["arm", "round", "trained", "family", "place", "mean", "interval", "runs"]
    return pd.DataFrame(found, columns=columns)


def scores(frame: pd.DataFrame, arms: Sequence[str]) -> pd.DataFrame:
    """Return ``arm``, ``metric``, ``seed`` and ``value``, a row per arm, score and seed; NaN where there is none.

    Scores are those of ``SCORES``: "learned" is the mean over families of exact match right after their own round,
    "overall" that after the last round (all that a joint arm has), "knowledge" recall at the end, and
    "text_after_first" and "text_after_last" how much the loss on pretraining text has risen since before tuning, after
    the first round and after the last one.
    """
    rows = []
    for arm in arms:
        found = _of_sequence(frame, arm) if between(arm) != "one" else _of_joint(frame, arm)
        found["knowledge"] = _known(frame, arm)
        for metric in SCORES:
            rows += [(arm, metric, seed, value) for seed, value in found[metric].items()]
    return pd.DataFrame(rows, columns=["arm", "metric", "seed", "value"])


def summary(points: pd.DataFrame) -> pd.DataFrame:
    """Return one row per arm: means over seeds of ``scores``, and the seeds behind overall performance."""
    table = points.pivot_table(index="arm", columns="metric", values="value", aggfunc="mean", dropna=False, sort=False)
    seeds = points[points["metric"] == "overall"].groupby("arm")["value"].count().rename("seeds")
    order = list(dict.fromkeys(points["arm"]))
    return table.reindex(index=order, columns=list(SCORES)).join(seeds).rename_axis("arm").reset_index()


def comparisons(arms: Sequence[str]) -> list[tuple[str, str]]:
    """Return pairs of arms whose difference is shown: each against the first one, and what fresh starts do.

    The second kind pairs arms of one method, started anew or with another half, with those that go on.
    """
    ordered = sequential(arms)
    pairs = [(arm, ordered[0]) for arm in ordered[1:]]
    again = [
        (anew, kept)
        for anew in ordered
        for kept in ordered
        if method_words(anew) == method_words(kept) and (between(anew), between(kept)) == ("merged", "persistent")
    ]
    return [*pairs, *(pair for pair in again if pair not in pairs)]


def differences(points: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return one row per pair of arms and score: the mean difference over seeds, its sign-flip interval, the seeds."""
    rows = []
    for left, right in pairs:
        for metric in COMPARED:
            paired = (_series(points, left, metric) - _series(points, right, metric)).dropna().to_numpy(dtype=float)
            mean = float(paired.mean()) if len(paired) else np.nan
            rows.append((f"{left} minus {right}", metric, mean, sign_flip_interval(paired), len(paired)))
    return pd.DataFrame(rows, columns=["difference", "score", "mean", "interval", "seeds"])


def recall(frame: pd.DataFrame) -> pd.DataFrame:
    """Return recall at the end by arm (rows) and frequency of a person in documents (columns): means over runs."""
    rows = frame[frame["kind"] == "recall"]
    if not len(rows):
        return pd.DataFrame(columns=["arm"])
    table = rows.groupby(["arm", "frequency"], sort=False)["value"].mean().unstack("frequency")
    table = table.reindex(index=list(dict.fromkeys(rows["arm"]))).sort_index(axis=1)
    table.columns = ["never told" if value == 0 else f"told {value:g}" for value in table.columns]
    return table.rename_axis("arm").reset_index()


def over_rounds(frame: pd.DataFrame, arms: Sequence[str], metric: str) -> pd.DataFrame:
    """Return a score of every run over rounds, round 0 being the untuned base of its seed.

    Args:
        frame: From ``continual_study.evidence``.
        arms: In the order of the result; a joint arm has one row per seed, at the last round.
        metric: "exact_match", of the first family, or "reference_loss", as its rise since before tuning.

    Returns:
        Columns ``arm``, ``seed``, ``round``, ``trained`` and ``value``; empty where nothing was measured.
    """
    columns = ["arm", "seed", "round", "trained", "value"]
    measured = frame[(frame["kind"] == "round") & (frame["metric"] == metric)]
    before = _at_the_end(frame, UNTUNED, metric)
    parts = [pd.DataFrame(columns=columns)]
    for arm in arms if len(measured) else []:
        if between(arm) == "one":
            end = _at_the_end(frame, arm, metric).rename("value").reset_index()
            own = end.assign(round=measured["round"].max() + 1, trained="")
        else:
            own = _of_rounds(frame, arm, metric)[["seed", "round", "trained", "value"]]
            base = before[before.index.isin(own["seed"])].rename("value").reset_index()
            own = pd.concat([base.assign(round=0, trained="before"), own.assign(round=own["round"] + 1)])
        if metric == REFERENCE_LOSS:
            own = own.assign(value=own["value"] - own["seed"].map(before))
        parts.append(own.assign(arm=arm))
    rows = pd.concat([part for part in parts if len(part)] or parts)[columns].dropna(subset=["value"])
    return rows.astype({"round": int, "seed": int, "value": float}).reset_index(drop=True)


def sentence(points: pd.DataFrame, arms: Sequence[str], full: str = "full") -> str:
    """Return, in words, how text forgotten after one task and after all compares with full fine-tuning."""
    rows = []
    for arm in sequential(arms):
        if arm == full or not arm.startswith("lora"):
            continue
        first, last = (
            (_series(points, arm, name) - _series(points, full, name)).mean()
            for name in ("text_after_first", "text_after_last")
        )
        if np.isfinite(first) and np.isfinite(last):
            rows.append(f"{arm} {first:+.2f} nats after the first task and {last:+.2f} after the last")
    if not rows:
        return "Nothing can be said: no adapters beside full fine-tuning, or no text was scored."
    return f"Rise of the loss on pretraining text, minus that of {full}: {'; '.join(rows)}."


def parts(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return one row per part of every verdict: effect, interval, p value, seeds and its own verdict."""
    rows = [
        (whole.id, part.name, part.verdict, part.effect, part.interval, part.p_value, part.n_seeds)
        for whole in verdicts
        for part in whole.parts
    ]
    return pd.DataFrame(rows, columns=["claim", "part", "verdict", "effect", "interval", "p", "seeds"])


def _of_sequence(frame: pd.DataFrame, arm: str) -> dict[str, pd.Series]:
    nothing = pd.Series(np.nan, index=_seeds(frame))
    try:
        table = sequence(frame, arm)
    except LookupError:
        return dict.fromkeys(SCORES, nothing)
    rows = _of_rounds(frame, arm, "exact_match", every=True)
    own = rows[rows["round"] == rows["place"]]
    n_tasks = rows["place"].max() + 1
    learned = own.groupby("seed")["value"].mean().where(own.groupby("seed")["value"].count() == n_tasks)
    text = over_rounds(frame, [arm], REFERENCE_LOSS)
    after = {name: text[text["round"] == number] for name, number in (("first", 1), ("last", n_tasks))}
    return {
        "learned": learned.reindex(nothing.index),
        "backward_transfer": table["backward_transfer"],
        "overall": table["overall"],
        **{
            f"text_after_{name}": part.set_index("seed")["value"].reindex(nothing.index) for name, part in after.items()
        },
    }


def _of_joint(frame: pd.DataFrame, arm: str) -> dict[str, pd.Series]:
    nothing = pd.Series(np.nan, index=_seeds(frame))
    rows = frame[(frame["arm"] == arm) & (frame["kind"] == "test") & (frame["metric"] == "exact_match")]
    text = over_rounds(frame, [arm], REFERENCE_LOSS).set_index("seed")["value"]
    return {
        "learned": nothing,
        "backward_transfer": nothing,
        "overall": rows.groupby("seed")["value"].mean().reindex(nothing.index),
        "text_after_first": nothing,
        "text_after_last": text.reindex(nothing.index),
    }


def _known(frame: pd.DataFrame, arm: str) -> pd.Series:
    try:
        return knowledge(frame, arm)
    except LookupError:
        return pd.Series(np.nan, index=_seeds(frame))


def _seeds(frame: pd.DataFrame) -> list[int]:
    return sorted(frame["seed"].unique())


def _series(points: pd.DataFrame, arm: str, metric: str) -> pd.Series:
    return points[(points["arm"] == arm) & (points["metric"] == metric)].set_index("seed")["value"]


def _first_family(frame: pd.DataFrame) -> str:
    rows = frame[(frame["kind"] == "round") & (frame["place"] == 0)]
    return rows["family"].iloc[0] if len(rows) else ""


def _of_rounds(frame: pd.DataFrame, arm: str, metric: str, *, every: bool = False) -> pd.DataFrame:
    """Return the rows of an arm after its rounds: of exact match those of the first family, unless all are wanted."""
    rows = frame[(frame["arm"] == arm) & (frame["kind"] == "round") & (frame["metric"] == metric)]
    return rows if every or metric == REFERENCE_LOSS else rows[rows["place"] == 0]


def _at_the_end(frame: pd.DataFrame, arm: str, metric: str) -> pd.Series:
    """Return the score of an arm's test rows per seed, of the first family or of pretraining text."""
    family = REFERENCE if metric == REFERENCE_LOSS else _first_family(frame)
    rows = frame[(frame["arm"] == arm) & (frame["kind"] == "test") & (frame["metric"] == metric)]
    return rows[rows["family"] == family].set_index("seed")["value"]
