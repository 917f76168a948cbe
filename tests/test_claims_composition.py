"""Estimators of the composition claims on the cpu grid with planted scores; effects by hand."""

import composed
import numpy as np
import pandas as pd
import pytest

from itlib import claims
from itlib.registry import families
from itlib.studies.composition import CLAIMS

GOOD, BAD = composed.frame(composed.as_papers_say), composed.frame(composed.against_papers)
EFFECTS = {
    "SC4": {"gain_at_smallest": 0.08, "gain_at_largest": -0.06},
    "SC5": {"special_slope": 0.0, "general_slope": 0.0},
    "SC6": {"forgotten": 0.30, "restored_share": 0.25 / 0.30, "general_kept": -0.01},
    "SC30": {"sequential_gain": 0.03},
    "SC11": {"gain_of_a_cap": 0.07, "spread_over_caps": 0.02},
    "SC12": {"over_none": 0.05, "over_most": 0.15},
    "SC22": {"phased_minus_stacked": 0.005},
    "O11": {"interleaved_gain": 0.02},
    "O12": {"largest_gain": 0.02},
}
AGAINST = {
    "SC4": {"gain_at_smallest": -0.08, "gain_at_largest": 0.06},
    "SC5": {"special_slope": 0.10, "general_slope": 0.10},
    "SC30": {"sequential_gain": -0.10},
    "SC11": {"gain_of_a_cap": -0.15, "spread_over_caps": 0.10},
    "SC12": {"over_none": -0.02, "over_most": -0.12},
    "SC22": {"phased_minus_stacked": 0.10},
    "O11": {"interleaved_gain": -0.02},
    "O12": {"largest_gain": 0.10},
}


def judge(claim_id, frame):
    return claims.judge(claims.load_claim(claim_id), frame)


def parts(claim_id, frame):
    return {part.name: part.effect for part in judge(claim_id, frame).parts}


@pytest.mark.parametrize("claim_id", CLAIMS)
def test_claims_are_reproduced_where_they_hold(claim_id):
    verdict = judge(claim_id, GOOD)
    assert verdict.verdict == "reproduced" and verdict.n_seeds == 8, verdict
    assert parts(claim_id, GOOD) == pytest.approx(EFFECTS[claim_id], abs=1e-9)


@pytest.mark.parametrize("claim_id", CLAIMS)
def test_claims_are_contradicted_where_they_fail(claim_id):
    assert judge(claim_id, BAD).verdict == "contradicted"
    if claim_id in AGAINST:
        assert parts(claim_id, BAD) == pytest.approx(AGAINST[claim_id], abs=1e-9)


@pytest.mark.parametrize("claim_id", CLAIMS)
def test_too_few_seeds_are_not_run(claim_id):
    verdict = judge(claim_id, GOOD[GOOD["seed"] < 7])
    assert verdict.verdict == "not_run" and "at least 8" in verdict.reason


@pytest.mark.parametrize("claim_id", CLAIMS)
def test_a_frame_of_other_arms_is_not_run_with_a_reason(claim_id):
    verdict = judge(claim_id, GOOD[GOOD["n_train"] == 200])
    assert verdict.verdict == "not_run" and verdict.reason
    assert judge(claim_id, GOOD.drop(columns="order")).verdict == "not_run"


@pytest.mark.parametrize(
    ("claim_id", "n_train", "n_mix", "order"),
    [
        ("SC4", 1600, 1600, "mixed"),
        ("SC5", 25, 400, "mixed"),
        ("SC6", 400, 400, "dual_stage"),
        ("SC30", 400, 400, "sequential"),
        ("SC22", 400, 0, "phased"),
        ("O11", 400, 0, "interleaved"),
        ("O12", 400, 0, "reverse"),
    ],
)
def test_one_missing_run_leaves_its_seed_out(claim_id, n_train, n_mix, order):
    cell = (GOOD["n_train"] == n_train) & (GOOD["n_mix"] == n_mix) & (GOOD["order"] == order) & (GOOD["seed"] == 3)
    assert cell.any()
    verdict = judge(claim_id, GOOD[~cell])
    assert verdict.verdict == "not_run" and verdict.n_seeds == 7 and "7 of 8 seeds" in verdict.reason


@pytest.mark.parametrize(
    ("claim_id", "field", "value"), [("SC11", "per_family_cap", 32), ("SC12", "pretraining_share", 0.25)]
)
def test_one_missing_cap_or_share_leaves_its_seed_out(claim_id, field, value):
    verdict = judge(claim_id, GOOD[~((GOOD[field] == value) & (GOOD["seed"] == 3))])
    assert verdict.verdict == "not_run" and verdict.n_seeds == 7


def test_a_seed_that_forgets_nothing_has_no_restored_share():
    def kept_in_seed_5(spec, special):
        if spec.seed == 5 and spec.train.order == "sequential" and special:
            return 0.9
        return composed.as_papers_say(spec, special)

    verdict = judge("SC6", composed.frame(kept_in_seed_5))
    by_name = {part.name: part for part in verdict.parts}
    assert by_name["restored_share"].n_seeds == 7 and by_name["forgotten"].n_seeds == 8
    assert verdict.verdict == "not_run"


def test_the_best_order_is_not_judged_on_the_seeds_that_chose_it():
    """Even seeds like one order, odd seeds another: in hindsight each gains .1, chosen in advance each loses .1."""

    def fickle(spec, special):
        liked = {0: "phased", 1: "reverse"}[spec.seed % 2]
        plain = not spec.data.families and not spec.data.imbalance and spec.data.n_train > 0
        return 0.5 + plain * {liked: 0.1, "mixed": 0.0}.get(spec.train.order, -0.1)

    assert parts("O12", composed.frame(fickle)) == pytest.approx({"largest_gain": -0.1})


def test_families_named_in_the_claims_are_those_of_the_profile():
    p = composed.params()
    for claim_id in ("SC4", "SC5", "SC6", "SC30"):
        settings = claims.load_claim(claim_id).settings
        assert tuple(settings["general"]) == p.general and tuple(settings["special"]) == p.special
    assert {families.get(name).familiarity for name in p.general} == {"latent"}
    assert {families.get(name).familiarity for name in p.special} == {"composed", "weak"}
    assert all(families.get(name).standard for name in (*p.general, *p.special))


def test_mixed_runs_of_other_claims_do_not_count():
    """An arm more in the frame, with the same sizes in another order, changes no effect of mixing."""
    extra = GOOD[(GOOD["n_train"] == 25) & (GOOD["n_mix"] == 25)].assign(order="sequential", value=np.nan)
    assert parts("SC4", pd.concat([GOOD, extra])) == parts("SC4", GOOD)
