"""What families are: documented numbers, one kind of answer each, and sizes that are counted rightly."""

from itertools import permutations, product
from math import perm

import pytest
from world_oracle import OPEN_ENDED, RAW

from itlib.microworld import splits, world
from itlib.microworld.dice import Dice
from itlib.microworld.families import CATEGORIES, FAMILIARITIES, held_out_successors
from itlib.microworld.families.several import PARTS
from itlib.microworld.operations import LIST_OPERATIONS
from itlib.registry import families

EVERY = world.every_family()
CATALOGUE = {
    "words": "first_letter opposite past plural",
    "things": "category colour size",
    "people": "country home job never_home never_job new_home new_job rare_home rare_job two_hop worked_two_hop",
    "comparisons": "alphabetical bigger longer",
    "lists": "copy last_word swap",
    "arithmetic": "addition long_sum two_digit_addition worked_sum",
    "letters": "novel_rule reverse",
    "open_ended": "sentence_with some_coloured some_members some_members_sorted some_starting",
    "chains": "chain_1 chain_2 chain_3 chain_4 chain_5 worked_chain_1 worked_chain_2 worked_chain_3 worked_chain_4 "
    "worked_chain_5",
    "several": "three_questions two_questions",
    "game": "legal_moves one_legal_move",
}
STANDARD = (
    "first_letter opposite past plural category colour size country home job two_hop alphabetical bigger longer "
    "copy last_word swap addition two_digit_addition novel_rule reverse"
).split()


def test_the_catalogue_is_the_documented_one():
    assert {c: " ".join(n for n in EVERY if families.get(n).category == c) for c in CATEGORIES} == CATALOGUE
    assert list(world.default_families()) == STANDARD and len(EVERY) == 49


def test_every_family_says_what_it_is():
    for name in EVERY:
        family = families.get(name)
        assert family.name == name and family.category in CATEGORIES and family.familiarity in FAMILIARITIES
        assert family.skill.endswith(".") and family.operand
        assert (family.every is None) == (family.draw is not None) == (family.count is not None)
        assert (family.constraints is None) == (family.respond is None) == (name not in OPEN_ENDED)
        assert [len(getattr(family.phrases, which)) for which in ("observed", "unobserved", "dev")] == [4, 2, 1]
    assert {families.get(name).familiarity for name in EVERY} == set(FAMILIARITIES)


def test_standard_families_have_one_right_response_and_are_taught():
    for name in STANDARD:
        assert not families.get(name).constraints and families.get(name).size("pool")


@pytest.mark.parametrize("name", [name for name in EVERY if families.get(name).every])
def test_listed_operands_are_different_and_equal_on_every_call(name):
    for split in splits.SPLITS:
        listed = families.get(name).every(split)
        assert len(set(listed)) == len(listed) == families.get(name).size(split)
        assert families.get(name).every(split) == listed


@pytest.mark.parametrize("name", [name for name in EVERY if families.get(name).draw])
def test_drawn_operands_are_of_the_split_and_of_many_kinds(name):
    family, dice = families.get(name), Dice("test", name)
    for split in splits.SPLITS:
        drawn = [family.draw(dice, split) for _ in range(400)]
        assert len(set(drawn)) > 300
        allowed = {w for kind in splits.WORDS for w in splits.words(kind, split)}
        for arguments in drawn:
            words = [w for entity in family.about(arguments) for w in entity.split() if not {">", "&"} & set(w)]
            assert set(words) <= allowed


def test_sizes_of_drawn_families_are_counted_by_brute_force_on_dev():
    """Dev is small enough to list what the counts claim."""
    nouns, adjectives = splits.words("noun", "dev"), splits.words("adjective", "dev")
    assert families.get("copy").size("dev") == sum(1 for _ in permutations(nouns, 3))
    assert families.get("last_word").size("dev") == perm(len(nouns), 4)
    assert families.get("sentence_with").size("dev") == len(list(product(nouns, adjectives)))
    for length in range(1, 6):
        for prefix in ("chain", "worked_chain"):
            chains = sum(
                all((b - a) % 6 in held_out_successors(6, "dev") for a, b in zip(path[:-1], path[1:], strict=True))
                for path in product(range(len(LIST_OPERATIONS)), repeat=length)
            )
            assert families.get(f"{prefix}_{length}").size("dev") == chains * perm(len(adjectives), 3)


@pytest.mark.parametrize("split", splits.SPLITS)
@pytest.mark.parametrize(("name", "length"), [("two_questions", 2), ("three_questions", 3)])
def test_sizes_of_several_questions_are_counted_by_brute_force(name, length, split):
    offsets, total = held_out_successors(len(PARTS), split), 0
    for path in product(range(len(PARTS)), repeat=length):
        if all((b - a) % len(PARTS) in offsets for a, b in zip(path[:-1], path[1:], strict=True)):
            ways = 1
            for index in path:
                ways *= len(splits.words(families.get(PARTS[index]).operand, split))
            total += ways
    assert families.get(name).size(split) == total


def test_open_ended_requests_can_be_met_with_pool_words():
    pool_nouns = set(splits.words("noun", "pool"))
    for split in splits.SPLITS:
        for value, _ in families.get("some_members").every(split):
            members = {pair.split("/")[0] for pair in RAW["nouns"][value].split()}
            assert len(members & pool_nouns) >= 4
        for letter, _ in families.get("some_starting").every(split):
            assert sum(noun[0] == letter for noun in pool_nouns) >= 4


def test_compositions_have_a_rest_for_the_pool():
    assert held_out_successors(6, "pool") == (0, 4, 5) and held_out_successors(9, "pool") == (0, 4, 5, 6, 7, 8)
    assert held_out_successors(6, "dev") == (1,) and held_out_successors(6, "test") == (2, 3)
