"""A look at single runs: what the loss was taken on, how it fell, which items went wrong, what the model says.

Everything is a data frame, or an object that a notebook shows in colour and a terminal as text. Models are loaded from
stored weights, so that answers need a run that kept them.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from itlib.errors import InputError
from itlib.execute import fixed_threads, load_base, scored_items
from itlib.frame import curve_frame, item_frame
from itlib.generate import responses
from itlib.packing import virtual_tokens
from itlib.result import RunResult
from itlib.spec import RunSpec, diff, key
from itlib.stages import load_tuned
from itlib.store import Store
from itlib.template import encode, pad_id
from itlib.training_set import training_set
from itlib.tune import context_length

if TYPE_CHECKING:
    from itlib.example import Example

SUPERVISED = "background:#02977344;border-radius:3px"


@dataclass(frozen=True)
class Rows:
    """Token rows, each a sequence of (token, whether it is supervised): coloured in a notebook, bracketed as text."""

    rows: tuple[tuple[tuple[str, bool], ...], ...]

    def __str__(self) -> str:
        return "\n".join(" ".join(f"[{token}]" if on else token for token, on in row) for row in self.rows)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def shown(token: str, on: bool) -> str:
            text = html.escape(token)
            return f'<span style="{SUPERVISED}" title="supervised">{text}</span>' if on else f"<span>{text}</span>"

        lines = (" ".join(shown(*pair) for pair in row) for row in self.rows)
        return "".join(f'<p style="font-family:monospace;line-height:1.7">{line}</p>' for line in lines)


def mask(spec: RunSpec, n: int = 3) -> Rows:
    """Return the first training rows of a resolved run, with the tokens that its loss is taken on.

    Raises:
        InputError: The run tunes nothing.
    """
    if not spec.data.n_train:
        raise InputError(f"run {key(spec)} tunes nothing, so it has no loss to look at")
    _, tokenizer = load_base(spec)
    examples = training_set(spec, lambda: load_base(spec)).examples[:n]
    rows, _ = encode(examples, tokenizer, max_length=spec.data.max_length)
    tokens = [tokenizer.convert_ids_to_tokens(row.input_ids.tolist()) for row in rows]
    return Rows(
        tuple(tuple(zip(text, row.response_mask.tolist(), strict=True)) for text, row in zip(tokens, rows, strict=True))
    )


def losses(results: Sequence[RunResult]) -> pd.DataFrame:
    """Return the training loss of runs over steps: a column per run, nats per supervised token."""
    curves = curve_frame(results)
    return curves.pivot_table(index="step", columns="digest", values="loss") if len(curves) else curves


def worst(result: RunResult, n: int = 10) -> pd.DataFrame:
    """Return the items with the highest loss per token: ``item``, ``family``, ``loss``, ``exact_match``."""
    items = item_frame([result])
    items["loss"] = items["nll"] / items["n_tokens"]
    return items.nlargest(n, "loss")[["item", "family", "loss", "exact_match"]].reset_index(drop=True)


def answers(spec: RunSpec, store: Store, n: int = 8) -> pd.DataFrame:
    """Return what a run's base and its tuned model say to test items of as many families as there are.

    Args:
        spec: A resolved spec; the run has kept its weights, or tunes nothing.
        store: Where the weights are.
        n: Items.

    Returns:
        ``family``, ``instruction``, ``right``, ``base`` and, for a tuned model, ``tuned``.

    Raises:
        InputError: The run kept no weights.
    """
    weights = store.weights(spec) if spec.data.n_train else None
    if spec.data.n_train and weights is None:
        raise InputError(f"run {key(spec)} kept no weights; run it with keep_weights, then it can be asked")
    items = _of_many_families(scored_items(spec), n)
    table = pd.DataFrame(
        {
            "family": [item.family for item in items],
            "instruction": [item.instruction for item in items],
            "right": [item.gold or item.response for item in items],
        }
    )
    with fixed_threads(spec.threads):
        model, tokenizer = load_base(spec)
        table["base"] = _said(model, tokenizer, items, spec)
        if weights is not None:
            table["tuned"] = _said(load_tuned(model, spec, weights), tokenizer, items, spec)
    return table


def _said(model: Any, tokenizer: Any, items: Sequence[Example], spec: RunSpec) -> list[str]:
    model = model.to(spec.device).eval()
    room = context_length(spec.base) - virtual_tokens(model)
    return responses(model, tokenizer, items, pad_id=pad_id(tokenizer), dtype=spec.base.dtype, context_length=room)


def _of_many_families(items: Sequence[Example], n: int) -> list[Example]:
    """Return items in turn from every family."""
    by_family: dict[str, list[Example]] = {}
    for item in items:
        by_family.setdefault(item.family, []).append(item)
    turns = itertools.chain.from_iterable(itertools.zip_longest(*by_family.values()))
    return list(itertools.islice((item for item in turns if item is not None), n))


def beside(left: RunResult, right: RunResult) -> pd.DataFrame:
    """Return the items that two runs judge differently: ``item``, ``family``, exact match of each, and both losses.

    ``attrs["settings"]`` names the settings in which the two runs differ.

    Raises:
        InputError: The runs were not asked the same items.
    """
    tables = []
    for result in (left, right):
        items = item_frame([result])
        items["loss"] = items["nll"] / items["n_tokens"]
        tables.append(items.set_index("item")[["family", "exact_match", "loss"]])
    if not tables[0].index.equals(tables[1].index):
        raise InputError(f"runs {key(left.spec)} and {key(right.spec)} were asked different items")
    sides = {"left_index": True, "right_index": True, "suffixes": ("_left", "_right")}
    joined = tables[0].merge(tables[1].drop(columns="family"), **sides)
    differs = joined["exact_match_left"].ne(joined["exact_match_right"]) & joined["exact_match_left"].notna()
    found = joined[differs].reset_index()
    found.attrs["settings"] = diff(left.spec, right.spec)
    return found


def browse(results: Sequence[RunResult]) -> Any:
    """Return a menu of runs that shows the worst items of the one chosen, or a plain table without ipywidgets."""
    table = pd.DataFrame({"run": [key(result.spec) for result in results], "status": [r.status for r in results]})
    try:
        import ipywidgets
    except ImportError:
        return table

    def show(number: int) -> pd.DataFrame:
        return worst(results[number])

    labels = [(f"{row.run} ({row.status})", row.Index) for row in table.itertuples()]
    return ipywidgets.interactive(
        show, {"auto_display": True}, number=ipywidgets.Dropdown(options=labels, description="run")
    )
