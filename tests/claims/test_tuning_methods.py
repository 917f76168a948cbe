"""The claims on tuning methods, on planted frames whose effects are known by hand."""

import numpy as np
import pandas as pd
import pytest
from planted_methods import frame_of

from itlib.claims import judge, load_claim
from itlib.claims.tuning_methods import by_seed
from itlib.studies.tuning_methods import CLAIMS

NOISE = np.random.default_rng(0).normal(0, 1e-4, 16)


def near(value):
    """A value for every seed, with a little noise so that intervals have a width."""
    return lambda seed: value + NOISE[seed]


def verdict(name, frame):
    return judge(load_claim(name), frame)


def parts(name, frame):
    return {part.name: part for part in verdict(name, frame).parts}


def ends(full=0.5, embedding_head=0.4, last_layer=0.3, prefix=0.2, gflops=8.0):
    return frame_of(
        {
            "full": {"score": near(full), "gflops": 10.0},
            "embedding_head": {"score": embedding_head},
            "last_layer": {"score": last_layer},
            "prefix 10": {"score": prefix, "gflops": gflops},
        }
    )


def test_accuracy_and_cost_by_hand():
    found = parts("S139", ends())
    effects = {name: part.effect for name, part in found.items()}
    assert effects == pytest.approx({"full_over_light": 0.15, "light_over_prefix": 0.15, "operations": 0.8}, abs=1e-3)
    assert verdict("S139", ends()).verdict == "reproduced"


@pytest.mark.parametrize(
    ("changes", "part"),
    [({"full": 0.3}, "full_over_light"), ({"prefix": 0.45}, "light_over_prefix"), ({"gflops": 4.0}, "operations")],
)
def test_the_opposite_of_every_part_is_contradicted(changes, part):
    found = verdict("S139", ends(**changes))
    assert (found.verdict, found.deciding_part) == ("contradicted", part)


def entries(dense=0.502, sparse=0.4, lora=0.4, n_sparse=9880.0, n_lora=9856.0):
    return frame_of(
        {
            "full": {"score": near(0.5)},
            "grow_and_drop density=0.05": {"score": dense},
            "grow_and_drop density=0.0123": {"score": near(sparse), "trainable": n_sparse},
            "lora 1": {"score": lora, "trainable": n_lora},
        }
    )


def test_sparse_tuning_may_be_a_point_below_lora_and_no_more():
    assert verdict("L13", entries(sparse=0.395)).verdict == "reproduced"
    below = parts("L13", entries(sparse=0.385))
    assert below["sparse_minus_lora"].verdict == "contradicted"
    assert below["sparse_minus_lora"].effect == pytest.approx(-0.015, abs=1e-3)
    assert below["sparse_minus_full"].verdict == "reproduced"


@pytest.mark.parametrize(("dense", "found"), [(0.505, "reproduced"), (0.515, "contradicted"), (0.485, "contradicted")])
def test_about_equal_to_full_means_within_a_point_on_either_side(dense, found):
    assert parts("L13", entries(dense=dense))["sparse_minus_full"].verdict == found


def test_unequal_parameters_are_not_compared():
    found = verdict("L13", entries(n_lora=9000.0))
    assert found.verdict == "not_run" and "9,880" in found.reason and "9,000" in found.reason


def starts(recall=0.8, score=0.5):
    return frame_of(
        {
            "lora 16": {"recall": near(0.7), "score": near(0.5)},
            "corda 16 keep=knowledge": {"recall": recall, "score": score},
            "corda 16 keep=instruction": {"score": 0.52},
            "pissa 16": {"score": near(0.5)},
        }
    )


def test_knowledge_is_that_of_told_facts_at_no_lower_accuracy():
    found = parts("L15", starts())
    assert found["knowledge"].effect == pytest.approx(0.1, abs=1e-3)  # what nobody told, recalled with 0, is left out
    assert verdict("L15", starts()).verdict == "reproduced"
    assert verdict("L15", starts(recall=0.6)).verdict == "contradicted"
    lower = verdict("L15", starts(score=0.48))
    assert (lower.verdict, lower.deciding_part) == ("contradicted", "task")


def test_the_instruction_start_is_compared_with_pissa():
    found = verdict("L16", starts())
    assert found.verdict == "reproduced" and found.effect == pytest.approx(0.02, abs=1e-3)


def test_feedforward_is_compared_with_attention():
    arms = {"lora 7 feedforward": {"score": near(0.4)}, "lora 10 attention": {"score": 0.43}}
    found = verdict("L19", frame_of(arms))
    assert found.verdict == "contradicted" and found.effect == pytest.approx(-0.03, abs=1e-3)
    arms["lora 10 attention"]["trainable"] = 103.0  # of 100: 3 % are no longer equal
    assert verdict("L19", frame_of(arms)).verdict == "not_run"


@pytest.mark.parametrize(("part", "found"), [(0.405, "reproduced"), (0.43, "contradicted"), (0.38, "contradicted")])
def test_few_examples_are_to_equal_the_smaller_model(part, found):
    arms = {"lora 16 at 0.05": {"score": near(part)}, "full of small model": {"score": 0.4}}
    assert verdict("L20", frame_of(arms)).verdict == found


def test_missing_arms_are_not_run():
    empty = frame_of({"full": {}})
    for name in CLAIMS:
        assert verdict(name, empty).verdict == "not_run"
        assert verdict(name, pd.DataFrame()).verdict == "not_run"
        assert judge(load_claim(name), ends(), blocked="steps differ").reason.endswith("steps differ")


def test_a_seed_without_a_run_or_a_family_has_no_answer():
    frame = ends()
    gone = (frame["arm"] == "full") & (frame["seed"] == 3) & (frame["kind"] == "test")
    for drop in (gone, gone & (frame["family"] == "colour")):
        left = by_seed(frame[~drop], "full", "exact_match")
        assert np.isnan(left[3]) and left.notna().sum() == 7
        assert verdict("S139", frame[~drop]).verdict == "not_run"
