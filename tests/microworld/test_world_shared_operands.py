"""Tasks per input against inputs per task: with few operands, families of one kind ask about the same inputs."""

from collections import Counter
from itertools import product

import pytest

from itlib.microworld import world
from itlib.registry import families

KINDS = {
    "noun": ("category", "colour", "size", "plural", "first_letter", "reverse", "novel_rule"),
    "person": ("home", "job", "two_hop", "worked_two_hop"),
    "rare_person": ("rare_home", "rare_job"),
    "digit triple": ("long_sum", "worked_sum"),
    "chain": ("chain_2", "worked_chain_2"),
    "position": ("legal_moves", "one_legal_move"),
}
DEFINED_ON_OTHERS = [("longer", "bigger", "alphabetical"), ("copy", "swap", "last_word"), ("chain_1", "chain_2")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_operands", [3, 17])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_input_comes_with_every_family_equally_often(kind, n_operands, seed):
    names = KINDS[kind]
    assert {families.get(name).operand for name in names} == {kind}
    for rounds in (1, 3):
        size = rounds * n_operands * len(names)
        pool = world.pool(size, seed=seed, families=names, n_operands=n_operands)
        asked = Counter((example.family, example.id.split("/")[2]) for example in pool)
        inputs = {operand for _, operand in asked}
        assert len(inputs) == n_operands
        assert asked == dict.fromkeys(product(names, inputs), rounds)


@pytest.mark.parametrize("names", DEFINED_ON_OTHERS)
def test_families_that_are_defined_on_other_inputs_share_none(names):
    pool = world.pool(6 * len(names), seed=0, families=names, n_operands=6)
    asked = {name: {e.id.split("/")[2] for e in pool if e.family == name} for name in names}
    assert [len(inputs) for inputs in asked.values()] == [6] * len(names) and not set.intersection(*asked.values())


def test_inputs_do_not_depend_on_how_many_tasks_share_them():
    names = KINDS["noun"]

    def inputs(n_families, n_operands):
        chosen = names[:n_families]
        pool = world.pool(n_families * n_operands, seed=4, families=chosen, n_operands=n_operands)
        return {example.id.split("/")[2] for example in pool}

    assert inputs(1, 12) == inputs(4, 12) == inputs(7, 12)
    assert inputs(7, 5) < inputs(7, 12) < inputs(2, 40)
