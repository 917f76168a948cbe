"""A paraphrase of an example: same operands, same response, another of the phrasings that the run is tuned on."""

from dataclasses import replace

import numpy as np
import pytest

from itlib.microworld import world
from itlib.microworld.mixture import Mixture, every_family
from itlib.microworld.phrasings import phrasings
from itlib.registry import families


def made(n=60, seed=3, **fields):
    mixture = Mixture(**fields)
    pool = world.pool(n, seed=seed, mixture=mixture)
    return pool, [world.reworded(example, mixture, seed=seed) for example in pool]


@pytest.mark.parametrize("name", [name for name in every_family() if families.get(name).size("pool")])
def test_every_family_can_be_reworded(name):
    pool, others = made(24, families=(name,))
    for example, other in zip(pool, others, strict=True):
        assert other.instruction != example.instruction and other.phrasing != example.phrasing
        assert (other.response, other.entities, other.constraints) == (
            example.response, example.entities, example.constraints,
        )  # fmt: skip
        twin = next(p for p in phrasings(name, "observed") if p.id == other.phrasing)
        arguments = world._arguments(families.get(name), example.id.split("/")[2])
        assert twin.render(name, arguments) == other.instruction
    assert len({other.id for other in others}) == len(others)


@pytest.mark.parametrize("k", [2, 4])
def test_a_paraphrase_is_among_the_phrasings_of_its_run(k):
    pool, others = made(families=("plural", "past"), n_phrasings=k)
    for name in ("plural", "past"):
        tuned_on = {p.id for p in world.phrasing_order(name, "observed", 3)[:k]}
        assert {e.phrasing for e in (*pool, *others) if e.family == name} == tuned_on


def test_a_paraphrase_depends_on_seed_and_example_alone():
    pool, others = made(60)
    np.random.seed(0)
    assert made(120)[1][:60] == others
    assert [e.phrasing for e in made(60, seed=4)[1]] != [e.phrasing for e in others]
    assert world.reworded(pool[5], Mixture(), seed=3) == others[5]


def test_a_translated_example_is_reworded_in_its_language():
    pool, others = made(families=("colour",), second_language=1.0)
    plain = made(families=("colour",))[1]
    assert all(e.id.endswith("@second") for e in pool)
    assert not {e.instruction for e in others} & {e.instruction for e in plain}


def test_voiced_responses_stay():
    pool, others = made(families=("colour",), response_wording="sentence")
    assert [e.response for e in others] == [e.response for e in pool]


def test_a_changed_instruction_has_no_paraphrase():
    pool, _ = made(3)
    broken = replace(pool[0], turns=(replace(pool[0].turns[0], content="what"), *pool[0].turns[1:]))
    with pytest.raises(ValueError, match="has no paraphrase"):
        world.reworded(broken, Mixture(), seed=3)
