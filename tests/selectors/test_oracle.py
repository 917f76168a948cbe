"""Oracles: clean examples first; the step that a single example causes, measured and compared with its prediction."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from toolbox import example, hand_context, hand_features, make_context

from itlib.errors import InputError, RunError
from itlib.registry import selectors, sources
from itlib.resolve import resolve
from itlib.spec import RunSpec, with_fields


@pytest.fixture(scope="module")
def world():
    spec = resolve(with_fields(RunSpec(), pool_size=70, n_train=1))
    return sources.get("microworld").pool(spec.data, seed=0)


@pytest.fixture(scope="module")
def targets(world):
    return world[:6]


@pytest.fixture(scope="module")
def pool(world):
    return world[6:]


def clean_order(seed):
    pool = [example(i, noise="none" if i % 3 else "wrong answer") for i in range(30)]
    _, features = hand_features(torch.nn.Linear(1, 1), [])
    context = hand_context(features, seed=seed)
    return selectors.get("oracle_clean")(pool, 30, context), context.ledger.notes


def test_clean_examples_come_first_in_random_order():
    rows, notes = clean_order(0)
    assert {row % 3 for row in rows[:20]} == {1, 2} and {row % 3 for row in rows[20:]} == {0}
    assert notes == {"n_clean": 20}
    assert sorted(rows[:20]) != list(rows[:20])
    assert list(clean_order(1)[0]) != list(rows)
    assert list(clean_order(0)[0]) == list(rows)


def mean_loss(model, rows):
    total = []
    for row in rows:
        logits = model(input_ids=torch.as_tensor(row.input_ids[None].astype(np.int64))).logits[0]
        at = np.flatnonzero(row.response_mask)
        total.append(torch.nn.functional.cross_entropy(logits[at - 1], torch.as_tensor(row.input_ids[at]).long()))
    return torch.stack(total).mean()


def test_scores_are_the_steps_taken_one_by_one(pool, targets):
    context = make_context(pool, targets=targets)
    model = context.features.model
    before = copy.deepcopy(model.state_dict())
    found = selectors.get("oracle_loo").scores(pool, context, learning_rate=0.05).values
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    target_rows = context.features.encoded(targets)
    start = mean_loss(model, target_rows).item()
    for index in (0, 11, 40, 63):
        moved = copy.deepcopy(model)
        moved.get_input_embeddings().requires_grad_(False)
        optimizer = torch.optim.SGD([p for p in moved.parameters() if p.requires_grad], lr=0.05)
        mean_loss(moved, [context.features.encoded(pool)[index]]).backward()
        optimizer.step()
        assert found[index] == pytest.approx(start - mean_loss(moved, target_rows).item(), rel=1e-4, abs=2e-5)
    assert np.ptp(found) > 1e-3


def test_training_on_a_target_itself_lowers_its_loss(pool, targets):
    copies = [replace(target, id=f"copy-{i}") for i, target in enumerate(targets[:1])]
    context = make_context([*pool, *copies], targets=targets[:1])
    scores = selectors.get("oracle_loo").scores([*pool, *copies], context).values
    assert scores[-1] > 0
    assert scores.argmax() == len(pool)


@pytest.mark.parametrize("scorer", ["base", "warm-40"])
@pytest.mark.parametrize("family", ["opposite", "addition"])
def test_less_predicts_the_measured_steps(pool, scorer, family):
    """First order: a small step along the gradient of an example changes the target loss by their inner product."""
    context = make_context(pool, scorer=scorer, target_families=(family,))
    assert {target.family for target in context.targets()} == {family}
    measured = selectors.get("oracle_loo").scores(pool, context, learning_rate=1e-3).values
    predicted = selectors.get("less_sgd").scores(pool, context, no_warmup=True).values
    assert spearmanr(measured, predicted).statistic > 0.5


def test_only_a_random_part_is_measured_and_the_rest_comes_last(pool, targets):
    contexts = [make_context(pool, targets=targets, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (selectors.get("oracle_loo").scores(pool, c, most=10).values for c in contexts)
    assert np.isfinite(first).sum() == 10 == contexts[0].ledger.notes["n_scored"]
    assert np.array_equal(first, again, equal_nan=True)
    assert set(np.flatnonzero(np.isfinite(first))) != set(np.flatnonzero(np.isfinite(other)))
    rows = selectors.get("oracle_loo")(pool, 15, make_context(pool, targets=targets), most=10)
    assert set(rows[:10]) == set(np.flatnonzero(np.isfinite(first))) and len(set(rows)) == 15


def test_the_scorer_can_be_tuned_first(pool, targets):
    context, sizes = make_context(pool, targets=targets), []

    def tune(examples, **settings):
        sizes.append(len({example.id for example in examples}))
        return context.tune(examples, **settings)

    warm = selectors.get("oracle_loo").scores(pool, replace(context, tune=tune), warm=30, most=64).values
    cold = selectors.get("oracle_loo").scores(pool, make_context(pool, targets=targets), most=64).values
    assert sizes == [30]
    assert not np.allclose(warm, cold, atol=1e-4)


def test_cost_is_counted(pool, targets):
    context = make_context(pool, targets=targets)
    selectors.get("oracle_loo").scores(pool, context, most=64)
    tokens = [sum(len(row.input_ids) for row in context.features.encoded(part)) for part in (pool, targets)]
    n_parameters = sum(parameter.numel() for parameter in context.features.model.parameters())
    assert context.ledger.flops == n_parameters * (6 * tokens[0] + 2 * tokens[1] * 65)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate: must be above 0, got 0"),
        ({"most": 0}, "most: must be at least 1, got 0"),
        ({"warm": -1}, "warm: must be from 0 to the 64 examples"),
        ({"warm": 65}, "warm: must be from 0 to the 64 examples of the pool, got 65"),
    ],
)
def test_bad_options_are_refused_in_one_line(options, message, pool, targets):
    with pytest.raises(InputError, match=message):
        selectors.get("oracle_loo").scores(pool, make_context(pool, targets=targets), **options)


def test_a_step_that_diverges_is_an_error_and_not_an_example_without_a_score(pool, targets):
    with pytest.raises(RunError, match="^oracle_loo: the target loss is not finite .* of 12 examples; [^\n]+$"):
        selectors.get("oracle_loo").scores(pool, make_context(pool, targets=targets), learning_rate=1e30, most=12)


def test_no_targets_are_refused(pool):
    with pytest.raises(InputError, match="n_targets"):
        selectors.get("oracle_loo").scores(pool, make_context(pool, targets=[]))
