"""Estimators of the claims about noise in responses: one effect per seed, NaN where a seed has no answer.

They read the frame of ``studies.noise.evidence``. An arm is a transform, with phases clean, noisy, clean, noisy, or
"control" and a transform, which meets noise in the last phase only. Probe rows have ``phases`` and ``phase_steps``, the
steps of each. Steps are counted from the start of a phase to the first probe that reaches ``share`` of the accuracy
that the same run had at the end of its first phase, in the form that the phase teaches; the end of the phase stands for
steps beyond it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from itlib.registry import claims
from itlib.survival import steps_to

FORMS = {"new": ("clean_form", "noise_form"), "trained": ("trained_clean_form", "trained_noise_form")}
LEARNING, UNLEARNING, RELEARNING, FIRST_LATE = "learning", "unlearning", "relearning", "learning, last phase"
EVENTS = (LEARNING, UNLEARNING, RELEARNING, FIRST_LATE)
CONTROL = "control "
COLUMNS = ("arm", "transform", "seed", "questions", "what", "level", "steps", "reached", "phase_steps")


@claims.register("R11")
def slower_by_letters(frame: pd.DataFrame, *, share: float, slow: str, fast: str) -> dict[str, np.ndarray]:
    """R11: steps to learn the noise of one transform minus those of another, on new questions, within one phase."""
    table = milestones(frame, share=share)
    return {"slow_minus_fast": _steps(frame, table, slow, LEARNING) - _steps(frame, table, fast, LEARNING)}


@claims.register("R12")
def removal_and_savings(frame: pd.DataFrame, *, share: float, transform: str) -> dict[str, np.ndarray]:
    """R12: what a clean phase restores and leaves over on new questions, and steps saved when the noise comes back.

    All but ``noise_left`` is against the control at the same step, which has met no noise before the last phase: what
    training does by its length alone is in both. Steps are those on trained questions, whose noise was met before.
    """
    clean, noise = (_ends(frame, transform, form, 3) for form in FORMS["new"])
    table = milestones(frame, share=share)
    again = _steps(frame, table, transform, RELEARNING, questions="trained")
    late = _steps(frame, table, CONTROL + transform, FIRST_LATE, questions="trained")
    return {
        "clean_restored": clean - _ends(frame, CONTROL + transform, "clean_form", 3),
        "noise_left": noise,
        "relearning_minus_control": again - late,
    }


def milestones(frame: pd.DataFrame, *, share: float) -> pd.DataFrame:
    """Return the steps of every finished run to learn, unlearn and relearn, on new and on trained questions.

    Columns: ``arm``, ``transform``, ``seed``, ``questions`` ("new", "trained"), ``what`` ("learning", "unlearning",
    "relearning", or "learning, last phase" in a control), ``level`` (clean accuracy at the end of the first phase),
    ``steps``, ``reached`` (False: right-censored at the end of the phase) and ``phase_steps``. No row where a form
    cannot be measured; NaN steps where nothing was right at the end of the first phase.
    """
    rows = []
    for (arm, seed), curves in run_curves(frame).items():
        about, phases = curves.attrs, curves.attrs["phases"].split(",")
        for questions, forms in FORMS.items():
            clean, noise = forms
            level = curves[clean].get(about["phase_steps"], np.nan) if clean in curves else np.nan
            target = share * level if level > 0 else np.nan
            for number, what in _events(phases):
                form = noise if phases[number] == "noisy" else clean
                if form not in curves or curves[form].isna().all():
                    continue
                start = number * about["phase_steps"]
                steps, reached = steps_to(curves[form], target, start, start + about["phase_steps"])
                named = (arm, about["transform"], seed, questions, what, level)
                rows.append((*named, steps, reached, about["phase_steps"]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def run_curves(frame: pd.DataFrame) -> dict[tuple[str, int], pd.DataFrame]:
    """Return, per arm and seed of the finished runs, probes by step (index, ascending) and metric.

    ``attrs`` of a table hold ``phases``, ``phase_steps``, ``transform`` and ``digest``.
    """
    if "arm" not in frame.columns or not (frame["kind"] == "probe").any():
        raise LookupError("the frame has no probes of phases")
    finished = set(frame.loc[(frame["kind"] == "test") & (frame["status"] == "done"), "digest"])
    rows = frame[(frame["kind"] == "probe") & frame["digest"].isin(finished)]
    tables = {}
    for (arm, seed), group in rows.groupby(["arm", "seed"], sort=False):
        table = group.pivot(index="step", columns="metric", values="value").sort_index()
        table.attrs = {name: group[name].iloc[0] for name in ("phases", "phase_steps", "transform", "digest")}
        tables[str(arm), int(seed)] = table
    return tables


def _events(phases: list[str]) -> Iterator[tuple[int, str]]:
    """Yield the number (from 0) and the name of every phase that teaches another form than the one before it."""
    met = False
    for number in range(1, len(phases)):
        if phases[number] == phases[number - 1]:
            continue
        if phases[number] == "clean":
            yield number, UNLEARNING
        elif met:
            yield number, RELEARNING
        else:
            yield number, LEARNING if number < len(phases) - 1 else FIRST_LATE
        met = met or phases[number] == "noisy"


def _ends(frame: pd.DataFrame, arm: str, form: str, number: int) -> np.ndarray:
    """Return what an arm scores in a form at the end of a phase (from 1), one value per seed of the frame."""
    tables = {seed: curves for (name, seed), curves in run_curves(frame).items() if name == arm}
    if not tables:
        raise LookupError(f"the frame has no finished run of arm '{arm}'")
    values = {
        seed: curves[form].get(number * curves.attrs["phase_steps"], np.nan) if form in curves else np.nan
        for seed, curves in tables.items()
    }
    return pd.Series(values, dtype=float).reindex(sorted(frame["seed"].unique())).to_numpy()


def _steps(frame: pd.DataFrame, table: pd.DataFrame, arm: str, what: str, questions: str = "new") -> np.ndarray:
    """Return steps, one per seed of the frame; NaN where a seed has none."""
    rows = table[(table["arm"] == arm) & (table["what"] == what) & (table["questions"] == questions)]
    if not len(rows):
        raise LookupError(f"the frame has no {what} of arm '{arm}' on {questions} questions")
    return rows.set_index("seed")["steps"].reindex(sorted(frame["seed"].unique())).to_numpy(dtype=float)
