"""Sign-flip tests against enumeration by hand and scipy, intervals against the test they invert, means by hand."""

from itertools import combinations

import numpy as np
import pandas as pd
import planted
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from itlib import stats
from itlib.errors import InputError

quarters = st.integers(-40, 40).map(lambda k: k / 4)  # exact in binary, so that ties are real ties
samples = st.lists(quarters, min_size=1, max_size=8)


def test_eight_unanimous_seeds_by_hand():
    result = stats.sign_flip(np.arange(1, 9))
    assert (result.effect, result.p_value, result.n) == (4.5, 2 / 256, 8)
    # Six smallest means of a set of seeds: 1, 1.5, 2 (three times), then (1 + 2 + 4) / 3.
    assert stats.sign_flip_interval(np.arange(1, 9)) == (pytest.approx(7 / 3), pytest.approx(20 / 3))


def test_six_seeds_give_their_range_and_five_give_no_interval():
    assert stats.sign_flip_interval([0.1, 0.5, -0.2, 0.3, 0.2, 0.4]) == (-0.2, 0.5)
    assert stats.sign_flip_interval([1.0, 1.1, 1.2, 1.3, 1.4]) == (-np.inf, np.inf)
    assert stats.sign_flip([1.0, 1.1, 1.2, 1.3, 1.4]).p_value == 2 / 32


@settings(max_examples=40, deadline=None)
@given(st.lists(quarters, min_size=2, max_size=8))
def test_sign_flip_agrees_with_scipy(values):
    peer = permutation_test((np.array(values),), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    assert stats.sign_flip(values).p_value == pytest.approx(peer)


@given(samples, st.randoms(use_true_random=False))
def test_sign_flip_ignores_order_and_is_symmetric(values, random):
    shuffled = random.sample(values, len(values))
    assert stats.sign_flip(shuffled) == stats.sign_flip(values)
    mirrored = stats.sign_flip([-value for value in values])
    assert (mirrored.effect, mirrored.p_value) == (-stats.sign_flip(values).effect, stats.sign_flip(values).p_value)
    low, high = stats.sign_flip_interval(values)
    assert stats.sign_flip_interval([-value for value in values]) == pytest.approx((-high, -low))


@settings(max_examples=60, deadline=None)
@given(st.lists(quarters, min_size=6, max_size=8), st.integers(-30, 30))
def test_the_interval_holds_the_shifts_that_the_test_does_not_reject(values, shift):
    shift = shift / 3 + 0.01  # never a mean of quarters, so never exactly on a bound
    low, high = stats.sign_flip_interval(values)
    rejected = stats.sign_flip(np.array(values) - shift).p_value <= 0.05
    assert rejected == (not low <= shift <= high)


def test_one_sided_tests_count_their_own_tail():
    values = [3.0, 1.0, -2.0]  # sums of all sign patterns: 6 4 2 0 0 -2 -4 -6, observed 2
    assert stats.sign_flip(values, alternative="greater").p_value == 3 / 8
    assert stats.sign_flip(values, alternative="less").p_value == 6 / 8
    with pytest.raises(ValueError, match="alternative"):
        stats.sign_flip(values, alternative="bigger")


def test_many_seeds_use_a_seeded_sample_of_patterns():
    values = np.random.default_rng(3).normal(0.4, 1, 24)
    np.random.seed(0)
    first = stats.sign_flip(values)
    np.random.seed(1)
    assert stats.sign_flip(values) == first
    assert stats.sign_flip(values, monte_carlo_seed=1) != first
    peer = permutation_test((values,), np.sum, permutation_type="samples", n_resamples=40000, rng=5).pvalue
    assert first.p_value == pytest.approx(peer, abs=0.01)
    low, high = stats.sign_flip_interval(values)
    assert stats.sign_flip(values - low + 0.02).p_value < 0.06
    assert low < values.mean() < high


def test_missing_and_degenerate_differences():
    assert stats.sign_flip([1.0, np.nan, 2.0]).n == 2
    assert np.isnan(stats.sign_flip([]).p_value)
    assert stats.sign_flip([0.0] * 8).p_value == 1.0
    assert stats.sign_flip([0.3] * 8).p_value == 2 / 256
    assert stats.sign_flip_interval([0.25] * 8) == (0.25, 0.25)
    with pytest.raises(InputError, match="infinite"):
        stats.sign_flip([1.0, np.inf])


def test_equivalence_is_the_ninety_percent_interval_inside_the_margins():
    values = [0.01, -0.02, 0.0, 0.02, -0.01, 0.01, 0.0, -0.005]
    result = stats.equivalence(values, 0.03)
    assert result.equivalent and result.p_value < 0.05
    assert result.interval == stats.sign_flip_interval(values, 0.9)
    assert not stats.equivalence(values, 0.005).equivalent
    assert not stats.equivalence(values[:4], 0.03).equivalent  # four seeds can never reach it
    with pytest.raises(ValueError, match="margin"):
        stats.equivalence(values, 0.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(quarters, min_size=5, max_size=8), st.integers(1, 20))
def test_equivalence_and_its_p_value_agree(values, margin):
    result = stats.equivalence(values, margin / 3 + 0.01)
    assert result.equivalent == (result.p_value <= 0.05)


def test_holm_by_hand():
    adjusted = stats.holm([0.01, 0.04, 0.03, np.nan])
    np.testing.assert_allclose(adjusted[:3], [0.03, 0.06, 0.06])
    assert np.isnan(adjusted[3]) and len(stats.holm([])) == 0


def test_power_of_six_seeds_is_the_chance_that_all_agree():
    from scipy.stats import norm

    for effect in (0.5, 1.0, 1.8):
        exact = norm.cdf(effect) ** 6 + norm.cdf(-effect) ** 6
        assert stats.power(effect, 1.0, 6) == pytest.approx(exact, abs=0.025)
    assert stats.power(100.0, 1.0, 5) == 0.0
    assert stats.power(0.0, 1.0, 8) <= 0.06


def test_power_meets_the_t_test_where_it_takes_over():
    assert stats.power(0.8, 1.0, 12) == pytest.approx(stats.power(0.8, 1.0, 13), abs=0.06)
    from statsmodels.stats.power import TTestPower

    assert stats.power(0.5, 1.0, 20) == pytest.approx(TTestPower().power(0.5, 20, 0.05), abs=1e-3)


@pytest.mark.parametrize("n", [6, 8, 10, 13, 20])
def test_smallest_detectable_effect_inverts_power(n):
    effect = stats.smallest_detectable_effect(sd=2.0, n=n)
    assert stats.power(effect, 2.0, n) == pytest.approx(0.8, abs=0.01)
    assert stats.smallest_detectable_effect(sd=4.0, n=n) == pytest.approx(2 * effect)


def test_smallest_detectable_effect_from_differences():
    values = [0.1, 0.2, 0.3, 0.1, 0.2, 0.3, 0.1, 0.2]
    expected = stats.smallest_detectable_effect(sd=np.std(values, ddof=1), n=8)
    assert stats.smallest_detectable_effect([*values, np.nan]) == expected
    assert stats.smallest_detectable_effect([0.5] * 8) == 0.0
    assert stats.smallest_detectable_effect([0.5]) == np.inf
    with pytest.raises(ValueError, match="sd and n"):
        stats.smallest_detectable_effect(sd=1.0)


@pytest.mark.parametrize("distance", [1.2, 0.9, 0.5, 0.2])
def test_seeds_needed_is_the_first_number_at_which_the_effect_is_found(distance):
    n = int(stats.seeds_needed(distance, 1.0))
    assert stats.smallest_detectable_effect(sd=1.0, n=n) <= distance
    assert stats.smallest_detectable_effect(sd=1.0, n=n - 1) > distance
    assert stats.seeds_needed(-2 * distance, 2.0) == n


def test_seeds_needed_agrees_with_the_t_test_and_has_no_answer_for_no_effect():
    from statsmodels.stats.power import TTestPower

    expected = TTestPower().solve_power(0.2, power=0.8, alpha=0.05)
    assert stats.seeds_needed(0.2, 1.0) == pytest.approx(np.ceil(expected), abs=1)
    assert stats.seeds_needed(0.0, 1.0) == np.inf
    assert stats.seeds_needed(1e-6, 1.0) == np.inf


def test_bootstrap_is_seeded_and_uses_both_levels():
    generator = np.random.default_rng(0)
    matrix = generator.normal(0, 1, (8, 50)) + generator.normal(0, 0.5, (8, 1))
    first = stats.bootstrap_interval(matrix, seed=1)
    np.random.seed(3)
    assert stats.bootstrap_interval(matrix, seed=1) == first != stats.bootstrap_interval(matrix, seed=2)
    by_seed_only = stats.bootstrap_interval(matrix.mean(axis=1), seed=1)
    assert np.ptp(first) > np.ptp(by_seed_only)
    spread = np.sqrt(matrix.mean(axis=1).var() / 8 + matrix.var(axis=1).mean() / 50 / 8)
    assert np.ptp(first) == pytest.approx(2 * 1.96 * spread, rel=0.1)
    long = pd.DataFrame(matrix).rename_axis("seed").reset_index().melt("seed", var_name="item")
    assert stats.bootstrap_interval(long, seed=1) == first


@pytest.mark.fault(30)
def test_bootstrap_draws_nothing_for_one_seed_or_no_variance():
    assert np.isnan(stats.bootstrap_interval(np.array([0.5]), seed=0)).all()
    assert np.isnan(stats.bootstrap_interval(np.full((8, 3), 0.5), seed=0)).all()
    assert np.isnan(stats.bootstrap_interval(np.array([]), seed=0)).all()
    ragged = np.array([[1.0, np.nan], [2.0, 4.0]])
    assert np.isfinite(stats.bootstrap_interval(ragged, seed=0)).all()


def _small():
    families = {"a": ("latent", lambda n: 0.2), "b": ("latent", lambda n: 0.6), "c": ("flat", lambda n: 0.0)}
    return planted.frame(families, seeds=[0, 1], sizes=[10, 40], noise=0.0)


def test_families_have_equal_weight():
    data = _small()
    data.loc[data["family"] == "b", "n_items"] = 5000
    points = stats.run_points(data, "exact_match")
    assert points.query("familiarity == 'latent'")["value"].tolist() == pytest.approx([0.4] * 4)
    assert stats.run_points(data, "exact_match", by=())["value"].tolist() == pytest.approx([0.8 / 3] * 4)


@pytest.mark.fault(29)
def test_a_run_that_lacks_a_family_gives_no_point():
    data = _small()
    data = data.drop(data.query("seed == 1 and n_train == 40 and family == 'b'").index)
    data.loc[data.query("seed == 0 and n_train == 10 and family == 'a'").index, "value"] = np.nan
    points = stats.run_points(data, "exact_match").query("familiarity == 'latent'")
    assert list(zip(points["n_train"], points["seed"], strict=True)) == [(10, 1), (40, 0)]


def test_mean_curve_shows_gaps_and_no_band_without_variance():
    data = planted.fail(planted.fail(_small(), 0, 40), 1, 40, "diverged")
    curve = stats.mean_curve(data, "exact_match").set_index(["familiarity", "n_train"])
    assert curve.loc[("latent", 10), "mean"] == pytest.approx(0.4)
    assert curve.loc[("latent", 40), "n_seeds"] == 0 and np.isnan(curve.loc[("latent", 40), "mean"])
    assert curve[["low", "high"]].isna().all(axis=None)


def test_a_second_varying_column_is_refused_by_name():
    data = pd.concat([_small(), _small().assign(digest="other", rank=4)])
    with pytest.raises(InputError, match="they differ in rank; select one first"):
        stats.mean_curve(data, "exact_match")
    with pytest.raises(InputError, match="did you mean 'familiarity'"):
        stats.run_points(_small(), "exact_match", by=("familiarty",))


def test_seed_curves_keep_every_seed_and_name_what_is_absent():
    data = planted.fail(_small(), 1, 40)
    table = stats.seed_curves(data, "exact_match", where={"familiarity": ["latent"]})
    assert table.index.tolist() == [0, 1] and table.columns.tolist() == [10, 40]
    assert np.isnan(table.loc[1, 40]) and table.loc[1, 10] == pytest.approx(0.4)
    with pytest.raises(LookupError, match="no exact_match row has familiarity 'composed'"):
        stats.seed_curves(data, "exact_match", where={"familiarity": ["latent", "composed"]})
    with pytest.raises(LookupError, match="no row has metric 'accuracy'"):
        stats.seed_curves(data, "accuracy")


def test_interval_of_eight_seeds_is_the_sixth_set_mean():
    """Brute force over all 255 sets, independent of the doubling that the code uses."""
    values = np.random.default_rng(7).normal(size=8)
    means = sorted(np.mean(chosen) for size in range(1, 9) for chosen in combinations(values, size))
    assert stats.sign_flip_interval(values) == pytest.approx((means[5], means[-6]))


@pytest.mark.parametrize("n", [8, 20])
@pytest.mark.parametrize("effect", [0.0, 0.3])
def test_power_of_equivalence_is_that_of_simulated_studies(n, effect):
    margin = 1.2
    rng = np.random.default_rng(5)
    found = [stats.equivalence(rng.normal(effect, 1.0, n), margin).equivalent for _ in range(400)]
    assert stats.equivalence_power(effect, margin, 1.0, n) == pytest.approx(np.mean(found), abs=0.06)


def test_seeds_for_equivalence_are_the_first_number_with_that_power():
    n = int(stats.seeds_for_equivalence(0.1, 0.8, 1.0))
    assert stats.equivalence_power(0.1, 0.8, 1.0, n) >= 0.8 > stats.equivalence_power(0.1, 0.8, 1.0, n - 1)
    assert stats.seeds_for_equivalence(0.8, 0.8, 1.0) == np.inf
    assert stats.seeds_for_equivalence(0.0, 0.8, 1.0) > stats.seeds_needed(0.8, 1.0, level=0.1)
