"""The drop rate: known answers, a ratio of sums, and an interval that resamples pairs."""

import math

import numpy as np
import pytest

from itlib.drop_rate import drop_rate_interval, performance_drop_rate
from itlib.errors import InputError


def test_known_answers():
    clean = [0.5, 0.25, 1.0]
    assert performance_drop_rate(clean, clean) == 0
    assert performance_drop_rate(clean, [0, 0, 0]) == 1
    assert performance_drop_rate([0.5, 0.5], [0.75, 0.5]) == -0.25
    assert performance_drop_rate(0.8, 0.6) == pytest.approx(0.25)


def test_it_is_a_ratio_of_sums_and_not_a_mean_of_ratios():
    assert performance_drop_rate([1.0, 0.2], [0.9, 0.0]) == pytest.approx(0.25)  # the mean of ratios is .55


def test_a_pair_with_a_missing_side_is_left_out():
    nan = math.nan
    assert performance_drop_rate([1, 1, nan, 1], [1, nan, 0, 0]) == 0.5
    assert performance_drop_rate([[1, nan]], [[0.5, 1]]) == 0.5


@pytest.mark.parametrize(
    "clean, perturbed, message",
    [
        ([0, 0], [0, 1], "sum to 0"),
        ([math.nan], [1], "sum to 0"),
        ([], [], "sum to 0"),
        ([1, 1], [1], "shape"),
        ([1, math.inf], [1, 1], "infinite"),
    ],
)
def test_what_has_no_drop_rate_is_refused(clean, perturbed, message):
    with pytest.raises(InputError, match=message):
        performance_drop_rate(clean, perturbed)
    with pytest.raises(InputError, match=message):
        drop_rate_interval(clean, perturbed, 0)


def test_the_interval_of_a_constant_ratio_is_a_point_however_much_scores_vary():
    """Pairs are resampled together: with separate resampling this interval would be wide."""
    clean = np.random.default_rng(0).uniform(0.1, 1, 12)
    assert drop_rate_interval(clean, 0.75 * clean, 0) == pytest.approx((0.25, 0.25), abs=1e-12)
    assert drop_rate_interval(clean, clean, 0) == (0, 0)
    assert drop_rate_interval(clean, 0 * clean, 0) == (1, 1)


def test_two_replicates_by_hand():
    """Resamples are {a, a}, {a, b}, {b, b} with chances 1/4, 1/2, 1/4, so the bounds are the two replicates' own."""
    assert drop_rate_interval([1.0, 0.5], [0.5, 0.5], 3) == (0, 0.5)
    low, high = drop_rate_interval([1.0, 0.5], [0.5, 0.5], 3, confidence=0.4)
    assert low == high == pytest.approx(1 / 3)


def test_items_are_summed_inside_a_replicate_and_never_resampled():
    items = np.random.default_rng(1).integers(2, size=(2, 6, 50)).astype(float)
    items[0] += 0.1
    assert drop_rate_interval(*items, 0) == pytest.approx(drop_rate_interval(*items.sum(axis=2), 0))


def test_coverage_is_near_nominal_with_twenty_replicates():
    """True rate .2; a percentile bootstrap of twenty replicates covers a little less than its nominal 95 %."""
    generator, hits = np.random.default_rng(5), 0
    for _ in range(300):
        clean = generator.uniform(0.4, 0.8, 20)
        low, high = drop_rate_interval(clean, 0.8 * clean + generator.normal(0, 0.05, 20), 0, 400)
        hits += low <= 0.2 <= high
    assert 0.88 <= hits / 300 <= 0.98


def test_equal_seeds_agree_and_different_ones_differ():
    clean, perturbed = np.random.default_rng(2).uniform(0.2, 1, (2, 8))
    first = drop_rate_interval(clean, perturbed, 1)
    np.random.seed(0)
    assert drop_rate_interval(clean, perturbed, 1) == first
    assert drop_rate_interval(clean, perturbed, 2) != first


def test_one_replicate_has_no_interval():
    assert all(map(math.isnan, drop_rate_interval([0.5], [0.25], 0)))


def test_resamples_without_clean_score_are_left_out():
    assert drop_rate_interval([1.0, 0.0], [0.5, 0.0], 0) == (0.5, 0.5)
