"""The frame of ``03b_remedies``: scores in familiar, new and negated phrasings and under perturbations, and cosines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from itlib.frame import run_frame
from itlib.pair_states import cosines
from itlib.result import ITEM_COLUMNS, RunResult
from itlib.robustness import instruction_variance
from itlib.store import Store
from itlib.studies.remedies import PARAPHRASES, RemediesParams, arms

PAIRED = (PARAPHRASES, "CoIN")  # how the names of arms begin whose cosines are measured


def evidence(
    params: RemediesParams,
    results: Mapping[str, Sequence[RunResult]],
    again: Mapping[str, Sequence[RunResult]],
    pairs: pd.DataFrame,
) -> pd.DataFrame:
    """Return what the claims read: a row per arm, run, family and metric.

    ``kind`` says what was measured:

    * "test": ``familiar``, ``new`` and ``negation``, the exact match in phrasings that the run was tuned on (an untuned
      one: that it would be), in new and in negated ones; ``gap``, familiar minus new; ``variance_new``, the variance
      between new phrasings, of the crossed analysis of variance, which can be below zero.
    * "clean" and "perturbed": ``exact_match`` on the first phrasing of the seed without and with ``perturbation``.
    * "pairs": the cosines of ``pair_states.cosines``.

    A run that failed or diverged is a row without a value.
    """
    parts = []
    for arm, runs in results.items():
        k = arms(params).get(arm, {"n_phrasings": params.n_phrasings})["n_phrasings"]
        parts += [_of_run(run, k, params.eval_phrasing_set).assign(arm=arm) for run in runs]
    for arm, runs in again.items():
        rows = run_frame(runs)
        parts.append(rows[rows["metric"].isin(["exact_match", ""])].assign(arm=arm, kind="perturbed"))
    return pd.concat([*parts, *([pairs] if len(pairs) else [])], ignore_index=True)


def pair_rows(results: Mapping[str, Sequence[RunResult]], store: Store, new: str) -> pd.DataFrame:
    """Return the rows of kind "pairs": cosines of the stored models of the baseline and of contrastive tuning.

    Args:
        results: The test runs by arm.
        store: Where their weights are.
        new: The set of phrasings in which the pairs are asked.
    """
    parts = []
    for arm, runs in results.items():
        for run in runs if arm.startswith(PAIRED) else ():
            if run.status == "done":
                rows = cosines(run.spec, store, new)
                parts.append(_described(run, rows).assign(arm=arm, kind="pairs"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _of_run(run: RunResult, k: int, new: str) -> pd.DataFrame:
    """Return the rows of kinds "test" and "clean" of one run with ``k`` phrasings per family."""
    if run.status != "done":
        return run_frame([run]).assign(kind="test")
    items = pd.DataFrame(list(run.items), columns=list(ITEM_COLUMNS))
    items = items[items["exact_match"].notna()].copy()
    items["set"], items["item"] = items["phrasing"].str.partition("/")[0], items["item"].map(_operands)
    items["rank"] = items.groupby(["family", "set"])["phrasing"].transform(lambda names: pd.factorize(names)[0])
    observed = items["set"] == "observed"
    parts = {
        "familiar": items[observed & (items["rank"] < k)],
        "new": items[items["set"] == new],
        "negation": items[items["set"] == "negated"],
    }
    means = {name: rows.groupby("family")["exact_match"].mean() for name, rows in parts.items()}
    means["gap"] = means["familiar"] - means["new"]
    crossed = parts["new"].rename(columns={"phrasing": "instruction"})
    spread = instruction_variance(crossed, by=["family"], value="exact_match").set_index("family")
    means["variance_new"] = spread["variance_instruction"]
    clean = items[observed & (items["rank"] == 0)].groupby("family")["exact_match"].mean()
    test = _described(run, _long(means)).assign(kind="test")
    return pd.concat([test, _described(run, _long({"exact_match": clean})).assign(kind="clean")], ignore_index=True)


def _operands(item: str) -> str:
    """Return the part of an item's id that is the same in every phrasing: it ends with its phrasing."""
    return item.partition("/")[2].rpartition("/")[0]


def _long(means: Mapping[str, pd.Series]) -> pd.DataFrame:
    rows = [(family, metric, value) for metric, values in means.items() for family, value in values.items()]
    return pd.DataFrame(rows, columns=["family", "metric", "value"])


def _described(run: RunResult, rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows of family, metric and value with the columns that ``run_frame`` gives a run."""
    about = run_frame([run]).iloc[0].drop(["family", "category", "familiarity", "metric", "value", "n_items"])
    return rows.assign(**about.to_dict(), category="all", familiarity="all", n_items=0)
