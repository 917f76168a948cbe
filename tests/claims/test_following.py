"""The claims about injections and chains on planted rows whose effects are known by hand."""

import numpy as np
import pandas as pd
import pytest

from itlib import claims
from itlib.claims import following
from itlib.injections import PLACES

SEEDS = range(8)
ALONE, INSTRUCTED = "task alone", "instructed"


def judged(claim_id, frame):
    return claims.judge(claims.load_claim(claim_id), frame)


def attacks(arm, corrected, clean=0.9, seeds=SEEDS, tasks=("longer", "addition")):
    rows = []
    for seed in seeds:
        for task in tasks:
            for place in PLACES:
                own = clean if place == "absent" else 0.5
                values = {"corrected": 0.0 if place == "absent" else corrected[place], "own": own}
                about = {"arm": arm, "kind": "attack", "seed": seed, "family": task, "place": place}
                rows += [about | {"metric": metric, "value": value} for metric, value in values.items()]
    return pd.DataFrame(rows)


def everywhere(rate):
    return dict.fromkeys(PLACES[1:], rate)


def chains(arm, all_steps, seeds=SEEDS):
    rows = [
        {"arm": arm, "kind": "chain", "seed": seed, "length": length, "metric": "all_steps", "value": value}
        for seed in seeds
        for length, value in enumerate(all_steps, start=1)
    ]
    return pd.DataFrame(rows)


def both(alone, instructed):
    return pd.concat([alone, instructed], ignore_index=True)


def test_rates_are_means_over_tasks_and_places():
    frame = both(attacks(ALONE, everywhere(0.0)), attacks(INSTRUCTED, {"start": 0.9, "middle": 0.3, "end": 0.6}))
    effects = {part.name: part.effect for part in judged("R14", frame).parts}
    assert effects == pytest.approx({"instructed_minus_alone": 0.6, "alone": 0.0, "clean_difference": 0.0})
    assert judged("R14", frame).verdict == "reproduced"


@pytest.mark.parametrize(
    ("alone", "instructed", "deciding"),
    [
        (attacks(ALONE, everywhere(0.0)), attacks(INSTRUCTED, everywhere(0.05)), "instructed_minus_alone"),
        (attacks(ALONE, everywhere(0.2)), attacks(INSTRUCTED, everywhere(0.9)), "alone"),
        (attacks(ALONE, everywhere(0.0), clean=0.8), attacks(INSTRUCTED, everywhere(0.9)), "clean_difference"),
    ],
)
def test_each_part_can_contradict(alone, instructed, deciding):
    verdict = judged("R14", both(alone, instructed))
    assert (verdict.verdict, verdict.deciding_part) == ("contradicted", deciding)


def test_longer_chains_are_those_of_three_to_five():
    frame = both(chains("singles", [1, 0.5, 0.1, 0.1, 0.1]), chains("singles and pairs", [0, 0, 0.6, 0.4, 0.2]))
    verdict = judged("R15", frame)
    assert verdict.effect == pytest.approx(0.3) and verdict.verdict == "reproduced"
    swapped = both(chains("singles and pairs", [1, 0.5, 0.1, 0.1, 0.1]), chains("singles", [0, 0, 0.6, 0.4, 0.2]))
    assert judged("R15", swapped).verdict == "contradicted"


def test_chains_that_nobody_does_are_inconclusive():
    frame = both(chains("singles", [1, 0, 0, 0, 0]), chains("singles and pairs", [1, 1, 0, 0, 0]))
    assert judged("R15", frame).verdict == "inconclusive"


def test_an_incomplete_seed_is_left_out():
    frame = both(attacks(ALONE, everywhere(0.0), seeds=range(9)), attacks(INSTRUCTED, everywhere(0.9), seeds=range(9)))
    gone = (frame["seed"] == 3) & (frame["arm"] == ALONE) & (frame["family"] == "addition") & (frame["place"] == "end")
    values = following.resistance(frame[~gone], alone=ALONE, instructed=INSTRUCTED)
    assert np.isnan(values["alone"]).tolist() == [seed == 3 for seed in range(9)]
    verdict = judged("R14", frame[~gone])
    assert verdict.n_seeds == 8 and verdict.verdict == "reproduced"


@pytest.mark.parametrize(
    ("claim_id", "frame"),
    [
        ("R14", both(attacks(ALONE, everywhere(0.0)), attacks(INSTRUCTED, everywhere(0.9)))),
        ("R15", both(chains("singles", [1] * 5), chains("singles and pairs", [1] * 5))),
    ],
)
def test_frames_that_cannot_answer_are_not_run(claim_id, frame):
    assert judged(claim_id, frame.assign(kind="test")).verdict == "not_run"
    assert judged(claim_id, frame[frame["arm"].isin([ALONE, "singles"])]).verdict == "not_run"
    few = judged(claim_id, frame[frame["seed"] < 5])
    assert few.verdict == "not_run" and "at least 8" in few.reason


def test_a_place_or_a_length_that_no_run_has_is_named():
    frame = both(attacks(ALONE, everywhere(0.0)), attacks(INSTRUCTED, everywhere(0.9)))
    assert "no place middle" in judged("R14", frame[frame["place"] != "middle"]).reason
    short = both(chains("singles", [1, 1, 1]), chains("singles and pairs", [1, 1, 1]))
    assert "no length 4, 5" in judged("R15", short).reason
