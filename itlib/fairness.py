"""What every arm of a comparison was given: steps, tokens, trials of a learning rate; and what it cost.

A difference between two arms says something about the axis under study only where the rest was equal. Where steps,
tokens or trials differ, the study has to say so and why (``undeclared``); otherwise its verdicts are blocked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from itlib.methods import method_of
from itlib.result import RunResult
from itlib.spec import flatten

BUDGETS = ("steps", "tokens", "supervised", "trials")
PAIRED = ("seed", "base_seed", "model_fingerprint", "model_revision", "components", "keep_weights")
EQUAL = 0.03  # relative difference of budgets that random samples of one pool have
FORWARD, BACKWARD = 2.0, 2.0  # operations per parameter and token: a forward pass; gradients of inputs, or of weights


def ledger(results: Mapping[str, Sequence[RunResult]], trials: Mapping[str, int] | int = 1) -> pd.DataFrame:
    """Return one row per arm, means over its finished runs; untuned runs are left out.

    Args:
        results: Results by arm.
        trials: Settings that were tried on dev for each arm, or one number for all.

    Returns:
        Columns ``arm``, ``runs``; the budgets ``steps``, ``tokens`` (seen in training), ``supervised`` (tokens with a
        loss) and ``trials``; ``trainable`` parameters; ``gflops`` of training, of a search before it and of selection,
        counted by ``training_flops``; ``seconds`` of a run, evaluation included, and ``peak_mib`` of memory.
    """
    rows = []
    for arm, runs in results.items():
        done = [run for run in runs if run.status == "done" and "n_steps" in run.totals]
        if not done:
            continue
        seconds = [run.provenance.get("wall_seconds", np.nan) for run in done]
        memory = [run.provenance.get("peak_memory") or np.nan for run in done]
        rows.append(
            {
                "arm": arm,
                "runs": len(done),
                "steps": _mean(done, "n_steps"),
                "tokens": _mean(done, "n_tokens"),
                "supervised": _mean(done, "n_response_tokens"),
                "trials": trials if isinstance(trials, int) else trials.get(arm, 1),
                "trainable": _mean(done, "n_trainable_parameters"),
                "gflops": float(np.mean([training_flops(run) for run in done])) / 1e9,
                "seconds": float(np.median(seconds)),
                "peak_mib": float(np.median(memory)) / 2**20,
            }
        )
    columns = ["arm", "runs", *BUDGETS, "trainable", "gflops", "seconds", "peak_mib"]
    return pd.DataFrame(rows, columns=columns)


def grouped(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Return tuned runs by what they share: all fields of the spec but seed and base, named by those that differ.

    A run that is in several arms of a study is in one group here.
    """
    runs = [result for result in results if result.spec.data.n_train > 0]
    fields = [{k: v for k, v in flatten(run.spec).items() if k not in PAIRED} for run in runs]
    varying = [name for name in (fields[0] if fields else {}) if len({str(values[name]) for values in fields}) > 1]
    found: dict[str, list[RunResult]] = {}
    for run, values in zip(runs, fields, strict=True):
        name = ", ".join(f"{key} {_written(values[key])}" for key in varying) or "all runs"
        found.setdefault(name, []).append(run)
    return found


def _written(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def budgets(table: pd.DataFrame, declared: Mapping[str, str]) -> pd.DataFrame:
    """Return, per budget, the least and the most that an arm was given, and what the study says about the difference.

    Columns: ``budget``, ``least``, ``most``, ``reason``: "equal", the declared one, or "not declared".
    """
    rows = []
    for name in BUDGETS:
        values = table[name].dropna()
        if len(values):
            low, high = float(values.min()), float(values.max())
            equal = high <= low * (1 + EQUAL)
            rows.append((name, low, high, "equal" if equal else declared.get(name, "not declared")))
    return pd.DataFrame(rows, columns=["budget", "least", "most", "reason"])


def training_flops(run: RunResult) -> float:
    """Return the floating-point operations of a run before its evaluation.

    Per token and parameter: 2 of the forward pass, 2 for the gradient of what a layer reads, and 2 for the gradient of
    weights that have one. A search before training counts as full fine-tuning, reading for a calibration as a forward
    pass; a selection counts what its ledger says.
    """
    totals = run.totals
    n, trained = totals["n_parameters"], totals["n_trainable_parameters"]
    if method_of(run.spec.tuning).own_optimizer:
        trained = n  # it looks at every gradient to say which entries move
    per_token = (FORWARD + BACKWARD) * n + BACKWARD * trained
    searched = (FORWARD + 2 * BACKWARD) * n * totals.get("search_n_tokens", 0)
    read = FORWARD * n * totals.get("calibration_n_tokens", 0)
    return per_token * totals["n_tokens"] + searched + read + totals.get("selection_flops", 0.0)


def undeclared(table: pd.DataFrame, declared: Mapping[str, str]) -> str:
    """Return which budgets differ between arms without a reason, in one sentence; empty where all is declared.

    Args:
        table: From ``ledger``.
        declared: Budget to the reason why the study lets it differ.
    """
    found = []
    for name in BUDGETS:
        values = table.set_index("arm")[name].dropna()
        if name in declared or values.empty or values.max() <= values.min() * (1 + EQUAL):
            continue
        low, high = values.idxmin(), values.idxmax()
        found.append(f"{name} from {values[low]:,.0f} ({low}) to {values[high]:,.0f} ({high})")
    return f"budgets differ and the study does not say why: {'; '.join(found)}" if found else ""


def _mean(runs: Sequence[RunResult], name: str) -> float:
    values: list[Any] = [run.totals[name] for run in runs]
    return float(np.mean(values))
