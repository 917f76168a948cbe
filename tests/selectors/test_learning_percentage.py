"""Learning percentage: the numbers worked out by hand, exact quotas of clusters, and a scorer that learns nothing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from stub import StubFeatures
from toolbox import MarkovModel, example, hand_context, hand_features, make_context

from itlib.errors import InputError
from itlib.execute import load_base
from itlib.registry import selectors, sources
from itlib.resolve import resolve
from itlib.selectors import Checkpoint
from itlib.selectors.learning_percentage import (
    approximate_learning_percentage,
    learning_percentage,
    lowest_of_clusters,
)
from itlib.spec import RunSpec, with_fields
from itlib.workbench import Workbench

NAMES = ("lp", "lp_app")


def test_perplexities_of_8_4_and_2():
    before, first, last = np.array([8.0]), np.array([4.0]), np.array([2.0])
    assert learning_percentage(before, first, last)[0] == pytest.approx(2 / 3)
    assert approximate_learning_percentage(before, first)[0] == pytest.approx(1 / 2)


def test_nothing_learned_is_zero_and_what_is_unlearned_again_lies_outside():
    before, first, last = np.array([[8.0, 8, 8, 8], [8, 4, 9, 2], [8, 8, 7, 4]])
    assert learning_percentage(before, first, last).tolist() == [0.0, 0.0, -1.0, 1.5]
    assert approximate_learning_percentage(np.zeros(1), np.zeros(1)).tolist() == [0.0]


perplexities = st.lists(st.floats(1.0, 100.0), min_size=4, max_size=4).map(np.array)


@given(perplexities, perplexities, perplexities, st.floats(0.1, 10.0), st.floats(-50.0, 50.0))
def test_affine_maps_change_nothing(before, first, last, factor, shift):
    assume((np.abs(before - last) > 1e-3).all())
    moved = (factor * part + shift for part in (before, first, last))
    assert np.allclose(learning_percentage(*moved), learning_percentage(before, first, last), rtol=1e-6, atol=1e-6)


# ---- quotas -------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.data())
def test_quotas_meet_the_budget_exactly(sizes, data):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    budget = data.draw(st.integers(1, len(labels)))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    scores = rng.integers(0, 5, len(labels)).astype(float)
    rows = lowest_of_clusters(scores, labels, budget, rng)
    assert len(set(rows)) == len(rows) == budget
    exact = budget * np.array(sizes) / len(labels)
    found = np.bincount(labels[rows], minlength=len(sizes))
    assert (np.abs(found - exact) < 1).all()
    assert (np.diff(scores[rows]) >= 0).all()
    for number in range(len(sizes)):
        inside, outside = labels[rows] == number, np.setdiff1d(np.flatnonzero(labels == number), rows)
        if inside.any() and len(outside):
            assert scores[rows[inside]].max() <= scores[outside].min()


def test_many_small_clusters_do_not_inflate_the_budget():
    """One of every hundred from each of 200 clusters of 26, which the published code rounds up to one of each."""
    labels = np.repeat(np.arange(200), 26)
    assert len(lowest_of_clusters(np.zeros(len(labels)), labels, 52, np.random.default_rng(0))) == 52


# ---- the selectors ------------------------------------------------------------------------------------------


def lp_context(pool, losses, *, vectors=None, seed=0):
    """A context whose scorer has the given losses before tuning and at its checkpoints."""
    vectors = np.eye(len(pool)) if vectors is None else vectors
    states = [StubFeatures(pool, vectors, values) for values in losses]
    context = hand_context(states[0], seed=seed)
    asked = []

    def tune(examples, **settings):
        asked.append(settings)
        return [Checkpoint(state, 0.0) for state in range(1, len(states))]

    return replace(context, tune=tune, features_of=lambda model, name: states[model]), asked


def test_low_is_hard_and_comes_first():
    """LP(1) of four examples: 2/3, 1/3, 0.9, 0; their LP_app: 1/2, 1/4, 0.45, 0."""
    pool = [example(i) for i in range(4)]
    before, first, last = np.log([8, 8, 20, 8]), np.log([4, 6, 11, 8]), np.log([2, 2, 10, 2])
    for hardest, order in ((True, [3, 1, 0, 2]), (False, [2, 0, 1, 3])):
        context, asked = lp_context(pool, [before, first, np.zeros(4), last])
        assert selectors.get("lp")(pool, 4, context, n_clusters=0, hardest=hardest).tolist() == order
        assert asked == [{"epochs": 3.0, "checkpoints": 3}]
    for hardest, order in ((True, [3, 1, 2, 0]), (False, [0, 2, 1, 3])):
        context, asked = lp_context(pool, [before, first])
        assert selectors.get("lp_app")(pool, 4, context, n_clusters=0, hardest=hardest).tolist() == order
        assert asked == [{"epochs": 1.0, "checkpoints": 1}]


def test_logarithms_change_the_order():
    """PPL 100 -> 50 -> 1 is learned by 50/99 and by ln 2 / ln 100 = 0.15; 3 -> 2.2 -> 1 by 0.4 and 0.28."""
    pool = [example(i) for i in range(2)]
    losses = [np.log([100.0, 3.0]), np.log([50.0, 2.2]), np.zeros(2), np.log([1.0, 1.0])]
    assert selectors.get("lp")(pool, 1, lp_context(pool, losses)[0], n_clusters=0).tolist() == [1]
    assert selectors.get("lp")(pool, 1, lp_context(pool, losses)[0], n_clusters=0, logarithmic=True).tolist() == [0]


def test_clusters_give_their_shares():
    pool = [example(i) for i in range(100)]
    label = np.repeat([0, 1, 2], [60, 30, 10])
    rng = np.random.default_rng(0)
    vectors = 10 * np.eye(3)[label] + 0.01 * rng.normal(size=(100, 3))
    first = rng.uniform(0.5, 1.5, 100) + np.where(label == 2, -0.5, 0)  # the third cluster is easy as a whole
    context, _ = lp_context(pool, [np.full(100, 2.0), first], vectors=vectors)
    rows = selectors.get("lp_app")(pool, 10, context, n_clusters=3)
    assert np.bincount(label[rows]).tolist() == [6, 3, 1]
    for number, quota in enumerate((6, 3, 1)):
        members = np.flatnonzero(label == number)
        assert set(rows[label[rows] == number]) == set(members[np.argsort(-first[members])][:quota])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_clusters", [0, 4])
def test_a_scorer_that_learns_nothing_leaves_random_order(name, n_clusters):
    pool = [example(i) for i in range(40)]
    vectors = np.random.default_rng(1).normal(size=(40, 3))
    losses = [np.random.default_rng(2).uniform(1, 4, 40)] * 4
    seen = [
        selectors.get(name)(pool, 10, lp_context(pool, losses, vectors=vectors, seed=seed)[0], n_clusters=n_clusters)
        for seed in range(200)
    ]
    counts = np.bincount(np.concatenate(seen), minlength=40)
    assert counts.min() > 15 and counts.max() < 95  # 50 of each are expected
    assert all(rows.tolist() != sorted(rows) for rows in seen)


@pytest.mark.parametrize("name", NAMES)
def test_options_and_losses_are_checked(name):
    pool = [example(i) for i in range(4)]
    with pytest.raises(InputError, match="selector_options: n_clusters: must be at least 0, got -1"):
        selectors.get(name)(pool, 2, lp_context(pool, [np.ones(4)] * 4)[0], n_clusters=-1)
    with pytest.raises(InputError, match="n_clusters: must be at most 4"):
        selectors.get(name)(pool, 2, lp_context(pool, [np.ones(4)] * 4)[0], n_clusters=5)
    with pytest.raises(InputError, match="scorer: its losses are not finite"):
        selectors.get(name)(pool, 2, lp_context(pool, [np.ones(4)] + [np.full(4, np.nan)] * 3)[0], n_clusters=0)


def steps(**losses):
    """A model of six tokens that gives the named steps, such as ``t12``, these losses and the rest to token 0."""
    table = np.zeros((6, 6))
    table[:, 0] = 1.0
    for step, loss in losses.items():
        before, after = int(step[1]), int(step[2])
        table[before, after], table[before, 0] = np.exp(-loss), -np.expm1(-loss)
    return MarkovModel(table)


@pytest.mark.parametrize("logarithmic", [True, False])
def test_a_token_without_loss_stays_in_the_mean(logarithmic):
    """The published code divides by the tokens whose loss is not exactly 0.

    The first response goes from (2, 1) to (2, 0), a mean of 1.5 to one of 1; over the tokens with a loss it would be
    one of 2, worse than before and so the hardest. The second goes from 1.5 to 1.2, less far.
    """
    rows = [((1,), (2, 3)), ((4,), (5,))]
    examples, before = hand_features(steps(t12=2.0, t23=1.0, t45=1.5), rows)
    others, after = hand_features(steps(t12=2.0, t23=0.0, t45=1.2), rows)
    after._rows[id(examples)] = (examples, after._rows[id(others)][1])
    assert before.conditional_losses(examples) == pytest.approx([1.5, 1.5])
    assert after.conditional_losses(examples) == pytest.approx([1.0, 1.2])
    context = replace(
        hand_context(before), tune=lambda *_, **__: [Checkpoint(None, 0.0)], features_of=lambda model, name: after
    )
    found = selectors.get("lp_app").select(examples, 2, context, n_clusters=0, logarithmic=logarithmic)
    assert found.tolist() == [1, 0]


# ---- with a model -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pool():
    spec = resolve(with_fields(RunSpec(), pool_size=32, n_train=1))
    return sources.get("microworld").pool(spec.data, seed=0)


@pytest.mark.parametrize("name", NAMES)
def test_selection_follows_the_formula_on_a_real_scorer(name, pool):
    context, kept = make_context(pool, learning_rate=2e-3), []

    def tune(examples, **settings):
        kept.extend(context.tune(examples, **settings))
        return kept

    rows = selectors.get(name)(pool, 8, replace(context, tune=tune), n_clusters=0)
    states = [context.features, *(context.features_of(c.model, f"again {i}") for i, c in enumerate(kept))]
    p = [np.exp(state.conditional_losses(pool)) for state in states]
    assert len(p) == {"lp": 4, "lp_app": 2}[name]
    learned = (p[0] - p[1]) / (p[0] - p[3]) if name == "lp" else (p[0] - p[1]) / p[0]
    assert sorted(learned[rows]) == pytest.approx(np.sort(learned)[:8], rel=1e-3, abs=1e-4)
    assert p[-1].mean() < p[0].mean()


def test_epochs_set_the_price(pool):
    spent = {}
    for name in NAMES:
        context = make_context(pool)
        selectors.get(name)(pool, 4, context, n_clusters=4)
        n_tokens = sum(len(row.input_ids) for row in context.features.encoded(pool))
        spent[name] = context.ledger.flops / (n_tokens * context.features.n_parameters)
    assert spent["lp"] == pytest.approx(3 * 6 + 3 * 2) and spent["lp_app"] == pytest.approx(6 + 2 * 2)


@pytest.mark.parametrize("name", NAMES)
def test_both_ends_tune_once_and_cost_the_same(name, tmp_path, monkeypatch):
    """What was measured for the hardest examples is read for the easiest, and the price stays the method's own."""
    pool = sources.get("microworld").pool(resolve(with_fields(RunSpec(), pool_size=60, n_train=1)).data, seed=0)
    tunings, found = [], {}
    spec = resolve(with_fields(RunSpec(), pool_size=60, n_train=10, selector=name))
    for hardest in (True, False, True):
        bench = Workbench(spec, pool, lambda: load_base(spec), tmp_path)
        tune = bench.tune
        monkeypatch.setattr(bench, "tune", lambda *a, tune=tune, **how: tunings.append(1) or tune(*a, **how))
        context = bench.context()
        rows = selectors.get(name)(pool, 10, context, hardest=hardest, n_clusters=0)
        found.setdefault(hardest, []).append((rows.tolist(), context.ledger.flops))
    assert len(tunings) == 1
    assert found[True][0] == found[True][1]
    assert not set(found[True][0][0]) & set(found[False][0][0])
    assert found[True][0][1] == pytest.approx(found[False][0][1], rel=1e-9)
