"""k-center and facility location: the hand cases, the guarantees, lazy against plain."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stub import stub_context
from toolbox import example

from itlib.registry import selectors
from itlib.selectors import coverage
from itlib.selectors.coverage import facility_location, k_center, medoid

K_CENTER, FACILITY = selectors.get("k_center"), selectors.get("facility_location")


def column(*values):
    return np.array(values, dtype=float)[:, None]


def test_k_center_by_hand():
    assert k_center(column(0, 1, 10), 3, start=0).tolist() == [0, 2, 1]


def test_k_center_starts_at_the_medoid():
    assert medoid(column(0, 1, 10)) == 1
    assert k_center(column(0, 1, 10), 2).tolist() == [1, 2]


def test_k_center_takes_every_point_once_even_when_all_are_equal():
    assert sorted(k_center(np.zeros((5, 2)), 5).tolist()) == list(range(5))


def radius(points, rows):
    return max(min(float(np.linalg.norm(point - points[row])) for row in rows) for point in points)


@pytest.mark.parametrize("seed", range(10))
def test_k_center_is_within_twice_the_optimum(seed):
    points = np.random.default_rng(seed).normal(size=(9, 2))
    best = min(radius(points, rows) for rows in itertools.combinations(range(9), 3))
    assert radius(points, k_center(points, 3)) <= 2 * best + 1e-12


def value(similarity, rows):
    return float(similarity[list(rows)].max(axis=0).sum())


def plain_greedy(similarity, k):
    chosen, gains = [], []
    for _ in range(k):
        now = value(similarity, chosen) if chosen else 0.0
        found = [-np.inf if j in chosen else value(similarity, [*chosen, j]) - now for j in range(len(similarity))]
        chosen.append(int(np.argmax(found)))
        gains.append(found[chosen[-1]])
    return chosen, gains


@pytest.mark.parametrize("seed", range(20))
def test_greedy_reaches_its_share_of_the_exhaustive_optimum(seed):
    vectors = np.random.default_rng(seed).normal(size=(8, 2))
    similarity = np.exp(-((vectors[:, None] - vectors[None]) ** 2).sum(-1))
    best = max(value(similarity, rows) for rows in itertools.combinations(range(8), 3))
    assert value(similarity, facility_location(similarity, 3)) >= (1 - 1 / math.e) * best


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(0, 2**31))
def test_lazy_is_plain_greedy_and_gains_never_grow(n, seed):
    """Small whole numbers: sums are exact and ties are frequent."""
    similarity = np.random.default_rng(seed).integers(0, 5, (n, n)).astype(float)
    chosen, gains = plain_greedy(similarity, n)
    assert facility_location(similarity, n).tolist() == chosen
    assert all(later <= earlier for earlier, later in itertools.pairwise(gains))


def pool_of(n):
    return [example(index) for index in range(n)]


def test_facility_location_takes_one_of_each_group_and_the_largest_first():
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], [20, 6, 3])
    vectors = np.eye(3)[group] + rng.normal(scale=0.02, size=(29, 3))
    chosen = FACILITY(pool_of(29), 3, stub_context(pool_of(29), vectors))
    assert group[chosen].tolist() == [0, 1, 2]


def test_cosine_gives_the_order_of_euclidean_distances_between_unit_vectors():
    vectors = np.random.default_rng(3).normal(size=(25, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    squared = ((vectors[:, None] - vectors[None]) ** 2).sum(-1)
    wanted = facility_location(squared.max() - squared, 8)
    assert facility_location((1 + vectors @ vectors.T) / 2, 8).tolist() == wanted.tolist()
    assert FACILITY(pool_of(25), 8, stub_context(pool_of(25), 3 * vectors)).tolist() == wanted.tolist()


def test_k_center_seeks_out_the_outlier_and_facility_location_does_not():
    rng = np.random.default_rng(1)
    vectors = np.concatenate([rng.normal(size=(40, 3)) * 0.1 + [5, 0, 0], [[-40.0, 1.0, 1.0]]])
    vectors[:20] += [0, 5, 0]
    assert 40 in K_CENTER(pool_of(41), 2, stub_context(pool_of(41), vectors))
    assert 40 not in FACILITY(pool_of(41), 2, stub_context(pool_of(41), vectors))


@pytest.mark.parametrize("selector", [K_CENTER, FACILITY])
def test_ties_are_broken_at_random(selector):
    corners = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    first = {int(selector(pool_of(4), 1, stub_context(pool_of(4), corners, seed=s))[0]) for s in range(40)}
    assert first == {0, 1, 2, 3}


@pytest.mark.parametrize("selector", [K_CENTER, FACILITY])
def test_duplicates_are_taken_last_and_every_budget_is_met(selector):
    vectors = np.array([[1.0, 0.0]] * 4 + [[0.0, 1.0], [-1.0, 0.1]])
    chosen = selector(pool_of(6), 6, stub_context(pool_of(6), vectors)).tolist()
    assert sorted(chosen) == list(range(6))
    assert {4, 5} < set(chosen[:3])


# ---- pools larger than the sample that they are compared with -----------------------------------------------


def cloud(n, seed=0):
    """Points in groups of unequal size, with a little noise."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(6, 5))[rng.choice(6, n, p=[0.4, 0.2, 0.15, 0.1, 0.1, 0.05])] + rng.normal(0, 0.3, (n, 5))


def test_a_sample_is_drawn_only_of_what_is_larger_and_no_other_draw_moves():
    used, untouched = np.random.default_rng(5), np.random.default_rng(5)
    assert coverage.reference(coverage.REFERENCE, used) is None
    assert coverage.reference(coverage.REFERENCE + 1, used, coverage.REFERENCE + 1) is None
    assert used.random() == untouched.random()
    rows = coverage.reference(coverage.REFERENCE + 1, used)
    assert len(set(rows.tolist())) == coverage.REFERENCE
    assert len(coverage.reference(coverage.REFERENCE + 9, used, coverage.REFERENCE + 3)) == coverage.REFERENCE + 3


def test_up_to_the_size_of_the_sample_everything_is_compared_with_everything(monkeypatch):
    points = cloud(60)
    exact = [selector(pool_of(60), 8, stub_context(pool_of(60), points)).tolist() for selector in (FACILITY, K_CENTER)]
    monkeypatch.setattr(coverage, "REFERENCE", 60)
    same = [selector(pool_of(60), 8, stub_context(pool_of(60), points)).tolist() for selector in (FACILITY, K_CENTER)]
    monkeypatch.setattr(coverage, "REFERENCE", 20)
    other = [selector(pool_of(60), 8, stub_context(pool_of(60), points)).tolist() for selector in (FACILITY, K_CENTER)]
    assert exact == same
    assert exact[0] != other[0]


@pytest.mark.parametrize("seed", range(5))
def test_covering_a_sample_covers_nearly_as_much_of_the_pool_as_covering_it(monkeypatch, seed):
    """What both cover over random choice; a sample of a third loses a tenth of it at most."""
    points = cloud(300, seed)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    similarity = (1 + unit @ unit.T) / 2

    def covered():
        chosen = FACILITY(pool_of(300), 6, stub_context(pool_of(300), points, seed=seed))
        return value(similarity, chosen)

    exact = covered()
    monkeypatch.setattr(coverage, "REFERENCE", 100)
    rng = np.random.default_rng(seed)
    chance = np.mean([value(similarity, rng.permutation(300)[:6]) for _ in range(50)])
    assert exact > chance
    assert covered() - chance >= 0.9 * (exact - chance)


@pytest.mark.parametrize("seed", range(5))
def test_the_medoid_by_a_sample_is_nearly_as_central(seed):
    points = cloud(400, seed)
    sums = np.linalg.norm(points[:, None] - points[None], axis=2).sum(axis=1)
    assert sums[medoid(points)] == pytest.approx(sums.min())
    found = sums[medoid(points, np.random.default_rng(seed).permutation(400)[:130])]
    assert found <= sums.min() + 0.1 * (np.median(sums) - sums.min())
    assert medoid(points, np.arange(400)) == medoid(points)


@pytest.mark.parametrize("selector", [K_CENTER, FACILITY])
def test_above_the_sample_a_choice_is_a_matter_of_the_seed_alone(monkeypatch, selector):
    monkeypatch.setattr(coverage, "REFERENCE", 30)
    points, pool = cloud(100), pool_of(100)

    def ids(order, seed):
        np.random.seed(seed + 100 * int(order[0]))
        given = [pool[row] for row in order]
        return [given[row].id for row in selector(given, 12, stub_context(pool, points, seed=seed))]

    forwards, backwards = np.arange(100), np.arange(100)[::-1]
    assert ids(forwards, 0) == ids(backwards, 0)
    assert len(set(ids(forwards, 0))) == 12
    assert selector is K_CENTER or ids(forwards, 0) != ids(forwards, 1)


def test_budgets_above_the_sample_are_met(monkeypatch):
    monkeypatch.setattr(coverage, "REFERENCE", 5)
    for selector in (K_CENTER, FACILITY):
        found = selector(pool_of(30), 30, stub_context(pool_of(30), cloud(30)))
        assert sorted(found.tolist()) == list(range(30))
