"""The claims about form, borrowing and grafts on planted frames whose effects are known by hand."""

import io
from copy import deepcopy

import numpy as np
import pandas as pd
import planted_knowledge as planted
import pytest

from itlib import claims
from itlib.claims import knowledge

IDS = ("L10", "L11", "L18")
GOOD = planted.frame()
WORSE = deepcopy(planted.AS_PAPERS_SAY)
WORSE["full"] |= {"nats": (75, 20, 5), "lost": (-0.02, 0.02), "borrowed": 0.06, "too_sure": 0.02}
BAD = planted.frame(WORSE, graft={share: (0.5 * kept, 0.4) for share, (kept, _) in planted.GRAFT.items()})
EFFECTS = {
    "L10": {"form_share": 0.3, "opening_share": 0.3, "frequent_facts_lost": 0.05, "rare_facts_lost": 0.15},
    "L11": {"borrowed_beyond_chance": 0.2},
    # gaps of the tuned model in its three bins: all of .1667, which is not right at all, .3 and .3
    "L18": {"share_of_gain_kept": 0.98, "calibration_error": 0.05 - np.sqrt((0.1667**2 + 2 * 0.3**2) / 3)},
}


def judge(claim_id, frame, **how):
    return claims.judge(claims.load_claim(claim_id), frame, **how)


def effects(claim_id, frame):
    return {part.name: part.effect for part in judge(claim_id, frame).parts}


@pytest.mark.parametrize("claim_id", IDS)
def test_claims_are_reproduced_where_they_hold(claim_id):
    verdict = judge(claim_id, GOOD)
    assert verdict.verdict == "reproduced" and verdict.n_seeds == 8, verdict
    assert effects(claim_id, GOOD) == pytest.approx(EFFECTS[claim_id], abs=2e-3)


@pytest.mark.parametrize("claim_id", IDS)
def test_every_part_is_contradicted_where_it_fails(claim_id):
    assert {part.verdict for part in judge(claim_id, BAD).parts} == {"contradicted"}


@pytest.mark.parametrize("claim_id", IDS)
def test_too_few_seeds_other_arms_and_unfair_budgets_are_not_run(claim_id):
    assert judge(claim_id, GOOD[GOOD["seed"] < 7]).verdict == "not_run"
    assert judge(claim_id, GOOD[GOOD["arm"] != "full"]).verdict == "not_run"
    assert judge(claim_id, GOOD[GOOD["kind"] == "none"]).verdict == "not_run"
    unfair = judge(claim_id, GOOD, blocked="budgets differ and the study does not say why: steps from 1 to 2")
    assert unfair.verdict == "not_run" and "steps from 1 to 2" in unfair.reason


@pytest.mark.parametrize("claim_id", IDS)
def test_a_seed_with_a_failed_run_is_left_out(claim_id):
    frame = planted.frame(seeds=range(9))
    frame = frame[(frame["seed"] != 3) | (frame["arm"] != "full")]
    verdict = judge(claim_id, frame)
    assert verdict.verdict == "reproduced" and verdict.n_seeds == 8 and "8 of 9 seeds" in verdict.reason


@pytest.mark.parametrize("claim_id", IDS)
def test_the_stored_frame_gives_the_same_verdict(claim_id):
    """Empty cells of the CSV come back as missing values."""
    stored = pd.read_csv(io.StringIO(GOOD.to_csv(index=False)))
    assert judge(claim_id, stored).to_json() == judge(claim_id, GOOD).to_json()


def test_answers_in_another_style_are_another_question():
    for field, value in (("response_style", "formal"), ("response_wording", "sentence")):
        verdict = judge("L10", GOOD.assign(**{field: value}))
        assert verdict.verdict == "not_run" and f"no run has {field}" in verdict.reason


def test_facts_of_the_taught_course_do_not_enter_the_styled_comparison():
    frame = GOOD.copy()
    frame.loc[(frame["course"] == "taught") & (frame["kind"] == "recall"), "value"] = 0.0
    assert effects("L10", frame) == pytest.approx(EFFECTS["L10"], abs=1e-9)


def test_borrowed_answers_to_other_questions_do_not_count():
    frame = GOOD.copy()
    frame.loc[(frame["evaluation"] == "test") & (frame["metric"] == "n_near"), "value"] = 40.0
    assert effects("L11", frame) == pytest.approx(EFFECTS["L11"])
    verdict = judge("L11", GOOD[GOOD["family"] != "never_job"])
    assert verdict.verdict == "not_run" and "no run was asked never_job" in verdict.reason


# ---- tables per run ---------------------------------------------------------------------------------------------


def test_the_opening_is_as_long_as_it_is_said_to_be():
    shares = {
        n: knowledge.token_shares(GOOD, opening=n).query("arm == 'lora 16'")["opening"].iloc[0] for n in (1, 4, 5)
    }
    assert shares == pytest.approx({1: 0.175, 4: 0.7, 5: 0.8})
    row = knowledge.token_shares(GOOD, opening=4).iloc[0]
    assert row["tokens"] == 700 and row["divergence"] == pytest.approx(100 / 700)
    assert row[["unshifted", "marginal", "shifted"]].sum() == pytest.approx(1)
    assert row["shifted"] == pytest.approx((4 * 95 + 3 * 4.75) / 700)


def test_a_model_that_did_not_move_has_no_shares():
    frame = GOOD.copy()
    frame.loc[frame["metric"] == "divergence", "value"] = 0.0
    assert knowledge.token_shares(frame, opening=4)[["form", "opening"]].isna().all(axis=None)
    assert judge("L10", frame).verdict == "not_run"


def test_facts_by_hand():
    table = knowledge.facts(GOOD).set_index(["course", "arm", "seed"])
    assert table.loc[("styled", "full", 2), ["frequent", "rare"]].tolist() == pytest.approx([0.9, 0.4])
    assert table.loc[("taught", "base", 2), ["frequent", "rare"]].tolist() == pytest.approx([0.95, 0.6])
    assert table.loc[("styled", "full", 2), "reference"] == pytest.approx(1.48)
    assert table.loc[("taught", "base", 2), "reference"] == pytest.approx(1.42)
    unread = knowledge.facts(GOOD[GOOD["metric"] != "reference_loss"])
    assert unread["reference"].isna().all() and len(unread) == len(table)


def test_shares_of_wrong_answers_by_hand():
    row = knowledge.borrowed(GOOD, ["never_home", "never_job"]).iloc[0]
    assert (row["wrong"], row["wrong_share"]) == (80, pytest.approx(2 / 3))
    assert row[["borrowed", "chance", "excess"]].tolist() == pytest.approx([0.3, 0.05, 0.25])
    faultless = GOOD.copy()
    faultless.loc[faultless["metric"] == "n_wrong", "value"] = 0
    assert knowledge.borrowed(faultless)[["borrowed", "chance", "excess"]].isna().all(axis=None)


def test_gains_are_of_the_same_seed_and_unknown_where_nothing_was_gained():
    frame = GOOD.copy()
    test = (frame["kind"] == "test") & (frame["course"] == "taught") & (frame["metric"] == "exact_match")
    frame.loc[test & (frame["seed"] == 1), "value"] = planted.BASE
    frame.loc[test & (frame["seed"] == 2), "value"] = 0.31
    kept = knowledge.gains(frame, "full").query("edit == 'graft_learned' and share == 0.01").set_index("seed")["kept"]
    assert np.isnan(kept[1]) and kept[0] == pytest.approx(0.98)
    assert kept[2] == pytest.approx(0.98 * (planted.WHOLE - planted.BASE) / (0.31 - planted.BASE))
    verdict = judge("L18", frame)
    assert verdict.verdict == "not_run" and "7 of 8 seeds" in verdict.reason


def test_calibration_knows_every_evaluation_apart():
    table = knowledge.calibration(GOOD)
    assert not table.duplicated(knowledge.LOADS).any()
    graft = table[(table["edit"] == "graft_learned") & (table["edit_scale"] == 0.01)].iloc[0]
    assert graft["error"] == pytest.approx(0.05, abs=2e-3) and graft["usual_error"] == pytest.approx(0.05)
    assert (graft["items"], graft["confidence"] - graft["accuracy"]) == (3000, pytest.approx(0.05))
