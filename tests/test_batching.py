"""Batches: the budget is what is spent, every example is seen as often as any other, no micro-batch is too large."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itlib.batching import example_order, micro_batches, plan_steps
from itlib.errors import InputError

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=40)


@given(st.integers(1, 30), st.integers(1, 200), st.integers(0, 5))
def test_order_visits_examples_equally_often(n, visits, seed):
    counts = Counter(example_order(n, visits, np.random.default_rng(seed)).tolist())
    assert sum(counts.values()) == visits
    assert max(counts.values()) - min(counts.get(i, 0) for i in range(n)) <= 1


@given(lengths, st.integers(1, 20), st.integers(1, 9))
def test_steps_budget_is_exact(sizes, steps, batch_size):
    plan = plan_steps(sizes, budget=steps, budget_unit="steps", batch_size=batch_size, rng=np.random.default_rng(0))
    assert [len(batch) for batch in plan] == [batch_size] * steps


@given(lengths, st.sampled_from([0.5, 1.0, 2.5]), st.integers(1, 9))
def test_epochs_budget_visits_that_many_examples(sizes, epochs, batch_size):
    visits = round(epochs * len(sizes))
    if visits == 0:
        return
    plan = plan_steps(sizes, budget=epochs, budget_unit="epochs", batch_size=batch_size, rng=np.random.default_rng(0))
    assert sum(map(len, plan)) == visits


@given(lengths, st.integers(1, 3000), st.integers(1, 9))
def test_tokens_budget_stops_at_the_example_that_reaches_it(sizes, tokens, batch_size):
    plan = plan_steps(sizes, budget=tokens, budget_unit="tokens", batch_size=batch_size, rng=np.random.default_rng(0))
    seen = np.array(sizes)[np.concatenate(plan)]
    assert seen.sum() >= tokens > seen[:-1].sum()


def test_a_budget_below_one_example_is_refused():
    with pytest.raises(InputError, match="not one training step"):
        plan_steps([5], budget=0.2, budget_unit="epochs", batch_size=1, rng=np.random.default_rng(0))


@given(lengths, st.integers(1, 200))
def test_micro_batches_partition_within_the_limit(sizes, limit):
    groups = micro_batches(sizes, limit)
    assert sorted(np.concatenate(groups).tolist()) == list(range(len(sizes)))
    for group in groups:
        assert len(group) * max(sizes[i] for i in group) <= limit or len(group) == 1
