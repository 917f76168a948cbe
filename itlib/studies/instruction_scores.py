"""Study 3g: how much do accuracies that were measured elsewhere depend on the wording of the instruction?

The table is the user's own: any models, tasks and instructions, some of which the model met in tuning. No model is run,
and there are no claims, since nothing about the table was declared before. Without a table a synthetic one stands in,
whose gaps and spreads are planted, so that it can be seen what the analysis finds.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from itlib.errors import InputError
from itlib.instruction_table import COLUMNS, InstructionTable, read, two_sided
from itlib.schema import coerce_fields, param
from itlib.studies.common import PROFILES

__all__ = ["CLAIMS", "InstructionScoresParams", "load", "planted", "synthetic", "variant"]

CLAIMS: tuple[str, ...] = ()
SYNTHETIC = "synthetic"

# What the synthetic table is made of. Accuracies of 400 items have a standard deviation of .025 by chance alone.
GAPS = {"synthetic A": 0.08, "synthetic B": 0.04, "synthetic C": 0.0}
SIGMAS = {True: 0.03, False: 0.08}  # between instructions, observed or not
INSTRUCTIONS = {True: 16, False: 10}
TASKS = tuple(f"task {letter}" for letter in "abcdefgh")
ITEMS = 400


@dataclass(frozen=True)
class InstructionScoresParams:
    """Parameters of ``03g_own_scores``. A relative path of the table is taken from the current folder."""

    profile: str = param("smoke", help="names the results folder", choices=PROFILES)
    table: str = param("", help="a CSV of model, task, instruction, observed, accuracy; empty takes a synthetic one")
    seed: int = param(0, help="draws the bootstrap and the synthetic table", minimum=0)
    draws: int = param(200, help="reweighted studies behind the intervals that are shown", minimum=100, maximum=100000)
    k_worst: int = param(2, help="instructions that count as the worst of a task", minimum=1)
    results: str = param("", help="results folder; empty takes results/ of the project")

    def __post_init__(self) -> None:
        coerce_fields(self, where=type(self).__name__)
        if "\0" in self.table:
            raise InputError(f"table: {self.table!r}: a path cannot hold a NUL byte")
        if self.table:  # a notebook may run in another folder than the one where its parameters were given
            object.__setattr__(self, "table", os.path.abspath(os.path.expanduser(self.table)))


def load(params: InstructionScoresParams) -> InstructionTable:
    """Return the table that the parameters name, or the synthetic one.

    Raises:
        InputError: As ``instruction_table.read``; or no task has both observed and unobserved instructions.
    """
    if not params.table:
        return synthetic(params.seed)
    table = read(params.table)
    if not len(two_sided(table.rows)):
        raise InputError(f"{params.table}: no task of a model has both observed and unobserved instructions to compare")
    return table


def variant(params: InstructionScoresParams) -> str:
    """Return what sets a report on the user's own table apart, from its name and its content; else nothing."""
    if not params.table:
        return ""
    word = re.sub(r"[^A-Za-z0-9_]+", "_", Path(params.table).stem)[:60]
    return f"{word}-{load(params).sha256[:6]}".strip("_-")


def synthetic(seed: int) -> InstructionTable:
    """Return a made-up table: three models of planted gaps, asked eight tasks in the same 26 instructions.

    The effects of the instructions of one side have mean 0 and the planted standard deviation exactly, so that the
    accuracies differ from what is planted by the chance of their items alone.
    """
    rows = pd.DataFrame(list(_synthetic_rows(np.random.default_rng(seed))), columns=COLUMNS)
    rows["line"] = np.arange(len(rows)) + 2
    digest = hashlib.sha256(rows[list(COLUMNS)].to_csv(index=False).encode()).hexdigest()
    remark = f"{SYNTHETIC}: made up from seed {seed}; these are accuracies of no model"
    return InstructionTable(SYNTHETIC, rows, (remark,), 0, False, digest)


def planted(table: InstructionTable) -> pd.DataFrame:
    """Return what was planted in the synthetic table: ``model``, ``gap``, two sigmas; empty of any other table."""
    rows = [(model, gap, SIGMAS[True], SIGMAS[False]) for model, gap in GAPS.items() if table.name == SYNTHETIC]
    return pd.DataFrame(rows, columns=["model", "gap", "sigma_observed", "sigma_unobserved"])


def _synthetic_rows(generator: np.random.Generator) -> Iterator[tuple[str, str, str, bool, float]]:
    levels = generator.normal(0, 0.05, len(TASKS))
    for (model, gap), mean in zip(GAPS.items(), (0.64, 0.58, 0.52), strict=True):
        for observed, sigma in SIGMAS.items():
            effects = generator.normal(size=INSTRUCTIONS[observed])
            effects = sigma * (effects - effects.mean()) / effects.std(ddof=1)
            for task, level in zip(TASKS, levels, strict=True):
                chance = np.clip(mean + level - (0 if observed else gap) + effects, 0.01, 0.99)
                right = generator.binomial(ITEMS, chance)
                for number, count in enumerate(right, start=1):
                    name = f"{'observed' if observed else 'unobserved'} {number}"
                    yield model, task, name, observed, int(count) / ITEMS
