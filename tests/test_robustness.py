"""Robustness to instructions: hand-computed numbers, planted effects, and answerers whose scores are known exactly."""

import itertools
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from itlib import robustness as r
from itlib.arms import variance_shares
from itlib.errors import InputError

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=7)


def item_rows(table, **names):
    """A table of instructions by items as item rows."""
    return pd.DataFrame(
        [(f"i{i}", f"x{x}", value) for (i, x), value in np.ndenumerate(np.asarray(table))],
        columns=["instruction", "item", "value"],
    ).assign(**names)


def accuracy_rows(cells):
    """Rows of {(replicate, task): (observed accuracies, unobserved accuracies)}."""
    return pd.DataFrame(
        [
            (replicate, task, f"{side[0]}{i}", side == "observed", value)
            for (replicate, task), sides in cells.items()
            for side, values in zip(("observed", "unobserved"), sides, strict=True)
            for i, value in enumerate(values)
        ],
        columns=["replicate", "task", "instruction", "observed", "accuracy"],
    )


# ---- crossed analysis of variance ---------------------------------------------------------------------------


def test_a_crossed_table_by_hand():
    """Two instructions, three items: rows 1 1 0 and 1 0 0; means 2/3 and 1/3 of a grand mean of 1/2."""
    found = r.crossed_anova(np.array([[1, 1, 0], [1, 0, 0]]))
    assert (found.n_instructions, found.n_items) == (2, 3)
    assert found.mean_square_instruction == pytest.approx(1 / 6)
    assert found.mean_square_item == pytest.approx(1 / 2)
    assert found.mean_square_rest == pytest.approx(1 / 6)
    assert found.variance_instruction == pytest.approx(0) and found.variance_item == pytest.approx(1 / 6)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_the_decomposition_of_seeds_by_arms(seed):
    """``variance_shares`` was written apart from this one; it cuts at 0; seeds by arms are items by instructions."""
    table = np.random.default_rng(seed).normal(size=(4, 6)) + np.arange(6)
    other = variance_shares(pd.DataFrame(table)).set_index("source")
    found = r.crossed_anova(table.T)
    assert found.variance_instruction == pytest.approx(other.loc["arm", "variance"])
    assert max(found.variance_item, 0) == pytest.approx(other.loc["seed", "variance"])
    assert found.variance_rest == pytest.approx(other.loc["rest", "variance"])


def test_a_planted_sigma_is_recovered():
    """400 crossed tables of right and wrong answers, .08 between 24 instructions; the naive spread is well above it."""
    generator = np.random.default_rng(0)
    variances, naive = [], []
    for _ in range(400):
        chance = 0.5 + generator.normal(0, 0.08, (24, 1)) + generator.normal(0, 0.15, (1, 160))
        table = (generator.random((24, 160)) < np.clip(chance, 0, 1)).astype(float)
        variances.append(r.crossed_anova(table).variance_instruction)
        naive.append(table.mean(axis=1).var(ddof=1))
    assert abs(np.mean(variances) ** 0.5 - 0.08) < 0.002
    assert abs(np.mean(np.sqrt(np.maximum(variances, 0))) - 0.08) < 0.002
    assert np.mean(naive) ** 0.5 > 0.086


def test_an_answerer_blind_to_instructions_has_no_variance_between_them():
    right = np.random.default_rng(1).integers(2, size=160)
    found = r.crossed_anova(np.tile(right, (24, 1)))
    assert found.variance_instruction <= 0 and found.sigma_instruction == 0
    cells = accuracy_rows({(0, "t"): ([right.mean()] * 16, [right.mean()] * 8)})
    gaps = r.task_gaps(cells)
    assert gaps.loc[0, "gap"] == 0 and gaps.loc[0, "sd_unobserved"] == 0


def test_variances_below_zero_are_kept_for_the_mean():
    """Noise alone: the mean of 300 cells is zero within its error, while that of cut ones is not."""
    generator = np.random.default_rng(2)
    cells = [item_rows(generator.integers(2, size=(5, 20)), arm="a", seed=s, family=f"f{s}") for s in range(300)]
    found = r.instruction_variance(pd.concat(cells), by=("arm", "seed", "family"))
    assert (found["variance_instruction"] < 0).any() and (found["sigma_instruction"] >= 0).all()
    mean = r.mean_instruction_variance(found, by=("arm",))
    error = found["variance_instruction"].std() / 300**0.5
    assert abs(mean.loc[0, "variance"]) < 3 * error < found["variance_instruction"].clip(lower=0).mean()
    assert mean.loc[0, "n_cells"] == 300 and len(r.mean_instruction_variance(found)) == 300


def test_cells_that_lack_an_item_are_absent_and_doubles_refused():
    rows = item_rows([[1, 0], [0, 1]], arm="a", seed=0)
    whole = r.instruction_variance(rows, by=("arm", "seed"))
    assert whole.loc[0, "mean_square_rest"] == pytest.approx(1)
    short = r.instruction_variance(rows.iloc[1:], by=("arm", "seed"))
    assert short["variance_instruction"].isna().all() and short["sigma_instruction"].isna().all()
    assert r.mean_instruction_variance(pd.concat([whole, short]), by=("arm",))["variance"].isna().all()
    with pytest.raises(InputError, match="several values for one instruction and item"):
        r.instruction_variance(pd.concat([rows, rows]), by=("arm", "seed"))
    with pytest.raises(InputError, match="no column 'item' "):
        r.instruction_variance(rows.rename(columns={"item": "items"}), by=("arm",))
    assert np.isnan(r.crossed_anova(np.ones((1, 5))).sigma_instruction)


def test_ratios_of_sigmas_need_two_of_them():
    sigmas = pd.DataFrame(
        [(0, True, 0.04), (0, False, 0.08), (1, True, 0.0), (1, False, 0.08)], columns=["seed", "observed", "sigma"]
    )
    assert r.log_sigma_ratio(sigmas, by=["seed"])["log_ratio"].to_list() == pytest.approx(
        [np.log(2), np.nan], nan_ok=True
    )
    with pytest.raises(InputError, match="one observed and one unobserved"):
        r.log_sigma_ratio(sigmas.iloc[:3], by=["seed"])


# ---- gaps ---------------------------------------------------------------------------------------------------


def test_gaps_by_hand():
    gaps = r.task_gaps(accuracy_rows({(0, "a"): ([0.8, 0.6], [0.5]), (0, "b"): ([0.4], [0.1, 0.3, 0.5])}))
    assert gaps["gap"].to_list() == pytest.approx([0.2, 0.1])
    assert gaps["sd_observed"].to_list() == pytest.approx([0.1, 0.0])
    assert gaps["sd_unobserved"].to_list() == pytest.approx([0.0, (0.08 / 3) ** 0.5])
    assert gaps[["n_observed", "n_unobserved"]].to_numpy().tolist() == [[2, 1], [1, 3]]
    assert r.gap_test(gaps, unit="task").loc[0, "effect"] == pytest.approx(0.15)


def test_tasks_and_replicates_have_equal_weight_and_exact_p_values():
    """Six tasks that all lose: p is 2 / 2^6 over tasks; over two replicates nothing can be significant."""
    cells = {(seed, f"t{i}"): ([0.6], [0.6 - 0.01 * (i + 1 + seed)]) for seed in range(2) for i in range(6)}
    gaps = r.task_gaps(accuracy_rows(cells))
    over_tasks = r.gap_test(gaps, unit="task").iloc[0]
    assert over_tasks["effect"] == pytest.approx(0.04) and over_tasks["p_value"] == 2 / 64
    assert (over_tasks["n"], over_tasks["n_above"]) == (6, 6) and over_tasks["low"] == pytest.approx(0.015)
    over_seeds = r.gap_test(gaps, unit="replicate").iloc[0]
    assert over_seeds["effect"] == pytest.approx(0.04) and over_seeds["p_value"] == 0.5 and np.isnan(over_seeds["low"])
    assert r.gap_test(gaps, unit="task", by=("replicate",))["effect"].to_list() == pytest.approx([0.035, 0.045])


def test_one_sided_tasks_are_left_out_and_holes_are_not_papered_over():
    cells = {(s, t): ([0.5], [0.4]) for s in range(2) for t in "ab"} | {(s, "c"): ([0.5], []) for s in range(2)}
    rows = accuracy_rows(cells)
    assert r.gap_test(r.task_gaps(rows), unit="replicate").loc[0, "n"] == 2
    hole = rows.assign(accuracy=rows["accuracy"].where(~((rows["replicate"] == 1) & (rows["task"] == "a"))))
    assert r.gap_test(r.task_gaps(hole), unit="replicate").loc[0, "n"] == 1, "a mean over other tasks is another number"
    assert r.gap_test(r.task_gaps(hole), unit="task").loc[0, "n"] == 1
    nothing = r.gap_test(r.task_gaps(accuracy_rows({(0, "c"): ([0.5], [])})), unit="task").iloc[0]
    assert nothing["n"] == 0 and np.isnan(nothing["effect"]) and np.isnan(nothing["p_value"])


def test_wrong_rows_are_refused():
    rows = accuracy_rows({(0, "a"): ([0.5], [0.4])})
    for broken, message in (
        (pd.concat([rows, rows]), "several accuracies"),
        (rows.assign(observed="yes"), "observed: must be true or false"),
        (rows.drop(columns="accuracy"), "no column 'accuracy'"),
    ):
        with pytest.raises(InputError, match=message):
            r.task_gaps(broken)
    with pytest.raises(InputError, match="several values for one task and replicate"):
        r.gap_test(pd.concat([r.task_gaps(rows)] * 2), unit="task")
    with pytest.raises(ValueError, match="unit must be"):
        r.gap_test(r.task_gaps(rows), unit="seed")


def test_an_answerer_that_knows_one_observed_word_is_at_chance_in_new_wordings():
    """Twenty items of four equally frequent answers; asked without its word, it says the first of them."""
    gold = np.tile(np.arange(4), 5)
    wordings = {True: ["what is the colour of", "the colour of"], False: ["which hue has", "hue, please:", "tint of"]}
    asked = [(text, side) for side, texts in wordings.items() for text in texts]
    rows = pd.concat(
        item_rows([(gold if "colour" in text else np.zeros(20)) == gold], observed=side).assign(instruction=text)
        for text, side in asked
    )
    accuracies = rows.groupby(["observed", "instruction"])["value"].mean().rename("accuracy").reset_index()
    gaps = r.task_gaps(accuracies.assign(replicate=0, task="colour"))
    assert gaps.loc[0, "observed"] == 1.0 and gaps.loc[0, "unobserved"] == 0.25 and gaps.loc[0, "gap"] == 0.75
    assert r.all_correct(rows, ks=[3], by=["observed"])["share"].to_list()[0] == 0.25


def test_the_spread_ratio_is_a_geometric_mean_over_tasks():
    cells = {(0, "a"): ([0.4, 0.6], [0.3, 0.7]), (0, "b"): ([0.4, 0.6], [0.1, 0.9]), (0, "c"): ([0.5, 0.5], [0.1, 0.9])}
    gaps = r.task_gaps(accuracy_rows(cells))
    found = r.spread_ratio(gaps).iloc[0]
    assert found["ratio"] == pytest.approx(8**0.5) and found["n"] == 2 and found["p_value"] == 0.5
    uneven = r.task_gaps(accuracy_rows({(0, "a"): ([0.4, 0.6], [0.3, 0.7, 0.3, 0.7])}))
    assert r.spread_ratio(uneven).loc[0, "ratio"] == pytest.approx(2)
    assert r.spread_ratio(uneven, sample=True).loc[0, "ratio"] == pytest.approx(2 * (4 / 3 / 2) ** 0.5)


def crossed_study(seed, sigma=0.08, tasks=10, wordings=8):
    """One model; the same unobserved wordings in every task, each worth the same everywhere."""
    generator = np.random.default_rng(seed)
    shift = generator.normal(0, sigma, wordings)
    return accuracy_rows(
        {(0, f"t{i}"): ([0.6] * 8, 0.6 + shift + generator.normal(0, 0.01, wordings)) for i in range(tasks)}
    )


def test_intervals_over_instructions_know_that_wordings_are_shared():
    """No gap is planted. Tasks repeat the luck of eight wordings: over tasks alone the interval misses zero mostly."""
    covers = {("task",): 0, ("task", "instruction"): 0}
    for seed in range(60):
        rows = crossed_study(seed)
        for over in covers:
            low, high = r.gap_interval(rows, draws=200, seed=0, over=over)
            covers[over] += low <= 0 <= high
    assert covers[("task", "instruction")] >= 49 and covers[("task",)] <= 20


def test_intervals_repeat_with_their_seed_and_say_where_there_is_none():
    rows = crossed_study(0)
    first = r.gap_interval(rows, draws=100, seed=1)
    np.random.seed(3)
    assert r.gap_interval(rows, draws=100, seed=1) == first != r.gap_interval(rows, draws=100, seed=2)
    low, high = first
    assert low < r.task_gaps(rows)["gap"].mean() < high
    assert np.isnan(r.gap_interval(rows[rows["task"] == "t0"], draws=10, seed=0)).all()
    assert np.isnan(r.gap_interval(rows, draws=10, seed=0, over=("task", "replicate"))).all()
    both = pd.concat([rows, rows.assign(replicate=1)])
    assert r.gap_interval(both, draws=100, seed=1) == pytest.approx(first), "equal replicates share their weights"


def test_the_width_of_an_interval_over_tasks_is_known():
    """Exponential weights on n values give their mean a variance of their population variance / (n + 1)."""
    gaps = np.random.default_rng(0).normal(0.05, 0.1, 20)
    rows = accuracy_rows({(0, f"t{i}"): ([0.5 + gap], [0.5]) for i, gap in enumerate(gaps)})
    low, high = r.gap_interval(rows, draws=20000, seed=0, over=("task",))
    assert high - low == pytest.approx(2 * 1.96 * gaps.std() / 21**0.5, rel=0.03)
    assert (low + high) / 2 == pytest.approx(gaps.mean(), abs=0.005)
    alike = accuracy_rows({(0, f"t{i}"): ([0.6, 0.6], [0.5]) for i in range(4)})
    assert r.gap_interval(alike, draws=100, seed=0, over=("task",)) == pytest.approx((0.1, 0.1))


# ---- the worst, and all -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(values=SHARES, size=st.integers(1, 7), k=st.integers(1, 7))
def test_the_worst_of_a_subset_in_closed_form(values, size, k):
    """Against the enumeration of every subset."""
    found = r.expected_worst(values, size=size, k=k)
    if k > size or size > len(values):
        assert np.isnan(found)
        return
    every = [np.mean(sorted(subset)[:k]) for subset in itertools.combinations(values, size)]
    assert found == pytest.approx(np.mean(every))


def test_the_minimum_of_many_is_not_held_against_them():
    """Fifty observed and ten unobserved instructions of one distribution: the raw minimum differs, the fair one not."""
    raw, fair = [], []
    for seed in range(200):
        values = np.random.default_rng(seed).normal(0.6, 0.08, 60)
        found = r.worst_gaps(accuracy_rows({(0, "t"): (values[:50], values[50:])}), k=1).iloc[0]
        raw.append(found["worst_observed"] - found["worst_unobserved"])
        fair.append(found["gap"])
        assert found["size"] == 10
    assert np.mean(raw) < -0.04 and abs(np.mean(fair)) < 3 * np.std(fair) / 200**0.5
    assert np.isnan(r.worst_gaps(accuracy_rows({(0, "t"): ([0.5] * 5, [0.5] * 2)}), k=3).loc[0, "gap"])


def test_the_worst_by_hand():
    assert r.worst_mean([0.9, 0.1, 0.5], 2) == pytest.approx(0.3)
    assert np.isnan(r.worst_mean([0.9, np.nan], 1)) and r.worst_mean([0.9], 1) == 0.9
    assert r.expected_worst([0.0, 0.0, 1.0], size=2, k=1) == pytest.approx(0)
    assert r.expected_worst([0.0, 1.0, 1.0], size=2, k=1) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="k must be at least 1"):
        r.worst_mean([0.9], 0)


def test_any_statistic_at_equal_size():
    values = np.linspace(0, 1, 12)

    def ranges(seed):
        return r.equal_size(values, values[:4], np.ptp, draws=50, seed=seed)

    seen, new = r.equal_size(values, values[:4], np.min, draws=2000, seed=0)
    assert new == 0 and seen == pytest.approx(r.expected_worst(values, size=4, k=1), abs=0.015)
    first = ranges(1)
    np.random.seed(5)
    assert ranges(1) == first != ranges(2)
    assert np.isnan(r.equal_size(values, [], np.min, draws=2, seed=0)).all()


def test_right_under_all_of_k():
    """Three instructions, items right under 3, 2 and 0 of them."""
    rows = item_rows([[1, 1, 0], [1, 1, 0], [1, 0, 0]])
    shares = r.all_correct(rows, ks=[1, 2, 3, 4]).set_index("k")["share"]
    assert shares.to_list() == pytest.approx([5 / 9, (1 + 1 / 3) / 3, 1 / 3, np.nan], nan_ok=True)
    table = np.random.default_rng(0).integers(2, size=(6, 40))
    for k in range(1, 7):
        every = [table[list(rows_in)].all(axis=0).mean() for rows_in in itertools.combinations(range(6), k)]
        assert r.all_correct(item_rows(table), ks=[k]).loc[0, "share"] == pytest.approx(np.mean(every))
    assert np.isnan(r.all_correct(rows.iloc[1:], ks=[1]).loc[0, "share"]), "an item lacks a score"
    with pytest.raises(InputError, match="value: must be 0 or 1"):
        r.all_correct(rows.assign(value=0.5), ks=[1])
    with pytest.raises(ValueError, match="k must be at least 1"):
        r.all_correct(rows, ks=[0])


# ---- LMentry, injections, chains ----------------------------------------------------------------------------


def test_lmentry_of_constant_and_perfect_predictors():
    """Always "the first" on a balanced task: right in one order of the arguments, wrong in the other."""
    rows = pd.DataFrame([("order", "bigger", 1.0), ("order", "bigger", 0.0)], columns=["axis", "set", "accuracy"])
    constant = r.axis_robustness(rows, by=())
    assert constant.loc[0, "robustness"] == 0 and r.lmentry_score(0.5, constant["robustness"]) == 0
    perfect = r.axis_robustness(rows.assign(accuracy=1.0), by=())
    assert r.lmentry_score(1.0, perfect["robustness"]) == 100
    more = [("order", "x", 0.9), ("order", "x", 0.8), ("order", "x", 0.7), ("order", "y", 0.5), ("template", "x", 0.4)]
    found = r.axis_robustness(pd.DataFrame(more, columns=rows.columns), by=()).set_index("axis")
    assert found["robustness"].to_dict() == pytest.approx({"order": 90, "template": 100})
    assert found.loc["order", "n_sets"] == 2 and r.lmentry_score(0.6, found["robustness"]) == pytest.approx(57)


def test_an_answerer_that_never_reads_the_injection_succeeds_by_collision_alone():
    """Its hits are exactly its chance rate, so nothing is left after correction."""
    outputs = ["red"] * 6 + ["blue"] * 3 + ["green"]
    injected = ["red", "blue", "green", "black"]
    chance = r.chance_collisions(injected, outputs)
    assert chance.tolist() == pytest.approx([0.6, 0.3, 0.1, 0])
    pairs = [(output == answer, p) for answer, p in zip(injected, chance, strict=True) for output in outputs]
    found = r.attack_success(pd.DataFrame(pairs, columns=["hit", "collision"]), by=()).iloc[0]
    assert (found["n"], found["hits"]) == (40, 10) and found["rate"] == 0.25
    assert found["corrected"] == pytest.approx(0) and np.isnan(found["at_most"])
    assert found["corrected_low"] < 0 < found["corrected_high"]


def test_wilson_intervals_and_the_rule_of_three():
    """Bounds of 10 in 40 from Wilson's formula with z = 1.959964; nothing in 600 means at most half a percent."""
    rows = pd.DataFrame({"arm": ["a"] * 40 + ["b"] * 600, "hit": [1] * 10 + [0] * 630, "collision": 0.0})
    found = r.attack_success(rows, by=["arm"]).set_index("arm")
    z, n, p = 1.959963985, 40, 0.25
    middle, half = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    expected = [(middle - half) / (1 + z**2 / n), (middle + half) / (1 + z**2 / n)]
    assert found.loc["a", ["low", "high"]].to_list() == pytest.approx(expected)
    assert found.loc["b", "at_most"] == 0.005 and found.loc["b", "rate"] == 0
    assert (1 - 0.005) ** 600 == pytest.approx(0.05, abs=0.001), "what the rule of three says"


@pytest.mark.parametrize(("hit", "collision", "message"), [(2, 0, "hit"), (np.nan, 0, "hit"), (1, 1.2, "collision")])
def test_wrong_injections_are_refused(hit, collision, message):
    with pytest.raises(InputError, match=f"^{message}: must be"):
        r.attack_success(pd.DataFrame({"hit": [hit], "collision": [collision]}), by=())
    with pytest.raises(InputError, match="no chance rate"):
        r.chance_collisions(["a"], [])


def chains(table, **names):
    long = item_rows(np.asarray(table).T).rename(columns={"instruction": "step"})
    return long.assign(**names)


def test_chains_against_independent_steps():
    together = r.chain_accuracy(chains([[1, 1], [1, 1], [0, 0], [0, 0]]), by=()).iloc[0]
    assert (together["all_steps"], together["independent"], together["ratio"]) == (0.5, 0.25, 2.0)
    single = r.chain_accuracy(chains([[1], [0]], arm="a", length=1)).iloc[0]
    assert single["ratio"] == 1.0 and single["n_steps"] == 1
    never = r.chain_accuracy(chains([[0, 1], [0, 1]]), by=()).iloc[0]
    assert never["all_steps"] == 0 and np.isnan(never["ratio"])
    assert np.isnan(r.chain_accuracy(chains([[1, 1], [1, 1]]).iloc[1:], by=()).loc[0, "all_steps"])


def test_independent_steps_have_ratio_one():
    table = np.random.default_rng(0).random((20000, 3)) < [0.9, 0.8, 0.7]
    found = r.chain_accuracy(chains(table.astype(int)), by=()).iloc[0]
    assert found["independent"] == pytest.approx(0.504, abs=0.01) and found["ratio"] == pytest.approx(1, abs=0.02)


def test_closed_forms_need_no_plotting_and_no_torch():
    code = "import sys, itlib.robustness; print({'torch', 'transformers', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "set()", done.stderr
    assert hypergeom.cdf(0, 3, 0, 2) == 1.0, "what expected_worst rests on: nothing lies below the smallest"
