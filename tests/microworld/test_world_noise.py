"""Corrupted examples: exact rates, kept right answers, what each kind does, and what other rates share."""

import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world_oracle import TAUGHT, exact, fits, judge, read, untranslated

from itlib.constraints import graded
from itlib.errors import InputError
from itlib.microworld import language, noise, world
from itlib.registry import families

RATES = st.sampled_from([0.0, 0.1, 0.5, 1.0])
CHANGING = [kind for kind in noise.KINDS if kind not in ("duplicate", "off_target")]
KINDS = st.lists(st.sampled_from(noise.KINDS), min_size=1, max_size=3, unique=True).map(tuple)
MIXED = ("opposite", "home", "copy", "some_members", "chain_2", "legal_moves", "one_legal_move", "two_questions")


def pool(size, seed, kinds, rate, **fields):
    return world.pool(size, seed=seed, families=MIXED, noise_kinds=kinds, noise_rate=rate, **fields)


@given(KINDS, RATES, st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_the_share_of_noise_is_exact_in_every_hundred(kinds, rate, seed):
    noisy = [example.noise != "none" for example in pool(300, seed, kinds, rate)]
    per_hundred = [sum(noisy[start : start + 100]) for start in (0, 100, 200)]
    # nothing can be repeated before the first clean example, which a rate of one must wait for
    first = 99 if rate == 1.0 and "duplicate" in kinds else round(100 * rate)
    assert per_hundred == [first, round(100 * rate), round(100 * rate)]


@given(KINDS, st.sampled_from([0.03, 1 / 3, 0.55, 0.999]), st.integers(0, 20), st.integers(1, 700))
@settings(max_examples=40, deadline=None)
def test_a_smaller_noisy_pool_is_a_prefix_and_only_asked_kinds_occur(kinds, rate, seed, size):
    whole = pool(700, seed, kinds, rate)
    assert pool(size, seed, kinds, rate) == whole[:size]
    assert {example.noise for example in whole} <= {"none", *kinds}
    counts = Counter(example.noise for example in whole if example.noise != "none")
    assert max(counts.values()) - min(counts.get(kind, 0) for kind in kinds) <= 1


@given(KINDS, st.integers(0, 20), st.sampled_from([(0.1, 0.5), (0.05, 0.9), (0.0, 0.3), (0.5, 1.0)]))
@settings(max_examples=30, deadline=None)
def test_pools_of_two_rates_agree_wherever_neither_is_corrupted(kinds, seed, rates):
    few, many, clean = (pool(400, seed, kinds, rate) for rate in (*rates, 0.0))
    for one, other, before in zip(few, many, clean, strict=True):
        assert one.noise != "none" or one == before
        assert other.noise != "none" or other == before


@given(st.sampled_from(CHANGING), st.integers(0, 20), RATES)
@settings(max_examples=30, deadline=None)
def test_a_corrupted_item_keeps_its_right_answer(kind, seed, rate):
    for before, after in zip(pool(300, seed, (), 0.0), pool(300, seed, (kind,), rate), strict=True):
        assert judge(before, "observed") == ""
        if after.noise == "none":
            assert after == before
            continue
        assert after.id == f"{before.id}#{kind}"
        assert (after.gold, after.constraints) == (before.gold, before.constraints)
        assert (after.family, after.entities, after.phrasing) == (before.family, before.entities, before.phrasing)
        if kind == "truncated":
            words = before.instruction.split()
            kept = len(after.instruction.split())
            assert words[:kept] == after.instruction.split() and 1 <= kept <= max(1, len(words) // 2)
            assert after.response == before.response
        elif before.constraints:
            assert after.instruction == before.instruction and graded(before.constraints, after.response) < 1
        else:
            assert after.instruction == before.instruction and after.response != before.gold


def test_a_wrong_response_is_an_answer_of_the_family_and_a_mismatched_one_of_another():
    towns = {example.gold for example in world.pool(900, seed=0, families=("home",))}
    for kind in ("wrong", "mismatched"):
        fields = {"families": ("home", "colour"), "noise_kinds": (kind,), "noise_rate": 0.5}
        for example in world.pool(400, seed=0, **fields):
            if example.noise == kind:
                assert (example.response in towns) == ((example.family == "home") == (kind == "wrong"))


def test_a_family_alone_takes_mismatched_responses_from_the_others():
    examples = world.pool(200, seed=0, families=("country",), noise_kinds=("mismatched",), noise_rate=0.5)
    countries = {example.gold for example in examples}
    assert len({e.response for e in examples if e.noise != "none"} - countries) > 20


@given(st.integers(0, 20), st.sampled_from([0.1, 0.5, 1.0]), st.sampled_from(["short", "mixed"]), st.booleans())
@settings(max_examples=25, deadline=None)
def test_duplicates_repeat_an_earlier_clean_example_to_the_letter(seed, rate, wording, both_languages):
    fields = {"response_wording": wording, "response_style": "polite", "second_language": 0.5 * both_languages}
    examples, n_repeated, clean = pool(300, seed, ("duplicate",), rate, **fields), 0, []
    for example in examples:
        if example.noise == "duplicate":
            assert replace(example, id=re.sub(r"#duplicate\d+", "", example.id), noise="none") in clean
            n_repeated += 1
        else:
            clean.append(example)
    assert n_repeated == round(300 * rate) - (rate == 1.0)
    assert len({example.id for example in examples}) == 300


@pytest.mark.parametrize("kind", noise.KINDS)
def test_every_kind_goes_with_the_second_language(kind):
    """A response of another family that is about form cannot be translated; what is shown is in one language."""
    fields = {"families": TAUGHT, "noise_kinds": (kind,), "noise_rate": 0.5, "second_language": 0.5}
    for example in world.pool(2000, seed=0, **fields):
        if language.is_second(example.instruction):
            assert language.translate(untranslated(example.response)) == example.response


def test_duplicates_stay_in_their_family():
    before, after = world.pool(2000, seed=1), world.pool(2000, seed=1, noise_kinds=("duplicate",), noise_rate=0.5)
    moved = sum(one.family != other.family for one, other in zip(before, after, strict=True))
    assert moved < 60  # only until each family has shown a clean example


@pytest.mark.parametrize("second_language", [0.0, 0.4])
def test_off_target_items_are_right_answers_in_the_second_language(second_language):
    fields = {"families": TAUGHT, "noise_kinds": ("off_target",), "second_language": second_language}
    clean = world.pool(1500, seed=2, families=TAUGHT)
    n_translated = Counter()
    for before, after in zip(clean, world.pool(1500, seed=2, noise_rate=0.5, **fields), strict=True):
        if after.noise == "none":
            continue
        assert after.noise == "off_target" and after.response == after.gold
        assert language.is_second(after.instruction)
        _, operands = read(after.family, after.phrasing, untranslated(after.instruction))
        right = fits if after.constraints else lambda family, asked, gold: exact(family, asked) == gold
        assert right(after.family, operands, untranslated(after.gold))
        if not families.get(before.family).about_form:
            assert untranslated(after.instruction) == before.instruction and after.entities == before.entities
        n_translated[families.get(before.family).about_form] += 1
    assert sum(n_translated.values()) == 750 and min(n_translated.values()) > 100


def test_all_kinds_are_used_evenly_when_none_is_named():
    counts = Counter(example.noise for example in world.pool(2000, seed=0, noise_rate=0.5))
    assert set(counts) == {"none", *noise.KINDS} and counts["none"] == 1000
    assert {counts[kind] for kind in noise.KINDS} == {1000 // len(noise.KINDS)}


@pytest.mark.parametrize(
    ("kinds", "rate", "told"),
    [
        (("mismatch",), 0.1, "noise_kinds has 'mismatch' .did you mean 'mismatched'.*known: wrong"),
        (("wrong", "wrong"), 0.1, "noise_kinds names a kind twice: wrong, wrong"),
        ((), -0.1, "noise_rate is -0.1; it is a share between 0 and 1"),
        ((), 1.01, "noise_rate is 1.01"),
        ((), float("nan"), "noise_rate is nan"),
    ],
)
def test_bad_noise_is_refused_in_one_line(kinds, rate, told):
    with pytest.raises(InputError, match=told) as caught:
        noise.check(kinds, rate)
    assert "\n" not in str(caught.value)
