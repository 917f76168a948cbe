"""The k-means family: quotas that sum, clusters that hold, sampling in proportion, and what rounds change."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stub import stub_context
from toolbox import example

from itlib.errors import InputError
from itlib.registry import selectors
from itlib.selectors import clusters, coverage
from itlib.selectors.clusters import k_means, largest_remainder, reweighted, sample, silhouette

K_MEANS_RANDOM, KMQ, ITERATIVE = (selectors.get(name) for name in ("k_means_random", "kmq", "iterative_kmq"))
CENTRES = np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 20.0]])


def gaussians(*sizes, seed=0):
    """Well separated clouds; returns points and the cloud of each."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    return CENTRES[group] + np.random.default_rng(seed).normal(size=(len(group), 2)), group


def pool_of(n, **fields):
    return [example(index, **fields) for index in range(n)]


# ---- quotas ------------------------------------------------------------------------------------------------


def test_three_gaussians_of_60_30_10_get_6_3_1():
    points, group = gaussians(60, 30, 10)
    labels, _ = k_means(points, 3, np.random.default_rng(0))
    quotas = largest_remainder(np.bincount(labels), 10, np.bincount(labels))
    assert [int(quotas[labels[group == g][0]]) for g in range(3)] == [6, 3, 1]
    for name in ("k_means_random", "kmq"):
        options = {"quality": "uniform"} if name == "kmq" else {}
        chosen = selectors.get(name)(pool_of(100), 10, stub_context(pool_of(100), points), n_clusters=3, **options)
        assert np.bincount(group[chosen]).tolist() == [6, 3, 1]


@pytest.mark.parametrize(
    ("shares", "total", "capacity", "wanted"),
    [
        ([0.6, 0.3, 0.1], 10, [99, 99, 99], [6, 3, 1]),
        ([1, 1, 1], 2, [9, 9, 9], [1, 1, 0]),
        ([0.5, 0.3, 0.2], 7, [9, 9, 9], [4, 2, 1]),  # 3.5, 2.1, 1.4
        ([0.5, 0.3, 0.2], 10, [2, 9, 9], [2, 5, 3]),  # 8 left in the ratio 3 : 2
        ([1, 0, 0], 5, [2, 4, 2], [2, 2, 1]),  # what no share can take goes by capacity
        ([3, 1], 0, [5, 5], [0, 0]),
        ([0, 0], 3, [1, 2], [1, 2]),
    ],
)
def test_largest_remainders_by_hand(shares, total, capacity, wanted):
    assert largest_remainder(np.array(shares, dtype=float), total, np.array(capacity)).tolist() == wanted


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 50)), min_size=1, max_size=30), st.floats(0, 1))
def test_quotas_sum_exactly_and_stay_within_capacity(parts, fraction):
    shares, capacity = np.array([part[0] for part in parts]), np.array([part[1] for part in parts])
    total = int(fraction * capacity.sum())
    quotas = largest_remainder(shares, total, capacity)
    assert quotas.sum() == total
    assert (quotas >= 0).all() and (quotas <= capacity).all()


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), st.integers(0, 500))
def test_no_quota_is_a_whole_example_off_its_share(shares, total):
    shares = np.array(shares, dtype=float)
    quotas = largest_remainder(shares, total, np.full(len(shares), total))
    assert np.abs(quotas - total * shares / shares.sum()).max() < 1


def test_a_total_beyond_all_capacity_is_an_error():
    with pytest.raises(ValueError, match="a total of 4 exceeds the capacity of 3"):
        largest_remainder(np.ones(2), 4, np.array([1, 2]))


def test_a_budget_below_the_number_of_clusters_is_still_met():
    """A whole number per cluster would be 0 for all of them."""
    points = np.random.default_rng(0).normal(size=(60, 2))
    for name in ("k_means_random", "kmq"):
        context = stub_context(pool_of(60), points, losses=np.ones(60))
        assert len(set(selectors.get(name)(pool_of(60), 7, context, n_clusters=40).tolist())) == 7


# ---- k-means -----------------------------------------------------------------------------------------------


def cost(points, labels):
    return sum(((points[labels == j] - points[labels == j].mean(0)) ** 2).sum() for j in np.unique(labels))


@pytest.mark.parametrize("seed", range(5))
def test_k_means_finds_the_exhaustive_optimum_of_eight_points(seed):
    points = np.random.default_rng(seed).normal(size=(8, 2))
    best = min(cost(points, np.array([0, *bits])) for bits in itertools.product([0, 1], repeat=7) if any(bits))
    labels, centres = k_means(points, 2, np.random.default_rng(seed), n_restarts=20)
    assert cost(points, labels) == pytest.approx(best)
    np.testing.assert_allclose(centres, [points[labels == j].mean(0) for j in range(2)])


def test_k_means_far_from_the_origin_finds_the_same_clouds():
    points, group = gaussians(20, 20, 20)
    labels, centres = k_means(points + 1e7, 3, np.random.default_rng(0))
    assert len(set(zip(labels.tolist(), group.tolist(), strict=True))) == 3
    assert np.abs(np.sort(centres - 1e7, axis=0) - np.sort(CENTRES, axis=0)).max() < 1


@pytest.mark.parametrize("k", [1, 3, 6, 10])
def test_no_cluster_is_empty_even_with_fewer_different_points(k):
    points = np.array([[0.0, 0.0]] * 6 + [[1.0, 0.0]] * 3 + [[0.0, 1.0]])
    labels, centres = k_means(points, k, np.random.default_rng(0))
    assert sorted(set(labels.tolist())) == list(range(k))
    assert np.isfinite(centres).all()


def test_an_empty_cluster_takes_the_farthest_point():
    distances = np.array([[0.0, 9.0, 8.0], [4.0, 9.0, 8.0], [9.0, 1.0, 8.0]])
    assert clusters._none_empty(distances.argmin(axis=1), distances).tolist() == [0, 2, 1]


@pytest.mark.parametrize("seed", range(5))
def test_centres_found_on_a_sample_serve_the_pool_nearly_as_well(monkeypatch, seed):
    """Up to the size of the sample nothing changes; above, what is lost is little of what clusters explain."""
    monkeypatch.setattr(clusters, "FEWEST_PER_CLUSTER", 1)
    points = np.random.default_rng(seed).normal(size=(600, 3))
    exact = k_means(points, 8, np.random.default_rng(seed))
    monkeypatch.setattr(coverage, "REFERENCE", 600)
    np.testing.assert_array_equal(k_means(points, 8, np.random.default_rng(seed))[0], exact[0])
    monkeypatch.setattr(coverage, "REFERENCE", 200)
    labels, centres = k_means(points, 8, np.random.default_rng(seed))
    again, _ = k_means(points, 8, np.random.default_rng(seed))
    np.testing.assert_array_equal(again, labels)
    explained = [cost(points, np.zeros(600)) - cost(points, found) for found in (exact[0], labels)]
    assert explained[1] > 0.95 * explained[0]
    np.testing.assert_allclose(centres, [points[labels == j].mean(0) for j in range(8)])


@pytest.mark.parametrize("k", [1, 6, 30])
def test_no_cluster_is_empty_where_centres_come_from_a_sample(monkeypatch, k):
    monkeypatch.setattr(coverage, "REFERENCE", 10)
    monkeypatch.setattr(clusters, "FEWEST_PER_CLUSTER", 1)
    points = np.repeat(np.eye(3), [30, 9, 1], axis=0)
    labels, centres = k_means(points, k, np.random.default_rng(0))
    assert sorted(set(labels.tolist())) == list(range(k))
    assert np.isfinite(centres).all()


def brute_silhouette(points, labels):
    found = []
    for i, point in enumerate(points):
        distance = np.linalg.norm(points - point, axis=1)
        own = (labels == labels[i]) & (np.arange(len(points)) != i)
        if not own.any():
            found.append(0.0)
            continue
        a = distance[own].mean()
        b = min(distance[labels == j].mean() for j in set(labels.tolist()) - {int(labels[i])})
        found.append((b - a) / max(a, b))
    return float(np.mean(found))


def test_silhouette_by_hand():
    points, labels = np.array([[0.0], [1.0], [10.0], [11.0]]), np.array([0, 0, 1, 1])
    assert silhouette(points, labels) == pytest.approx((9.5 / 10.5 + 8.5 / 9.5) / 2)


@pytest.mark.parametrize("seed", range(4))
def test_silhouette_is_its_definition_also_across_blocks(seed, monkeypatch):
    monkeypatch.setattr(clusters, "BLOCK", 7)
    rng = np.random.default_rng(seed)
    points, labels = rng.normal(size=(30, 3)) + 50, rng.choice([0, 2, 5], 30)
    labels[0] = 9
    assert silhouette(points, labels) == pytest.approx(brute_silhouette(points, labels))


def test_silhouette_of_one_cluster_does_not_exist():
    with pytest.raises(ValueError, match="two clusters"):
        silhouette(np.eye(3), np.zeros(3, dtype=int))


def test_the_right_number_of_clusters_has_the_highest_silhouette():
    points, _ = gaussians(30, 30, 30)
    found = {}
    for k in (2, 3, 6):
        context = stub_context(pool_of(90), points)
        K_MEANS_RANDOM(pool_of(90), 5, context, n_clusters=k)
        found[k] = context.ledger.notes["silhouette"]
    assert max(found, key=found.get) == 3 and found[3] > 0.8


# ---- sampling ----------------------------------------------------------------------------------------------


def within_chance(counts, n, p):
    return np.abs(np.array(counts) - n * p).max() < 4.5 * np.sqrt(n * p * (1 - p))


def test_one_cluster_of_uniform_quality_is_random_selection():
    points, _ = gaussians(4, 4, 4)
    rng, inclusions, pairs = np.random.default_rng(0), np.zeros(12), np.zeros((12, 12))
    pool = pool_of(12)
    for seed in rng.integers(0, 2**31, 1500):
        context = stub_context(pool, points, seed=int(seed))
        chosen = KMQ(pool, 3, context, n_clusters=1, quality="uniform")
        inclusions[chosen] += 1
        pairs[np.ix_(chosen, chosen)] += 1
    assert within_chance(inclusions, 1500, 3 / 12)
    assert within_chance(pairs[np.triu_indices(12, 1)], 1500, 3 * 2 / (12 * 11))


def test_a_quality_of_one_hot_selects_that_item():
    log_weights = np.full(9, -np.inf)
    log_weights[5] = 0.0
    for seed in range(50):
        rows, n_backfilled = sample(log_weights, np.zeros(9, dtype=int), np.array([1]), np.random.default_rng(seed))
        assert (rows.tolist(), n_backfilled) == ([5], 0)


def test_weights_of_zero_come_last_at_random_and_are_counted():
    log_weights = np.array([0.0, -np.inf, -np.inf, -np.inf])
    second = set()
    for seed in range(60):
        rows, n_backfilled = sample(log_weights, np.zeros(4, dtype=int), np.array([2]), np.random.default_rng(seed))
        assert rows[0] == 0 and n_backfilled == 1
        second.add(int(rows[1]))
    assert second == {1, 2, 3}


def test_draws_are_in_proportion_also_after_the_first():
    """Weights 4 : 2 : 1. Second after first: 4/7 * 2/3 and so on."""
    rng, n = np.random.default_rng(0), 4000
    counts = dict.fromkeys(itertools.permutations(range(3), 2), 0)
    for _ in range(n):
        rows, _ = sample(np.log([4.0, 2.0, 1.0]), np.zeros(3, dtype=int), np.array([2]), rng)
        counts[tuple(rows.tolist())] += 1
    weights = np.array([4.0, 2.0, 1.0])
    for (first, second), count in counts.items():
        p = weights[first] / 7 * weights[second] / (7 - weights[first])
        assert within_chance([count], n, p)


def test_perplexity_weighs_by_its_inverse_fractions_included():
    """Losses 0.1 and 0.9 nats: odds of exp(0.8), which whole numbers would make even."""
    points, pool = np.array([[0.0], [1.0]]), pool_of(2)
    first = sum(
        int(KMQ(pool, 1, stub_context(pool, points, losses=[0.1, 0.9], seed=s), n_clusters=1)[0] == 0)
        for s in range(1500)
    )
    assert within_chance([first], 1500, 1 / (1 + np.exp(-0.8)))


def test_clean_quality_takes_clean_examples_and_counts_the_rest():
    points, group = gaussians(20, 20, 20)
    clean = np.arange(60) % 4 == 0  # five in each cloud
    pool = [example(i, noise="none" if clean[i] else "wrong") for i in range(60)]
    context = stub_context(pool, points)
    chosen = KMQ(pool, 15, context, n_clusters=3, quality="clean")
    assert clean[chosen].all() and context.ledger.notes["n_backfilled"] == 0
    context = stub_context(pool, points)
    chosen = KMQ(pool, 21, context, n_clusters=3, quality="clean")
    assert clean[chosen].sum() == 15 and context.ledger.notes["n_backfilled"] == 6
    assert np.bincount(group[chosen]).tolist() == [7, 7, 7]


# ---- rounds ------------------------------------------------------------------------------------------------


def after(weights, scores, labels=None):
    labels = np.arange(len(weights)) if labels is None else np.array(labels)
    return reweighted(np.array(weights), labels, np.array(scores)).tolist()


def test_weights_follow_equation_6_and_remember():
    assert after([0.5, 0.5], [0.2, 0.6]) == pytest.approx([0.25, 0.75])
    assert after([0.25, 0.75], [0.6, 0.2]) == pytest.approx([0.5, 0.5])
    assert after([0.5, 0.5], [0.0, 0.4, 0.6], labels=[0, 0, 1]) == pytest.approx([0.25, 0.75])  # means


def test_negative_scores_count_nothing_and_never_break_the_weights():
    assert after([0.5, 0.5], [-1.0, 0.5]) == [0.0, 1.0]
    assert after([0.3, 0.7], [-1.0, -2.0]) == [0.3, 0.7]
    assert after([0.3, 0.7], [0.0, 0.0]) == [0.3, 0.7]
    assert after([0.0, 1.0], [5.0, -1.0]) == [0.0, 1.0]


def test_a_cluster_without_examples_has_the_mean_score():
    assert after([0.25, 0.25, 0.5], [0.2, 0.6], labels=[0, 1]) == pytest.approx(np.array([0.05, 0.15, 0.2]) / 0.4)


def steered(monkeypatch, pool, group, best):
    """Replace training by a score of 1 for one cloud and 0 for the others; returns what was trained on."""
    seen = []
    cloud = {one.id: g for one, g in zip(pool, group, strict=True)}

    def lead(examples, context, score, name):
        seen.append([one.id for one in examples])
        return np.array([float(cloud[one.id] == best) for one in examples])

    monkeypatch.setattr(clusters, "lead_of_gold", lead)
    return seen


def test_rounds_move_to_the_cluster_that_is_not_learned(monkeypatch):
    points, group = gaussians(40, 40, 40)
    pool = pool_of(120)
    seen = steered(monkeypatch, pool, group, best=1)
    context = stub_context(pool, points)
    chosen = ITERATIVE(pool, 27, context, n_clusters=3, quality="uniform")
    assert [len(ids) for ids in seen] == [9, 18]
    assert seen[1][:9] == seen[0]
    assert np.bincount(group[chosen[:9]]).tolist() == [3, 3, 3]
    assert set(group[chosen[9:]].tolist()) == {1}
    assert len(set(chosen.tolist())) == 27 and context.ledger.notes["n_clusters_left"] == 1


def test_clusters_start_alike_whatever_their_size(monkeypatch):
    points, group = gaussians(80, 20, 20)
    pool = pool_of(120)
    steered(monkeypatch, pool, group, best=0)
    chosen = ITERATIVE(pool, 12, stub_context(pool, points), n_clusters=3, quality="uniform", n_rounds=1)
    assert np.bincount(group[chosen]).tolist() == [4, 4, 4]


@pytest.mark.parametrize("budget", [1, 2, 10, 59, 60])
def test_every_budget_is_met_when_a_cluster_runs_out(monkeypatch, budget):
    points, group = gaussians(5, 25, 30)
    pool = pool_of(60)
    steered(monkeypatch, pool, group, best=0)
    chosen = ITERATIVE(pool, budget, stub_context(pool, points, losses=np.ones(60)), n_clusters=3)
    assert len(set(chosen.tolist())) == len(chosen) == budget


# ---- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "options", "message"),
    [
        (K_MEANS_RANDOM, {"n_clusters": 0}, "selector_options: n_clusters: must be at least 1, got 0"),
        (KMQ, {"n_clusters": 4}, "selector_options: n_clusters: must be at most 3 (the size of the pool), got 4"),
        (
            KMQ,
            {"quality": "perplexty"},
            "selector_options: quality: 'perplexty' is not one of perplexity, uniform, clean (did you mean",
        ),
        (ITERATIVE, {"score": "reward"}, "selector_options: score: 'reward' is not one of perplexity, agreement"),
        (ITERATIVE, {"n_rounds": 0}, "selector_options: n_rounds: must be at least 1, got 0"),
    ],
)
def test_bad_options_are_refused_in_one_line(selector, options, message):
    context = stub_context(pool_of(3), np.eye(3), losses=np.ones(3))
    with pytest.raises(InputError) as caught:
        selector(pool_of(3), 1, context, **({"n_clusters": 2} | options))
    assert str(caught.value).startswith(message)


def test_vectors_and_losses_that_cannot_be_used_are_refused():
    pool = pool_of(3)
    with pytest.raises(InputError, match="^embeddings are constant"):
        K_MEANS_RANDOM(pool, 1, stub_context(pool, np.ones((3, 2))), n_clusters=1)
    with pytest.raises(InputError, match="^quality: the scorer's losses are not finite"):
        KMQ(pool, 1, stub_context(pool, np.eye(3), losses=[1.0, np.inf, 1.0]), n_clusters=1)
