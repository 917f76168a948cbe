"""The frame of ``04c_methods``: scores, facts recalled and costs of every run, and whether its comparisons are fair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from itlib.fairness import training_flops, undeclared
from itlib.frame import run_frame
from itlib.measures import measure_frame
from itlib.registry import methods
from itlib.result import RunResult
from itlib.studies.chosen import arm_frame
from itlib.studies.tuning_methods import RECALL, UNEQUAL, UNTUNED, UNTUNED_SMALL, WORLD, TuningMethodsParams

COST = "cost"


def evidence(results: Mapping[str, Sequence[RunResult]], recalled: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return what the claims read: rows of a run by ``arm``, which is the name of its cell.

    ``kind`` says what was measured:

    * "test": scores of items and of held-out documents, as in ``run_frame``.
    * "recall": facts that documents told, by ``frequency`` of a person in them; 0 is a guess.
    * "cost": ``trainable``, the numbers that training may move, and ``gflops`` of a run before its evaluation. Seconds
      are not in the frame: they are the machine's and not the run's.

    Args:
        results: Results by name.
        recalled: From ``base_recall``.
    """
    parts = [arm_frame(results)]
    for arm, runs in results.items():
        if len(facts := measure_frame(runs, RECALL)):
            rows = facts.rename(columns={RECALL: "value"}).assign(metric=RECALL)
            parts.append(rows.assign(arm=arm, kind=RECALL, family=_told(facts["frequency"]), error=""))
        parts += [
            _cost(run).assign(arm=arm, kind=COST) for run in runs if run.status == "done" and run.spec.data.n_train
        ]
    return pd.concat([*parts, *([] if recalled is None or not len(recalled) else [recalled])], ignore_index=True)


def _told(frequency: pd.Series) -> list[str]:
    return [f"told {value:g}" for value in frequency]


def _cost(run: RunResult) -> pd.DataFrame:
    values = {"trainable": run.totals["n_trainable_parameters"], "gflops": training_flops(run) / 1e9}
    about = run_frame([replace(run, items=())]).drop(columns=["metric", "value"])
    rows = pd.DataFrame({"metric": list(values), "value": [float(value) for value in values.values()]})
    return rows.merge(about.assign(error=""), how="cross")


def base_recall(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return rows of kind "recall" of the untuned bases, which are loaded for it; a run of a base measures none.

    Empty where the data are not the micro-world, whose documents told the facts.
    """
    from itlib.microworld.gates import recall_by_frequency
    from itlib.tune import load_base

    parts = []
    for name in (UNTUNED, UNTUNED_SMALL):
        for run in results.get(name, ()):
            if run.spec.data.source != WORLD or run.status != "done":
                continue
            found = recall_by_frequency(*load_base(run.spec))
            about = run_frame([replace(run, items=())]).drop(columns=["metric", "value", "family"])
            rows = pd.DataFrame({"frequency": list(found), "value": list(found.values())})
            rows = rows.assign(family=_told(rows["frequency"]), metric=RECALL, arm=name, kind=RECALL)
            parts.append(rows.merge(about.assign(error=""), how="cross"))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def blocked(params: TuningMethodsParams, table: pd.DataFrame) -> str:
    """Return why no comparison of these runs would be fair, empty where none is unfair.

    Arms on all data of one model may differ in trials alone; those on parts of the data in tokens too.

    Args:
        params: The study's parameters.
        table: From ``fairness.ledger``.
    """
    on_all = table[table["arm"].isin(params.arms)]
    return undeclared(on_all, {"trials": UNEQUAL["trials"]}) or undeclared(table, UNEQUAL)


def family_of(arm: str) -> str:
    """Return what kind of method an arm is, for colours: parts of the model, low rank, sparse, scales, prompts."""
    from itlib.methods._peft import VIRTUAL
    from itlib.methods._subset import Subset
    from itlib.methods.sparse import GrowAndDrop, LotteryTicket

    method: Any = methods.get(arm.split()[0])
    if isinstance(method, (GrowAndDrop, LotteryTicket)):
        return "sparse"
    if arm.split()[0] == "full" or isinstance(method, Subset):
        return "weights as they are"
    if VIRTUAL in method.reads:
        return "virtual tokens"
    return "low rank" if "alpha" in method.reads else "scales and norms"
