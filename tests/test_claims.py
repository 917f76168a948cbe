"""Claims: strict files, and each of the four verdicts on frames whose truth we planted."""

import json
from dataclasses import replace

import numpy as np
import planted
import pytest

from itlib import claims
from itlib.claims import data_scaling
from itlib.errors import InputError
from itlib.registry import claims as registry
from itlib.registry import families

DECLARED = claims.claim_ids()
OF_DATA_SCALING = ("SC1", "SC2", "SC7")


def _families(**curves):
    return {name: (familiarity, curve) for name, (familiarity, curve) in (planted.FAMILIES | curves).items()}


def _judge(claim_id, frame):
    return claims.judge(claims.load_claim(claim_id), frame)


def _late_bloomers():
    """Composed families that rise as a steep power of N only at the end, latent ones that are done at once."""
    return {
        "opposite": ("latent", planted.power(0.98, 20.0, 1.2)),
        "past": ("latent", planted.power(0.95, 15.0, 1.1)),
        "two_hop": ("composed", lambda n: 0.02 + 0.7 * n / 3200),
        "swap": ("composed", lambda n: 0.6 * n / 3200),
    }


@pytest.mark.parametrize("claim_id", DECLARED)
def test_declared_claims_load_and_have_an_estimator(claim_id):
    claim = claims.load_claim(claim_id)
    assert claim_id in registry
    assert claim.minimum_seeds >= 8, "fewer seeds cannot give a 95 % interval worth a verdict"


def test_every_estimator_is_declared():
    assert registry.names() == DECLARED


def test_families_named_in_claims_exist():
    for names in claims.load_claim("SC7").settings["groups"].values():
        assert set(names) <= set(families.names())


@pytest.mark.parametrize("claim_id", OF_DATA_SCALING)
def test_claims_are_reproduced_where_they_hold(claim_id):
    frame = planted.frame(_late_bloomers() if claim_id == "SC2" else None)
    verdict = _judge(claim_id, frame)
    assert verdict.verdict == "reproduced", verdict
    assert verdict.n_seeds == 8 and verdict.p_value <= 0.05
    assert verdict.interval[0] <= verdict.effect <= verdict.interval[1]


def test_sc1_is_contradicted_when_composed_families_saturate_first():
    swapped = {
        "opposite": ("composed", planted.power(0.99, 6.0, 1.0)),
        "longer": ("latent", lambda n: 0.30 + 0.12 * np.log(n / 25)),
    }
    verdict = _judge("SC1", planted.frame(swapped))
    assert verdict.verdict == "contradicted" and verdict.effect < 0
    assert "wrong side" in verdict.reason


def test_sc1_is_inconclusive_when_both_have_one_exponent():
    same = {"a": ("latent", planted.power(0.9, 3.0, 0.6)), "b": ("composed", planted.power(0.8, 3.0, 0.6))}
    verdict = _judge("SC1", planted.frame(same, noise=0.05))
    assert verdict.verdict == "inconclusive"
    assert 0 < verdict.smallest_detectable_effect < np.inf


def test_sc1_effect_is_the_planted_difference():
    two = {"a": ("latent", planted.power(0.9, 6.0, 0.9)), "b": ("composed", planted.power(0.8, 3.0, 0.4))}
    verdict = _judge("SC1", planted.frame(two, noise=0.001))
    assert verdict.effect == pytest.approx(0.5, abs=0.02)


def test_sc2_shares_by_hand():
    """Interpolation in ln N: a straight line in ln N has ln 8 / ln 128 of its gain at 200."""
    lines = {"a": ("latent", lambda n: 0.1 * np.log(n)), "b": ("composed", lambda n: 0.05 * np.log(n))}
    shares = data_scaling.share_of_gain(planted.frame(lines, noise=1e-9), early="latent", late="composed", at=200)
    np.testing.assert_allclose(shares["early_share"], np.log(8) / np.log(128), atol=1e-6)
    np.testing.assert_allclose(shares["late_share"], np.log(8) / np.log(128), atol=1e-6)
    verdict = _judge("SC2", planted.frame(lines, noise=1e-4))
    assert verdict.verdict == "contradicted"  # .43 is below one half, and above three tenths
    assert {part.verdict for part in verdict.parts} == {"contradicted"}


def test_sc7_flat_families_that_rise_contradict_it():
    rising = _families(reverse=("flat", lambda n: 0.1 * np.log(n / 25)))
    verdict = _judge("SC7", planted.frame(rising))
    assert verdict.verdict == "contradicted" and verdict.deciding_part == "flat_total_gain"
    assert [part.verdict for part in verdict.parts] == ["reproduced", "reproduced", "contradicted"]


def test_too_few_seeds_absent_families_and_absent_metrics_are_not_run():
    few = _judge("SC1", planted.frame(seeds=range(5)))
    assert few.verdict == "not_run" and few.n_seeds == 5 and "at least 8" in few.reason
    absent = _judge("SC7", planted.frame({name: planted.FAMILIES[name] for name in ("opposite", "past", "longer")}))
    assert absent.verdict == "not_run" and "'two_hop', 'swap'" in absent.reason
    metric = _judge("SC2", planted.frame(metric="response_nll"))
    assert metric.verdict == "not_run" and "no row has metric 'exact_match'" in metric.reason
    assert _judge("SC2", planted.frame(sizes=[300, 600, 1200, 2400])).reason.endswith("outside the sizes 300 to 2400")
    assert _judge("SC1", planted.frame(sizes=[25, 3200])).verdict == "not_run"
    assert _judge("SC1", planted.frame().iloc[:0]).verdict == "not_run"


def test_incomplete_seeds_are_left_out_and_counted():
    frame = planted.fail(planted.frame(seeds=range(10)), 3, 400, "diverged")
    verdict = _judge("SC1", frame)
    assert verdict.n_seeds == 9 and "9 of 10 seeds" in verdict.reason
    complete = planted.frame(seeds=range(10)).query("seed != 3")
    assert verdict.effect == _judge("SC1", complete).effect


def test_a_frame_that_failed_everywhere_is_not_run():
    frame = planted.frame(seeds=range(8), sizes=[25, 100])
    for seed in range(8):
        for n in (25, 100):
            frame = planted.fail(frame, seed, n)
    assert _judge("SC1", frame).verdict == "not_run"


def test_two_arms_in_one_frame_are_refused():
    import pandas as pd

    both = pd.concat([planted.frame(), planted.frame(method="lora").assign(digest="lora")])
    with pytest.raises(InputError, match="they differ in method"):
        _judge("SC1", both)


def test_an_untuned_run_does_not_count_as_a_size():
    import pandas as pd

    base = planted.frame(
        sizes=[0], families={name: (kind, lambda n: 0.0) for name, (kind, _) in planted.FAMILIES.items()}
    )
    with_base = pd.concat([planted.frame(), base])
    assert _judge("SC1", with_base).effect == _judge("SC1", planted.frame()).effect


@pytest.mark.parametrize(
    ("values", "direction", "margin", "expected"),
    [
        ([0.3] * 8, "greater", 0.2, "reproduced"),
        ([0.3] * 8, "greater", 0.4, "contradicted"),
        ([0.3] * 8, "less", 0.4, "reproduced"),
        ([0.3] * 8, "less", 0.2, "contradicted"),
        ([0.3] * 8, "greater", 0.3, "inconclusive"),
        ([0.3, -0.3] * 4, "less", 0.0, "inconclusive"),
        ([0.3] * 8, "different", 0.2, "reproduced"),
        ([-0.3] * 8, "different", 0.2, "reproduced"),
        ([0.1] * 8, "different", 0.2, "contradicted"),
        ([0.3, -0.3] * 4, "different", 0.1, "inconclusive"),
        ([-0.3] * 7 + [np.nan], "different", 0.2, "not_run"),
        ([0.0] * 8, "equivalent", 0.1, "reproduced"),
        ([-0.3] * 8, "equivalent", 0.1, "contradicted"),
        ([0.3, -0.3] * 4, "equivalent", 0.1, "inconclusive"),
        ([0.3] * 7 + [np.nan], "greater", 0.2, "not_run"),
    ],
)
def test_each_rule_of_judging(values, direction, margin, expected):
    part = claims.Part("p", "made up", direction, margin, claims.TESTS[direction])
    judged = claims._judge_part(part, np.array(values), 8, 8)
    assert judged.verdict == expected


def _parts(*verdicts):
    part = claims.PartVerdict("p", "", "greater", 0.0, 1.0, (0.0, 2.0), 0.01, 0.1, 8, "", "why")
    return tuple(
        replace(part, name=f"p{i}", verdict=v, p_value=0.01 * (i + 1), contradicts=v == "contradicted")
        for i, v in enumerate(verdicts)
    )


@pytest.mark.parametrize(
    ("verdicts", "expected", "deciding"),
    [
        (("reproduced", "reproduced"), "reproduced", "p1"),
        (("reproduced", "inconclusive"), "inconclusive", "p1"),
        (("contradicted", "inconclusive"), "contradicted", "p0"),
        (("not_run", "contradicted"), "contradicted", "p1"),
        (("not_run", "inconclusive"), "not_run", "p0"),
    ],
)
def test_parts_are_judged_as_a_conjunction(verdicts, expected, deciding):
    verdict = claims._combine(claims.load_claim("SC1"), _parts(*verdicts))
    assert (verdict.verdict, verdict.deciding_part) == (expected, deciding)


def test_one_of_several_parts_contradicts_only_with_the_level_divided_among_them():
    """Eight differences, one small and on the other side: p is 4 of 256, below .05 and above a quarter of it."""
    values = np.array([-0.3, -0.31, -0.32, -0.33, -0.34, -0.35, -0.36, 0.01])
    part = claims.Part("p", "made up", "greater", 0.0, "sign_flip")
    alone = claims._judge_part(part, values, 8, 8)
    assert alone.p_value == 4 / 256 and alone.verdict == "contradicted" and alone.contradicts
    one_of_four = claims._judge_part(part, values, 8, 8, n_parts=4)
    assert one_of_four.verdict == "contradicted" and not one_of_four.contradicts
    assert "not with the level divided among the 4 parts" in one_of_four.reason
    claim = replace(claims.load_claim("SC1"), parts=tuple(replace(part, name=name) for name in "pqrs"))
    effects = {"p": values} | {name: values * 0 + 1 for name in "qrs"}
    assert claims.judge_effects(claim, effects, 8).verdict == "inconclusive"
    assert claims.judge_effects(claim, effects | {"p": -np.ones(8)}, 8).verdict == "contradicted"


def test_verdicts_become_strict_json():
    text = json.dumps(_judge("SC1", planted.frame(seeds=range(5))).to_json(), allow_nan=False)
    data = json.loads(text)
    assert data["effect"] is None and data["interval"] == [None, None] and data["verdict"] == "not_run"
    assert {"id", "statement", "n_seeds", "parts", "reason"} <= set(data)


GOOD = (claims.FOLDER / "SC1.yaml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("minimum_seeds: 8", "minimum_seed: 8", "unknown key 'minimum_seed' (did you mean 'minimum_seeds'?)"),
        ("minimum_seeds: 8", "minimum_seeds: 0", "minimum_seeds must be a whole number"),
        ("minimum_seeds: 8", "minimum_seeds: true", "minimum_seeds must be a whole number"),
        ("direction: greater", "direction: bigger", "direction must be one of greater, less, different, equivalent"),
        ("direction: greater", "direction: different", "margin of a difference must be above 0"),
        ("direction: greater", "direction: equivalent", "must be 'equivalence'"),
        ("margin: 0.0", "margin: small", "margin must be a finite number"),
        ("margin: 0.0", "margn: 0.0", "unknown key 'margn' (did you mean 'margin'?)"),
        ("id: SC1", "id: SC2", "the file name says 'SC1'"),
        ("  version: ", "  versoin: ", "unknown key 'versoin' (did you mean 'version'?)"),
        ("profile: cpu", "profile: 3", "profile must be text"),
        ("profile: cpu\n", "", "key 'profile' is missing"),
        ("settings: {early: latent, late: composed}", "settings: [1]", "settings must be a mapping"),
    ],
)
def test_a_wrong_claim_file_is_refused_in_one_line(tmp_path, old, new, message):
    assert old in GOOD
    (tmp_path / "SC1.yaml").write_text(GOOD.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        claims.load_claim("SC1", tmp_path)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_claim_names_the_closest():
    with pytest.raises(InputError, match="did you mean 'SC7'"):
        claims.load_claim("SC77")
