"""The pool and the held-out items: right, disjoint, nested, balanced, the same in every process."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itlib.errors import InputError
from itlib.microworld import corpus, lexicon, splits, world
from itlib.microworld.operations import answer
from itlib.microworld.phrasings import SETS, phrasings
from itlib.registry import families

FAMILIES = world.default_families()


def arguments_of(example):
    """Read an item's operands back from its instruction by matching the template it names."""
    which = next(s for s in SETS for p in phrasings(example.family, s) if p.id == example.phrasing)
    template = next(p.template for p in phrasings(example.family, which) if p.id == example.phrasing)
    before, _, after = template.partition("{all}")
    if "{all}" in template:
        return tuple(example.instruction.removeprefix(before).removesuffix(after).split())
    words = dict(zip(template.split(), example.instruction.split(), strict=True))
    return tuple(words[slot] for slot in ("{0}", "{1}") if slot in words)


def test_every_gold_answer_is_what_the_interpreter_says_of_the_instruction_text():
    for example in world.pool(4000, seed=3):
        assert example.response == example.gold == answer(example.family, arguments_of(example))
        assert example.category == world.category(example.family)


def test_every_held_out_answer_is_right_in_every_phrasing_set():
    for which in SETS:
        for example in world.held_out("test", 20, phrasing_set=which):
            assert example.response == answer(example.family, arguments_of(example))


def test_entities_of_pool_dev_and_test_are_disjoint():
    everything = {
        "pool": world.pool(8000, seed=0),
        "dev": world.held_out("dev", 60, phrasing_set="observed"),
        "test": world.held_out("test", 200),
    }
    seen = {split: {e for x in items for e in x.entities} for split, items in everything.items()}
    for one, other in combinations(seen, 2):
        assert not seen[one] & seen[other], (one, other)


def test_opposites_are_in_one_split_so_that_no_answer_is_a_pool_entity():
    for split in splits.SPLITS:
        words = set(splits.words("adjective", split))
        assert {lexicon.OPPOSITE[word] for word in words} == words


@pytest.mark.parametrize(("low", "high"), [(0, 9), (10, 99)])
def test_sums_are_split_with_their_mirror_image_and_cover_all_pairs(low, high):
    parts = [set(splits.number_pairs(low, high, split)) for split in splits.SPLITS]
    assert sum(map(len, parts)) == len(set.union(*parts)) == (high - low + 1) ** 2
    assert all((b, a) in part for part in parts for a, b in part)


@pytest.mark.parametrize("kind", ["noun", "verb", "person", "town", "adjective"])
def test_splits_cover_all_words_of_a_kind(kind):
    parts = [splits.words(kind, split) for split in splits.SPLITS]
    every = {
        "noun": lexicon.NOUNS,
        "verb": lexicon.VERBS,
        "person": lexicon.PEOPLE,
        "town": lexicon.TOWNS,
        "adjective": lexicon.ADJECTIVES,
    }[kind]
    assert sorted(word for part in parts for word in part) == sorted(every)


@given(st.integers(0, 50), st.integers(1, 400), st.integers(0, 200))
@settings(max_examples=15, deadline=None)
def test_a_smaller_pool_is_a_prefix_also_with_noise(seed, small, more):
    options = {"seed": seed, "noise_rate": 0.37}
    assert world.pool(small, **options) == world.pool(small + more, **options)[:small]


def test_any_prefix_is_balanced_over_families():
    examples = world.pool(1000, seed=5)
    for n in (10, 21, 64, 500, 1000):
        counts = Counter(example.family for example in examples[:n])
        assert max(counts.values()) - min(counts.get(f, 0) for f in FAMILIES) <= 1


def test_items_are_unique_even_when_the_world_is_used_up():
    names = ("country", "past")
    limit = world.pool_limit(names)
    examples = world.pool(limit, seed=1, families=names)
    assert limit == 32 * (24 + 59)
    assert len({example.id for example in examples}) == len({x.instruction for x in examples}) == limit
    with pytest.raises(InputError, match=str(limit)):
        world.pool(limit + 1, seed=1, families=names)


def test_all_operands_come_once_before_any_returns():
    towns = [example.entities for example in world.pool(24, seed=2, families=("country",))]
    assert len(set(towns)) == 24


def test_equal_seeds_agree_and_others_differ_whatever_the_global_generator_did():
    first = world.pool(200, seed=7)
    np.random.seed(123)
    np.random.random(10)
    assert world.pool(200, seed=7) == first
    assert world.pool(200, seed=8) != first


def test_another_process_with_another_hash_seed_makes_equal_bytes():
    code = (
        "import hashlib; from itlib.microworld import corpus, world;"
        "text = repr(world.pool(300, seed=4, noise_rate=0.3) + world.held_out('test', 5));"
        "text += repr(corpus.reference_text(50));"
        "print(hashlib.sha256(text.encode()).hexdigest())"
    )
    digests = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        digests.add(done.stdout.strip())
    text = repr(world.pool(300, seed=4, noise_rate=0.3) + world.held_out("test", 5)) + repr(corpus.reference_text(50))
    assert digests == {hashlib.sha256(text.encode()).hexdigest()}


def test_a_subset_of_phrasings_nests_in_larger_ones():
    def used(count):
        return {
            x.phrasing
            for x in world.pool(900, seed=6, families=("plural", "longer"), n_phrasings=count)
            if x.family == "longer"
        }

    one, four = used(1), used(4)
    assert len(one) == 1 and len(four) == 4 and one < four


def test_held_out_items_nest_and_sets_of_phrasings_ask_the_same_things():
    few, many = world.held_out("test", 5, families=("plural",)), world.held_out("test", 40, families=("plural",))
    assert few == many[:5]
    unobserved = world.held_out("test", 40, families=("plural",), phrasing_set="unobserved")
    assert [x.entities for x in many] == [x.entities for x in unobserved]
    assert not {x.instruction for x in many} & {x.instruction for x in unobserved}


def test_held_out_is_enough_for_fifty_items_of_every_family():
    for split in ("dev", "test"):
        examples = world.held_out(split, 50)
        assert len({example.id for example in examples}) == 50 * len(FAMILIES)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: world.pool(10, seed=0, families=("oposite",)), "opposite"),
        (lambda: world.pool(10, seed=0, phrasing_set="observd"), "observed"),
        (lambda: world.pool(10, seed=0, n_phrasings=33), "32"),
        (lambda: world.pool(10, seed=0, families=("past", "past")), "twice"),
        (lambda: world.pool(10, seed=0, noise_rate=1.2), "noise_rate"),
        (lambda: world.pool(10, seed=0, noise_rate=0.1, noise_kinds=("wrongg",)), "wrong"),
        (lambda: world.held_out("pool", 5), "dev and test"),
        (lambda: world.held_out("tset", 5), "test"),
        (lambda: world.held_out("dev", 193, families=("country",)), "192"),
    ],
)
def test_user_errors_are_one_line_and_name_what_would_be_right(call, words):
    with pytest.raises(InputError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_categories_are_the_documented_ones():
    grouped = {name: [f for f in FAMILIES if families.get(f).category == name] for name in ("weak", "composed", "flat")}
    assert grouped == {
        "weak": ["addition", "copy"],
        "composed": ["last_word", "swap", "two_hop"],
        "flat": ["novel_rule", "reverse", "two_digit_addition"],
    }
