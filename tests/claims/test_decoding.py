"""The decoding claims on planted frames whose effects are known by hand."""

import numpy as np
import pandas as pd
import pytest

from itlib import claims
from itlib.claims import decoding

SEEDS = range(8)
FAMILIES = ("f", "g", "h")
KINDS = ("opposite", "null", "random", "truncated")
NEW = "unobserved_wrapper"


def judged(claim_id, frame):
    return claims.judge(claims.load_claim(claim_id), frame)


def rows(value, seeds=SEEDS, families=FAMILIES, which=NEW, noise=1e-4, status="done", **fields):
    """One evaluation; ``value`` is a number or a number per family."""
    generator = np.random.default_rng(len(str(fields)))
    values = value if isinstance(value, dict) else dict.fromkeys(families, value)
    found = []
    for seed in seeds:
        run = decoding.PLAIN | fields | {"seed": seed, "status": status, "eval_phrasing_set": which}
        run["digest"] = f"{which} {seed} {fields}"
        for family, score in values.items():
            found.append(run | {"family": family, "metric": "exact_match", "value": score + generator.normal(0, noise)})
    return pd.DataFrame(found)


def frame(*parts):
    return pd.concat(parts, ignore_index=True)


def contrasted(value, kind="opposite", weight=-0.3, **more):
    return rows(value, contrast=kind, contrast_weight=weight, **more)


def test_the_gain_of_the_opposite_by_hand():
    others = [contrasted(0.9, "null"), contrasted(0.9, weight=-0.5), contrasted(0.9, which="observed")]
    verdict = judged("R8", frame(rows(0.5), contrasted(0.53), *others))
    assert verdict.effect == pytest.approx(0.03, abs=1e-3) and verdict.verdict == "reproduced"
    assert judged("R8", frame(rows(0.5), contrasted(0.47), *others)).verdict == "contradicted"


def test_families_count_equally():
    plain, better = {"f": 0.2, "g": 0.4, "h": 0.9}, {"f": 0.5, "g": 0.4, "h": 0.6}
    effects = decoding.opposite_gain(frame(rows(plain), contrasted(better)), phrasing_set=NEW, weight=-0.3)
    assert effects["opposite_minus_plain"] == pytest.approx(0.0, abs=1e-3) and len(effects["opposite_minus_plain"]) == 8


def costly(sign):
    """Four noisy instructions whose costs grow, and gains that follow them or go the other way."""
    parts = [rows(0.6)]
    for place, kind in enumerate(KINDS):
        for step, family in enumerate(FAMILIES):
            change = 0.02 * (3 * place + step)
            parts.append(rows({family: 0.6 - change}, noisy_prompt=kind))
            parts.append(contrasted({family: 0.6 + sign * change / 10}, kind))
    joined = frame(*parts)
    return joined.assign(digest=joined["digest"].str.cat(joined["family"]))


def test_cost_and_gain_that_grow_together():
    table = decoding.cost_and_gain(costly(1), NEW, -0.3, KINDS)
    one = table[(table["kind"] == "truncated") & (table["family"] == "h")]
    assert one["cost"].mean() == pytest.approx(0.22, abs=1e-3) and one["gain"].mean() == pytest.approx(0.022, abs=1e-3)
    assert len(table) == 4 * 3 * 8
    verdict = judged("R9", costly(1))
    assert verdict.verdict == "reproduced" and verdict.effect > 0.99
    assert judged("R9", costly(-1)).verdict == "contradicted"


def test_costs_that_all_tie_have_no_order():
    parts = [rows(0.6, noise=0), *(rows(0.5, noisy_prompt=kind, noise=0) for kind in KINDS)]
    verdict = judged("R9", frame(*parts, *(contrasted(0.6 + 0.01 * i, kind) for i, kind in enumerate(KINDS))))
    assert verdict.verdict == "not_run" and verdict.n_seeds == 0


def steered(middle, high):
    """Sentences cost 5 points each whatever the target, so their mean is what counts."""
    return frame(
        *(
            rows(value - 0.05 * count, steering=target, sentences=count)
            for target, value in ((0.0, 0.5), (0.05, 0.99), (0.2, middle), (0.5, high))
            for count in (0, 1, 3)
        )
    )


def test_an_inverted_u_by_hand():
    verdict = judged("R16", steered(0.55, 0.45))
    assert verdict.verdict == "reproduced"
    assert [part.effect for part in verdict.parts] == pytest.approx([0.05, 0.10], abs=1e-3)


@pytest.mark.parametrize(
    ("middle", "high", "part"), [(0.45, 0.4, "steered_minus_plain"), (0.55, 0.6, "middle_minus_high")]
)
def test_only_a_rise_and_a_fall_are_an_inverted_u(middle, high, part):
    verdict = judged("R16", steered(middle, high))
    assert (verdict.verdict, verdict.deciding_part) == ("contradicted", part)


def test_a_diverged_seed_is_left_out_and_said():
    broken = contrasted(0.53, seeds=[3], status="diverged").assign(value=np.nan)
    whole = contrasted(0.53, seeds=[seed for seed in range(9) if seed != 3])
    verdict = judged("R8", frame(rows(0.5, seeds=range(9)), whole, broken))
    assert verdict.n_seeds == 8 and "8 of 9 seeds" in verdict.reason


def test_a_missing_family_leaves_its_seed_out():
    lacking = contrasted(0.53, seeds=range(9))
    lacking = lacking[(lacking["seed"] != 2) | (lacking["family"] != "g")]
    assert judged("R8", frame(rows(0.5, seeds=range(9)), lacking)).n_seeds == 8


def test_a_run_in_two_arms_counts_once_and_two_runs_of_one_kind_are_an_error():
    twice = frame(rows(0.5), rows(0.5), contrasted(0.53))
    assert judged("R8", twice).verdict == "reproduced"
    with pytest.raises(ValueError, match="duplicate"):
        judged("R8", frame(twice, rows(0.4).assign(digest="another")))


@pytest.mark.parametrize(
    ("claim_id", "parts"),
    [
        ("R8", [rows(0.5)]),
        ("R8", [rows(0.5), contrasted(0.53, seeds=range(3))]),
        ("R9", [rows(0.5), contrasted(0.5)]),
        ("R16", [rows(0.5), rows(0.5, steering=0.2)]),
        ("R8", [rows(0.5).assign(metric="response_nll")]),
    ],
)
def test_frames_that_cannot_answer_are_not_run(claim_id, parts):
    verdict = judged(claim_id, frame(*parts))
    assert verdict.verdict == "not_run" and verdict.reason
