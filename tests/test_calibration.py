"""Calibration errors on simulated models whose calibration is known."""

import numpy as np
import pytest

from itlib.calibration import calibration_error, debiased_calibration_error, squared_calibration_error

BINS = 15


def simulated(rng, n=300, shift=0.0):
    """Bin sums of a model that is right with the probability it says, minus ``shift``."""
    sure = rng.beta(2, 1, size=n) * (1 - shift) + shift
    right = rng.random(n) < sure - shift
    which = np.minimum((sure * BINS).astype(int), BINS - 1)
    return [np.bincount(which, weights=values, minlength=BINS) for values in (np.ones(n), sure, right.astype(float))]


def many(error, **how):
    rng = np.random.default_rng(0)
    return np.array([error(*simulated(rng, **how)) for _ in range(600)])


def test_a_calibrated_model_has_no_debiased_error_where_the_usual_one_is_above_zero():
    assert many(calibration_error).mean() > 0.05
    squares = many(squared_calibration_error)
    assert abs(squares.mean()) < 3 * squares.std() / np.sqrt(len(squares))
    assert (squares < 0).mean() > 0.3  # not cut off at zero, which would be a bias too
    assert abs(many(debiased_calibration_error).mean()) < 0.01


def test_the_bias_of_the_usual_error_depends_on_the_number_of_items_and_the_debiased_one_does_not():
    few, more = (many(calibration_error, n=n).mean() for n in (100, 1600))
    assert few > 3 * more
    for n in (100, 1600):
        assert abs(many(squared_calibration_error, n=n).mean()) < 1e-3


@pytest.mark.parametrize("shift", [0.1, 0.3])
def test_overconfidence_is_found_in_its_size(shift):
    assert many(debiased_calibration_error, shift=shift).mean() == pytest.approx(shift, abs=0.015)


def test_sums_by_hand():
    """Two bins of 4 and 6 items: gaps of .25 and -.5, accuracies of .5 and 1; a bin of one item counts in one error."""
    n, confidence, right = [4, 6, 0, 1], [3.0, 3.0, 0.0, 0.2], [2, 6, 0, 0]
    assert calibration_error(n, confidence, right) == pytest.approx((4 * 0.25 + 6 * 0.5 + 0.2) / 11)
    square = (4 * (0.25**2 - 0.25 / 3) + 6 * 0.5**2) / 10
    assert squared_calibration_error(n, confidence, right) == pytest.approx(square)
    assert debiased_calibration_error(n, confidence, right) == pytest.approx(square**0.5)


def test_chance_below_zero_keeps_its_sign():
    assert debiased_calibration_error([4], [2.0], [2]) == pytest.approx(-((0.25 / 3) ** 0.5))


@pytest.mark.parametrize("n", [[], [0, 0], [1, 0]])
def test_without_items_there_is_no_error(n):
    empty = [0.0] * len(n)
    assert np.isnan(squared_calibration_error(n, empty, empty))
    assert np.isnan(calibration_error(n, empty, empty)) == (sum(n) == 0)
