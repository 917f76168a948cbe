"""Tables of ``03f_prompting``: accuracy by arm in and out of distribution, and how alike layers are.

All take the rows of ``prompting.evidence``; a run that did not finish counts nowhere.
"""

from __future__ import annotations

import pandas as pd

from itlib.stats import bootstrap_interval
from itlib.studies.prompting import ACCURACY, HELD_OUT, OBSERVED, SIMILARITY, TUNED, WRAPPER

CELLS = {
    (TUNED, OBSERVED): "known families, known wrappers",
    (TUNED, WRAPPER): "known families, new wrappers",
    (HELD_OUT, OBSERVED): "held-out families, known wrappers",
    (HELD_OUT, WRAPPER): "held-out families, new wrappers",
}
INSIDE, OUTSIDE = CELLS[TUNED, OBSERVED], CELLS[HELD_OUT, WRAPPER]


def cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy and loss of every run in and out of distribution, means over families.

    Columns: ``model`` ("base", "base in chat" or "<n> examples"), ``n_train``, ``n_shots``, ``seed``, ``cell`` (a value
    of ``CELLS``), ``accuracy`` (the answer is right, whatever follows it), ``strict`` (its end included) and ``loss``
    (nats per supervised token).
    """
    rows = frame[(frame["kind"] == ACCURACY) & frame["value"].notna()]
    keys = ["arm", "n_train", "n_shots", "seed", "role", "set"]
    found = rows.groupby(keys, sort=False)[["value", "strict", "loss"]].mean().reset_index()
    found["model"] = found["arm"].str.rsplit(", ", n=1).str[0]
    found["cell"] = [CELLS[pair] for pair in zip(found["role"], found["set"], strict=True)]
    columns = ["model", "n_train", "n_shots", "seed", "cell", "accuracy", "strict", "loss"]
    counts = {"n_train": int, "n_shots": int, "seed": int}
    return found.rename(columns={"value": "accuracy"})[columns].astype(counts)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Return per arm its accuracy in every cell, means over seeds, and what is lost from the first to the last.

    Columns: ``model``, ``n_shots``, one per value of ``CELLS``, ``lost`` with ``low`` and ``high`` (bootstrap over
    seeds, for display), ``strict`` (exact match in the first cell, the end of the answer included) and ``seeds``.
    """
    table, index = cells(frame), ["n_train", "model", "n_shots", "seed"]
    by_run = table.pivot_table(index=index, columns="cell", values="accuracy", sort=True)
    strict = table[table["cell"] == INSIDE].groupby(["n_train", "model", "n_shots"])["strict"].mean()
    rows = []
    for (n_train, model, n_shots), runs in by_run.groupby(["n_train", "model", "n_shots"]):
        lost = runs[INSIDE] - runs[OUTSIDE]
        low, high = bootstrap_interval(lost.to_numpy(), seed=0)
        means = {cell: runs[cell].mean() for cell in CELLS.values()}
        about = {"model": model, "n_shots": n_shots}
        bounds = {"lost": lost.mean(), "low": low, "high": high, "strict": strict[n_train, model, n_shots]}
        rows.append(about | means | bounds | {"seeds": len(lost)})
    return pd.DataFrame(rows)


def layers(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the similarity of two models by layer and set of wrappers, one row per seed.

    Columns: ``pair`` ("<arm> : <arm>"), ``set``, ``layer``, ``seed``, ``value`` (linear CKA).
    """
    rows = _similar(frame)
    rows = rows[rows["left"] != rows["right"]]
    pair = rows["left"] + " : " + rows["right"]
    return rows.assign(pair=pair, set=rows["left_set"])[["pair", "set", "layer", "seed", "value"]].reset_index(
        drop=True
    )


def stability(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the similarity of a model to itself between known and new wrappers: ``arm, layer, seed, value``."""
    rows = _similar(frame)
    rows = rows[rows["left"] == rows["right"]]
    return rows.assign(arm=rows["left"])[["arm", "layer", "seed", "value"]].reset_index(drop=True)


def _similar(frame: pd.DataFrame) -> pd.DataFrame:
    columns = ["left", "right", "left_set", "right_set", "layer", "seed", "value"]
    rows = frame[frame["kind"] == SIMILARITY].reindex(columns=columns)
    return rows.astype({"left": object, "right": object, "layer": int, "seed": int, "value": float})
