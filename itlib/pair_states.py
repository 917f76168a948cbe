"""How close a stored model holds two wordings of one item, and two items in one family: cosines of hidden states.

Contrastive tuning promises the former near and the latter apart. Both are read off test items in phrasings that no pool
has, so neither the wording nor the operands were trained on.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from itlib.execute import fixed_threads, load_base
from itlib.microworld.phrasings import SETS
from itlib.objectives._states import POOLS, logits_and_states
from itlib.placement import placed
from itlib.registry import sources
from itlib.spec import RunSpec
from itlib.stages import load_tuned
from itlib.store import Store
from itlib.template import encode, pad_id
from itlib.train import autocast

__all__ = ["POOLS", "cosines", "pair_means"]


def cosines(spec: RunSpec, store: Store, phrasing_set: str) -> pd.DataFrame:
    """Return mean cosines of the last layer's states of test items in two phrasings, per family and pooling.

    Args:
        spec: The resolved spec of a run of the micro-world whose weights are stored.
        store: Where they are.
        phrasing_set: The first two phrasings of this set, in the order of the run's seed, are compared.

    Returns:
        Columns ``family``, ``metric``, ``value``. Metrics are "positive_<pool>", one item in two phrasings, and
        "negative_<pool>", two items with different answers in these phrasings: a hard negative, since family and
        wordings are those of positives. Pool "response" is the last token of the row, "prompt" the last before the
        answer.
    Cost: Three forward passes over ``n_eval`` items per family and phrasing.
    """
    import torch

    if phrasing_set not in SETS:
        raise ValueError(f"no phrasing set '{phrasing_set}'")
    asked = replace(spec.evaluate, n_eval_phrasings=2, eval_phrasing_set=phrasing_set)
    items = sources.get(spec.data.source).crossed(spec.data, asked, seed=spec.seed)
    with fixed_threads(spec.threads), torch.inference_mode():
        base, tokenizer = load_base(spec)
        model = load_tuned(placed(base, spec), spec, store.weights(spec)).eval()
        encoded, _ = encode(items, tokenizer, max_length=spec.data.max_length)
        rows = []
        for family in dict.fromkeys(item.family for item in items):
            mine = [row for row in encoded if items[row.example_index].family == family]
            answers = [items[row.example_index].response for row in mine[: len(mine) // 2]]
            for pool in POOLS:
                with autocast(model.device, spec.base.dtype):
                    states = logits_and_states(model, mine, pool, pad_id(tokenizer))[2]
                first, second = np.split(states.cpu().numpy(), 2)
                positive, negative = pair_means(first, second, answers)
                rows += [(family, f"positive_{pool}", positive), (family, f"negative_{pool}", negative)]
    return pd.DataFrame(rows, columns=["family", "metric", "value"])


def pair_means(first: np.ndarray, second: np.ndarray, answers: list[Any]) -> tuple[float, float]:
    """Return the mean cosine of equal items in two wordings, and of items with different answers.

    Args:
        first: States of shape (n_items, width) in one wording.
        second: States of the same items in the other.
        answers: The answer to each item; two items with the same one are no negative pair.

    Returns:
        Two means; NaN where there is no negative pair.
    """
    left, right = (states / np.linalg.norm(states, axis=1, keepdims=True) for states in (first, second))
    table = left @ right.T
    apart = np.array([[a != b for b in answers] for a in answers])
    return float(np.diagonal(table).mean()), float(table[apart].mean()) if apart.any() else float("nan")
