"""Results as tidy data frames: what every statistic, figure and table reads.

``run_frame`` has one row per run, family and metric. Spec fields are columns under their own names. A failed or
diverged run is one row with an empty metric and no value: never a missing row, never a zero.
``item_frame`` has one row per run and item; ``curve_frame`` and ``probe_frame`` show what happened during training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from itlib.result import ITEM_COLUMNS, REFERENCE, RunResult
from itlib.spec import digest, flatten

GROUPS = ("family", "category", "familiarity")
MEANS = ("exact_match", "exact_match_lenient", "graded")

COLUMNS = {
    "digest": "first twelve characters of the run's digest",
    "status": "done, diverged or failed",
    "family": "task family; 'reference' for held-out pretraining text",
    "category": "content group of families",
    "familiarity": "what the base knows of the family before tuning",
    "metric": "exact_match and exact_match_lenient [share of items], graded [share of constraints fulfilled, of "
    "open-ended items], response_nll [nats per supervised token], bits_per_byte [bits per byte of response], "
    "reference_loss [nats per token]",
    "value": "the metric of this run on this family",
    "n_items": "items behind the value",
    "error": "what stopped a failed run, or which score a file of scores lacks",
}


def run_frame(results: Sequence[RunResult]) -> pd.DataFrame:
    """Return one row per run, family and metric.

    Family values of ``response_nll`` and ``bits_per_byte`` are ratios of sums over items, so long responses count by
    their length. Exact match and ``graded`` are means over the items that have one: an open-ended item has no exact
    match, any other no grade, and a family without such items has no row of that metric. Columns are those of
    ``COLUMNS`` and all leaf fields of the spec except paths.
    """
    rows = []
    for result in results:
        run = {"digest": digest(result.spec)[:12], "status": result.status, **_spec_columns(result)}
        scores = _family_scores(result)
        if not scores:
            nothing = {**dict.fromkeys(GROUPS, ""), "metric": "", "value": np.nan, "n_items": 0}
            rows.append({**run, **nothing, "error": result.error})
        rows.extend({**run, **score, "error": ""} for score in scores)
    return pd.DataFrame(rows)


def item_frame(results: Sequence[RunResult]) -> pd.DataFrame:
    """Return one row per run and item with its scores; ``nll`` is summed over ``n_tokens`` supervised tokens."""
    frames = []
    for result in results:
        frame = pd.DataFrame(list(result.items), columns=list(ITEM_COLUMNS))
        spec = result.spec
        for name, value in (("n_train", spec.data.n_train), ("seed", spec.seed), ("digest", digest(spec)[:12])):
            frame.insert(0, name, value)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(ITEM_COLUMNS))


def probe_frame(results: Sequence[RunResult]) -> pd.DataFrame:
    """Return one row per run, probed step and metric: what was measured during training; see ``itlib.probes``.

    Columns: ``digest``, ``step`` (optimiser steps taken), ``metric``, ``value`` and all leaf fields of the spec except
    paths. Runs without probes have no row.
    """
    rows = []
    for result in results:
        run = {"digest": digest(result.spec)[:12], **_spec_columns(result)}
        for probe in result.probes:
            metrics = ((name, value) for name, value in probe.items() if name != "step")
            rows.extend({**run, "step": int(probe["step"]), "metric": name, "value": value} for name, value in metrics)
    return pd.DataFrame(rows, columns=None if rows else ["digest", "step", "metric", "value"])


def curve_frame(results: Sequence[RunResult]) -> pd.DataFrame:
    """Return one row per run and point of its training curve, the first step included.

    Columns: ``digest``, ``step``, ``loss`` (mean since the last point, nats per supervised token), ``gradient_norm``
    (of that step, before clipping) and all leaf fields of the spec except paths.
    """
    rows = [
        {"digest": digest(result.spec)[:12], **_spec_columns(result), **point, "step": int(point["step"])}
        for result in results
        for point in result.curve
    ]
    return pd.DataFrame(rows, columns=None if rows else ["digest", "step", "loss", "gradient_norm"])


def audit_frame(results: Sequence[RunResult]) -> pd.DataFrame:
    """Return, per number of training examples, what the loss was taken on: means over runs of the mask audit.

    Columns: steps, rows, pool rows left out for their length, test rows left out for the model's context, tokens and
    supervised tokens of the distinct rows, the longest row, and three counts that must be zero: rows without
    supervision, rows whose stop token is not supervised, rows whose text spells a control token.
    """
    rows = []
    for result in results:
        if "audit" not in result.totals:
            continue
        audit = result.totals["audit"]
        rows.append(
            {
                "n_train": result.spec.data.n_train,
                "steps": result.totals["n_steps"],
                "rows": audit["n_rows"],
                "pool rows too long": audit["n_pool_too_long"],
                "test rows too long": result.totals["n_eval_too_long"],
                "tokens": audit["n_tokens"],
                "supervised": audit["n_response_tokens"],
                "longest": audit["longest"],
                "unsupervised rows": audit["n_zero_supervision"],
                "without stop": 0 if audit["stop_token_supervised"] else audit["n_rows"],
                "forged": audit["n_forged_control_tokens"],
            }
        )
    return pd.DataFrame(rows).groupby("n_train").mean().reset_index() if rows else pd.DataFrame()


def origins(results: Sequence[RunResult]) -> dict[str, object]:
    """Return from which commits, package versions and devices results come, for the manifest; warn when they mix.

    Runs of different versions in one figure are compared as if nothing had changed between them.
    """
    records = [result.provenance for result in results]
    packages = sorted({json.dumps(record.get("packages", {}), sort_keys=True) for record in records})
    if len(packages) > 1:
        print(f"warning: these runs come from {len(packages)} different sets of package versions; see the manifest")
    return {
        "commits": sorted({str(record.get("commit", "")) for record in records}),
        "packages": [json.loads(text) for text in packages],
        "devices": sorted({str(record.get("device_name", "")) for record in records}),
        "mixed": len(packages) > 1,
    }


@dataclass(frozen=True)
class Measure:
    """What a study's curves show: the metric, its axis label, and whether less is better."""

    metric: str
    label: str
    falling: bool


def measure(frame: pd.DataFrame) -> Measure:
    """Return exact match where the data defines one right response, else a grade, else the loss per response token.

    Where some families have one right response and others are open-ended, exact match speaks for the former only.
    """
    metrics = set(frame["metric"])
    if "exact_match" in metrics:
        return Measure("exact_match", "exact match", falling=False)
    if "graded" in metrics:
        return Measure("graded", "constraints fulfilled (share)", falling=False)
    return Measure("response_nll", "response loss (nats per token)", falling=True)


def _spec_columns(result: RunResult) -> dict[str, object]:
    fields = {name: value for name, value in flatten(result.spec).items() if not name.endswith("_path")}
    return {name: " ".join(map(str, v)) if isinstance(v, tuple) else v for name, v in fields.items()}


def _family_scores(result: RunResult) -> list[dict[str, object]]:
    if result.status != "done" or not result.items:
        return []
    items = pd.DataFrame(list(result.items), columns=list(ITEM_COLUMNS))
    columns = {name: items[name].to_numpy(dtype=float) for name in (*MEANS, "nll", "n_tokens", "n_bytes")}
    scores: list[dict[str, object]] = []
    for names, places in sorted(items.groupby(list(GROUPS)).indices.items()):
        family = {name: column[places] for name, column in columns.items()}
        for metric, (value, n_items) in _metrics(family, is_reference=names[0] == REFERENCE).items():
            where = dict(zip(GROUPS, names, strict=True))
            scores.append({**where, "metric": metric, "value": float(value), "n_items": n_items})
    return scores


def _metrics(items: Mapping[str, np.ndarray], *, is_reference: bool) -> dict[str, tuple[float, int]]:
    """Return metric → (value, items behind it) of one family, from its columns."""
    nll, tokens, size = (np.nansum(items[name]) for name in ("nll", "n_tokens", "n_bytes"))
    n = len(items["nll"])
    if is_reference:
        return {"reference_loss": (nll / tokens, n)}
    values = {"response_nll": (nll / tokens, n)}
    if size:
        values["bits_per_byte"] = (nll / np.log(2) / size, n)
    for name in MEANS:
        scored = items[name][~np.isnan(items[name])]
        if len(scored):
            values[name] = (scored.mean(), len(scored))
    return values
