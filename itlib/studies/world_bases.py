"""What the shipped bases know before any tuning: every measurement of every base, in one long frame."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd

from itlib.errors import InputError, did_you_mean
from itlib.microworld import gates
from itlib.models import micro
from itlib.registry import models
from itlib.spec import ModelSpec

STRICT, LENIENT = "instruction, strict", "instruction, lenient"
DOCUMENT, SECOND, FREQUENCY = "document form", "document form, second language", "people by frequency"
GATE, SPECTRUM = "gate", "spectrum"
# the family whose items a skill in document form is drawn from
SKILL_FAMILIES = {name: family for name, (_, _, family) in gates.SKILLS.items()}


def shipped() -> list[str]:
    """Return the names of all shipped bases, such as "micro-1m/seed-0"; sizes in order, then seeds."""
    return [f"{size}/seed-{seed}" for size, seeds in micro.shipped().items() for seed in seeds]


def chosen(names: Sequence[str]) -> list[str]:
    """Return the bases of these names, all shipped ones for none.

    Raises:
        InputError: A name is not a shipped base.
    """
    known = shipped()
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise InputError(f"bases: '{name}' is not shipped{hint}; shipped are {', '.join(known)}")
    return list(names) or known


def load(name: str) -> tuple[Any, Any]:
    """Return model and tokenizer of a shipped base."""
    size, _, seed = name.partition("/seed-")
    return models.get(size).load(ModelSpec(model=size, base_seed=int(seed)))


def record(name: str) -> dict[str, Any]:
    """Return the record of a base's pretraining: recipe, curve, validation loss, seconds."""
    return json.loads(micro.read_pinned(f"{name}/pretraining.json"))


def measure(names: Sequence[str], n_items: int) -> pd.DataFrame:
    """Return every measurement of these bases: columns base, kind, name, value, rule, passed.

    Args:
        names: Shipped bases; empty takes all.
        n_items: Dev items per family, relation or skill; people by frequency are always asked for in full.

    Cost: about five seconds per base of a million parameters at fifty items, on one core.
    """
    return pd.concat([_measured(name, n_items) for name in chosen(names)], ignore_index=True)


def _measured(base: str, n_items: int) -> pd.DataFrame:
    model, tokenizer = load(base)
    asked = gates.zero_shot(model, tokenizer, n_items)
    learned = {SKILL_FAMILIES[name]: value for name, value in gates.skills(model, tokenizer, n_items).items()}
    frequencies = gates.recall_by_frequency(model, tokenizer)
    rows = [(STRICT, family, strict) for family, (strict, _) in asked.items()]
    rows += [(LENIENT, family, lenient) for family, (_, lenient) in asked.items()]
    rows += [(DOCUMENT, name, value) for name, value in (gates.few_shot(model, tokenizer, n_items) | learned).items()]
    rows += [(SECOND, name, value) for name, value in gates.second_language(model, tokenizer, n_items).items()]
    rows += [(FREQUENCY, f"{frequency:g}", value) for frequency, value in frequencies.items()]
    rows += [(SPECTRUM, str(row["matrix"]), float(row["exponent"])) for row in gates.spectrum(model)]
    frame = pd.DataFrame(rows, columns=["kind", "name", "value"])
    checked = pd.DataFrame(
        [
            (GATE, gate.name, gate.value, f"{'<=' if gate.below else '>='} {gate.limit:g}", gate.passed)
            for gate in gates.check(model, tokenizer, n_items)
        ],
        columns=["kind", "name", "value", "rule", "passed"],
    )
    return pd.concat([frame, checked], ignore_index=True).assign(base=base)


def of_kind(measured: pd.DataFrame, *kinds: str) -> pd.DataFrame:
    """Return the rows of some kinds as columns base, kind, name, value."""
    return measured.loc[measured["kind"].isin(kinds), ["base", "kind", "name", "value"]].reset_index(drop=True)


def gate_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Return one row per gate: its rule, the worst value over the bases, and which bases fail it."""
    rows = []
    for name, group in measured[measured["kind"] == GATE].groupby("name", sort=False):
        rule = group["rule"].iloc[0]
        worst = group["value"].max() if rule.startswith("<") else group["value"].min()
        failed = group.loc[~group["passed"].astype(bool), "base"]
        rows.append((name, rule, worst, int(group["passed"].sum()), len(group), ", ".join(failed) or "none"))
    return pd.DataFrame(rows, columns=["gate", "rule", "worst_value", "bases_passing", "bases", "failed_by"])


def base_table(names: Sequence[str]) -> pd.DataFrame:
    """Return one row per base: parameters, tokens, optimiser, validation loss [nats per token], minutes."""
    rows = []
    for name in chosen(names):
        size, _, seed = name.partition("/seed-")
        found, spec = record(name), ModelSpec(model=size, base_seed=int(seed))
        plan = found["recipe"]
        rows.append(
            (
                name,
                models.get(size).parameters(spec),
                plan["n_tokens"],
                plan.get("optimizer", "muon"),
                found["validation_loss"],
                found["wall_s"] / 60,
            )
        )
    columns = ["base", "parameters", "tokens", "optimizer", "validation_loss", "minutes"]
    return pd.DataFrame(rows, columns=columns)


def curves(names: Sequence[str]) -> pd.DataFrame:
    """Return the training loss [nats per token] of each base over the tokens it has seen."""
    rows = [(name, tokens, loss) for name in chosen(names) for tokens, loss in record(name)["curve"]]
    return pd.DataFrame(rows, columns=["base", "tokens", "loss"])


def known_but_not_elicited(measured: pd.DataFrame, families: Sequence[str] = ("addition", "copy")) -> pd.DataFrame:
    """Return document form beside zero-shot instructions for some families, with the range over the bases."""
    found = of_kind(measured, DOCUMENT, LENIENT, STRICT)
    found = found[found["name"].isin(families)].groupby(["name", "kind"], sort=False)["value"]
    return found.agg(["mean", "min", "max", "count"]).reset_index().rename(columns={"name": "family", "count": "bases"})
