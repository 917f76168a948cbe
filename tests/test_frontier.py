"""Frontiers of learning against forgetting, by hand and against brute force."""

import numpy as np
import pytest

from itlib.frontier import NOWHERE, frontier, mean_gap, shared_span


def brute_force(learning, forgetting, level):
    """The least mean forgetting of a coin between two points that learn at least ``level`` on average."""
    best = np.inf
    for a, f in zip(learning, forgetting, strict=True):
        for b, g in zip(learning, forgetting, strict=True):
            if a >= level:
                best = min(best, f)
            elif b >= level:
                share = (level - a) / (b - a)
                best = min(best, (1 - share) * f + share * g)
    return best


@pytest.mark.parametrize("seed", range(20))
def test_no_coin_between_two_settings_does_better(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 9))
    learning, forgetting = rng.integers(0, 6, n) / 5, rng.normal(size=n).round(1)  # coarse, so that points tie
    found = frontier(learning, forgetting)
    for level in np.linspace(learning.min(), learning.max(), 7):
        assert found.at(level) == pytest.approx(brute_force(learning, forgetting, level), abs=1e-12)
    assert np.isnan(found.at([learning.min() - 0.01, learning.max() + 0.01])).all()
    assert (np.diff(found.learning) > 0).all() and (np.diff(found.forgetting) >= 0).all()


def test_corners_by_hand():
    """(.4, .5) lies above the line from (.2, .1) to (.6, .3); what learns less than (.2, .1) forgets more."""
    found = frontier(np.array([0.6, 0.2, 0.4, 0.0, 0.1]), np.array([0.3, 0.1, 0.5, 0.2, 0.4]))
    assert found.learning.tolist() == [0.0, 0.2, 0.6] and found.forgetting.tolist() == [0.1, 0.1, 0.3]
    assert found.at(0.5) == pytest.approx(0.25) and found.at(0.05) == pytest.approx(0.1)


def test_the_order_of_points_and_points_without_a_value_do_not_matter():
    learning, forgetting = np.array([0.0, 0.3, 0.5, 0.9]), np.array([0.0, 0.02, 0.1, 0.5])
    found = frontier(np.append(learning[::-1], [np.nan, 0.4]), np.append(forgetting[::-1], [0.0, np.nan]))
    assert found.learning.tolist() == learning.tolist() and found.forgetting.tolist() == forgetting.tolist()


def test_the_gap_by_hand():
    """A line of slope 1 over one of slope .5 up to .6, where the shorter one ends: .3 apart there, half on average."""
    steep, flat = frontier([0.0, 0.6], [0.0, 0.6]), frontier([0.0, 1.0], [0.0, 0.5])
    assert shared_span(steep, flat) == (0.0, 0.6)
    assert mean_gap(steep, flat) == pytest.approx(0.15)
    assert mean_gap(flat, steep) == pytest.approx(-0.15)


@pytest.mark.parametrize("seed", range(5))
def test_the_gap_is_the_integral(seed):
    rng = np.random.default_rng(seed)
    left, right = (frontier(rng.random(6), rng.random(6)) for _ in range(2))
    low, high = shared_span(left, right)
    fine = np.linspace(low, high, 20_001)
    assert mean_gap(left, right) == pytest.approx(float((left.at(fine) - right.at(fine)).mean()), abs=1e-3)


def test_ranges_that_do_not_meet_have_no_gap():
    left, right = frontier([0.1, 0.2], [0.0, 0.1]), frontier([0.3, 0.4], [0.0, 0.1])
    assert np.isnan(shared_span(left, right)).all() and np.isnan(mean_gap(left, right))
    touching = frontier([0.2, 0.4], [0.0, 0.1])
    assert shared_span(left, touching) == (0.2, 0.2) and np.isnan(mean_gap(left, touching))
    assert np.isnan(mean_gap(left, NOWHERE)) and np.isnan(NOWHERE.at([0.1, 0.2])).all()
    assert np.isnan(frontier([], []).span).all()
