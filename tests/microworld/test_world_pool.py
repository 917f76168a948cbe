"""Pools and held-out items: nested, balanced or not as asked, unique, limited, refused with the key and the remedy."""

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world_oracle import TAUGHT

from itlib.errors import InputError
from itlib.microworld import world
from itlib.microworld.noise import KINDS
from itlib.microworld.phrasings import ADVERSARIAL, SETS
from itlib.microworld.responses import STYLES, WORDINGS
from itlib.registry import families

FAMILIES = world.default_families()
ONE_TEMPLATE = ("name", "none")
NAMED = st.sampled_from([(), ("opposite", "home", "copy"), ("some_members", "chain_3", "new_job"), TAUGHT])


@st.composite
def mixtures(draw, noisy=True):
    names = draw(NAMED)
    second = draw(st.sampled_from([0.0, 0.4, 1.0]))
    # mismatched responses of families about form cannot be said in the second language
    which = draw(st.sampled_from([name for name in SETS if name not in (*ADVERSARIAL, *ONE_TEMPLATE)]))
    kinds = tuple(draw(st.lists(st.sampled_from([k for k in KINDS if not second or k != "mismatched"]), unique=True)))
    return world.Mixture(
        families=names,
        phrasing_set=which,
        n_phrasings=draw(st.sampled_from([0, 2, 3])),
        n_operands=draw(st.sampled_from([0, 12, 40])),
        imbalance=draw(st.sampled_from([0.0, 0.7, 2.0])),
        second_language=second,
        response_wording=draw(st.sampled_from(sorted(WORDINGS))),
        response_style=draw(st.sampled_from(sorted(STYLES))),
        noise_kinds=kinds,
        noise_rate=draw(st.sampled_from([0.0, 0.37])) if kinds and noisy else 0.0,
    )


@given(mixtures(), st.integers(0, 50), st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_smaller_pool_is_a_prefix_for_every_mixture(mixture, seed, share):
    size = min(300, world.pool_limit(mixture))
    whole = world.pool(size, seed=seed, mixture=mixture)
    assert len(whole) == len({example.id for example in whole}) == size
    assert world.pool(int(share * size), seed=seed, mixture=mixture) == whole[: int(share * size)]


@pytest.mark.parametrize("fields", [{"n_phrasings": 1}, {"phrasing_set": "name"}, {"phrasing_set": "none"}])
def test_a_pool_of_one_phrasing_has_the_size_that_was_asked_for(fields):
    assert [len(world.pool(6000, seed=seed, families=("copy",), **fields)) for seed in range(3)] == [6000] * 3


def test_any_prefix_is_balanced_over_families():
    examples = world.pool(1000, seed=5)
    for n in (10, 23, 64, 500, 1000):
        counts = Counter(example.family for example in examples[:n])
        assert max(counts.values()) - min(counts.get(f, 0) for f in FAMILIES) <= 1


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_counts_of_families_fall_as_a_power_of_the_rank(exponent):
    names = ("longer", "bigger", "alphabetical", "copy", "swap", "last_word", "two_digit_addition", "colour")
    for seed in (0, 1):
        counts = Counter(e.family for e in world.pool(6000, seed=seed, imbalance=exponent, families=names))
        shares = np.arange(1, 9) ** -exponent / sum(np.arange(1, 9) ** -exponent)
        seen = np.array([count for _, count in counts.most_common()])
        spread = np.sqrt(6000 * shares * (1 - shares))
        assert (abs(seen - 6000 * shares) < 4 * spread + 1).all()
    orders = {
        tuple(name for name, _ in Counter(e.family for e in world.pool(2000, seed=s, imbalance=2.0)).most_common(2))
        for s in range(6)
    }
    assert len(orders) > 3  # the seed draws which family has which rank


def test_used_up_families_leave_an_unbalanced_pool_complete():
    mixture = world.Mixture(families=("country", "past", "home"), n_phrasings=2, imbalance=1.5)
    examples = world.pool(world.pool_limit(mixture), seed=0, mixture=mixture)
    assert Counter(e.family for e in examples) == {"country": 48, "past": 118, "home": 240}


def operands(examples):
    found = defaultdict(set)
    for example in examples:
        found[example.family].add(example.id.split("/")[2])
    return found


@given(st.integers(0, 30))
@settings(max_examples=8, deadline=None)
def test_exactly_n_operands_are_used_and_they_nest(seed):
    names = ("opposite", "copy", "bigger", "chain_2", "two_questions", "addition", "some_members")
    few, many = (operands(world.pool(len(names) * 4 * n, seed=seed, families=names, n_operands=n)) for n in (5, 20))
    assert {name: len(used) for name, used in few.items()} == dict.fromkeys(names, 5)
    assert {name: len(used) for name, used in many.items()} == dict.fromkeys(names, 20)
    assert all(few[name] < many[name] for name in names)


@pytest.mark.parametrize(
    "names",
    [
        ("plural", "colour", "size", "category", "reverse"),
        ("home", "job", "two_hop", "worked_two_hop"),
        ("rare_home", "rare_job"),
        ("long_sum", "worked_sum"),
        ("legal_moves", "one_legal_move"),
    ],
)
def test_few_operands_are_the_same_for_families_about_the_same_things(names):
    asked = operands(world.pool(len(names) * 30, seed=8, families=names, n_operands=10))
    assert len(asked) == len(names) and len(set(map(frozenset, asked.values()))) == 1


def test_few_operands_are_asked_in_every_phrasing():
    mixture = world.Mixture(families=("home", "copy"), n_operands=3)
    examples = world.pool(world.pool_limit(mixture), seed=1, mixture=mixture)
    assert len(examples) == 2 * 3 * 32 == len({example.instruction for example in examples})
    for name in ("home", "copy"):
        asked = Counter(example.id.split("/")[2] for example in examples if example.family == name)
        assert sorted(asked.values()) == [32, 32, 32]


@given(st.integers(0, 30), st.sampled_from(["observed", "unobserved_phrase"]))
@settings(max_examples=8, deadline=None)
def test_subsets_of_phrasings_nest(seed, which):
    def used(count):
        fields = {"families": ("plural", "longer"), "n_phrasings": count, "phrasing_set": which}
        return {e.phrasing for e in world.pool(700, seed=seed, **fields) if e.family == "longer"}

    one, four, eight, every = used(1), used(4), used(8), used(0)
    assert (len(one), len(four), len(eight)) == (1, 4, 8) and one < four < eight < every


def test_items_are_unique_even_when_the_world_is_used_up():
    mixture = world.Mixture(families=("country", "past"))
    limit = world.pool_limit(mixture)
    examples = world.pool(limit, seed=1, mixture=mixture)
    assert limit == 32 * (24 + 59)
    assert len({e.id for e in examples}) == len({e.instruction for e in examples}) == limit
    with pytest.raises(InputError, match=str(limit)):
        world.pool(limit + 1, seed=1, mixture=mixture)


@pytest.mark.parametrize("name", [n for n in TAUGHT if families.get(n).every and families.get(n).size("pool") < 200])
def test_all_operands_come_once_before_any_returns(name):
    size = families.get(name).size("pool")
    asked = [example.id.split("/")[2] for example in world.pool(3 * size, seed=2, families=(name,))]
    assert all(len(set(asked[start : start + size])) == size for start in range(0, 3 * size, size))


def test_equal_seeds_agree_and_others_differ_whatever_the_global_generator_did():
    first = world.pool(200, seed=7)
    np.random.seed(123)
    np.random.random(10)
    assert world.pool(200, seed=7) == first
    assert world.pool(200, seed=8) != first


def test_fields_and_a_mixture_say_the_same():
    mixture = world.Mixture(families=("swap",), noise_rate=0.2)
    assert world.pool(50, seed=1, mixture=mixture) == world.pool(50, seed=1, families=("swap",), noise_rate=0.2)


def test_the_default_mixture_is_every_standard_family_clean_and_plain():
    examples = world.pool(500, seed=0)
    assert {example.family for example in examples} == set(FAMILIES)
    assert all(example.noise == "none" and not example.constraints for example in examples)
    assert world.pool(500, seed=0, families=FAMILIES) == examples
    assert world.Mixture().names == FAMILIES and world.category("swap") == "lists"


def test_held_out_items_nest_and_sets_of_phrasings_ask_the_same_things():
    few, many = world.held_out("test", 5, families=("plural",)), world.held_out("test", 40, families=("plural",))
    assert few == many[:5]
    unobserved = world.held_out("test", 40, families=("plural",), phrasing_set="unobserved")
    assert [x.entities for x in many] == [x.entities for x in unobserved]
    assert not {x.instruction for x in many} & {x.instruction for x in unobserved}


def test_held_out_items_do_not_depend_on_the_other_families_asked():
    together = world.held_out("dev", 10, families=("swap", "home"))
    assert together == world.held_out("dev", 10, families=("swap",)) + world.held_out("dev", 10, families=("home",))


def test_held_out_is_enough_for_fifty_items_of_every_family():
    for split in ("dev", "test"):
        for names in (FAMILIES, world.every_family()):
            examples = world.held_out(split, 50, families=names)
            assert len({example.id for example in examples}) == 50 * len(names)


FIELDS = [
    ({"families": ("oposite",)}, "unknown task family 'oposite' .did you mean 'opposite'"),
    ({"families": ("past", "past")}, "families names a family twice: past, past"),
    ({"families": ("never_home",)}, "families: 'never_home' can only be tested; nothing ever teaches it"),
    ({"phrasing_set": "observd"}, "unknown phrasing set 'observd' .did you mean 'observed'"),
    ({"phrasing_set": "negated"}, "phrasing_set 'negated' is for evaluation only"),
    ({"phrasing_set": "random"}, "phrasing_set 'random' is for evaluation only"),
    ({"n_phrasings": 33}, "n_phrasings is 33; phrasing set 'observed' has 32 per family .0 means all"),
    ({"n_phrasings": -1}, "n_phrasings is -1"),
    ({"n_operands": -1}, "n_operands is -1; it is at least 1, or 0 for all"),
    ({"imbalance": -0.5}, "imbalance is -0.5; it lies between 0 and 10"),
    ({"imbalance": 11.0}, "imbalance is 11.0; it lies between 0 and 10"),
    ({"imbalance": float("nan")}, "imbalance is nan"),
    ({"second_language": 1.5}, "second_language is 1.5; it lies between 0 and 1"),
    ({"second_language": 0.5, "families": ("past",)}, "second_language: none of the families can be said"),
    ({"response_wording": "shrt"}, "response_wording is 'shrt' .did you mean 'short'"),
    ({"response_style": "plan"}, "response_style is 'plan' .did you mean 'plain'"),
    ({"noise_kinds": ("wrongg",)}, "noise_kinds has 'wrongg' .did you mean 'wrong'"),
    ({"noise_rate": 1.2}, "noise_rate is 1.2; it is a share between 0 and 1"),
    ({"families": ("country",), "n_operands": 2, "n_phrasings": 4}, "pool_size is 10; .* hold at most 8 different"),
]


@pytest.mark.parametrize(("fields", "told"), FIELDS)
def test_a_pool_that_the_world_cannot_give_is_refused_in_one_line(fields, told):
    with pytest.raises(InputError, match=told) as caught:
        world.check(replace(world.Mixture(), **fields), 10)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=told):
        world.pool(10, seed=0, **fields)


def test_a_negative_size_is_refused():
    with pytest.raises(InputError, match="pool_size is -1"):
        world.pool(-1, seed=0)
    assert world.pool(0, seed=0) == []


@pytest.mark.parametrize(
    ("split", "n", "fields", "told"),
    [
        ("pool", 5, {}, "split 'pool' is what models are tuned on; held-out splits are dev and test"),
        ("tset", 5, {}, "unknown split 'tset' .did you mean 'test'"),
        ("dev", 193, {"families": ("country",)}, "n_eval is 193; family 'country' holds 1 to 192 dev items"),
        ("dev", 0, {}, "n_eval is 0"),
        ("dev", 5, {"families": ("swap", "swap")}, "eval_families names a family twice: swap, swap"),
        ("dev", 5, {"families": ("swp",)}, "unknown task family 'swp' .did you mean 'swap'"),
        ("dev", 5, {"phrasing_set": "negate"}, "unknown phrasing set 'negate' .did you mean 'negated'"),
        ("dev", 5, {"spoken": "third"}, "eval_language is 'third'; known: first, second"),
        ("dev", 5, {"spoken": "second", "families": ("past",)}, "eval_language: 'past' rests on the form of words"),
    ],
)
def test_held_out_items_that_the_world_cannot_give_are_refused_in_one_line(split, n, fields, told):
    with pytest.raises(InputError, match=told) as caught:
        world.held_out(split, n, **fields)
    assert "\n" not in str(caught.value)
