"""InstructMining: a planted rule is found again, units decide nothing, and a selection with the shipped base."""

from dataclasses import replace

import numpy as np
import pytest
from toolbox import example, make_context

from itlib.errors import InputError
from itlib.registry import selectors
from itlib.selectors import Checkpoint, coverage
from itlib.selectors import instruct_mining as mining

RULE = np.array([1.07, -0.15, 0.4, 8e-5, -0.9, 0.02])


@pytest.fixture
def indicators():
    rng = np.random.default_rng(0)
    return rng.normal(size=(40, 5)) * [1, 2, 300, 0.1, 5] + [3, 1, 800, 1, 20]


def test_card_oracle_known_coefficients_are_recovered(indicators):
    losses = mining.predicted(RULE, indicators)
    np.testing.assert_allclose(mining.fit_rule(indicators, losses), RULE, rtol=1e-8)
    assert mining.leave_one_out_r2(indicators, losses) == pytest.approx(1.0)


def test_card_oracle_the_rule_is_invariant_to_standardisation(indicators):
    losses = mining.predicted(RULE, indicators) + np.random.default_rng(1).normal(size=40)
    scaled = (indicators - indicators.mean(0)) / indicators.std(0)
    plain, other = mining.fit_rule(indicators, losses), mining.fit_rule(scaled, losses)
    np.testing.assert_allclose(mining.predicted(plain, indicators), mining.predicted(other, scaled), rtol=1e-9)
    np.testing.assert_allclose(plain[1:] * indicators.std(0), other[1:], rtol=1e-8)
    assert mining.leave_one_out_r2(indicators, losses) == pytest.approx(mining.leave_one_out_r2(scaled, losses))


def test_units_decide_nothing_where_the_rule_is_not_unique(indicators):
    twice = np.column_stack([indicators, indicators[:, 0], np.full(40, 7.0)])
    losses = mining.predicted(RULE, indicators)
    other = twice * [1, 1, 1, 1, 1, 1000, 1]
    np.testing.assert_allclose(
        mining.predicted(mining.fit_rule(twice, losses), twice),
        mining.predicted(mining.fit_rule(other, losses), other),
    )
    assert mining.fit_rule(twice, losses)[-1] == 0.0


def test_leave_one_out_by_hand():
    """Points (0,0), (1,1), (2,1): fits without each miss by -1, .5, -1; means of the others by 1, -.5, -.5."""
    points, losses = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 1.0])
    assert mining.leave_one_out_r2(points, losses) == pytest.approx(1 - (1 + 0.25 + 1) / (1 + 0.25 + 0.25))


def test_a_rule_of_noise_is_worth_nothing():
    rng = np.random.default_rng(0)
    found = [mining.leave_one_out_r2(rng.normal(size=(30, 5)), rng.normal(size=30)) for _ in range(50)]
    assert np.mean(found) < 0
    assert mining.leave_one_out_r2(rng.normal(size=(30, 5)), np.ones(30)) == 0.0


def test_neighbour_distance_by_hand():
    """On a line at 0, 1, 3, 7: mean distance to the two nearest."""
    points = np.array([[0.0], [1.0], [3.0], [7.0]]) + 100
    np.testing.assert_allclose(mining.neighbour_distance(points, 2), [2.0, 1.5, 2.5, 5.0])
    np.testing.assert_allclose(mining.neighbour_distance(points[:2], 6), [1.0, 1.0])
    np.testing.assert_allclose(mining.neighbour_distance(points[:1], 6), [0.0])


def test_neighbour_distance_in_blocks():
    points = np.random.default_rng(0).normal(size=(mining.BLOCK + 30, 3))
    distances = np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)
    np.testing.assert_allclose(mining.neighbour_distance(points, 6), distances[:, 1:7].mean(1))


def test_neighbours_of_a_sample_are_those_of_all_without_the_others():
    """A point of the sample is no neighbour of itself; blocks that begin and end anywhere change nothing."""
    rng = np.random.default_rng(0)
    points, among = rng.normal(size=(2 * mining.BLOCK + 30, 3)), rng.permutation(2 * mining.BLOCK + 30)[:200]
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    wanted = np.sort(distances[:, among], axis=1)[:, :6].mean(axis=1)
    np.testing.assert_allclose(mining.neighbour_distance(points, 6, among), wanted)
    everything = mining.neighbour_distance(points, 6)
    np.testing.assert_array_equal(mining.neighbour_distance(points, 6, np.arange(len(points))), everything)
    assert np.corrcoef(np.log(wanted), np.log(everything))[0, 1] > 0.8


def test_of_a_large_pool_neighbours_come_from_a_sample(monkeypatch):
    pool = pool_of(40)

    def distances():
        return mining.measured_indicators(pool, make_context(pool))[:, mining.INDICATORS.index("knn_6")]

    exact = distances()
    monkeypatch.setattr(coverage, "REFERENCE", 40)
    np.testing.assert_array_equal(distances(), exact)
    monkeypatch.setattr(coverage, "REFERENCE", 20)
    np.testing.assert_array_equal(distances(), distances())
    assert (distances() >= exact - 1e-6).all() and (distances() > exact + 1e-3).any()  # rounding of large squares aside


def test_mixed_subsets_differ_more_than_random_ones():
    indicators = np.random.default_rng(0).normal(size=(600, 5))
    subsets = mining.drawn_subsets(indicators, 60, 50, np.random.default_rng(1))
    assert all(len(set(rows.tolist())) == 50 for rows in subsets)
    spread = [np.stack([indicators[rows].mean(0) for rows in subsets[part::2]]).std(0).mean() for part in (0, 1)]
    assert spread[0] == pytest.approx(1 / np.sqrt(50), rel=0.3)
    assert spread[1] > 2 * spread[0]


WORDS = ("red", "wolf", "seven", "house", "cold", "river", "stone", "sand", "green", "dog")


def pool_of(n, first=0):
    return [
        example(
            i,
            f"say {' '.join(WORDS[(i + j) % 10] for j in range(1 + i % 4))} ?",
            " ".join([WORDS[i % 10]] * (1 + i % 5)),
        )
        for i in range(first, first + n)
    ]


class StubLosses:
    def __init__(self, loss):
        self.loss = loss

    def conditional_losses(self, examples):
        return np.full(len(examples), self.loss)


def test_examples_come_first_whose_indicators_lower_the_loss():
    """Planted: the loss after tuning falls with the mean length of the responses and nothing else."""
    pool = pool_of(60)
    context = make_context(pool, targets=pool_of(2, first=100))
    lengths = {one.id: n for one, n in zip(pool, context.features.losses(pool).n_response_tokens, strict=True)}
    calls = []

    def tune(examples, **settings):
        calls.append((len(examples), settings))
        return [Checkpoint(3.0 - 0.1 * np.mean([lengths[one.id] for one in examples]), 0.0)]

    stub = replace(context, tune=tune, features_of=lambda model, name: StubLosses(model))
    rows = selectors.get("instruct_mining")(pool, 12, stub, n_subsets=12, subset_size=20)
    assert sorted(lengths[pool[row].id] for row in rows) == sorted(lengths.values())[-12:]
    assert calls == [(20, {"epochs": 1.0})] * 12
    assert context.ledger.notes["leave_one_out_r2"] == pytest.approx(1.0, abs=1e-6)
    assert context.ledger.notes["slope_response_length"] == pytest.approx(-0.1, abs=1e-6)


def test_with_the_shipped_base():
    pool, targets = pool_of(30), pool_of(4, first=100)

    def ids(pool):
        context = make_context(pool, targets=targets)
        rows = selectors.get("instruct_mining")(pool, 10, context, n_subsets=8, subset_size=6)
        assert np.isfinite(context.ledger.notes["leave_one_out_r2"])
        return [pool[row].id for row in rows]

    found = ids(pool)
    assert len(set(found)) == 10 and ids(pool[::-1]) == found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_subsets": 7}, "n_subsets: must be at least 8, got 7"),
        ({"subset_size": 0}, "subset_size: must be at least 1"),
        ({"subset_size": 11}, r"subset_size: must be at most 10 \(half of the pool\), got 11"),
    ],
)
def test_bad_options(options, message):
    pool = pool_of(20)
    with pytest.raises(InputError, match=message):
        selectors.get("instruct_mining")(pool, 4, make_context(pool), **{"subset_size": 5} | options)
