"""Runs of the study of spectra that never were: what each counts, forgets and scores is known by hand."""

import numpy as np
import pandas as pd

from itlib.claims.spectra_study import CHANGE, ENERGY, INTRUDERS, NOISE, RANK, SPAN, TUNED, TURNED
from itlib.studies.spectra_study_scores import EPSILONS

SEEDS = range(8)
UNTUNED_LOSS = 2.0
MICRO, OTHER_MICRO = "micro-1m", "micro-1m-adamw"


def run(
    arm, seed, *, kind="test", base=MICRO, count=0.0, noise=0.0, turned=0.0, span=0.0, change=1.0, rank=4.0,
    forgetting=0.1, score=0.5, learning_rate=0.004, edit="none", edit_scale=1.0, status="done", steep=True,
):  # fmt: skip
    """One run. A count holds at the threshold .5; it grows as its third power, so that .25 has an eighth of it."""
    digest = f"{kind} {arm} {base} {seed} {learning_rate} {edit} {edit_scale}"
    about = {
        "kind": kind, "arm": arm, "base": base, "base_seed": seed if base == MICRO else 0, "seed": seed,
        "learning_rate": learning_rate, "edit": edit, "edit_scale": edit_scale, "digest": digest, "status": status,
    }  # fmt: skip
    if status != "done":
        return [about | {"family": "", "metric": "", "value": np.nan, "error": ""}]
    rows = [about | {"family": family, "metric": "exact_match", "value": score + off}
            for family, off in (("plural", 0.1), ("past", -0.1))]  # fmt: skip
    rows.append(about | {"family": "reference", "metric": "reference_loss", "value": UNTUNED_LOSS + about["base_seed"] + forgetting})
    rows.append(about | {"family": "plural", "metric": "response_nll", "value": 1.0})
    if kind in ("untuned", "edited"):
        return rows
    counted = {TUNED: count, NOISE: noise, TURNED: turned, SPAN: span}
    for epsilon in EPSILONS:
        part = min(1.0, (epsilon / 0.5) ** 3) if steep else 1.0
        rows += [about | {"family": "spectra", "metric": INTRUDERS, "variant": variant, "epsilon": epsilon, "k": 10,
                          "value": value * part} for variant, value in counted.items()]  # fmt: skip
        rows.append(about | {"family": "spectra", "metric": ENERGY, "variant": TUNED, "epsilon": epsilon, "k": 10,
                             "value": count / 100})  # fmt: skip
    rows.append(about | {"family": "spectra", "metric": CHANGE, "variant": "", "value": change})
    rows.append(about | {"family": "spectra", "metric": RANK, "variant": "", "value": rank})
    return rows


def frame(*rows):
    """A frame of lists of rows; the untuned base of every seed, and the other one, are in it."""
    parts = [row for part in rows for row in part]
    bases = [(seed, MICRO) for seed in sorted({row["seed"] for row in parts})] + [(0, OTHER_MICRO)]
    for seed, base in bases:
        parts += run("untuned", seed, kind="untuned", base=base, forgetting=0.0, score=0.0)
    return pd.DataFrame(parts)


def each(arm, seeds=SEEDS, **fields):
    """The rows of an arm on all seeds; a field may be a function of the seed."""
    return [
        row
        for seed in seeds
        for row in run(arm, seed, **{k: v(seed) if callable(v) else v for k, v in fields.items()})
    ]
