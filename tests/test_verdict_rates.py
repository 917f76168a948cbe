"""Verdicts are measured themselves: invented studies of runs that do not differ, and of planted effects."""

import math

import numpy as np
import pandas as pd
import pytest

from itlib import claims
from itlib import verdict_rates as rates
from itlib.errors import InputError
from itlib.verdict_rates import Cell

DRAWS = 200
ERROR = 2 * math.sqrt(0.05 * 0.95 / DRAWS)


def groups(n_bases=8, n_runs=6, n_families=12, seed=0):
    """Skewed scores: most runs of a base are alike, some are much worse."""
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 0.2, (n_bases, 1, 1))
    run = -0.1 * rng.exponential(size=(n_bases, n_runs, 1))
    return list(0.6 + base + run + rng.normal(0, 0.1, (n_bases, n_runs, n_families)))


def test_components_by_hand():
    """Two bases, two runs each, two items: every sum of squares is a small whole number.

    Runs are right on (1, 0), (1, 0), (1, 1) and (1, 1): run means .5, .5, 1, 1; item means 1 and .5; total mean .75.
    Base 1 - 0: mean square 2 items * 4 runs * .25^2 = .5; within bases 0; items 4 * 2 * .25^2 = .5; the rest is .25 in
    each of 8 cells: .5 over 3 * 1 degrees of freedom.
    """
    cells = [(0, 0, (1, 0)), (0, 1, (1, 0)), (1, 2, (1, 1)), (1, 3, (1, 1))]
    items = pd.DataFrame([(b, r, i, v) for b, r, values in cells for i, v in enumerate(values)])
    items.columns = ["base", "run", "item", "value"]
    found = rates.components(items).set_index("source")["variance"]
    residual = 0.5 / 3
    assert found["run and item"] == pytest.approx(residual)
    assert found["run"] == pytest.approx((0 - residual) / 2)
    assert found["base"] == pytest.approx((0.5 - 0) / 4)
    assert found["item"] == pytest.approx((0.5 - residual) / 4)
    assert rates.components(items).set_index("source")["sd"]["run"] == 0


def test_components_find_what_was_planted():
    rng = np.random.default_rng(3)
    n_bases, n_runs, n_items = 60, 8, 200
    values = (
        rng.normal(0, 0.3, (n_bases, 1, 1))
        + rng.normal(0, 0.2, (n_bases, n_runs, 1))
        + rng.normal(0, 0.5, n_items)
        + rng.normal(0, 1.0, (n_bases, n_runs, n_items))
    )
    base, run, item = np.indices(values.shape)
    table = {"base": base.ravel(), "run": (base * n_runs + run).ravel(), "item": item.ravel(), "value": values.ravel()}
    sd = rates.components(pd.DataFrame(table)).set_index("source")["sd"]
    assert sd.to_dict() == pytest.approx({"base": 0.3, "run": 0.2, "item": 0.5, "run and item": 1.0}, rel=0.15)


def test_components_need_a_balanced_design():
    items = pd.DataFrame({"base": [0, 0, 1], "run": [0, 1, 2], "item": [0, 0, 0], "value": [1.0, 0.0, 1.0]})
    with pytest.raises(InputError, match="equally many runs of every base"):
        rates.components(items)


def test_the_spread_of_a_pair_by_hand():
    """Within the bases variances are .5 and 2, so a difference has the variance 2 * 1.25."""
    runs = [np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 1.0], [3.0, 3.0]])]
    assert rates.pair_sd(runs) == pytest.approx(math.sqrt(2.5))


@pytest.mark.parametrize("n_seeds", [6, 8, 20])
def test_a_study_pairs_runs_of_one_base_and_takes_no_run_twice(n_seeds):
    marked = [np.full((6, 3), 100.0 * base) + np.arange(6)[:, None] for base in range(8)]
    frame = rates.tidy([rates.pairs(marked, n_seeds, np.random.default_rng(1))], 0.25)
    table = frame.drop_duplicates(["arm", "seed"]).pivot(index="seed", columns="arm", values="value")
    left, right = table["a"] - 0.25, table["b"]
    assert (left // 100 == right // 100).all() and (left // 100 == table.index % 8).all()
    used = [*left, *right]
    assert len(set(used)) == 2 * n_seeds


def test_too_few_runs_for_a_study_are_refused():
    with pytest.raises(InputError, match="17 seeds need 6 runs of each of 8 bases"):
        rates.pairs(groups(n_runs=5), 17, np.random.default_rng(0))


def test_studies_of_one_frame_are_judged_each_for_itself():
    cell = Cell("greater", "border", 8, 2)
    claim, effect = rates.planted(cell, rates.pair_sd(groups()))
    rng = np.random.default_rng(2)
    drawn = [rates.pairs(groups(), 8, rng) for _ in range(20)]
    together = rates.judged(claim, rates.tidy(drawn, 5 * effect), 8)
    assert together == [rates.judged(claim, rates.tidy([one], 5 * effect), 8)[0] for one in drawn]
    assert len(set(together)) > 1


def test_unfinished_runs_are_refused():
    frame = pd.DataFrame({"metric": "exact_match", "family": "a", "base_seed": 0, "seed": [0, 1], "value": [1, np.nan]})
    with pytest.raises(InputError, match="a run failed or diverged"):
        rates.replicates(frame)


@pytest.mark.parametrize("direction", claims.TESTS)
@pytest.mark.parametrize("n_parts", [1, 3])
def test_verdicts_at_the_border_are_seldom_wrong(direction, n_parts):
    cell = Cell(direction, "border", 8, n_parts)
    assert rates.wrong(cell, rates.rates(cell, groups(), DRAWS, 0)) <= 0.05 + ERROR


@pytest.mark.parametrize("direction", claims.TESTS)
@pytest.mark.parametrize("truth", ["planted", "against"])
def test_planted_effects_are_found_as_often_as_promised(direction, truth):
    parts = pd.DataFrame({"source": ["base", "run", "item", "run and item"], "sd": [0.1, 0.04, 0.3, 0.3]})
    cell = Cell(direction, truth, 10)
    shares = rates.normal_rates(cell, parts, (12, 40), DRAWS, 0)
    assert rates.found(cell, shares) == pytest.approx(rates.POWER, abs=0.05 + 2 * math.sqrt(0.16 / DRAWS))
    assert rates.wrong(cell, shares) <= 0.01


def test_intervals_that_are_too_narrow_are_caught(monkeypatch):
    narrow = claims.sign_flip_interval
    monkeypatch.setattr(claims, "sign_flip_interval", lambda values, confidence=0.95: narrow(values, confidence - 0.1))
    cell = Cell("greater", "border", 8)
    assert rates.wrong(cell, rates.rates(cell, groups(), DRAWS, 0)) > 0.05 + ERROR


def test_an_undivided_level_is_caught(monkeypatch):
    """Four parts at the border contradict by chance about one time in ten if each has the whole level."""
    cell = Cell("greater", "border", 8, 4)
    divided = rates.rates(cell, groups(), DRAWS, 0)["contradicted"]
    monkeypatch.setattr(claims, "_weight", lambda part: part.verdict)
    undivided = rates.rates(cell, groups(), DRAWS, 0)["contradicted"]
    assert divided <= 0.05 + ERROR and undivided > 1.5 * divided


def test_draws_follow_from_the_seed():
    cell = Cell("less", "planted", 8)
    first, again, other = (rates.rates(cell, groups(), 50, seed) for seed in (0, 0, 1))
    assert first == again and first != other and sum(first.values()) == pytest.approx(1.0)
