"""The claim on prompting against tuning, on planted rows: what was planted is what it measures."""

import itertools

import numpy as np
import pandas as pd
import pytest

from itlib.claims import judge, load_claim
from itlib.claims.prompting import accuracies, stabilities, tuning_minus_prompting
from itlib.studies.prompting import CLAIMS

TUNED, PROMPTED = "400 examples, 0 shots", "base, 4 shots"
FAMILIES = {"colour": "tuned", "swap": "tuned", "plural": "held out", "longer": "held out"}
LEVELS = {TUNED: (0.9, 0.2), PROMPTED: (0.5, 0.4)}  # in and out of distribution
STABLE = {TUNED: 0.6, PROMPTED: 0.8}


def planted(levels=LEVELS, stable=STABLE, seeds=range(8)):
    rows = []
    for seed, arm in itertools.product(seeds, (TUNED, PROMPTED)):
        shift = 0.003 * (seed - 3.5) * (1 if arm == TUNED else -1)
        inside, outside = levels[arm]
        for (family, role), which in itertools.product(FAMILIES.items(), ("observed", "unobserved_wrapper")):
            value = {"tuned": inside, "held out": outside}[role] + (0.1 if family in ("swap", "longer") else -0.1)
            about = {"kind": "accuracy", "arm": arm, "seed": seed, "family": family, "role": role, "set": which}
            rows.append(about | {"value": value + shift})
        for layer in (1, 2):
            pair = {"left": arm, "right": arm, "left_set": "observed", "right_set": "unobserved_wrapper"}
            value = stable[arm] + 0.05 * (-1) ** layer + shift
            rows.append({"kind": "similarity", "seed": seed, "layer": layer, "value": value} | pair)
    return pd.DataFrame(rows).assign(status="done")


def verdict(frame):
    return judge(load_claim("S031"), frame)


def test_parts_are_what_was_planted():
    found = tuning_minus_prompting(planted(), **load_claim("S031").settings)
    assert found["in_distribution"].mean() == pytest.approx(0.4)
    assert found["lost_outside"].mean() == pytest.approx(0.7 - 0.1)
    assert found["stability"].mean() == pytest.approx(-0.2)


def test_differences_on_either_side_reproduce_and_their_absence_contradicts():
    assert verdict(planted()).verdict == "reproduced"
    mirrored = {TUNED: LEVELS[PROMPTED], PROMPTED: LEVELS[TUNED]}, {TUNED: 0.8, PROMPTED: 0.6}
    assert verdict(planted(*mirrored)).verdict == "reproduced"
    alike = verdict(planted(stable=dict.fromkeys(STABLE, 0.7)))
    assert alike.verdict == "contradicted" and alike.deciding_part == "stability"
    assert "between the margins" in alike.reason


def test_missing_arms_layers_and_seeds_are_not_run():
    frame = planted()
    assert "no run of arm 'base, 4 shots'" in verdict(frame[frame["arm"] != PROMPTED]).reason
    assert "were not compared" in verdict(frame[frame["kind"] == "accuracy"]).reason
    assert all(judge(load_claim(name), planted(seeds=range(3))).verdict == "not_run" for name in CLAIMS)
    failed = frame.assign(value=frame["value"].mask((frame["arm"] == TUNED) & (frame["seed"] == 2)))
    assert verdict(failed).verdict == "not_run" and "7 of 8 seeds" in verdict(failed).reason


def test_a_family_or_a_layer_that_a_seed_lacks_makes_it_incomplete():
    frame = planted()
    gone = (frame["arm"] == TUNED) & (frame["seed"] == 0) & (frame["family"] == "swap")
    assert np.isnan(accuracies(frame[~gone], TUNED, "tuned", "observed")[0])
    gone = (frame["left"] == TUNED) & (frame["seed"] == 1) & (frame["layer"] == 2)
    assert np.isnan(stabilities(frame[~gone], TUNED)[1])
