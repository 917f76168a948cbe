"""The efficiency claims on planted frames whose effects are known by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from itlib import claims
from itlib.claims import efficiency

SEEDS = range(8)


def judged(claim_id, frame):
    return claims.judge(claims.load_claim(claim_id), frame)


def arm(name, values, seeds=SEEDS, noise=1e-4, **columns):
    """An arm whose exact match at each N is given; two families lie .1 above and below."""
    generator = np.random.default_rng(0)
    rows = [
        {
            "arm": name, "seed": seed, "digest": f"{name} {seed} {n} {columns}", "status": "done", "family": family,
            "familiarity": "latent", "metric": "exact_match", "examples": n, "n_train": n,
            "value": value + shift + generator.normal(0, noise),
        } | columns
        for seed in seeds
        for n, value in values.items()
        for family, shift in (("f", 0.1), ("g", -0.1))
    ]  # fmt: skip
    return pd.DataFrame(rows)


def models(small, large, **how):
    return pd.concat([arm("smaller model", small, **how), arm("larger model", large, **how)], ignore_index=True)


def new(base, tuned, **how):
    return pd.concat([arm("new, base", base, **how), arm("new, tuned", tuned, **how)], ignore_index=True)


def lengths(long_pretrained, gain_of_steps=0.1, gain_of_pretraining=0.2, **how):
    parts = []
    for start, lost in (("pretrained", 0.0), ("random", gain_of_pretraining)):
        for budget, less in ((50, gain_of_steps), (150, 0.0)):
            values = {n: value - less - lost for n, value in long_pretrained.items()}
            parts.append(arm("length", values, initialisation=start, budget=budget, **how))
    return pd.concat(parts, ignore_index=True)


SMALL = {25: 0.3, 200: 0.4, 1600: 0.5}
BASE, TUNED = {25: 0.2, 100: 0.4, 400: 0.8}, {25: 0.5, 100: 0.8, 400: 0.8}
RISING = {100: 0.4, 400: 0.5, 1600: 0.6}


def test_the_lead_of_the_larger_model_by_hand():
    frame = models(SMALL, {25: 0.25, 1600: 0.7})  # 200 is no size of the larger model and plays no part
    effects = efficiency.lead_of_size(frame)
    np.testing.assert_allclose(effects["larger_minus_smaller"], 0.2, atol=1e-3)
    np.testing.assert_allclose(effects["lead_grows"], 0.25, atol=1e-3)
    assert judged("SC3", frame).verdict == "reproduced"


def test_a_lead_that_is_largest_at_the_smallest_size_contradicts():
    verdict = judged("SC3", models(SMALL, {25: 0.6, 1600: 0.6}))
    assert (verdict.verdict, verdict.deciding_part) == ("contradicted", "lead_grows")
    assert judged("SC3", models(SMALL, {25: 0.1, 1600: 0.4})).deciding_part == "larger_minus_smaller"


def test_examples_needed_by_hand():
    """Target .72: the base crosses it between 100 and 400, the tuned model between 25 and 100."""
    frame = new(BASE, TUNED, noise=0.0, seeds=[0])
    needs = efficiency.needs_table(frame, share=0.9).iloc[0]
    assert needs["target"] == pytest.approx(0.72)
    assert needs["base"] == pytest.approx(100 * 4 ** (0.32 / 0.4))
    assert needs["tuned"] == pytest.approx(25 * 4 ** (0.22 / 0.3))
    assert not needs["base_beyond"] and not needs["tuned_beyond"]
    effect = efficiency.ratio_of_needs(frame, share=0.9)["log2_ratio"]
    assert effect[0] == pytest.approx(math.log2(needs["base"] / needs["tuned"]))
    assert judged("SC8", new(BASE, TUNED)).verdict == "reproduced"


@pytest.mark.parametrize(
    ("base", "tuned", "ratio"),
    [
        ({25: 0.1, 100: 0.2, 400: 0.3}, {25: 0.8, 100: 0.8, 400: 0.8}, 400 / 25),  # at least 400, at most 25
        ({25: 0.8, 100: 0.8, 400: 0.8}, {25: 0.1, 100: 0.2, 400: 0.3}, 25 / 400),  # below one whatever lies beyond
        ({25: 0.1, 100: 0.2, 400: 0.3}, {25: 0.4, 100: 0.9, 400: 0.9}, None),
    ],
)
def test_the_end_of_the_grid_stands_for_what_lies_beyond(base, tuned, ratio):
    frame = new(base, tuned, noise=0.0, seeds=[0])
    expected = ratio or 400 / (25 * 4 ** ((0.81 - 0.4) / 0.5))
    assert efficiency.ratio_of_needs(frame, share=0.9)["log2_ratio"][0] == pytest.approx(math.log2(expected))


def test_no_ratio_where_both_are_there_at_the_smallest_size_or_nothing_is_right():
    same = {25: 0.8, 100: 0.8, 400: 0.8}
    assert np.isnan(efficiency.ratio_of_needs(new(same, same, noise=0.0), share=0.9)["log2_ratio"]).all()
    nothing = new(dict.fromkeys(same, 0.0), dict.fromkeys(same, 0.0), noise=0.0)
    assert judged("SC8", nothing).verdict == "not_run" and judged("SC8", nothing).n_seeds == 0


def test_prior_tuning_that_does_not_move_the_need_contradicts():
    verdict = judged("SC8", new(BASE, BASE))
    assert verdict.effect == pytest.approx(0.0, abs=0.01) and verdict.verdict == "contradicted"


def test_a_curve_that_falls_after_reaching_the_target_counts_from_the_first_time():
    curve = pd.Series({25.0: 0.1, 100.0: 0.9, 400.0: 0.2})
    assert efficiency.size_needed(curve, 0.9) == (pytest.approx(100.0), False)
    assert efficiency.size_needed(curve, 0.5)[0] == pytest.approx(50.0)
    assert efficiency.size_needed(curve, 0.95) == (400.0, True)
    assert efficiency.size_needed(curve, 0.05) == (25.0, True)


def test_the_three_gains_by_hand():
    effects = efficiency.three_gains(lengths(RISING))
    np.testing.assert_allclose(effects["slope"], 0.1 / math.log(4), atol=1e-3)
    np.testing.assert_allclose(effects["more_steps"], 0.1, atol=1e-3)
    np.testing.assert_allclose(effects["pretrained_minus_random"], 0.2, atol=1e-3)
    assert judged("S005", lengths(RISING)).verdict == "reproduced"


@pytest.mark.parametrize(
    ("frame", "part"),
    [
        (lengths({100: 0.6, 400: 0.5, 1600: 0.4}), "slope"),
        (lengths(RISING, gain_of_steps=-0.1), "more_steps"),
        (lengths(RISING, gain_of_pretraining=-0.1), "pretrained_minus_random"),
    ],
)
def test_each_gain_can_contradict(frame, part):
    verdict = judged("S005", frame)
    assert (verdict.verdict, verdict.deciding_part) == ("contradicted", part)


@pytest.mark.parametrize(
    ("claim_id", "frame"), [("SC3", models(SMALL, SMALL)), ("SC8", new(BASE, TUNED)), ("S005", lengths(RISING))]
)
def test_frames_that_cannot_answer_are_not_run(claim_id, frame):
    for broken in (
        frame.iloc[:0],
        frame.assign(arm="other"),
        frame.assign(metric="response_nll"),
        frame[frame["seed"] < 5],
        frame[frame["examples"] == frame["examples"].min()],
    ):
        verdict = judged(claim_id, broken)
        assert verdict.verdict == "not_run" and "\n" not in verdict.reason


def test_one_kind_of_weights_cannot_answer():
    frame = lengths(RISING)
    verdict = judged("S005", frame[frame["initialisation"] == "pretrained"])
    assert verdict.verdict == "not_run" and "no run starts from random weights" in verdict.reason


@pytest.mark.parametrize(
    ("claim_id", "frame"),
    [
        ("SC3", models(SMALL, {25: 0.25, 1600: 0.7}, seeds=range(9))),
        ("SC8", new(BASE, TUNED, seeds=range(9))),
        ("S005", lengths(RISING, seeds=range(9))),
    ],
)
def test_an_unfinished_run_leaves_its_seed_out(claim_id, frame):
    lost = frame["digest"] == frame.loc[(frame["seed"] == 3) & (frame["examples"] == 1600), "digest"].min()
    if claim_id == "SC8":
        lost = frame["digest"] == frame.loc[(frame["seed"] == 3) & (frame["examples"] == 400), "digest"].min()
    frame.loc[lost, ["status", "metric", "family", "value"]] = ["failed", "", "", np.nan]
    verdict = judged(claim_id, frame)
    assert verdict.n_seeds == 8 and verdict.verdict == "reproduced" and "8 of 9 seeds" in verdict.reason
