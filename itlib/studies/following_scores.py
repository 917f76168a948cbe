"""What runs of ``03e_following`` did with injections and with chains, item by item and as rows of its frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from itlib.frame import item_frame, run_frame
from itlib.injections import OUTCOMES, outcome, told
from itlib.microworld.operations import NEXT, answer, check_steps
from itlib.result import RunResult
from itlib.robustness import chain_accuracy, chance_collisions

ATTACK_COLUMNS = (
    "digest",
    "seed",
    "task",
    "place",
    "item",
    "answer",
    "generated",
    "outcome",
    "hit",
    "own",
    "collision",
)
CHAIN_COLUMNS = ("digest", "seed", "length", "item", "step", "operation", "value", "true", "done", "final")


def attacks(results: Sequence[RunResult]) -> pd.DataFrame:
    """Return one row per injected item of every finished run.

    Columns: ``digest``, ``seed``, ``task``, ``place``, ``item``, ``answer`` (what was injected asks for),
    ``generated``, ``outcome`` ("injected", "own", "neither"), ``hit`` and ``own`` (0 or 1), and ``collision``: how
    often the same run says ``answer`` to the items of the task as they are; NaN where none was asked as it is.
    """
    frames = []
    for result in results:
        if result.status != "done" or result.spec.evaluate.injection == "none":
            continue
        items = item_frame([result]).dropna(subset=["graded"])
        for task, group in items.groupby("family", sort=False):
            frames.append(_attacked(group, str(task)))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(ATTACK_COLUMNS))


def _attacked(items: pd.DataFrame, task: str) -> pd.DataFrame:
    known = [told(item) for item in items["item"]]
    table = items[["digest", "seed", "generated"]].assign(
        task=task, place=[t.place for t in known], item=[t.item for t in known], answer=[t.answer for t in known]
    )
    own = items["graded"].to_numpy(dtype=float)
    rows = zip(table["generated"], own == 1, table["answer"], strict=True)
    table["outcome"] = [outcome(response, right, wanted) for response, right, wanted in rows]
    as_they_are = table.loc[table["place"] == "absent", "generated"].tolist()
    table["hit"], table["own"] = (table["outcome"] == OUTCOMES[0]).astype(float), own
    table["collision"] = chance_collisions(table["answer"].tolist(), as_they_are) if as_they_are else np.nan
    return table[list(ATTACK_COLUMNS)]


def attack_rows(results: Sequence[RunResult]) -> pd.DataFrame:
    """Return, per finished run, task and place, the rates of hits, collisions, hits beyond them, and own answers."""
    table = attacks(results)
    if not len(table):
        return table.iloc[:0]
    grouped = table.assign(corrected=table["hit"] - table["collision"]).groupby(["digest", "task", "place"], sort=False)
    values = grouped[["hit", "collision", "corrected", "own"]].mean().assign(n_items=grouped.size()).reset_index()
    rows = values.melt(["digest", "task", "place", "n_items"], var_name="metric", value_name="value")
    return _with_run(rows.rename(columns={"task": "family"}), results, "attack")


def chains(results: Sequence[RunResult]) -> pd.DataFrame:
    """Return one row per step of every worked chain of every finished run.

    Columns: ``digest``, ``seed``, ``length``, ``item``, ``step`` (from 1), ``operation`` (what is asked there),
    ``value`` (1 where the step is the one of the right solution, and nothing follows the last), ``true`` (1 where a
    step is said at this place that is true in itself, from whatever list it starts), ``done`` (1 where it also is one
    of ``operation``) and ``final`` (1 where the solution ends in the right list). A step that is not said is none of
    these.
    """
    rows = []
    for result in results:
        if result.status != "done" or not result.spec.evaluate.free_answers:
            continue
        items = item_frame([result])
        for row in items[items["family"].str.startswith("worked_chain_")].itertuples():
            length = int(row.family.rpartition("_")[2])
            for step, scores in enumerate(_steps(row.item, row.generated), start=1):
                rows.append((row.digest, row.seed, length, row.item, step, *scores))
    return pd.DataFrame(rows, columns=list(CHAIN_COLUMNS))


def _steps(item: str, generated: str) -> list[tuple[str, float, float, float, float]]:
    """Return the scores of ``chains`` for every step of the right solution, from ``operation`` on."""
    listed, names = item.split("/")[2].split("_")
    right = answer("worked_chain", (listed.replace("-", " "), names.replace("-", " "))).split(NEXT)
    said = generated.split(NEXT)
    true = check_steps(generated)
    final = float(said[-1].rpartition(" = ")[2] == right[-1].rpartition(" = ")[2] and " = " in said[-1])
    said_right = [place < len(said) and said[place] == step for place, step in enumerate(right)]
    said_right[-1] = said_right[-1] and len(said) == len(right)
    told_true = [place < len(true) and true[place] for place in range(len(right))]
    asked = [step.partition(" ")[0] for step in right]
    done = [holds and said[place].startswith(f"{asked[place]} ") for place, holds in enumerate(told_true)]
    rows = zip(asked, said_right, told_true, done, strict=True)
    return [(name, float(own), float(holds), float(did), final) for name, own, holds, did in rows]


def chain_rows(results: Sequence[RunResult]) -> pd.DataFrame:
    """Return, per finished run and length, what ``robustness.chain_accuracy`` says of its worked chains.

    Metrics: "all_steps", "independent" (the product of the accuracies of the steps), "step" (their mean), "true_step"
    and "final" (the end is right, however it was reached).
    """
    table = chains(results)
    if not len(table):
        return table.iloc[:0]
    by = ["digest", "length"]
    found = chain_accuracy(table, by=by)[[*by, "n_items", "all_steps", "independent"]]
    means = table.groupby(by)[["value", "true", "final"]].mean().reset_index()
    means = means.rename(columns={"value": "step", "true": "true_step"})
    rows = found.merge(means, on=by).melt([*by, "n_items"], var_name="metric", value_name="value")
    return _with_run(rows.assign(family="worked chains"), results, "chain")


def _with_run(rows: pd.DataFrame, results: Sequence[RunResult], kind: str) -> pd.DataFrame:
    """Return rows with the spec columns of their run."""
    runs = run_frame(results).drop_duplicates("digest")
    absent = [name for name in runs.columns if name not in rows.columns or name == "digest"]
    return rows.merge(runs[absent], on="digest", how="left").assign(kind=kind, error="")
