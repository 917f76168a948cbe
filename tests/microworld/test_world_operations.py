"""The interpreter against answers worked out by other means."""

import pytest

from itlib.errors import InputError
from itlib.microworld import facts, lexicon
from itlib.microworld.dice import Dice
from itlib.microworld.operations import OPERATIONS, answer
from itlib.registry import families


@pytest.mark.parametrize(
    ("operation", "arguments", "right"),
    [
        ("opposite", ("hot",), "cold"),
        ("opposite", ("cold",), "hot"),
        ("past", ("swim",), "swam"),
        ("plural", ("goose",), "geese"),
        ("plural", ("cherry",), "cherries"),
        ("category", ("trombone",), "instrument"),
        ("first_letter", ("wolf",), "w"),
        ("longer", ("ant", "hedgehog"), "hedgehog"),
        ("alphabetical", ("wolf", "ant"), "ant"),
        ("addition", ("9", "8"), "17"),
        ("copy", ("oak", "ant", "oak"), "oak ant oak"),
        ("last_word", ("oak", "ant", "fig", "bus"), "bus"),
        ("swap", ("oak", "ant"), "ant oak"),
        ("reverse", ("wolf",), "f l o w"),
        ("two_digit_addition", ("58", "67"), "125"),
        ("novel_rule", ("wolf",), "f o"),
    ],
)
def test_answers_worked_out_by_hand(operation, arguments, right):
    assert answer(operation, arguments) == right


def test_two_hop_is_the_chain_of_its_hops():
    for person in lexicon.PEOPLE:
        assert answer("two_hop", (person,)) == answer("country", (answer("home", (person,)),))


def test_bigger_agrees_with_the_order_of_the_size_words():
    order = {"tiny": 0, "small": 1, "medium": 2, "large": 3, "huge": 4}
    dice, every = Dice("test", 1), families.get("bigger").every("pool")
    for a, b in dice.sample(every, 500):
        left, right = order[answer("size", (a,))], order[answer("size", (b,))]
        assert answer("bigger", (a, b)) == (a if left > right else b)


def test_comparisons_never_tie():
    """A pair without one right answer would make exact match unfair."""
    for a, b in families.get("longer").every("test"):
        assert abs(len(a) - len(b)) >= 2
    for a, b in families.get("alphabetical").every("test"):
        assert a[0] != b[0]
    for a, b in families.get("bigger").every("test"):
        assert facts.SIZE[a] != facts.SIZE[b]


def test_every_family_has_an_operation_and_every_operation_a_family():
    assert set(families.names()) == set(OPERATIONS)


@pytest.mark.parametrize(
    ("operation", "arguments"), [("oposite", ("hot",)), ("opposite", ("wolf",)), ("addition", ("x", "1"))]
)
def test_wrong_operands_are_refused(operation, arguments):
    with pytest.raises(InputError):
        answer(operation, arguments)


def test_lexicon_has_the_promised_words_and_no_word_plays_two_parts():
    assert (len(lexicon.NOUNS), len(lexicon.OPPOSITE_PAIRS), len(lexicon.VERBS)) == (240, 70, 99)
    assert (len(lexicon.PEOPLE), len(lexicon.TOWNS), len(lexicon.COUNTRIES)) == (200, 40, 8)
    assert [list(lexicon.CATEGORY.values()).count(category) for category in lexicon.CATEGORIES] == [20] * 12
    words = lexicon.all_words()
    assert len(words) == len(set(words))
    assert all(word.isalpha() and word.islower() for word in words)


def test_facts_use_their_values_evenly():
    uses = ((facts.COLOUR, lexicon.COLOURS), (facts.COUNTRY, lexicon.COUNTRIES), (facts.JOB, lexicon.JOBS))
    for table, values in uses:
        counts = [list(table.values()).count(value) for value in values]
        assert max(counts) - min(counts) <= 1


def test_facts_are_the_ones_the_shipped_bases_learned():
    """A golden sample: another assignment would be another world, and the shipped weights would be wrong about it."""
    assert (facts.COLOUR["wolf"], facts.SIZE["wolf"], facts.HOME["dunzo"]) == ("white", "medium", "ulestad")
