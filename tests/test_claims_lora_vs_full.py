"""The claims on low-rank and full fine-tuning on planted runs whose differences are known by hand."""

import numpy as np
import pandas as pd
import planted_arms
import pytest
from planted_arms import OWN, curve

from itlib.claims import judge, load_claim
from itlib.claims.lora_vs_full import compared, frontiers, points
from itlib.registry import claims
from itlib.studies.lora_vs_full import CLAIMS


def verdict(name, frame, **how):
    return judge(load_claim(name), frame, **how)


def effects(name, frame):
    return {part: values.tolist() for part, values in claims.get(name)(frame, **load_claim(name).settings).items()}


def test_effects_by_hand():
    """full: (.2, .004) (.4, .016) (.6, .036) (.8, .064); own rates give .6, .45 and .3."""
    frame = planted_arms.frame(seeds=range(2))
    assert effects("L1", frame)["low_rank_minus_full"] == pytest.approx([-0.15] * 2)
    found = effects("L8", frame)
    assert found["learns_less"] == pytest.approx([-0.15] * 2)
    assert found["forgets_less"] == pytest.approx([0.05 * 0.45**2 - 0.1 * 0.6**2] * 2)
    low, full = 0.15 * (0.0005625 + 0.0028125 + 0.0073125), 0.2 * 0.002 + 0.2 * 0.01 + 0.05 * 0.0185
    assert found["forgets_less_at_equal_accuracy"] == pytest.approx([(low - full) / 0.45] * 2)
    # at .3 queries and values have a run, full fine-tuning lies half way between two
    assert effects("L9", frame)["low_rank_minus_full_at_equal_accuracy"] == pytest.approx([0.2 * 0.09 - 0.010] * 2)


@pytest.mark.parametrize(
    ("arm", "low_rank", "expected"),
    [
        ("L1", curve(0.8, 0.3, wobble=0.0005), "reproduced"),
        ("L1", curve(0.7, 0.3), "contradicted"),
        ("L1", curve(0.9, 0.3), "contradicted"),
        ("L1", curve(0.8, 0.1, wobble=0.01), "inconclusive"),
        ("L8", curve(0.7, 0.05), "reproduced"),
        ("L8", curve(0.9, 0.05), "contradicted"),  # learns more
        ("L8", curve(0.7, 0.3), "contradicted"),  # forgets more
        ("L8", curve(0.5, 0.15), "contradicted"),  # forgets less at its own rate, and more at equal accuracy
    ],
)
def test_low_rank_on_all_layers(arm, low_rank, expected):
    frame = planted_arms.frame({**planted_arms.ARMS, "lora 16": low_rank})
    assert verdict(arm, frame).verdict == expected


def test_the_part_that_fails_is_named():
    frame = planted_arms.frame({**planted_arms.ARMS, "lora 16": curve(0.5, 0.15)})
    found = {part.name: part.verdict for part in verdict("L8", frame).parts}
    assert found == {
        "learns_less": "reproduced",
        "forgets_less": "reproduced",
        "forgets_less_at_equal_accuracy": "contradicted",
    }


@pytest.mark.parametrize(("cost", "expected"), [(0.2, "reproduced"), (0.05, "contradicted")])
def test_low_rank_on_queries_and_values(cost, expected):
    frame = planted_arms.frame({**planted_arms.ARMS, "lora 16 qv": curve(0.4, cost)})
    assert verdict("L9", frame).verdict == expected


@pytest.mark.parametrize("name", CLAIMS)
def test_few_seeds_absent_arms_and_unequal_budgets_are_not_run(name):
    frame = planted_arms.frame()
    assert verdict(name, planted_arms.frame(seeds=range(3))).verdict == "not_run"
    assert verdict(name, frame[frame["arm"] != "full"]).verdict == "not_run"
    assert "'full'" in verdict(name, frame[frame["arm"] != "full"]).reason
    assert verdict(name, frame, blocked="steps differ").reason.endswith("steps differ")


def test_without_documents_forgetting_is_not_run_and_accuracy_is_judged():
    frame = planted_arms.frame(reference=False)
    assert verdict("L1", frame).verdict == "contradicted"
    for name in ("L8", "L9"):
        assert (
            verdict(name, frame).verdict == "not_run" and "forgetting was not measured" in verdict(name, frame).reason
        )


def test_a_loss_is_no_accuracy():
    for name in CLAIMS:
        found = verdict(name, planted_arms.frame(metric="response_nll"))
        assert found.verdict == "not_run"
    assert "metric of the claim" in verdict("L1", planted_arms.frame(metric="response_nll")).reason


def test_without_a_frontier_own_rates_are_still_judged():
    frame = planted_arms.frame(frontier=False)
    assert verdict("L1", frame).verdict == "contradicted"
    assert "frontier: true" in verdict("L9", frame).reason
    found = {part.name: part.verdict for part in verdict("L8", frame).parts}
    assert found.pop("forgets_less_at_equal_accuracy") == "not_run" and set(found.values()) == {"reproduced"}


def test_a_failed_run_leaves_its_seed_without_a_frontier_and_a_diverged_one_its_frontier_without_a_point():
    whole = planted_arms.frame()
    failed = points(planted_arms.fail(whole, "full", 0.004, 2), "exact_match")
    both = compared(failed, "lora 16 qv", "full")
    assert np.isnan(both.loc[2, "right"]) and both.drop(index=2).notna().all(axis=None)
    diverged = points(planted_arms.fail(whole, "full", 0.004, 2, "diverged"), "exact_match")
    assert frontiers(diverged, "full")[2].span == pytest.approx((0.0, 0.6))
    assert frontiers(diverged, "full")[3].span == pytest.approx((0.0, 0.8))
    gone = verdict("L1", planted_arms.fail(whole, "full", OWN, 5))
    assert gone.verdict == "not_run" and gone.n_seeds == 7


def test_forgetting_is_over_the_base_that_a_seed_tuned():
    """Seeds 8 and 9 tune the first two bases again, which are measured once."""
    frame = planted_arms.frame(seeds=range(8))
    again = frame[frame["seed"].isin([0, 1]) & (frame["point"] != "untuned")]
    again = again.assign(seed=again["seed"] + 8, digest=again["digest"] + "'")
    table = points(pd.concat([frame, again], ignore_index=True), "exact_match")
    own = table[(table["arm"] == "full") & (table["point"] == "own rate")].set_index("seed")["forgetting"]
    assert own.to_numpy() == pytest.approx(np.full(10, 0.036))
    untuned = table[table["point"] == "untuned"]
    assert len(untuned) == 8 and (untuned["forgetting"] == 0).all()
