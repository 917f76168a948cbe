"""What a base knows in context, before any tuning: five entries of a list, and the sixth to be continued.

Asked are dev operands, after entries from the pool, as in the gates of the bases (``itlib.microworld.gates``).
"""

from __future__ import annotations

import functools
from typing import Any

import pandas as pd

from itlib.claims.variety import DOCUMENT_FORM, IN_CONTEXT
from itlib.microworld import gates, world, writers
from itlib.microworld.dice import Dice
from itlib.models import resolve_name
from itlib.registry import families, models
from itlib.spec import ModelSpec, RunSpec, with_fields
from itlib.studies.common import replicate
from itlib.studies.variety import VarietyParams

COLUMNS = ("axis", "level", "role", "seed", "base_seed", "family", "category", "familiarity", "metric", "value",
           "n_items", "status", "digest", "error")  # fmt: skip


@functools.lru_cache(maxsize=32)
def in_context(model: str, base_seed: int, n_items: int) -> tuple[tuple[str, float], ...]:
    """Return (family, accuracy) of one shipped base for every standard family; computed once per base.

    Families of which documents hold lists, and copying, are asked in the form of those documents. Of the others no
    document shows a list: they are asked in the same form under the name of the family.
    """
    base, tokenizer = models.get(model).load(ModelSpec(model=model, base_seed=base_seed))
    scores = gates.few_shot(base, tokenizer, n_items) | {"copy": gates.skills(base, tokenizer, n_items)["copy"]}
    for name in world.default_families():
        scores.setdefault(name, _named_list(base, tokenizer, name, n_items))
    return tuple((name, scores[name]) for name in world.default_families())


def in_context_frame(params: VarietyParams) -> pd.DataFrame:
    """Return rows for the labelled frame, on an axis of their own: accuracy of each seed's base per family.

    Seeds that tune one base share its numbers. Empty for a model that was not shipped: its tokens may join at the place
    where an answer begins, and it has read no lists of this world.
    """
    spec = with_fields(RunSpec(), **resolve_name(params.model))
    if not hasattr(models.get(spec.base.model), "base_seeds"):
        return pd.DataFrame(columns=list(COLUMNS))
    rows = []
    for seed in params.seeds:
        base = replicate(spec, seed, params.base_seed).base
        for name, value in in_context(base.model, base.base_seed, params.n_in_context):
            family = families.get(name)
            about = (name, family.category, family.familiarity, DOCUMENT_FORM, value, params.n_in_context)
            rows.append((IN_CONTEXT, 0, "", seed, base.base_seed, *about, "done", "", ""))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def with_in_context(frame: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """Return the labelled frame with the rows of ``in_context_frame`` below it."""
    return pd.concat([frame, asked], ignore_index=True) if len(asked) else frame


def _named_list(model: Any, tokenizer: Any, name: str, n_items: int) -> float:
    dice, family = Dice("in context", name), families.get(name)
    between = " + " if family.category == "arithmetic" else " "
    prompts, answers = [], []
    for _ in range(n_items):
        asked = family.sample(dice, "dev")
        shown = [family.sample(dice, "pool") for _ in range(gates.SHOTS)]
        entries = [(between.join(item), family.response(item, "pool")) for item in shown]
        done = writers.list_document((name.replace("_", " "),), entries, gates.SEPARATOR, ";")
        prompts.append(f"{done} ; {between.join(asked)} {gates.SEPARATOR}")
        answers.append(family.response(asked, "dev"))
    return float(gates.greedy_matches(model, tokenizer, prompts, answers)[1].mean())
