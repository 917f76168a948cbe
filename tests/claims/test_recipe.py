"""The recipe claims on planted frames whose effects are known by hand."""

import numpy as np
import pandas as pd
import pytest

from itlib import claims
from itlib.claims import recipe

SEEDS = range(8)
STEPS = (0, 1, 4, 10, 40, 100)
FORM = (0.0, 0.2, 0.95, 0.95, 0.95, 0.96)  # nine tenths of .96 at step 4; the rule stops at step 40
CONTENT = (0.0, 0.0, 0.1, 0.5, 0.8, 0.8)  # nine tenths of .8 at step 40
DRIFT = (1.4, 1.42, 1.44, 1.5, 1.58, 1.6)  # rises by .2; by .04 up to step 4, by .18 up to step 40
GRID = [(8, 1e-3), (8, 2e-3), (8, 4e-3), (64, 1e-3), (64, 2e-3), (64, 4e-3)]


def judged(claim_id, frame):
    return claims.judge(claims.load_claim(claim_id), frame)


def probed(seeds=SEEDS, form=FORM, content=CONTENT, drift=DRIFT, status="done"):
    rows = []
    for seed in seeds:
        run = {"arm": "probed", "seed": seed, "digest": f"probed {seed}", "family": "f"}
        rows.append(run | {"kind": "test", "status": status, "metric": "exact_match", "value": 0.5, "step": -1})
        for metric, values in ((recipe.FOLLOWING, form), ("exact_match", content), (recipe.DRIFT, drift)):
            for step, value in zip(STEPS, values, strict=True):
                rows.append(run | {"kind": "probe", "status": "done", "metric": metric, "value": value, "step": step})
    return pd.DataFrame(rows)


def arm(name, value, seeds=SEEDS, noise=1e-4, **columns):
    generator = np.random.default_rng(0)
    rows = [
        {
            "arm": name, "kind": "test", "seed": seed, "digest": f"{name} {seed} {columns}", "status": "done",
            "family": family, "metric": "exact_match", "step": -1, "n_train": 400,
            "value": value + shift + generator.normal(0, noise),
        } | columns
        for seed in seeds
        for family, shift in (("f", 0.1), ("g", -0.1))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def grid(norm_sign=-1, loss_sign=1, seeds=SEEDS):
    """Six settings whose final scores are .1, .2, ... in the order of GRID, and early signals that follow them."""
    parts = []
    for place, (batch_size, rate) in enumerate(GRID):
        setting = {"batch_size": batch_size, "learning_rate": rate, "budget": 4800 / batch_size}
        parts.append(arm("grid", 0.1 * (place + 1), seeds, **setting))
        for seed in seeds:
            for step in (1, setting["budget"] / 4, setting["budget"]):
                late = step == setting["budget"]  # what comes after the first quarter points the other way
                values = {
                    "gradient_norm": 10 + (-3 if late else 1) * norm_sign * place,
                    "training_loss": 10 + (-3 if late else 1) * loss_sign * place,
                }
                for metric, value in values.items():
                    row = {"arm": "grid", "kind": "curve", "seed": seed, "digest": f"{seed} {setting}", "step": step}
                    row |= {"status": "done", "family": "training", "metric": metric, "value": value}
                    parts.append(pd.DataFrame([row | setting]))
    return pd.concat(parts, ignore_index=True)


def test_form_before_content_by_hand():
    verdict = judged("SC16", probed())
    assert verdict.effect == pytest.approx(4 / 40) and verdict.verdict == "reproduced"


def test_form_and_content_together_contradict():
    assert judged("SC16", probed(content=FORM)).effect == 1.0
    assert judged("SC16", probed(content=FORM)).verdict == "contradicted"


def test_a_run_that_is_never_right_has_no_ratio():
    verdict = judged("SC16", probed(content=[0.0] * 6))
    assert verdict.verdict == "not_run" and verdict.n_seeds == 0


def test_share_of_drift_after_the_plateau_by_hand():
    verdict = judged("SC17", probed())
    assert verdict.effect == pytest.approx(0.16 / 0.2) and verdict.verdict == "reproduced"
    early = (1.4, 1.5, 1.56, 1.58, 1.6, 1.6)
    verdict = judged("SC17", probed(drift=early))
    assert verdict.effect == pytest.approx(0.04 / 0.2) and verdict.verdict == "contradicted"


def test_no_rise_has_no_share():
    assert judged("SC17", probed(drift=DRIFT[::-1])).verdict == "not_run"


def test_the_stopping_step_by_hand():
    """At step 40 the last three scores are equal for the first time: drift 1.58 against 1.6, form .95 against .96."""
    effects = recipe.early_stop(probed(), threshold=0.9, slope=0.01)
    np.testing.assert_allclose(effects["drift_saved"], -0.02)
    np.testing.assert_allclose(effects["score_kept"], -0.01)
    assert judged("SC18", probed()).verdict == "reproduced"


def test_stopping_that_costs_form_or_saves_nothing_contradicts():
    rising = (0.0, 0.2, 0.91, 0.91, 0.91, 0.99)
    verdict = judged("SC18", probed(form=rising))
    assert (verdict.verdict, verdict.deciding_part) == ("contradicted", "score_kept")
    assert judged("SC18", probed(drift=(1.4, 1.42, 1.44, 1.5, 1.58, 1.5))).verdict == "contradicted"


def test_a_rule_that_never_stops_is_not_run():
    assert judged("SC18", probed(form=[0.5] * 6)).verdict == "not_run"


def test_large_minus_small_is_non_inferiority():
    def frame(large):
        return pd.concat([arm("small batch", 0.5), arm("large batch", large)], ignore_index=True)

    assert judged("SC19", frame(0.48)).verdict == "reproduced"  # 2 points worse is within the margin
    assert judged("SC19", frame(0.48)).effect == pytest.approx(-0.02, abs=1e-3)
    assert judged("SC19", frame(0.45)).verdict == "contradicted"


def test_plain_minus_default_is_an_equivalence():
    def frame(plain):
        return pd.concat([arm("default", 0.5), arm("plain", plain)], ignore_index=True)

    assert judged("SC21", frame(0.51)).verdict == "reproduced"
    assert judged("SC21", frame(0.55)).verdict == "contradicted"
    assert judged("SC21", frame(0.45)).verdict == "contradicted"


def test_early_signals_look_at_the_first_quarter_only():
    effects = recipe.early_signals(grid(), early=0.25, settings=6)
    np.testing.assert_allclose(effects["gradient_norm"], -1.0)
    np.testing.assert_allclose(effects["early_loss"], 1.0)
    assert judged("SC20", grid()).verdict == "reproduced"
    assert judged("SC20", grid(loss_sign=-1)).deciding_part == "early_loss"
    assert judged("SC20", grid(loss_sign=-1)).verdict == "contradicted"


def test_early_loss_is_a_mean_over_steps():
    """One point at step 1 with loss 10 and one at step 4 that speaks for three steps with loss 2: (10 + 3 * 2) / 4."""
    frame = grid(seeds=[0])
    curve = frame["kind"] == "curve"
    one = frame[~curve | (frame["batch_size"] == 8) & (frame["learning_rate"] == 1e-3)].copy()
    one["budget"] = 16
    points = one["kind"] == "curve"
    one.loc[points, "step"] = [1, 1, 4, 4, 16, 16]
    one.loc[points & (one["metric"] == "training_loss"), "value"] = [10, 2, 99]
    assert recipe.early_table(one, early=0.25)["early_loss"].iloc[0] == pytest.approx(4.0)


def test_an_unfinished_setting_leaves_its_seed_out():
    frame = grid(seeds=range(9))
    broken = (frame["seed"] == 3) & (frame["kind"] == "test") & (frame["learning_rate"] == 4e-3)
    frame.loc[broken, ["status", "metric", "value"]] = ["diverged", "", np.nan]
    verdict = judged("SC20", frame)
    assert verdict.n_seeds == 8 and "8 of 9 seeds" in verdict.reason


@pytest.mark.parametrize(
    ("claim_id", "frame"), [("SC16", probed()), ("SC18", probed()), ("SC19", arm("small batch", 0.5)), ("SC20", grid())]
)
def test_frames_that_cannot_answer_are_not_run(claim_id, frame):
    assert judged(claim_id, frame[frame["kind"] == "nothing"]).verdict == "not_run"
    assert judged(claim_id, frame[frame["seed"] < 5].assign(arm="other")).verdict == "not_run"
    verdict = judged(claim_id, frame[frame["seed"] < 5])
    assert verdict.verdict == "not_run" and "\n" not in verdict.reason


def test_probes_without_pretraining_text_say_so():
    frame = probed()
    verdict = judged("SC17", frame[frame["metric"] != recipe.DRIFT])
    assert verdict.verdict == "not_run" and "probes measured no reference_loss" in verdict.reason


def test_a_diverged_probed_run_is_left_out():
    frame = pd.concat([probed(), probed([8], status="diverged")], ignore_index=True)
    assert judged("SC16", frame).n_seeds == 8
