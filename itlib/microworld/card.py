"""The measured part of the model card: every number in it is written by a command, none by hand.

``python -m itlib.microworld.card`` measures every shipped base and rewrites the part between the two markers.
"""

from __future__ import annotations

import json
import sys

import pandas as pd

from itlib.errors import InputError, ItlibError
from itlib.files import write_atomic
from itlib.microworld import gates
from itlib.microworld.lexicon import ASSETS
from itlib.models import micro
from itlib.registry import models
from itlib.spec import ModelSpec

CARD = ASSETS / "MODEL_CARD.md"
START, END = "<!-- gates:start -->", "<!-- gates:end -->"
N_ITEMS = 50
SHORT = 12  # characters of a hash that the card shows


def measured() -> pd.DataFrame:
    """Return gates and measurements of every shipped base: one row per measure, one column per base.

    Cost: about ten seconds per base of a million parameters, on one core.
    """
    columns = {}
    for name, model, tokenizer in gates.shipped():
        checked = gates.check(model, tokenizer, N_ITEMS)
        values = {f"{gate.name} ({'<=' if gate.below else '>='} {gate.limit:g})": gate.value for gate in checked}
        values |= gates.measurements(model, tokenizer, N_ITEMS)
        columns[name] = {"gates passed": sum(gate.passed for gate in checked), "gates": len(checked), **values}
    return pd.DataFrame(columns)


def base_rows(values: pd.DataFrame) -> list[tuple[str, ...]]:
    """Return what identifies each base: parameters, tokens, optimiser, loss, minutes, gates, hash of the weights."""
    rows: list[tuple[str, ...]] = []
    for name in values:
        size, _, seed = name.partition("/seed-")
        record = json.loads(micro.read_pinned(f"{name}/pretraining.json"))
        passed, gate_count = (int(values.loc[row, name]) for row in ("gates passed", "gates"))
        rows.append(
            (
                name,
                f"{models.get(size).parameters(ModelSpec(model=size, base_seed=int(seed))):,}",
                f"{record['recipe']['n_tokens']:,}",
                record["recipe"]["optimizer"],
                f"{record['validation_loss']:.4f}",
                f"{record['wall_s'] / 60:.1f}",
                f"{passed} of {gate_count}",
                f"`{micro.pins()[f'{name}/model.safetensors'][:SHORT]}`",
            )
        )
    return rows


def measure_rows(values: pd.DataFrame) -> tuple[list[str], list[tuple[str, ...]]]:
    """Return a header and one row per measure; seeds of one size share a column, as mean and range."""
    sizes: dict[str, list[str]] = {}
    for name in values:
        sizes.setdefault(name.partition("/")[0], []).append(name)
    header = ["measure"]
    header += [size if len(names) == 1 else f"{size}, {len(names)} seeds" for size, names in sizes.items()]
    rows = []
    for measure, row in values.drop(index=["gates passed", "gates"]).iterrows():
        rows.append((str(measure), *(_spread(row[names]) for names in sizes.values())))
    return header, rows


def _spread(values: pd.Series) -> str:
    if len(values) == 1:
        return f"{values.iloc[0]:.3f}"
    return f"{values.mean():.3f} ({values.min():.3f} to {values.max():.3f})"


def block(values: pd.DataFrame) -> str:
    """Return the measured part of the card as Markdown, markers included."""
    names = ["base", "parameters", "tokens", "optimizer", "validation loss [nats per token]", "minutes", "gates passed"]
    header, rows = measure_rows(values)
    parts = [
        START,
        f"Measured with {N_ITEMS} dev items per family, relation or skill; of several seeds mean, lowest, highest.",
        _table([*names, "SHA-256 of the weights"], base_rows(values)),
        _table(header, rows),
        END,
    ]
    return "\n\n".join(parts)


def _table(header: list[str], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fill(card: str, measured_part: str) -> str:
    """Return the text of a card with the part between its markers replaced.

    Raises:
        InputError: The card does not hold each marker once, in order.
    """
    before, start, rest = card.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end) or START in rest or END in after or END in before:
        raise InputError(f"{CARD}: needs the markers {START} and {END} once each, in this order")
    return before + measured_part + after


def main() -> int:
    """Rewrite the measured part of the card and return the exit code."""
    try:
        text = fill(CARD.read_text(encoding="utf-8"), block(measured()))
    except ItlibError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    write_atomic(CARD, text.encode())
    print(f"{CARD}: measured part rewritten")
    return 0


if __name__ == "__main__":
    sys.exit(main())
