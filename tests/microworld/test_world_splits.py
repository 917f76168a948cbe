"""Nothing that dev or test asks for stands in a pool: entities, words, compositions; and what the exceptions are."""

import re
from collections import defaultdict

import pytest
from world_oracle import TAUGHT

from itlib.errors import InputError
from itlib.microworld import lexicon, splits, track, world
from itlib.microworld.families import held_out_successors
from itlib.microworld.families.chains import ONLY_FIRST
from itlib.microworld.families.several import PARTS
from itlib.microworld.operations import LIST_OPERATIONS
from itlib.registry import families

EVERY = world.every_family()
KINDS = {
    "noun": lexicon.NOUNS,
    "adjective": lexicon.ADJECTIVES,
    "verb": lexicon.VERBS,
    "person": lexicon.PEOPLE,
    "rare_person": lexicon.RARE_PEOPLE,
    "town": lexicon.TOWNS,
}
HELD_OUT_WORDS = {word: kind for kind in KINDS for split in ("dev", "test") for word in splits.words(kind, split)}
COMPOSED = [name for name in EVERY if families.get(name).category in ("chains", "several")]


def items(split):
    if split == "pool":
        return world.pool(25_000, seed=0, families=TAUGHT)
    return [
        item
        for name in EVERY
        for item in world.held_out(split, min(300, 32 * families.get(name).size(split)), families=(name,))
    ]


@pytest.fixture(scope="module")
def generated():
    return {split: items(split) for split in splits.SPLITS}


@pytest.fixture(scope="module")
def entities(generated):
    found = defaultdict(lambda: defaultdict(set))
    for split, examples in generated.items():
        for example in examples:
            found[example.family][split].update(example.entities)
    return found


@pytest.mark.parametrize("name", EVERY)
def test_pool_dev_and_test_of_a_family_share_no_entity(entities, name):
    pool, dev, test = (entities[name][split] for split in splits.SPLITS)
    if name.startswith("new_"):
        assert pool == dev == test == set(lexicon.NEW_PEOPLE)
    elif name.startswith("never_"):
        assert pool == set() and dev == test == set(lexicon.NEVER_PEOPLE)
    else:
        assert pool and dev and test and pool.isdisjoint(dev | test) and dev.isdisjoint(test)


def test_splits_hold_across_families_too(entities):
    """An entity that one family holds out is in no other family's pool."""
    names = [name for name in EVERY if not name.startswith(("new_", "never_"))]
    pool, dev, test = (set().union(*(entities[name][split] for name in names)) for split in splits.SPLITS)
    assert pool.isdisjoint(dev | test) and dev.isdisjoint(test)


@pytest.mark.parametrize("kind", KINDS)
def test_splits_cover_all_words_of_a_kind_once(kind):
    parts = [splits.words(kind, split) for split in splits.SPLITS]
    assert sorted(word for part in parts for word in part) == sorted(KINDS[kind])
    shares = [len(part) / len(KINDS[kind]) for part in parts]
    assert shares == pytest.approx([0.60, 0.15, 0.25], abs=0.02)


def test_both_words_of_an_opposite_pair_are_in_one_split():
    for split in splits.SPLITS:
        chosen = set(splits.words("adjective", split))
        assert all((a in chosen) == (b in chosen) for a, b in lexicon.OPPOSITE_PAIRS)


def test_all_orders_of_the_same_numbers_are_in_one_split():
    sides = {}
    for split in splits.SPLITS:
        for numbers in (
            *splits.number_pairs(0, 9, split),
            *splits.number_pairs(10, 99, split),
            *splits.number_triples(split),
        ):
            assert sides.setdefault(tuple(sorted(map(int, numbers))), split) == split
    assert len(sides) == 10 * 11 // 2 + 90 * 91 // 2 + 220
    assert sum(len(splits.track_positions(split)) for split in splits.SPLITS) == len(track.positions())


def test_no_held_out_word_is_in_a_pool_but_towns_as_answers(generated):
    """Who lives where is asked of pool people; the towns they live in are of all splits."""
    told = defaultdict(set)
    for example in generated["pool"]:
        assert not HELD_OUT_WORDS.keys() & set(example.instruction.split()), example.id
        for word in HELD_OUT_WORDS.keys() & set(example.response.split()):
            told[HELD_OUT_WORDS[word]].add(example.family)
    answers = {"home", "new_home", "rare_home", "worked_two_hop", "two_questions", "three_questions"}
    assert dict(told) == {"town": answers}
    standard = world.pool(20_000, seed=1)
    words = {word for example in standard if example.family != "home" for word in example.response.split()}
    assert not words & HELD_OUT_WORDS.keys()


def test_worked_solutions_of_a_pool_state_parts_that_other_families_hold_out():
    """What dev and test ask of "addition" and "country" stands in the steps of these two families, neither standard.

    A study that tunes on them must not test on those.
    """
    asked = {
        item.entities[0] for split in ("dev", "test") for item in world.held_out(split, 14, families=("addition",))
    }
    sums = world.pool(families.get("worked_sum").size("pool"), seed=0, families=("worked_sum",))
    stated = {"+".join(sorted(pair)) for item in sums for pair in re.findall(r"\b(\d) \+ (\d) =", item.response)}
    assert asked <= stated
    hops = world.pool(families.get("worked_two_hop").size("pool"), seed=0, families=("worked_two_hop",))
    told = {item.response.split()[6] for item in hops}
    assert {*splits.words("town", "dev"), *splits.words("town", "test")} <= told
    assert not {"worked_sum", "worked_two_hop"} & {*world.default_families()}


def test_operands_of_one_item_come_from_one_split(generated):
    side = {word: split for kind in KINDS for split in splits.SPLITS for word in splits.words(kind, split)}
    for split, examples in generated.items():
        for example in examples:
            assert {side.get(entity, split) for entity in example.entities} == {split}


def pairs(example):
    mark = ">" if example.category == "chains" else "&"
    return {entity for entity in example.entities if mark in entity}


@pytest.mark.parametrize("name", [name for name in COMPOSED if not name.endswith("_1")])
def test_compositions_of_pool_dev_and_test_are_disjoint_and_used_up(generated, name):
    parts = tuple(LIST_OPERATIONS) if families.get(name).category == "chains" else PARTS
    seen = {
        split: set().union(*(pairs(example) for example in examples if example.family == name))
        for split, examples in generated.items()
    }
    assert not seen["pool"] & seen["dev"] and not seen["pool"] & seen["test"] and not seen["dev"] & seen["test"]
    only_first = ONLY_FIRST if families.get(name).category == "chains" else ()
    for split, found in seen.items():
        barred = [pair for pair in found if pair.rpartition(">")[2] in only_first]
        n_pairs = len(parts) * len(held_out_successors(len(parts), split))
        if split == "pool":
            assert not barred and len(found) == n_pairs - len(only_first) * len(held_out_successors(len(parts), split))
        else:
            assert len(found) == n_pairs and bool(barred) == bool(only_first)


def test_a_composition_held_out_in_one_family_is_held_out_in_all(generated):
    for mark in (">", "&"):
        found = {
            split: {entity for example in examples for entity in example.entities if mark in entity}
            for split, examples in generated.items()
        }
        assert not found["pool"] & (found["dev"] | found["test"]) and not found["dev"] & found["test"]


@pytest.mark.parametrize("size", range(4, 12))
def test_every_pair_of_parts_belongs_to_one_split_and_every_part_has_a_successor(size):
    offsets = [held_out_successors(size, split) for split in splits.SPLITS]
    assert sorted(offset for part in offsets for offset in part) == list(range(size)) and all(offsets)


def test_sample_responses_of_pool_items_use_pool_words_only(generated):
    """Open-ended responses name things that the instruction does not; no held-out one is among them."""
    n_lists = 0
    for example in generated["pool"]:
        if example.constraints and example.family.startswith("some_"):
            assert set(example.response.split(" , ")) <= set(splits.words("noun", "pool"))
            n_lists += 1
        elif example.family == "sentence_with":
            known = {*splits.words("noun", "pool"), *splits.words("adjective", "pool"), *splits.words("person", "pool")}
            assert set(example.response.split()) - known <= set("a the was at home likes .".split())
    assert n_lists > 1000


def test_an_unknown_split_is_refused():
    with pytest.raises(InputError, match="did you mean 'test'") as caught:
        splits.words("noun", "tset")
    assert "\n" not in str(caught.value)
