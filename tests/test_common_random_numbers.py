"""Arms of a comparison share what is drawn: items, data, order, initialisation and dropout. Pairing them pays."""

import numpy as np
import pandas as pd
import pytest
import small
import torch

from itlib.execute import execute, scored_items
from itlib.ordering import training_steps
from itlib.resolve import resolve
from itlib.result import ITEM_COLUMNS
from itlib.spec import with_fields
from itlib.studies.common import replicate
from itlib.template import encode
from itlib.training_set import training_set
from itlib.tune import load_base, tune

ARMS = {"learning_rate": 5e-3, "budget": 6, "schedule": "constant", "weight_decay": 0.1}


@pytest.mark.parametrize("field", ARMS)
def test_items_data_and_order_are_those_of_the_other_arm(field):
    first = small.resolved(seed=3)
    other = small.resolved(seed=3, **{field: ARMS[field]})
    assert [item.turns for item in scored_items(first)] == [item.turns for item in scored_items(other)]
    sets = [training_set(spec, lambda spec=spec: load_base(spec)).examples for spec in (first, other)]
    assert [example.turns for example in sets[0]] == [example.turns for example in sets[1]]
    rows, _ = encode(sets[0], load_base(first)[1], max_length=128)
    steps = [training_steps(rows, spec.train, seed=spec.seed) for spec in (first, other)]
    shared = min(map(len, steps))
    assert all(np.array_equal(a, b) for a, b in zip(steps[0][:shared], steps[1][:shared], strict=True))


def test_smaller_training_sets_are_parts_of_larger_ones():
    few, many = (small.resolved(seed=3, n_train=n) for n in (8, 20))
    sets = [training_set(spec, lambda spec=spec: load_base(spec)).examples for spec in (few, many)]
    assert [e.id for e in sets[0]] == [e.id for e in sets[1]][:8]


def test_another_seed_shares_none_of_it():
    first, other = (small.resolved(seed=seed) for seed in (3, 4))
    sets = [{e.id for e in training_set(spec, lambda spec=spec: load_base(spec)).examples} for spec in (first, other)]
    assert sets[0] != sets[1]


def test_adapters_of_two_arms_start_from_the_same_numbers():
    starts = []
    for rate in (1e-3, 5e-3):
        spec = small.resolved(seed=3, method="lora", learning_rate=rate)
        model, tokenizer = load_base(spec)
        drawn = {}

        def keep(name, parameter, drawn=drawn):
            drawn[name] = parameter.detach().clone()

        frozen = with_fields(spec, budget=1, learning_rate=1e-12)
        tuned = tune(model, tokenizer, resolve(frozen), None, None, lambda now: {})
        for name, parameter in tuned.model.named_parameters():
            if "lora_A" in name:
                keep(name, parameter)
        starts.append(drawn)
    assert starts[0] and all(torch.allclose(starts[0][name], starts[1][name], atol=1e-9) for name in starts[0])


def test_dropout_draws_the_same_masks_in_both_arms():
    """A model with dropout gives the same loss at the first step, whatever the learning rate is."""
    losses = []
    for rate in (1e-4, 1e-2):
        spec = small.resolved(seed=5, method="lora", learning_rate=rate, budget=1, curve_points=1)
        model, tokenizer = load_base(spec)
        model.config.attention_dropout = 0.3
        for module in model.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = 0.3
        losses.append(tune(model, tokenizer, spec, None, None, lambda now: {}).curve[0]["loss"])
    assert losses[0] == losses[1]


def test_pairing_by_seed_narrows_the_interval_on_real_runs():
    """Two learning rates on six seeds, each its own base: the paired differences spread less than unpaired ones."""
    fields = {"budget": 15, "n_train": 40, "pool_size": 200, "n_eval": 4, "n_reference": 0}
    rows = []
    for seed in range(6):
        for rate in (2e-3, 4e-3):
            run = execute(resolve(replicate(small.spec(learning_rate=rate, **fields), seed)))
            items = pd.DataFrame(list(run.items), columns=list(ITEM_COLUMNS))
            rows.append((seed, rate, items["nll"].sum() / items["n_tokens"].sum()))
    table = pd.DataFrame(rows, columns=["seed", "rate", "loss"]).pivot(index="seed", columns="rate", values="loss")
    left, right = (table[rate].to_numpy() for rate in (2e-3, 4e-3))
    paired = (left - right).var(ddof=1)
    unpaired = left.var(ddof=1) + right.var(ddof=1)
    assert paired < unpaired / 2
