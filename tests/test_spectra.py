"""Singular vectors before and after tuning, against planted and closed cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itlib import spectra
from itlib.spectra import decompose


def power_law(m, n, exponent=1.0, seed=0):
    rng = np.random.default_rng(seed)
    r = min(m, n)
    left, right = np.linalg.qr(rng.standard_normal((m, r)))[0], np.linalg.qr(rng.standard_normal((n, r)))[0]
    return (left * np.arange(1, r + 1) ** -exponent) @ right.T


def orthogonal_direction(matrix, rng):
    """A unit vector with cosine 1/sqrt(r) to every left singular vector, far from each of them."""
    left = decompose(matrix).left
    signs = rng.choice([-1.0, 1.0], left.shape[1])
    return left @ signs / np.sqrt(left.shape[1])


def test_a_matrix_is_most_similar_to_itself():
    base = decompose(power_law(40, 24))
    assert np.allclose(spectra.similarities(base, base), 1.0)
    assert np.allclose(spectra.spans(base, base), 1.0)
    assert spectra.count_below(spectra.similarities(base, base), [0.5, 0.9]).tolist() == [0, 0]


@pytest.mark.parametrize(("strength", "found"), [(0.3, 0), (0.9, 0), (1.1, 1), (3.0, 1)])
def test_a_planted_direction_is_an_intruder_from_its_threshold_on(strength, found):
    """W + s v v^T with v far from all vectors of W: an intruder as soon as s passes the largest singular value."""
    matrix = power_law(128, 128)
    v = orthogonal_direction(matrix, np.random.default_rng(1))
    tuned = matrix + strength * np.outer(v, v)
    count = spectra.count_below(spectra.similarities(decompose(matrix), decompose(tuned), k=1), [0.5])[0]
    assert count == found


def test_multiplying_values_makes_no_intruder():
    matrix = power_law(64, 64)
    base = decompose(matrix)
    tuned = decompose((base.left * (base.values * 3 + 0.1)) @ base.right)
    assert spectra.count_below(spectra.similarities(base, tuned), [0.99]).tolist() == [0]


def test_noise_makes_intruders_on_a_flat_spectrum_alone():
    rng = np.random.default_rng(0)
    for exponent, some in ((0.02, True), (1.0, False)):
        matrix = power_law(128, 128, exponent)
        noise = rng.standard_normal(matrix.shape)
        noise *= 0.3 * np.linalg.norm(matrix) / np.linalg.norm(noise)
        count = spectra.count_below(spectra.similarities(decompose(matrix), decompose(matrix + noise), k=5), [0.5])[0]
        assert (count > 0) == some, exponent
        assert (spectra.power_law_exponent(decompose(matrix).values) < spectra.FLAT) == some


def test_turning_neighbours_into_each_other_leaves_their_span():
    """Two equal singular values: vectors are turned by 45 degrees, which cosines see and spans do not."""
    left, right = np.eye(6), np.eye(6)
    values = np.array([3.0, 3.0, 1.0, 0.5, 0.3, 0.1])
    base = spectra.Spectrum(left, values, right)
    turned = left.copy()
    turned[:2, :2] = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    tuned = spectra.Spectrum(turned, values, right)
    assert np.allclose(spectra.similarities(base, tuned, 2), np.sqrt(0.5))
    assert np.allclose(spectra.spans(base, tuned, 2), 1.0)


@pytest.mark.parametrize(("m", "n", "median", "high"), [
    (32, 32, 0.408, 0.588), (64, 64, 0.319, 0.450), (128, 128, 0.246, 0.341), (256, 256, 0.188, 0.256),
    (512, 128, 0.123, 0.178),
])  # fmt: skip
def test_the_null_band_is_the_known_one(m, n, median, high):
    draws = spectra.null_similarities(m, n, n_draws=4000, seed=0)
    assert np.median(draws) == pytest.approx(median, abs=0.005)
    assert np.quantile(draws, 0.99) == pytest.approx(high, abs=0.012)


def test_effective_rank_of_closed_cases():
    assert spectra.effective_rank(np.ones(7)) == pytest.approx(7.0)
    assert spectra.effective_rank([2.0, 0.0, 0.0]) == pytest.approx(1.0)
    assert spectra.effective_rank([0.5, 0.25, 0.25]) == pytest.approx(np.exp(1.5 * np.log(2)))
    assert spectra.effective_rank(np.zeros(3)) == 0.0


@pytest.mark.parametrize("exponent", [0.1, 0.5, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_found(exponent):
    assert spectra.power_law_exponent(np.arange(1, 65.0) ** -exponent) == pytest.approx(exponent)


@given(st.integers(0, 2**31), st.sampled_from([(12, 12), (20, 8), (8, 20)]))
@settings(max_examples=25, deadline=None)
def test_controls_match_what_they_are_named_for(seed, shape):
    rng = np.random.default_rng(seed)
    change = rng.standard_normal(shape) @ np.diag(np.linspace(1, 0.1, shape[1]))
    assert np.linalg.norm(spectra.matched_noise(change, rng)) == pytest.approx(np.linalg.norm(change))
    other = spectra.matched_spectrum(decompose(change), rng)
    assert np.allclose(decompose(other).values, decompose(change).values)


@given(st.integers(0, 2**31), st.floats(0, 1), st.integers(0, 7))
@settings(max_examples=25, deadline=None)
def test_scaling_touches_one_singular_value(seed, scale, index):
    matrix = np.random.default_rng(seed).standard_normal((10, 8))
    spectrum = decompose(matrix)
    wanted = spectrum.values.copy()
    wanted[index] *= scale
    found = decompose(spectra.scaled(matrix, spectrum, index, scale)).values
    assert np.allclose(found, np.sort(wanted)[::-1])


def test_scale_one_is_no_change_and_scale_zero_removes():
    matrix = power_law(10, 8)
    spectrum = decompose(matrix)
    assert np.array_equal(spectra.scaled(matrix, spectrum, 3, 1.0), matrix)
    assert abs(spectrum.left[:, 3] @ spectra.scaled(matrix, spectrum, 3, 0.0) @ spectrum.right[3]) < 1e-12


def test_first_intruder_and_its_nearest_neighbour():
    matrix = power_law(64, 64)
    v = orthogonal_direction(matrix, np.random.default_rng(2))
    base, tuned = decompose(matrix), decompose(matrix + 0.7 * np.outer(v, v))
    index = spectra.top_intruder(base, tuned, 0.5)
    assert index == 1
    assert spectra.top_intruder(base, base, 0.5) is None
    near = spectra.neighbour_of(base, tuned, index, 0.5)
    assert near != index and spectra.similarities(base, tuned, 64)[near] >= 0.5


def test_a_random_direction_has_the_value_it_stands_for():
    spectrum = decompose(power_law(12, 9))
    other = spectra.random_direction(spectrum, 2, np.random.default_rng(0))
    assert decompose(other).values[:2] == pytest.approx([spectrum.values[2], 0.0])
