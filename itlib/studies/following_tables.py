"""Tables of ``03e_following``: attacks by place, outcomes, chains by length, from what its runs did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from itlib.injections import OUTCOMES
from itlib.microworld.families.chains import ONLY_FIRST
from itlib.result import RunResult
from itlib.robustness import attack_success
from itlib.studies.following_scores import ATTACK_COLUMNS, attacks
from itlib.studies.following_scores import chains as chain_steps


def attacked(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return the injected items of all arms with their ``arm``; see ``following_scores.attacks``."""
    frames = [table.assign(arm=arm.partition("/")[0]) for arm, runs in results.items() if len(table := attacks(runs))]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["arm", *ATTACK_COLUMNS])


def success(items: pd.DataFrame) -> pd.DataFrame:
    """Return attack success by arm and place over all seeds and tasks, with the clean accuracy of the arm.

    Args:
        items: From ``attacked``.

    Returns:
        The columns of ``robustness.attack_success`` by ``arm`` and ``place`` (attacked ones only, in their order), and
        ``clean``: the share of items answered right as they are. The Wilson interval takes items of different runs for
        independent; verdicts rest on seeds.
    """
    clean = items[items["place"] == "absent"].groupby("arm")["own"].mean()
    order = {arm: place for place, arm in enumerate(dict.fromkeys(items["arm"]))}
    table = attack_success(items[items["place"] != "absent"].dropna(subset=["collision"]), by=("arm", "place"))
    table["clean"] = table["arm"].map(clean)
    places = {"start": 0, "middle": 1, "end": 2}
    keys = table["arm"].map(order) * len(places) + table["place"].map(places)
    return table.iloc[np.argsort(keys.to_numpy(), kind="stable")].reset_index(drop=True)


def outcomes(items: pd.DataFrame) -> pd.DataFrame:
    """Return which share of the items ends in which outcome, by arm, task and place, over all seeds.

    Columns: ``arm``, ``task``, ``place``, the shares "injected", "own" and "neither", which add up to 1, and ``n``.
    """
    by = ["arm", "task", "place"]
    shares = items.groupby(by, sort=False)["outcome"].value_counts(normalize=True).unstack(fill_value=0.0)
    shares = shares.reindex(columns=list(OUTCOMES), fill_value=0.0)
    shares = shares.loc[list(dict.fromkeys(zip(*(items[name] for name in by), strict=True)))]
    return shares.assign(n=items.groupby(by, sort=False).size()).reset_index()


def chains(frame: pd.DataFrame) -> pd.DataFrame:
    """Return per arm and length of worked chains the means over seeds.

    Columns: ``arm``, ``length``, ``all_steps``, ``independent`` (what steps that fail independently would give),
    ``ratio`` (of these means, NaN where nothing is expected), ``step``, ``true_step``, ``final`` and ``seeds``.
    """
    rows = frame[frame["kind"] == "chain"].astype({"length": int})
    names = ["all_steps", "independent", "step", "true_step", "final"]
    if not len(rows):
        return pd.DataFrame(columns=["arm", "length", *names, "ratio", "seeds"])
    table = rows.groupby(["arm", "length", "metric"], sort=False)["value"].mean().unstack()[names]
    table.insert(2, "ratio", table["all_steps"] / table["independent"].where(table["independent"] > 0))
    table["seeds"] = rows.groupby(["arm", "length"], sort=False)["seed"].nunique().reindex(table.index)
    return table.reset_index().rename_axis(columns=None)


def positions(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return how often an operation of a chain is done, by its place there and by the places it had in training.

    Pairs in training have some operations in first place alone (``ONLY_FIRST``); training on single operations has all
    of them there. A step counts as done where it names the operation and is true, from whatever list it starts.

    Columns: ``arm``, ``in_pairs`` ("first place" or "any place"), ``place`` ("first" or "later"), ``done`` (share of
    steps) and ``n_steps``, over all seeds and lengths.
    """
    columns = ["arm", "in_pairs", "place", "done", "n_steps"]
    frames = [table.assign(arm=arm) for arm, runs in results.items() if len(table := chain_steps(runs))]
    if not frames:
        return pd.DataFrame(columns=columns)
    steps = pd.concat(frames, ignore_index=True)
    steps["in_pairs"] = np.where(steps["operation"].isin(ONLY_FIRST), "first place", "any place")
    steps["place"] = np.where(steps["step"] == 1, "first", "later")
    by = ["arm", "in_pairs", "place"]
    return steps.groupby(by, sort=False)["done"].agg(done="mean", n_steps="size").reset_index()[columns]


def slopes(frame: pd.DataFrame) -> pd.DataFrame:
    """Return, per arm and seed, how the log-odds of a chain that is right in all steps change with its length.

    Half an item is added to those that are right and to those that are not, so that none and all have log-odds too.

    Columns: ``arm``, ``seed``, ``slope`` (least squares, log-odds per operation).
    """
    rows = frame[(frame["kind"] == "chain") & (frame["metric"] == "all_steps")]
    found = []
    for (arm, seed), group in rows.groupby(["arm", "seed"], sort=False):
        right = group["value"] * group["n_items"]
        odds = np.log((right + 0.5) / (group["n_items"] - right + 0.5))
        lengths = group["length"] - group["length"].mean()
        found.append((arm, seed, float((lengths * odds).sum() / (lengths**2).sum()) if len(group) > 1 else np.nan))
    return pd.DataFrame(found, columns=["arm", "seed", "slope"])


def sentence(table: pd.DataFrame) -> str:
    """Return, in words, what ``success`` says about arms over all places."""
    if not len(table):
        return "No run was attacked."
    parts = []
    for arm, rows in table.groupby("arm", sort=False):
        hits, n = int(rows["hits"].sum()), int(rows["n"].sum())
        bound = f", at most {3 / n:.2%} by the rule of three" if not hits else ""
        parts.append(f"{arm}: {hits} of {n} injections followed{bound}, {rows['clean'].iloc[0]:.2f} right without one")
    return "; ".join(parts) + "."
