"""Claims about wordings on planted item rows: what was planted is what they measure."""

import itertools

import numpy as np
import pandas as pd
import pytest

from itlib.claims import judge, load_claim
from itlib.claims.robustness import gaps, sigmas, tuned_arm
from itlib.studies.robustness import CLAIMS

FAMILIES, N_ITEMS = ("colour", "plural", "swap"), 40
MODELS = {"k=4": "micro-1m", "micro-0.2m": "micro-0.2m", "micro-4m": "micro-4m", "k=1": "micro-1m"}
LEVELS = {"observed": 0.8, "unobserved": 0.6, "unobserved_wrapper": 0.7, "wrong_task": 0.2}


def planted(levels=None, spread=None, seeds=range(8), arms=tuple(MODELS)):
    """Item rows whose instructions have accuracies that alternate around a level by a spread, exactly."""
    rows = []
    for arm, seed, family in itertools.product(arms, seeds, FAMILIES):
        for which, level in {**LEVELS, **((levels or {}).get(arm, {}))}.items():
            for index in range(4):
                deviation = (spread or {}).get(which, 0.0) * (-1) ** index
                right = round((level + deviation + 0.005 * (seed - 3.5)) * N_ITEMS)
                for item in range(N_ITEMS):
                    value = float((item * 7 + index * 3) % N_ITEMS < right)
                    about = (arm, seed, MODELS[arm], family, which, f"{which}{index}", f"item{item}")
                    rows.append((*about, which == "observed" and (arm != "k=1" or index == 0), value))
    columns = ["arm", "seed", "model", "family", "set", "instruction", "item", "trained", "value"]
    return pd.DataFrame(rows, columns=columns).assign(status="done")


def verdict(name, frame):
    return judge(load_claim(name), frame)


def test_the_arm_with_the_most_phrasings_is_judged():
    assert tuned_arm(planted(arms=("k=1", "k=4"))) == "k=4"


def test_gaps_and_spreads_are_what_was_planted():
    frame = planted(spread={"unobserved": 0.1})
    assert gaps(frame, "k=4", "unobserved") == pytest.approx(np.full(8, 0.2), abs=0.02)
    # four instructions at +-.1 have a sample variance of .0133, of which the residual takes its share
    assert (sigmas(frame, "k=4", "unobserved") > sigmas(frame, "k=4", "observed") + 0.05).all()


def test_planted_claims_are_reproduced_and_their_opposites_contradicted():
    frame = planted(spread={"unobserved": 0.2}, levels={"micro-4m": {"unobserved": 0.65, "unobserved_wrapper": 0.78}})
    assert verdict("R1", frame).verdict == "reproduced"
    assert verdict("R2", frame).verdict == "reproduced"
    assert verdict("R3", frame).verdict == "reproduced"
    assert verdict("R10", frame).verdict == "reproduced"
    assert verdict("R4", frame).verdict == "contradicted"
    lower = {"observed": 0.5, "wrong_task": 0.75}
    turned = planted(spread={"observed": 0.2}, levels={"k=4": lower, "micro-4m": {"unobserved": 0.8}})
    assert verdict("R1", turned).verdict == "contradicted"
    assert verdict("R2", turned).verdict == "contradicted"
    assert verdict("R4", turned).verdict == "reproduced"
    assert verdict("R3", turned).verdict == "contradicted"


def test_an_instruction_blind_model_has_no_gap_and_no_spread():
    frame = planted(levels={arm: dict.fromkeys(LEVELS, 0.6) for arm in MODELS})
    blind = frame["item"].str.removeprefix("item").astype(int) % 3 == 0
    frame["value"] = blind.astype(float)
    assert gaps(frame, "k=4", "unobserved") == pytest.approx(np.zeros(8), abs=1e-12)
    assert sigmas(frame, "k=4", "unobserved") == pytest.approx(np.zeros(8))


def test_missing_sizes_few_seeds_and_failed_runs_are_not_run():
    frame = planted()
    assert verdict("R3", frame[frame["arm"] != "micro-4m"]).verdict == "not_run"
    assert "micro-4m" in verdict("R3", frame[frame["arm"] != "micro-4m"]).reason
    assert all(verdict(name, planted(seeds=range(3))).verdict == "not_run" for name in CLAIMS)
    failed = frame.assign(value=frame["value"].mask((frame["arm"] == "k=4") & (frame["seed"] == 2)))
    assert verdict("R1", failed).verdict == "not_run"
    assert "7 of 8 seeds" in verdict("R1", failed).reason


def test_a_family_that_a_seed_lacks_makes_it_incomplete():
    frame = planted()
    gone = (frame["arm"] == "k=4") & (frame["seed"] == 0) & (frame["family"] == "swap")
    assert np.isnan(gaps(frame[~gone], "k=4", "unobserved")[0])
