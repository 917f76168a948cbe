"""Curve fits against scipy, planted curves and published scores."""

import numpy as np
import pandas as pd
import planted
import pytest
from scipy.optimize import curve_fit

from itlib import scaling, stats

SIZES = np.array(planted.SIZES, dtype=float)
FRACTIONS = np.array([1 / 256, 1 / 64, 1 / 16, 1 / 4, 1])

# Published single-source scores (arXiv:2310.05492) and the exponent of y = a - b f^-alpha.
PUBLISHED = {
    "7B mathematics": ([12.70, 22.71, 35.90, 43.37, 49.10], 0.15),
    "13B mathematics": ([18.40, 27.40, 43.00, 48.59, 51.4], 0.23),
    "33B mathematics": ([29.21, 44.60, 54.60, 56.10, 57.91], 0.57),
    "7B chat": ([4.00, 5.11, 5.61, 5.85, 5.88], 0.61),
    "13B chat": ([2.95, 5.24, 5.66, 6.03, 6.13], 0.88),
    "33B chat": ([2.3, 5.99, 6.17, 6.66, 6.63], 1.37),
    "7B code": ([5.48, 9.14, 12.19, 11.58, 18.4], 0.02),
    "33B code": ([14.02, 18.59, 21.95, 25.61, 26.82], 0.20),
}


def _table(curve, *, seeds=8, noise=0.02, rng_seed=0):
    generator = np.random.default_rng(rng_seed)
    values = np.array([curve(n) for n in SIZES]) + generator.normal(0, noise, (seeds, len(SIZES)))
    return pd.DataFrame(values, columns=SIZES, index=pd.Index(range(seeds), name="seed"))


def _points(table):
    return table.reset_index().melt("seed", var_name="n_train").assign(familiarity="x")


@pytest.mark.parametrize("name", PUBLISHED)
def test_exponents_of_published_scores(name):
    scores, expected = PUBLISHED[name]
    assert scaling.fit("power", FRACTIONS, scores).parameters["alpha"] == pytest.approx(expected, abs=0.02)


def test_the_exponent_does_not_depend_on_units():
    scores = PUBLISHED["33B chat"][0]
    thousand = scaling.fit("power", FRACTIONS * 96000, np.array(scores) / 10)
    assert thousand.parameters["alpha"] == pytest.approx(
        scaling.fit("power", FRACTIONS, scores).parameters["alpha"], rel=1e-3
    )


def test_power_fit_equals_least_squares_on_run_level_points():
    table = _table(planted.power(0.9, 3.0, 0.6))
    n, y = np.tile(SIZES, len(table)), table.to_numpy().ravel()
    peer, _ = curve_fit(lambda n, a, b, alpha: a - b * n**-alpha, n, y, p0=(1, 1, 0.5))
    ours = scaling.fit("power", n, y).parameters
    assert (ours["a"], -ours["b"], ours["alpha"]) == pytest.approx(tuple(peer), rel=1e-3)


def test_logistic_fit_recovers_its_planted_curve():
    def curve(n):
        return 0.1 + 0.7 / (1 + np.exp(-1.7 * (np.log(n) - np.log(300))))

    fitted = scaling.choose(np.tile(SIZES, 6), _table(curve, seeds=6, noise=0.005).to_numpy().ravel())
    assert fitted.form == "logistic"
    assert fitted.parameters["k"] == pytest.approx(1.7, rel=0.1)
    assert fitted.parameters["m"] == pytest.approx(np.log(300), abs=0.1)
    assert fitted.predict([25, 3200]) == pytest.approx([curve(25), curve(3200)], abs=0.01)


@pytest.mark.parametrize(
    ("form", "curve"),
    [
        ("log", lambda n: 0.1 + 0.1 * np.log(n)),
        ("power", planted.power(0.95, 5.0, 0.8)),
        ("constant", lambda n: 0.4),
    ],
)
def test_leave_one_size_out_picks_the_planted_form(form, curve):
    table = _table(curve, noise=0.002)
    assert scaling.choose(np.tile(SIZES, len(table)), table.to_numpy().ravel()).form == form


def test_a_falling_loss_needs_falling_and_a_wrong_sign_has_no_exponent():
    loss = 1.2 + 3 * SIZES**-0.4
    fitted = scaling.fit("power", SIZES, loss, falling=True)
    assert fitted.parameters["alpha"] == pytest.approx(0.4, abs=1e-3)
    assert fitted.parameters["a"] == pytest.approx(1.2, abs=1e-2)
    wrong = scaling.fit("power", SIZES, loss)
    assert np.isnan(wrong.parameters["alpha"]) and wrong.parameters["b"] == 0


def test_bad_fits_are_refused():
    with pytest.raises(ValueError, match="needs 3 sizes"):
        scaling.fit("power", [1, 2], [0.1, 0.2])
    with pytest.raises(ValueError, match="unknown form"):
        scaling.fit("cubic", SIZES, SIZES)
    with pytest.raises(ValueError, match="above 0"):
        scaling.fit("log", [0, 1, 2], [0.1, 0.2, 0.3])


@pytest.mark.parametrize("alpha", [0.3, 0.8])
def test_the_interval_covers_the_planted_exponent(alpha):
    """Sixty studies of eight seeds; 200 per exponent give 93 to 97 %."""
    covered = 0
    for study in range(60):
        table = _table(planted.power(0.95, 2.0, alpha), rng_seed=study)
        low, high = scaling.exponent_interval(table, draws=300, seed=study)
        covered += low <= alpha <= high
    assert covered >= 0.9 * 60


def test_exponents_per_row_and_intervals_of_too_little():
    table = pd.DataFrame([planted.power(0.9, 2, 0.5)(SIZES), 0.5 + 0 * SIZES, 1 - 0.1 * np.log(SIZES)], columns=SIZES)
    table.loc[3] = np.nan
    alphas = scaling.exponents(table)
    assert alphas[0] == pytest.approx(0.5, abs=1e-3)
    assert np.isnan(alphas[1:]).all()
    assert np.isnan(scaling.exponent_interval(table.iloc[:1])).all()
    assert np.isnan(scaling.exponent_interval(table.iloc[[1, 1, 1]])).all()


def test_the_interval_is_seeded_and_survives_missing_cells():
    table = _table(planted.power(0.95, 2.0, 0.5))
    first = scaling.exponent_interval(table, draws=200, seed=1)
    np.random.seed(9)
    assert scaling.exponent_interval(table, draws=200, seed=1) == first
    assert scaling.exponent_interval(table, draws=200, seed=2) != first
    table.iloc[0, 3] = table.iloc[5, 7] = np.nan
    low, high = scaling.exponent_interval(table, draws=200, seed=1)
    assert low < 0.5 < high


def test_gains_and_values_by_hand():
    table = pd.DataFrame([[0.1, 0.2, 0.6], [0.0, np.nan, 0.4]], columns=[10, 40, 160])
    assert scaling.last_quadrupling_gain(table).tolist() == pytest.approx([0.4, np.nan], nan_ok=True)
    assert scaling.total_gain(table).tolist() == pytest.approx([0.5, 0.4])
    assert scaling.value_at(table, 20).tolist() == pytest.approx([0.15, np.nan], nan_ok=True)
    assert np.isnan(scaling.value_at(table, 5)).all()
    assert scaling.total_gain(table, falling=True)[0] == pytest.approx(-0.5)


def test_sizes_that_reach_a_share_by_hand():
    line = scaling.Fit("log", {"a": 0.0, "b": 0.1}, 0.0)
    assert scaling.size_reaching(line, SIZES, 0.5) == pytest.approx(np.sqrt(25 * 3200), rel=1e-3)
    assert np.isnan(scaling.size_reaching(scaling.Fit("constant", {"a": 1.0, "b": 0.0}, 0.0), SIZES, 0.5))


@pytest.mark.parametrize(
    ("expected", "curve", "noise"),
    [
        ("rising", lambda n: 0.1 * np.log(n / 25), 0.02),
        ("saturated", planted.power(0.98, 8.0, 1.0), 0.01),
        ("flat", lambda n: 0.02, 0.01),
        ("flat", lambda n: 0.0, 0.0),
        ("undetermined", planted.power(0.5, 1.0, 0.5), 0.2),
        ("undetermined", lambda n: 0.8 - 0.1 * np.log(n / 25), 0.01),
        ("undetermined", lambda n: 0.2 + 0.8 * np.exp(-((np.log(n / 400)) ** 2)), 0.01),
    ],
)
def test_labels_of_planted_curves(expected, curve, noise):
    described = scaling.describe(_points(_table(curve, noise=noise)), draws=100)
    assert described["label"].tolist() == [expected]


def test_a_hump_is_not_flat_and_few_seeds_stay_undetermined():
    hump = _table(lambda n: 0.5 - 0.05 * (np.log(n) - np.log(283)) ** 2, noise=0.01)
    hump = scaling.describe(_points(hump), draws=50)
    assert hump["label"].tolist() != ["flat"]
    few = scaling.describe(_points(_table(lambda n: 0.1 * np.log(n), seeds=5)), draws=50)
    assert few["label"].tolist() == ["undetermined"] and few["last_gain_low"].tolist() == [-np.inf]


def test_describe_and_predictions_from_a_frame_with_a_gap():
    data = planted.fail(planted.frame(), 2, 400)
    described = scaling.describe(stats.run_points(data, "exact_match"), draws=100)
    assert described.set_index("familiarity")["n_seeds"].tolist() == [7, 7, 7]
    assert described.set_index("familiarity").loc["flat", "label"] == "flat"
    drawn = scaling.predictions(described, planted.SIZES, n_points=5)
    assert drawn.groupby("familiarity").size().tolist() == [5, 5, 5]
    latent = described.set_index("familiarity").loc["latent", "fit"]
    assert drawn.query("familiarity == 'latent'")["fit"].iloc[0] == pytest.approx(latent.predict([25])[0])


def test_one_seed_and_two_sizes_are_described_without_an_interval():
    points = stats.run_points(planted.frame(seeds=[0], sizes=[25, 100]), "exact_match")
    row = scaling.describe(points).iloc[0]
    assert row["label"] == "undetermined" and np.isnan([row["alpha"], row["alpha_low"]]).all()


def test_a_loss_without_a_floor_is_a_pure_power_law():
    """3 N^-0.08 has no bend towards a floor: the fit ends at a = 0 and finds the exponent."""
    sizes = np.array([75, 150, 300, 600, 1200, 2400, 4700], dtype=float)
    fitted = scaling.fit("power", sizes, 3.0 * sizes**-0.08, falling=True)
    assert fitted.parameters["alpha"] == pytest.approx(0.08, abs=1e-3)
    assert fitted.parameters["a"] == pytest.approx(0.0, abs=0.02)


def test_the_floor_of_a_loss_is_found_and_never_negative():
    sizes = np.array([75, 150, 300, 600, 1200, 2400, 4700], dtype=float)
    fitted = scaling.fit("power", sizes, 1.2 + 9.0 * sizes**-0.5, falling=True)
    assert fitted.parameters["alpha"] == pytest.approx(0.5, abs=1e-3)
    assert fitted.parameters["a"] == pytest.approx(1.2, abs=1e-3)
    concave = scaling.fit("power", sizes, 3.0 - 0.2 * np.log(sizes), falling=True)
    assert concave.parameters["a"] >= 0.0


def _planted_study(generator, *, seeds=8, n_items=300, between_seeds=0.15):
    """One study of binomial scores whose curve a - b N^-alpha is drawn: floor, ceiling, exponent.

    Seeds share the curve and differ in the logit of each run by a normal deviation, as runs of one recipe do.
    """
    alpha, top, start = generator.uniform(0.3, 1.2), generator.uniform(0.6, 0.97), generator.uniform(0.02, 0.3)
    curve = planted.power(top, (top - start) * SIZES[0] ** alpha, alpha)
    logits = np.log(curve(SIZES) / (1 - curve(SIZES))) + generator.normal(0, between_seeds, (seeds, len(SIZES)))
    scores = generator.binomial(n_items, 1 / (1 + np.exp(-logits))) / n_items
    return alpha, pd.DataFrame(scores, columns=SIZES)


def test_intervals_cover_the_exponents_of_two_hundred_planted_curves():
    """Binomial scores of 300 items, eight seeds: at least 90 % of intervals that claim 95 % hold the exponent.

    It is 94.5 % here; 92 to 96 % with 50 to 1000 items and deviations between seeds from 0 to 0.3.
    """
    generator = np.random.default_rng(7)
    covered = 0
    for study in range(200):
        alpha, table = _planted_study(generator)
        low, high = scaling.exponent_interval(table, draws=300, seed=study)
        covered += low <= alpha <= high
    assert covered >= 0.9 * 200
