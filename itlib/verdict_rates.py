"""How often verdicts are wrong, and how often they find what is there.

Two arms that do not differ are made of real runs that differ in their seeds alone: for every seed of an invented study
two runs of one base are drawn, and one is called "a", the other "b". Which is which is a coin's toss, so the true
difference is zero whatever the scores are distributed like. A known effect is added to "a", and the study takes the
way of every claim: tidy frame, one difference per seed, verdict.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from itlib.claims import TESTS, Claim, Part, judge_effects
from itlib.errors import InputError
from itlib.frame import REFERENCE
from itlib.selected import difference
from itlib.spec import stream
from itlib.stats import equivalence_power, smallest_detectable_effect

AT_ONCE = 50  # invented studies in one frame
POWER = 0.8  # what smallest detectable effects and plans promise
TRUTHS = ("border", "planted", "against")
VERDICTS = ("reproduced", "contradicted", "inconclusive", "not_run")


@dataclass(frozen=True)
class Cell:
    """One kind of invented study.

    Attributes:
        direction: What the claim says: "greater", "less", "different" or "equivalent".
        truth: "border": the true effect is the margin. "planted": the claim is true, and its effect the smallest that
            is found with power ``POWER``; of an equivalence it is zero, and the margin is the one that is met with it.
            "against": the claim is false by as much.
        n_seeds: Seeds of a study.
        n_parts: Parts of the claim, each about its share of the families.
        margin: Of the claim; of a planted equivalence it follows from the spread.
    """

    direction: str
    truth: str
    n_seeds: int
    n_parts: int = 1
    margin: float = 0.03


def replicates(frame: pd.DataFrame, metric: str = "exact_match") -> list[np.ndarray]:
    """Return the scores of runs that differ in their seeds alone: per base an array of shape (runs, families).

    Raises:
        InputError: A run is not finished or lacks a family: what is left would be another distribution.
    """
    rows = frame[(frame["metric"] == metric) & (frame["family"] != REFERENCE)]
    table = rows.pivot(index=["base_seed", "seed"], columns="family", values="value")
    if table.empty or not np.isfinite(table.to_numpy(dtype=float)).all():
        raise InputError(f"verdict rates need {metric} of every run and family; a run failed or diverged")
    return [group.to_numpy(dtype=float) for _, group in table.groupby(level="base_seed")]


def pair_sd(groups: list[np.ndarray]) -> float:
    """Return the standard deviation of the difference of two runs of one base, mean over families.

    It is the root of twice the variance between runs of a base, each base with equal weight.
    """
    return math.sqrt(2 * np.mean([runs.mean(axis=1).var(ddof=1) for runs in groups]))


def components(items: pd.DataFrame) -> pd.DataFrame:
    """Return the variance components of single answers: one row per ``source`` with ``variance`` and ``sd``.

    Runs are nested in bases and crossed with items: base, run within base, item, and what is left. By the method of
    moments for a balanced design; an estimate below zero stays as it is and has the sd 0.

    Args:
        items: Columns ``base``, ``run``, ``item`` and ``value``; every run has every item, and every base as many runs.
    """
    table = items.pivot(index=["base", "run"], columns="item", values="value").astype(float)
    values, bases = table.to_numpy(), table.index.get_level_values("base")
    counts = Counter(bases).values()
    if np.isnan(values).any() or len(set(counts)) > 1:
        raise InputError("variance components need every item of every run, and equally many runs of every base")
    n_runs, n_items = values.shape
    each = next(iter(counts))
    n_bases = n_runs // each
    by_run, by_item, mean = values.mean(axis=1), values.mean(axis=0), values.mean()
    by_base = by_run.reshape(n_bases, each).mean(axis=1) if n_bases > 1 else np.array([mean])
    rest = values - by_run[:, None] - by_item[None] + mean
    residual = (rest**2).sum() / ((n_runs - 1) * (n_items - 1))
    within = n_items * ((by_run - np.repeat(by_base, each)) ** 2).sum() / (n_runs - n_bases)
    between = n_items * each * by_base.var(ddof=1) if n_bases > 1 else math.nan
    found = {
        "base": (between - within) / (n_items * each),
        "run": (within - residual) / n_items,
        "item": (n_runs * by_item.var(ddof=1) - residual) / n_runs,
        "run and item": residual,
    }
    table = pd.DataFrame({"source": list(found), "variance": list(found.values())})
    return table.assign(sd=np.sqrt(table["variance"].clip(lower=0)))


def normal_replicates(parts: pd.DataFrame, n_bases: int, n_families: int, n_items: int, seed: int) -> list[np.ndarray]:
    """Return scores as ``replicates`` does, drawn from normal distributions with these components: a pair per base.

    Args:
        parts: From ``components``.
        n_bases: Bases to draw; one per seed of a study.
        n_families: Families of a run.
        n_items: Items of a family.
        seed: Seed of the draw.
    """
    sd = parts.set_index("source")["sd"]
    rng = stream(seed, "normal replicates")
    base = rng.normal(0, sd["base"], (n_bases, 1, 1)) if np.isfinite(sd["base"]) else 0.0
    run = rng.normal(0, sd["run"], (n_bases, 2, 1))
    rest = rng.normal(0, sd["run and item"] / math.sqrt(n_items), (n_bases, 2, n_families))
    return list(0.5 + base + run + rest)


def rates(cell: Cell, groups: list[np.ndarray], draws: int, seed: int) -> dict[str, float]:
    """Return the share of ``draws`` invented studies with each verdict, keyed by ``VERDICTS``.

    Args:
        cell: What the studies are like.
        groups: From ``replicates``; every study draws its own pairs from them.
        draws: Number of studies.
        seed: Seed of the draws.
    """
    rng = stream(seed, f"verdicts {cell}")
    claim, effect = planted(cell, pair_sd(groups))
    return _shares(claim, effect, cell.n_seeds, [pairs(groups, cell.n_seeds, rng) for _ in range(draws)])


def normal_rates(cell: Cell, parts: pd.DataFrame, sizes: tuple[int, int], draws: int, seed: int) -> dict[str, float]:
    """Return the same as ``rates`` for studies whose scores are drawn anew from normal distributions.

    Args:
        cell: What the studies are like.
        parts: From ``components``.
        sizes: Families of a run, and items of a family.
        draws: Number of studies.
        seed: Seed of the draws.
    """
    rng = stream(seed, f"normal verdicts {cell}")
    sd = parts.set_index("source")["sd"]
    claim, effect = planted(cell, math.sqrt(2 * (sd["run"] ** 2 + sd["run and item"] ** 2 / math.prod(sizes))))
    drawn = (normal_replicates(parts, cell.n_seeds, *sizes, seed=int(rng.integers(2**31))) for _ in range(draws))
    return _shares(claim, effect, cell.n_seeds, [pairs(groups, cell.n_seeds, rng) for groups in drawn])


def _shares(claim: Claim, effect: float, n_seeds: int, drawn: Sequence[np.ndarray]) -> dict[str, float]:
    counts: Counter[str] = Counter()
    for start in range(0, len(drawn), AT_ONCE):
        counts.update(judged(claim, tidy(drawn[start : start + AT_ONCE], effect), n_seeds))
    return {verdict: counts[verdict] / len(drawn) for verdict in VERDICTS}


def planted(cell: Cell, sd: float) -> tuple[Claim, float]:
    """Return the claim of a cell and the true effect, for differences with standard deviation ``sd``.

    A claim of several parts has them all true, or all at the border. Each is about fewer families than ``sd``, so no
    power is promised for it.
    """
    margin, n = cell.margin, cell.n_seeds
    if cell.direction == "equivalent":
        beyond = smallest_detectable_effect(sd=sd, n=n, power=POWER, level=0.1)
        if cell.truth == "planted":
            margin = brentq(lambda m: equivalence_power(0.0, m, sd, n) - POWER, 1e-9, 20 * sd)
        effect = {"border": margin, "planted": 0.0, "against": margin + beyond}[cell.truth]
    else:
        beyond = smallest_detectable_effect(sd=sd, n=n, power=POWER)
        if cell.direction == "different" and cell.truth == "against":
            # inside both margins: the nearer one has to be excluded, and the farther one is no nearer
            effect, margin = 0.0, brentq(lambda m: equivalence_power(0.0, m, sd, n, level=0.025) - POWER, 1e-9, 20 * sd)
        else:
            effect = margin + {"border": 0.0, "planted": beyond, "against": -beyond}[cell.truth]
        if cell.direction == "less":
            effect = 2 * margin - effect
    about = ("invented", cell.direction, margin, TESTS[cell.direction])
    parts = tuple(Part(f"part {number}", *about) for number in range(cell.n_parts))
    paper = {"title": "none", "version": "none", "place": "none"}
    return Claim("invented", paper, "invented", "cpu", cell.n_seeds, "", "", "", parts), effect


def pairs(groups: list[np.ndarray], n_seeds: int, rng: np.random.Generator) -> np.ndarray:
    """Return the scores of one invented study, of shape (seeds, two arms, families), as they were measured.

    Seed i takes base i, counted round, and two of its runs that no other seed of the study has, in random order.

    Raises:
        InputError: The bases have too few runs for that.
    """
    needed = 2 * -(-n_seeds // len(groups))
    if min(map(len, groups)) < needed:
        raise InputError(f"{n_seeds} seeds need {needed} runs of each of {len(groups)} bases; there are fewer")
    order = [rng.permutation(len(runs)) for runs in groups]
    found = []
    for seed in range(n_seeds):
        base, turn = seed % len(groups), seed // len(groups)
        found.append(groups[base][order[base][2 * turn : 2 * turn + 2]])
    return np.stack(found)


def tidy(studies: Sequence[np.ndarray], effect: float) -> pd.DataFrame:
    """Return the tidy frame of studies from ``pairs``: arms "a" and "b", and ``effect`` added to "a".

    Studies stand one after another, as if seeds went on counting: what is computed by seed is computed for all at once.
    """
    values = np.concatenate(studies)
    values[:, 0] += effect
    seeds, arms, families = np.indices(values.shape)
    return pd.DataFrame(
        {
            "arm": np.array(["a", "b"])[arms.ravel()],
            "seed": seeds.ravel(),
            "family": families.ravel(),
            "metric": "exact_match",
            "status": "done",
            "value": values.ravel(),
        }
    )


def judged(claim: Claim, frame: pd.DataFrame, n_seeds: int) -> list[str]:
    """Return the verdict on every study of a frame; part i of k reads the families i, i + k, i + 2k, and so on."""
    k = len(claim.parts)
    effects = {
        part.name: difference(frame[frame["family"] % k == i], "a", "b").reshape(-1, n_seeds)
        for i, part in enumerate(claim.parts)
    }
    of_studies = (dict(zip(effects, rows, strict=True)) for rows in zip(*effects.values(), strict=True))
    return [judge_effects(claim, of_study, n_seeds).verdict for of_study in of_studies]


def wrong(cell: Cell, shares: Mapping[str, float]) -> float:
    """Return the share of verdicts that are wrong.

    At the border neither side can be shown: both verdicts are wrong. An equivalence has two tests there, one against
    either side, of the level .05 each: the larger of both shares is returned.
    """
    if cell.truth == "border":
        both = shares["reproduced"], shares["contradicted"]
        return max(both) if cell.direction == "equivalent" else sum(both)
    return shares["contradicted" if cell.truth == "planted" else "reproduced"]


def found(cell: Cell, shares: Mapping[str, float]) -> float:
    """Return the share of verdicts that find what was planted; NaN at the border, where there is nothing to find."""
    if cell.truth == "border":
        return math.nan
    return shares["reproduced" if cell.truth == "planted" else "contradicted"]
