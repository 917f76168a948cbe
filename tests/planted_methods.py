"""A planted frame of the study of tuning methods: what every arm scores, recalls, forgets and costs is known."""

from __future__ import annotations

import pandas as pd

FAMILIES = ("plural", "colour")
FREQUENCIES = (0.0, 0.125, 1.0)


def rows_of(arm, seeds, *, score=0.5, recall=0.8, drift=0.1, trainable=100.0, gflops=10.0):
    """Rows of one arm. A number is a value for every seed; a function is asked for it seed by seed.

    The two families score .1 above and below ``score``, so that their mean is it. Facts nobody was told are recalled
    with 0, told ones with ``recall``. The base of seed s has a reference loss of 1 + s, which tuning raises by
    ``drift``.
    """

    def at(value, seed):
        return float(value(seed) if callable(value) else value)

    rows = []
    for seed in seeds:
        about = {"arm": arm, "seed": seed, "base_seed": seed, "model_fingerprint": f"base {seed}", "status": "done"}
        about |= {"digest": f"{arm}/{seed}", "error": "", "model": "micro-1m"}
        for family, shift in zip(FAMILIES, (0.1, -0.1), strict=True):
            row = {"kind": "test", "family": family, "metric": "exact_match", "value": at(score, seed) + shift}
            rows.append({**about, **row})
        loss = 1.0 + seed + at(drift, seed)
        rows.append({**about, "kind": "test", "family": "reference", "metric": "reference_loss", "value": loss})
        for frequency in FREQUENCIES:
            value = at(recall, seed) if frequency else 0.0
            row = {"kind": "recall", "family": f"told {frequency:g}", "metric": "recall", "frequency": frequency}
            rows.append({**about, **row, "value": value})
        for name, cost in (("trainable", trainable), ("gflops", gflops)):
            rows.append({**about, "kind": "cost", "family": "", "metric": name, "value": at(cost, seed)})
    return pd.DataFrame(rows)


def frame_of(arms, seeds=range(8), *, untuned=True):
    """The frame of several arms, given as name -> keywords of ``rows_of``, with the untuned bases of all seeds."""
    parts = [rows_of(arm, seeds, **about) for arm, about in arms.items()]
    if untuned:
        base = rows_of("untuned", seeds, score=0.0, recall=0.9, drift=0.0)
        parts.append(base[base["kind"] != "cost"])
    return pd.concat(parts, ignore_index=True)
