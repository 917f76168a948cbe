"""Planted frames of tasks in sequence: every accuracy follows from what an arm learns and what a round takes away."""

import itertools

import numpy as np
import pandas as pd

FAMILIES = ("plural", "past", "opposite", "category", "first_letter", "alphabetical")
FREQUENCIES = (0.0, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1.0)
BEFORE = 1.4  # nats of the untuned base
# arm -> accuracy right after a task's round, what every later round takes away, nats a round adds, recall at the end
ARMS = {
    "full": (0.9, 0.10, 0.20, 0.50),
    "lora 16 merged": (0.9, 0.14, 0.15, 0.55),
    "lora 2 merged": (0.9, 0.17, 0.10, 0.60),
    "lora 16 persistent": (0.9, 0.12, 0.12, 0.56),
    "half level=category redrawn": (0.9, 0.05, 0.15, 0.60),
    "half level=layer redrawn": (0.9, 0.07, 0.16, 0.58),
    "half level=model redrawn": (0.9, 0.08, 0.17, 0.56),
    "full joint": (0.85, 0.0, 0.05, 0.70),
}


def back(arm, families=FAMILIES):
    """Backward transfer by hand: task i of T loses a step in each of T - 1 - i rounds, the mean over i < T - 1."""
    return -ARMS[arm][1] * len(families) / 2


def overall(arm, families=FAMILIES):
    """Overall performance by hand: the last task has lost nothing."""
    return ARMS[arm][0] - ARMS[arm][1] * (len(families) - 1) / 2


def frame(arms=ARMS, *, seeds=range(8), families=FAMILIES, noise=0.0, stopped=(), **changed):
    """The rows of ``studies.continual_study.evidence``; a seed shifts all accuracies by .002.

    Args:
        arms: As ``ARMS``.
        seeds: Seeds of all arms.
        families: In their order.
        noise: Standard deviation that is added to every accuracy.
        stopped: (arm, seed) of runs that diverged in their third round.
        changed: Columns with one value.
    """
    rng = np.random.default_rng(0)
    rows = []
    for (arm, (top, step, nats, known)), seed in itertools.product(dict(arms).items(), seeds):
        about = {"arm": arm, "seed": seed, "digest": f"{arm} {seed}", "status": "done", "error": ""}
        ended = (arm, seed) in stopped
        joint = arm.endswith("joint")
        for t, i in itertools.product(range(len(families)), repeat=2) if not joint else ():
            if ended and t > 1:
                continue
            value = max(0.0, top - step * (t - i) + 0.002 * seed + rng.normal(0, noise)) if i <= t else 0.05
            where = {"round": t, "trained": families[t], "family": families[i], "place": i}
            rows.append(about | where | {"kind": "round", "metric": "exact_match", "value": value})
            if not i:
                own = {"family": "reference", "place": -1, "value": BEFORE + 0.01 * seed + nats * (t + 1)}
                rows.append(about | where | own | {"kind": "round", "metric": "reference_loss"})
        end = about | {"round": -1, "trained": "", "place": -1}
        if ended:
            gone = {"kind": "test", "status": "diverged", "family": "", "metric": "", "value": np.nan}
            rows.append(end | gone)
            continue
        rows += _ends(
            end, families, [top - step * (len(families) - 1 - i) + 0.002 * seed for i in range(len(families))]
        )
        loss = BEFORE + 0.01 * seed + nats * (1 if joint else len(families))
        rows.append(end | {"kind": "test", "family": "reference", "metric": "reference_loss", "value": loss})
        for frequency in FREQUENCIES:
            value = known if frequency else 0.03
            rows.append(end | {"kind": "recall", "family": "people", "metric": "recall", "frequency": frequency}
                        | {"value": value})  # fmt: skip
    for seed in seeds:
        end = {"arm": "untuned", "seed": seed, "digest": f"untuned {seed}", "status": "done", "error": ""}
        end |= {"round": -1, "trained": "", "place": -1}
        rows += _ends(end, families, [0.0] * len(families))
        loss = BEFORE + 0.01 * seed
        rows.append(end | {"kind": "test", "family": "reference", "metric": "reference_loss", "value": loss})
    return pd.DataFrame(rows).assign(**changed)


def _ends(about, families, values):
    return [
        about | {"kind": "test", "family": family, "metric": "exact_match", "value": value}
        for family, value in zip(families, values, strict=True)
    ]
