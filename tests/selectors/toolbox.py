"""What tests of selectors share: a context on a shipped base, and a language model whose losses are known by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from itlib.example import Example, Turn
from itlib.execute import load_base
from itlib.features import Features
from itlib.resolve import resolve
from itlib.selectors import SelectionContext
from itlib.selectors._ledger import Ledger
from itlib.spec import RunSpec, with_fields
from itlib.template import Encoded
from itlib.workbench import selection_context


def make_context(
    pool: Sequence[Example], *, targets: Sequence[Example] | None = None, seed: int = 0, **fields: Any
) -> SelectionContext:
    """Return the context of a run of base micro-1m on ``pool``; ``targets`` replaces its development examples.

    ``fields`` are leaf fields of the spec ("scorer", "learning_rate", "target_families", "n_targets").
    """
    fields = {"selector": "perplexity_response", **fields}  # a random selector would drop scorer and targets
    spec = resolve(with_fields(RunSpec(), seed=seed, pool_size=max(len(pool), 1), n_train=1, **fields))
    context = selection_context(spec, pool, lambda: load_base(spec))
    return context if targets is None else replace(context, targets=lambda: list(targets))


def example(index: int, instruction: str = "Say one.", response: str = "one", **fields: Any) -> Example:
    """Return a small example with the id ``e<index>``."""
    turns = (Turn("user", instruction), Turn("assistant", response))
    return Example(id=f"e{index:04d}", turns=turns, gold=response, **fields)


class MarkovModel(torch.nn.Module):
    """A causal model in which the next token depends on the last one only: context cannot matter.

    Args:
        probabilities: Shape (vocabulary, vocabulary); row i is the distribution after token i.
    """

    def __init__(self, probabilities: np.ndarray) -> None:
        super().__init__()
        self.config = SimpleNamespace()
        table = torch.log(torch.as_tensor(probabilities, dtype=torch.float32))
        self.table = torch.nn.Parameter(table)

    def forward(
        self,
        input_ids: torch.Tensor,
        use_cache: bool = False,
        output_hidden_states: bool = False,
        logits_to_keep: Any = None,
        **_: Any,
    ) -> SimpleNamespace:
        logits = self.table[input_ids]
        if isinstance(logits_to_keep, torch.Tensor):
            logits = logits[:, logits_to_keep]
        states = torch.nn.functional.one_hot(input_ids, len(self.table)).float()
        return SimpleNamespace(logits=logits, hidden_states=(states, states), past_key_values=None)


def hand_features(
    model: torch.nn.Module, rows: Sequence[tuple[Sequence[int], Sequence[int]]], *, prefix: Sequence[int] = (0,)
) -> tuple[list[Example], Features]:
    """Return examples and features whose token rows are given: (prompt tokens, response tokens) each.

    Call a selector's ``score`` or ``select`` with these examples themselves: a copy of the list would be encoded anew.
    """
    examples = [example(index) for index in range(len(rows))]
    features = Features(
        lambda: (model.eval(), SimpleNamespace(pad_token_id=0, eos_token_id=0)),
        name="by hand",
        dtype="float32",
        max_length=512,
        ledger=Ledger(),
        prefix=np.array(prefix, dtype=np.int32),
    )
    encoded = []
    for index, (prompt, response) in enumerate(rows):
        mask = np.array([False] * len(prompt) + [True] * len(response))
        encoded.append(Encoded(index, np.array([*prompt, *response], dtype=np.int32), mask, 1))
    features._rows[id(examples)] = (examples, encoded)
    return examples, features


def hand_context(features: Features, *, targets: Sequence[Example] = (), seed: int = 0) -> SelectionContext:
    """Return a context around features made by hand; it cannot tune."""
    return SelectionContext(
        rng=np.random.default_rng(seed),
        features=features,
        targets=lambda: list(targets),
        tune=lambda *_, **__: [],
        features_of=lambda model, name: features,
        ledger=features.ledger,
    )
