"""Tables of ``03d_noise``: steps by transform, savings, and questions left out, from the frame its claims read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats import entropy

from itlib.augmentations.noise_phases import noisy_forms
from itlib.claims.noise import CONTROL, FIRST_LATE, FORMS, LEARNING, RELEARNING, run_curves
from itlib.example import Example
from itlib.result import RunResult
from itlib.survival import log_rank

WORD = "word_reversal"


def ends(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the mean accuracy of every arm in clean and in noisy form at the end of each phase, over seeds.

    Columns: ``arm``, ``phase`` (from 1), ``teaches`` ("clean", "noisy"), then the forms of new and of trained
    questions (NaN where a form cannot be measured) and ``seeds``.
    """
    names = [form for forms in FORMS.values() for form in forms]
    rows = []
    for (arm, _), curves in run_curves(frame).items():
        for number, teaches in enumerate(curves.attrs["phases"].split(","), start=1):
            at = curves.reindex(columns=names).reindex([number * curves.attrs["phase_steps"]]).iloc[0]
            rows.append({"arm": arm, "phase": number, "teaches": teaches, **at.to_dict()})
    table = pd.DataFrame(rows).groupby(["arm", "phase", "teaches"], sort=False)
    return table[names].mean().assign(seeds=table.size()).reset_index()


def speed(milestones: pd.DataFrame) -> pd.DataFrame:
    """Return how fast every arm gets there: steps, runs that do, and a log-rank test against the reversal of words.

    Args:
        milestones: From ``claims.noise.milestones``.

    Returns:
        Columns ``arm``, ``questions``, ``what``, ``level`` (mean clean accuracy at the end of the first phase),
        ``steps`` (mean up to the end of the phase, which stands for steps beyond it), ``reached`` (runs), ``runs``
        (with an answer) and ``log_rank`` (p against "word_reversal" in the same phase; NaN for itself).
    """
    rows = []
    for names, group in milestones.groupby(["arm", "questions", "what"], sort=False):
        known = group.dropna(subset=["steps"])
        level, steps = group["level"].mean(), known["steps"].mean()
        word = milestones[(milestones["arm"] == WORD) & (milestones["questions"] == names[1])]
        word = word[word["what"] == names[2]]
        same = names[0] == WORD or not len(word)
        p = np.nan if same else log_rank(group["steps"], group["reached"], word["steps"], word["reached"])
        rows.append((*names, level, steps, int(known["reached"].sum()), len(known), p))
    columns = ["arm", "questions", "what", "level", "steps", "reached", "runs", "log_rank"]
    return pd.DataFrame(rows, columns=columns)


def savings(milestones: pd.DataFrame) -> pd.DataFrame:
    """Return, per transform and seed, relearning over learning, and over the first learning in the last phase.

    A ratio below 1 is a saving. ``ratio`` is NaN where neither was reached, since then both are only known to be longer
    than a phase; where one was not, the end of the phase stands for it and ``bound`` says which way the truth lies:
    "at most" where learning was cut off, "at least" where relearning was.

    Args:
        milestones: From ``claims.noise.milestones``.

    Returns:
        Columns ``transform``, ``questions``, ``seed``, ``against`` ("first time" or "control"), ``relearning``,
        ``learning``, ``ratio`` and ``bound`` ("", "at most", "at least").
    """
    rows = []
    again = milestones[milestones["what"] == RELEARNING]
    for row in again.itertuples():
        same = milestones[(milestones["seed"] == row.seed) & (milestones["questions"] == row.questions)]
        for against, arm, what in (("first time", row.arm, LEARNING), ("control", CONTROL + row.arm, FIRST_LATE)):
            found = same[(same["arm"] == arm) & (same["what"] == what)]
            if len(found):
                first = found.iloc[0]
                named = (row.transform, row.questions, row.seed, against, row.steps, first["steps"])
                rows.append((*named, *_ratio(row.steps, row.reached, first["steps"], first["reached"])))
    columns = ["transform", "questions", "seed", "against", "relearning", "learning", "ratio", "bound"]
    return pd.DataFrame(rows, columns=columns)


def _ratio(again: float, again_reached: bool, first: float, first_reached: bool) -> tuple[float, str]:
    if not (again_reached or first_reached) or not first > 0:
        return float("nan"), ""
    return again / first, "" if again_reached and first_reached else "at most" if again_reached else "at least"


def questions(results: Sequence[RunResult]) -> pd.DataFrame:
    """Return how many questions of each seed have a noisy form of every kind, and how many were left out."""
    rows = {
        result.spec.seed: (
            result.spec.data.n_train - int(result.totals.get("n_without_noisy_form", 0)),
            int(result.totals.get("n_without_noisy_form", 0)),
        )
        for result in results
        if result.status == "done"
    }
    return pd.DataFrame([(seed, *rows[seed]) for seed in sorted(rows)], columns=["seed", "kept", "left_out"])


def edits(questions: Mapping[int, Sequence[Example]], transforms: Sequence[str]) -> pd.DataFrame:
    """Return how much each transform changes responses, and how much chance there is in what it makes of them.

    Args:
        questions: Per seed, the questions of a run with their right responses, in the form they are answered in.
        transforms: Names of ``augmentations.noise_phases.TRANSFORMS``.

    Returns:
        Per transform, means over seeds: ``characters_kept`` and ``words_kept`` (share of places that hold the same
        before and after), ``length`` (characters, after over before) and ``entropy`` of the noisy response given the
        right one [bits]: 0 for a rule, and above where equal responses become different ones.
    """
    rows = []
    for name in transforms:
        for seed, asked in questions.items():
            right = [example.response for example in asked]
            noisy = noisy_forms(name, asked, np.random.default_rng(seed))
            pairs = list(zip(right, noisy, strict=True))
            kept = np.mean([(_kept(a, b), _kept(a.split(), b.split()), len(b) / len(a)) for a, b in pairs], axis=0)
            rows.append((name, *kept, _bits(pairs) - _bits(right)))
    columns = ["transform", "characters_kept", "words_kept", "length", "entropy"]
    return pd.DataFrame(rows, columns=columns).groupby("transform", sort=False).mean().reset_index()


def _kept(before: Sequence[str], after: Sequence[str]) -> float:
    return sum(a == b for a, b in zip(before, after, strict=False)) / max(len(before), len(after))


def _bits(values: Sequence[Hashable]) -> float:
    return float(entropy(list(Counter(values).values()), base=2))


def sentence(table: pd.DataFrame) -> str:
    """Return, in words, what ``savings`` says about trained questions."""
    rows = table[(table["questions"] == "trained") & table["ratio"].notna()]
    if not len(rows):
        return "No run learned its noise on trained questions within a phase, so nothing can be said about savings."
    parts = []
    for (transform, against), group in rows.groupby(["transform", "against"], sort=False):
        cut = int((group["bound"] != "").sum())
        note = f", {cut} of them bounds" if cut else ""
        what = "of its first learning" if against == "first time" else "of a first learning as late"
        parts.append(f"{transform} takes {group['ratio'].mean():.2f} {what} ({len(group)} runs{note})")
    return f"Learning it again: {'; '.join(parts)}."
