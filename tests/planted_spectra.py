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
    rows.append(
        about
        | {"family": "reference", "metric": "reference_loss", "value": UNTUNED_LOSS + about["base_seed"] + forgetting}
    )
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
        row for seed in seeds for row in run(arm, seed, **{k: v(seed) if callable(v) else v for k, v in fields.items()})
    ]


RANKS = (1, 4, 16, 64)
SWEPT = ("full", *(f"lora {rank}" for rank in RANKS))
TESTED = (
    *SWEPT, *(f"lora {rank} alpha=8" for rank in (1, 16, 64)), *(f"rslora {rank} alpha=4" for rank in (1, 16, 64)),
    "lora 16 inner=orthonormal",
)  # fmt: skip
OTHERS = ("full", "lora 1", "lora 16", "lora 64")


def study(seeds=SEEDS, edits=("intruder", "neighbour", "random_direction")):
    """Everything that the cpu profile runs, with counts that fall with the rank and rise with the rate."""
    rng = np.random.default_rng(0)
    rows = []

    def measured(arm, rate=1.0):
        rank = 0 if arm == "full" else int(arm.split()[1])
        falls = 0.0 if arm == "full" else 3.0 * rate / np.sqrt(rank) * (0.4 if "inner" in arm else 1.0)
        if rank:
            falls *= {"alpha=8": np.sqrt(rank), "alpha=4": rank**0.25}.get(arm.split()[-1], 1.0)
        count = max(0.0, falls + rng.normal(0, 0.15 * falls))
        used = 60.0 if arm == "full" else 0.85 * rank * (0.4 if "alpha=8" in arm and rank > 1 else 1.0)
        size = (4.0 if arm == "full" else 1.0 + np.log2(rank) / 3) * rate * rng.uniform(0.9, 1.1)
        return {
            "count": count, "noise": count * 0.1 + 0.05 * size * rng.uniform(), "turned": count * 0.8,
            "span": count * 0.9, "change": size, "rank": max(1.0, used * rng.uniform(0.95, 1.05)),
            "forgetting": 0.05 * count + 0.02 * size + rng.normal(0, 0.01), "score": 0.6 + rng.normal(0, 0.01),
        }  # fmt: skip

    for seed in seeds:
        for arm in TESTED:
            rows += run(arm, seed, **measured(arm))
        for arm in SWEPT:
            for step in (0.5, 1.0, 2.0):
                rows += run(arm, seed, kind="sweep", learning_rate=0.008 * step, **measured(arm, step))
        for arm in OTHERS:
            rows += run(arm, seed, kind="other", base=OTHER_MICRO, **measured(arm, 0.6))
        for edit in edits:
            for scale in (0, 0.3, 0.5, 0.7, 0.9, 1.0):
                shift = (1 - scale) * {"intruder": -0.08, "neighbour": 0.02, "random_direction": 0.05}[edit]
                cost = (1 - scale) ** 2 * (0.03 if edit == "intruder" else 0.01)
                noise = (1 - scale) * rng.normal(0, 0.01)
                how = {"kind": "edited", "edit": edit, "edit_scale": scale, "score": 0.6 - cost + noise}
                rows += run("lora 1", seed, **how, forgetting=0.25 + shift + noise)
    return frame(rows)


def matrices(networks=2):
    """The matrices of two bases of 1M, one of them with flat spectra in a quarter of its matrices."""
    sizes = [(128, 128)] * 4 + [(352, 128)] * 2 + [(128, 352)]
    rows = []
    for base, n, exponent in ((MICRO, networks, 0.15), (OTHER_MICRO, 1, 0.5)):
        for base_seed in range(n):
            for index, (m, k) in enumerate(sizes * 4):
                steep = exponent + 0.15 * (index % 4 > 0)
                rows.append((base, base_seed, f"layer {index}", m, k, steep))
    return pd.DataFrame(rows, columns=["base", "base_seed", "matrix", "rows", "columns", "exponent"])
