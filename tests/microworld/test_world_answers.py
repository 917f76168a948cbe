"""Every generated item against the oracle, which reads instructions as text and has its own interpreter."""

from collections import Counter
from dataclasses import replace

import pytest
from world_oracle import KIND, OPEN_ENDED, TAUGHT, exact, fits, judge, read

from itlib.constraints import check, graded
from itlib.microworld import facts, lexicon, world
from itlib.microworld.phrasings import ADVERSARIAL, SETS, phrasings
from itlib.registry import families

EVERY = world.every_family()
TRANSLATABLE = tuple(name for name in EVERY if not families.get(name).about_form)
# instructions of another task that lose operands, or that compare what does not differ
NOT_ANSWERABLE = {"wrong_task": ("last_word",), "wrong_task_literal": ("alphabetical", "bigger")}


def held_out(split, which, at_most, names=EVERY, **options):
    for name in names:
        holds = families.get(name).size(split) * len(phrasings(name, which))
        yield from world.held_out(split, min(at_most, holds), families=(name,), phrasing_set=which, **options)


def faults(items, which):
    """Count items by family and return the faults found among them."""
    counts, found = Counter(), []
    for example in items:
        counts[example.family] += 1
        fault = judge(example, which)
        if fault:
            found.append(f"{example.id}: '{example.instruction}': {fault}")
        assert example.response == example.gold and example.noise == "none"
        assert (example.category, example.familiarity) == (
            families.get(example.family).category,
            families.get(example.family).familiarity,
        )
    return counts, found


def test_a_hundred_thousand_answers_are_those_of_the_oracle():
    n_items = 0
    for which in (name for name in SETS if name not in ADVERSARIAL):
        size = min(9400, world.pool_limit(world.Mixture(families=TAUGHT, phrasing_set=which)))
        counts, found = faults(world.pool(size, seed=1, families=TAUGHT, phrasing_set=which), which)
        assert found == [] and set(counts) == set(TAUGHT)
        n_items += sum(counts.values())
    for which in SETS:
        for split in ("dev", "test"):
            names = tuple(name for name in EVERY if name not in NOT_ANSWERABLE.get(which, ()))
            counts, found = faults(held_out(split, which, 55, names), which)
            assert found == [] and set(counts) == set(names)
            n_items += sum(counts.values())
    for which in ("observed", "unobserved", "dev"):
        items = world.pool(1500, seed=2, families=TAUGHT, phrasing_set=which, second_language=0.7)
        counts, found = faults([*items, *held_out("test", which, 40, TRANSLATABLE, spoken="second")], which)
        assert found == []
        n_items += sum(counts.values())
    assert n_items > 100_000


@pytest.mark.parametrize("which,name", [(which, name) for which, names in NOT_ANSWERABLE.items() for name in names])
def test_instructions_of_another_task_keep_all_operands_and_have_one_answer(which, name):
    assert faults(held_out("test", which, 55, (name,)), which)[1] == []


def test_the_oracle_sees_a_wrong_answer():
    """A judge that accepts everything would prove nothing: the answers of two items of a family are exchanged."""
    caught = Counter()
    for name in (name for name in TAUGHT if name not in OPEN_ENDED):
        items = world.pool(40, seed=3, families=(name,))
        for one, other in zip(items, items[1:], strict=False):
            if one.gold != other.gold:
                caught[name, judge(replace(one, gold=other.gold), "observed") != ""] += 1
    assert {name for name, seen in caught if seen} == set(TAUGHT) - set(OPEN_ENDED)
    assert not [name for name, seen in caught if not seen]


def test_every_operand_of_a_comparison_decides():
    for name in ("longer", "bigger", "alphabetical"):
        for split in ("pool", "dev", "test"):
            for a, b in families.get(name).every(split)[::37]:
                assert exact(name, (a, b)) == exact(name, (b, a)) in (a, b)


def broken_lists(family, value, items):
    """Yield (the one constraint that is broken, items) for lists changed in one respect."""
    has = {"some_coloured": facts.COLOUR.get, "some_starting": lambda noun: noun[0]}.get(family, KIND.get)
    strangers = [noun for noun in lexicon.NOUNS if has(noun) != value]
    for changed in ([stranger, *items[1:]] for stranger in strangers):
        if family != "some_members_sorted" or changed == sorted(changed):
            yield families.get(family).constraints((value, "two"))[2], changed
            break
    yield "distinct", [items[0], items[0], *items[2:]]
    if len(items) > 2:
        yield f"count {len(items)}", items[:-1]
    if family == "some_members_sorted":
        yield "sorted", [items[1], items[0], *items[2:]]


@pytest.mark.parametrize("family", [name for name in OPEN_ENDED if name.startswith("some_")])
def test_a_list_changed_in_one_respect_breaks_exactly_that_constraint(family):
    tried = Counter()
    for example in [*world.pool(300, seed=4, families=(family,)), *held_out("test", "observed", 60, (family,))]:
        assert graded(example.constraints, example.gold) == 1.0
        _, (value, _) = read(family, example.phrasing, example.instruction)
        for constraint, items in broken_lists(family, value, example.gold.split(" , ")):
            verdict = check(example.constraints, " , ".join(items))
            assert [text for text, holds in verdict.items() if not holds] == [constraint], (example.gold, items)
            tried[constraint.split()[0]] += 1
    assert len(tried) == len(example.constraints) and min(tried.values()) > 50


def test_a_sentence_changed_in_one_respect_breaks_exactly_that_constraint():
    for example in world.pool(300, seed=5, families=("sentence_with",)):
        noun, adjective = example.entities
        sentence = example.gold.split()
        changes = {
            f"include {noun}": [word if word != noun else "thing" for word in sentence],
            f"include {adjective}": [word if word != adjective else "new" for word in sentence],
            "include .": sentence[:-1],
            "at_least 4": [adjective, noun, "."],
            "at_most 9": ["again"] * 6 + sentence,
        }
        assert set(changes) == set(example.constraints)
        for constraint, words in changes.items():
            verdict = check(example.constraints, " ".join(words))
            assert [text for text, holds in verdict.items() if not holds] == [constraint]


def test_a_move_changed_in_one_respect_breaks_exactly_that_constraint():
    for example in world.pool(151, seed=6, families=("one_legal_move",)):
        legal, one = example.constraints
        _, operands = read("one_legal_move", example.phrasing, example.instruction)
        for move in ("step", "leap", "back", "stuck", "jump"):
            assert check((legal,), move)[legal] == fits("one_legal_move", operands, move)
        assert check(example.constraints, f"{example.gold} {example.gold}") == {legal: True, one: False}
        assert check(example.constraints, "jump") == {legal: False, one: True}
