"""The claims on remedies, on planted frames whose effects are known by hand."""

import numpy as np
import pandas as pd
import pytest

from itlib import claims
from itlib.claims import remedies

SEEDS = range(8)
PERTURBATIONS = claims.load_claim("R6").settings["perturbations"]


def judged(claim_id, frame):
    return claims.judge(claims.load_claim(claim_id), frame)


def rows(arm, kind="test", seeds=SEEDS, perturbation="none", severity=0.0, **metrics):
    """Two families .1 above and below the value, and a little noise that differs by seed."""
    noise = np.random.default_rng(0).normal(0, 1e-4, 1000)
    return pd.DataFrame([
        {
            "arm": arm, "kind": kind, "seed": seed, "digest": f"{arm} {seed}", "status": "done", "family": family,
            "metric": metric, "value": value + shift + noise[seed], "perturbation": perturbation, "severity": severity,
        }
        for seed in seeds
        for metric, value in metrics.items()
        for family, shift in (("f", 0.1), ("g", -0.1))
    ])  # fmt: skip


def prompts(gap=0.1, variance=0.01, new=0.6, seeds=SEEDS):
    return pd.concat([
        rows("full again", gap=0.2, variance_new=0.04, new=0.5),
        rows("full + KL", gap=0.2, variance_new=0.04, new=0.5),
        rows("prompt + KL N=20", gap=gap, variance_new=variance, new=new, seeds=seeds),
    ], ignore_index=True)  # fmt: skip


def test_a_soft_prompt_that_helps_by_hand():
    effects = remedies.soft_prompt(prompts(), **claims.load_claim("R5").settings)
    np.testing.assert_allclose(effects["gap"], -0.1, atol=1e-3)
    np.testing.assert_allclose(effects["spread"], 0.1 - 0.2, atol=1e-2)
    np.testing.assert_allclose(effects["over_weights"], 0.1, atol=1e-3)


def different(seed_values, arm="prompt + KL N=20"):
    """The frame of a remedy whose scores differ by seed, so that no interval is a point."""
    frame = prompts()
    shift = frame["seed"].map(dict(zip(SEEDS, seed_values, strict=True))) * (frame["arm"] == arm)
    return frame.assign(value=frame["value"] + shift.where(frame["metric"] != "variance_new", 0.0))


def test_verdicts_follow_the_parts():
    assert judged("R5", different(np.linspace(-0.01, 0.01, 8))).verdict == "reproduced"
    worse = judged("R5", prompts(new=0.4))
    assert (worse.verdict, worse.deciding_part) == ("contradicted", "over_weights")
    assert judged("R5", prompts(gap=0.3)).deciding_part == "gap"


def test_variances_below_zero_are_averaged_before_they_are_cut():
    """Two families at -.09 and .11: mean .01, sigma .1, and not the mean of 0 and .33."""
    frame = rows("a", variance_new=0.01)
    np.testing.assert_allclose(remedies.sigma(frame, "a"), 0.1, atol=1e-3)
    assert (remedies.sigma(rows("a", variance_new=-0.5), "a") == 0).all()


def perturbed(coin, baseline=0.5, without=()):
    return pd.concat([
        rows(arm, "perturbed", perturbation=name, severity=severity, exact_match=value)
        for arm, value in (("CoIN B=2", coin), ("paraphrases", baseline))
        for name, severity in PERTURBATIONS.items()
        if name not in without
    ], ignore_index=True)  # fmt: skip


def test_the_contrast_is_judged_under_all_perturbations():
    effects = remedies.contrastive(perturbed(0.55), **claims.load_claim("R6").settings)
    np.testing.assert_allclose(effects["perturbed"], 0.05)
    assert judged("R6", perturbed(0.45)).verdict == "contradicted"
    missing = judged("R6", perturbed(0.55, without=("typo",)))
    assert missing.verdict == "not_run" and "no run was asked under typo at severity 1" in missing.reason
    other = judged("R6", perturbed(0.55).replace({"severity": {0.25: 0.5}}))
    assert other.verdict == "not_run" and "at severity 0.25" in other.reason


def test_a_seed_that_lacks_a_perturbation_is_left_out():
    frame = perturbed(0.55)
    gone = (frame["seed"] == 3) & (frame["perturbation"] == "typo") & (frame["arm"] == "CoIN B=2")
    assert np.isnan(remedies.contrastive(frame[~gone], **claims.load_claim("R6").settings)["perturbed"][3])


def pairs(near, far):
    def of(arm, near, far):
        return rows(
            arm, "pairs", positive_response=near, negative_response=far, positive_prompt=near, negative_prompt=far
        )

    return pd.concat([of("paraphrases", 0.8, 0.6), of("CoIN B=2", near, far)], ignore_index=True)


def test_states_by_hand():
    effects = remedies.states(pairs(0.9, 0.5), **claims.load_claim("R7").settings)
    np.testing.assert_allclose(effects["positives"], 0.1)
    np.testing.assert_allclose(effects["apart_response"], 0.2)
    np.testing.assert_allclose(effects["apart_prompt"], 0.2)
    assert judged("R7", pairs(0.7, 0.4)).deciding_part == "positives"
    assert judged("R7", pairs(0.9, 0.9)).deciding_part in ("apart_response", "apart_prompt")


@pytest.mark.parametrize("claim_id", ["R5", "R6", "R7"])
def test_frames_that_cannot_answer_are_not_run(claim_id):
    frame = pd.concat([prompts(), perturbed(0.55), pairs(0.9, 0.5)], ignore_index=True)
    assert judged(claim_id, frame).verdict != "not_run"
    for part in (frame[frame["kind"] == "nothing"], frame.assign(arm="other"), frame[frame["seed"] < 5]):
        verdict = judged(claim_id, part)
        assert verdict.verdict == "not_run" and "\n" not in verdict.reason
