"""Corrupted examples: exact rates, kept gold answers, and what each kind does."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itlib.microworld import noise, world


@given(st.sampled_from([0.0, 0.05, 0.2, 1 / 3, 0.5, 0.9, 1.0]), st.integers(0, 20))
@settings(max_examples=20, deadline=None)
def test_the_share_of_noise_is_exact(rate, seed):
    kinds = ("wrong", "mismatched", "truncated")
    examples = world.pool(300, seed=seed, noise_kinds=kinds, noise_rate=rate)
    noisy = sum(example.noise != "none" for example in examples)
    assert noisy == int(300 * rate + 1e-9)


def test_kinds_are_mixed_evenly():
    examples = world.pool(800, seed=0, noise_rate=0.5)
    counts = Counter(example.noise for example in examples)
    assert counts == {"none": 400, "wrong": 100, "mismatched": 100, "truncated": 100, "duplicate": 100}


def test_clean_examples_stand_where_they_stood_without_noise():
    clean, noisy = world.pool(600, seed=9), world.pool(600, seed=9, noise_rate=0.4)
    for before, after in zip(clean, noisy, strict=True):
        assert after == before or after.noise != "none"
        if after.noise in ("wrong", "mismatched", "truncated"):
            assert after.gold == before.gold and after.entities == before.entities and after.family == before.family


@pytest.mark.parametrize("kind", noise.KINDS)
def test_what_each_kind_does(kind):
    clean = world.pool(600, seed=11)
    noisy = world.pool(600, seed=11, noise_kinds=(kind,), noise_rate=0.3)
    answers = {}
    for example in world.pool(6000, seed=1):
        answers.setdefault(example.family, set()).add(example.gold)
    n_changed = 0
    for index, (before, after) in enumerate(zip(clean, noisy, strict=True)):
        if after.noise == "none":
            assert after.response == after.gold
            continue
        n_changed += 1
        if kind in ("wrong", "mismatched"):
            assert after.response != after.gold and after.instruction == before.instruction
        if kind == "wrong" and len(answers[after.family]) < 50:
            assert after.response in answers[after.family]
        if kind == "truncated":
            assert before.instruction.startswith(after.instruction + " ") and after.response == after.gold
        if kind == "duplicate":
            earlier = [(x.instruction, x.response) for x in noisy[:index] if x.noise == "none"]
            assert (after.instruction, after.response) in earlier
    assert n_changed == 180
    assert len({example.id for example in noisy}) == len(noisy)


def test_a_mismatched_response_comes_from_another_family_of_the_same_pool():
    names = ("home", "colour")
    towns = {x.gold for x in world.pool(600, seed=0, families=("home",))}
    for example in world.pool(300, seed=0, families=names, noise_kinds=("mismatched",), noise_rate=0.5):
        if example.noise == "mismatched":
            assert (example.response in towns) == (example.family == "colour")
