"""Tables of ``01d_recipe``: one row per seed or per comparison, from the frame that its claims read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from itlib.claims.recipe import DRIFT, FOLLOWING, METRIC, first_reaching, probe_table, scores
from itlib.early_stopping import stopping_steps
from itlib.stats import run_points, sign_flip, sign_flip_interval

SHARE = 0.9  # of its maximum: where form and content count as learned
MILESTONES = ("seed", "form_step", "content_step", "stop", "last", "drift_at_form", "drift_at_stop", "drift_at_end")


def milestones(frame: pd.DataFrame) -> pd.DataFrame:
    """Return per seed when form and content are learned, where the stopping rule stops, and drift at these steps.

    Drift is reference loss above that of the base [nats per token]. NaN where a step or a measure does not exist.
    """
    probes = frame[frame["kind"] == "probe"]
    if not len(probes):
        return pd.DataFrame(columns=list(MILESTONES))
    stop_of = stops(probes).set_index("digest")["stop"]
    rows = []
    for seed, table in probe_table(frame).items():
        form, content = (first_reaching(table[name], SHARE) for name in (FOLLOWING, METRIC))
        stop, last = stop_of[table.attrs["digest"]], float(table.index[-1])
        drift = table[DRIFT] - table[DRIFT].iloc[0] if DRIFT in table else pd.Series(np.nan, index=table.index)
        at = [drift.loc[step] if np.isfinite(step) else np.nan for step in (form, stop, last)]
        rows.append((seed, form, content, stop, last, *at))
    return pd.DataFrame(rows, columns=list(MILESTONES))


def stops(probes: pd.DataFrame) -> pd.DataFrame:
    """Return where the rule of ``early_stopping``, on full instructions, would have stopped each probed run."""
    return stopping_steps(probes, metric=FOLLOWING)


def grid_scores(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the final score of every run of the grid: ``batch_size``, ``learning_rate``, ``seed``, ``value``."""
    rows = frame[(frame["kind"] == "test") & (frame["arm"] == "grid")]
    return run_points(rows, metric, by=["batch_size"], x="learning_rate")


def differences(frame: pd.DataFrame, metric: str, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return per pair of arms the mean difference over seeds, its sign-flip interval and p value, and the seeds."""
    rows = []
    for left, right in pairs:
        paired = scores(frame, left, metric) - scores(frame, right, metric)
        paired = paired[np.isfinite(paired)]
        mean = float(paired.mean()) if len(paired) else np.nan
        p_value = sign_flip(paired).p_value if len(paired) else np.nan
        rows.append((f"{left} minus {right}", mean, sign_flip_interval(paired), p_value, len(paired)))
    return pd.DataFrame(rows, columns=["difference", "mean", "interval", "p", "seeds"])


def sentence(table: pd.DataFrame) -> str:
    """Return, in words, what the milestones say about stopping early."""
    if not len(table):
        return "No run was probed, so nothing can be said about stopping early."
    form, content = (
        f"reaches nine tenths of its maximum at step {steps.mean():.0f}" if steps.notna().any() else "is never right"
        for steps in (table["form_step"], table["content_step"])
    )
    stopped = table.dropna(subset=["stop"])
    spared = (stopped["drift_at_end"] - stopped["drift_at_stop"]).mean()
    rule = (
        f"the rule stops {len(stopped)} of {len(table)} runs, at step {stopped['stop'].mean():.0f} on average, and "
        f"spares {spared:.3f} nats per token of drift"
        if len(stopped)
        else f"the rule stops none of {len(table)} runs"
    )
    return f"Of {table['last'].mean():.0f} steps, form {form} and content {content}; {rule}."
