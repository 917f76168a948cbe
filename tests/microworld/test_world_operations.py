"""The interpreter by hand, its refusals, and the check of worked steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world_oracle import FACTS, TAUGHT, change

from itlib.errors import InputError
from itlib.microworld import facts, lexicon, world
from itlib.microworld.operations import LIST_OPERATIONS, NEXT, OPERATIONS, answer, chain_states, check_steps
from itlib.registry import families

ADJECTIVES = st.lists(st.sampled_from(lexicon.ADJECTIVES), min_size=3, max_size=3)
CHAINS = st.lists(st.sampled_from(sorted(LIST_OPERATIONS)), min_size=1, max_size=5)
WORKED = {
    name: [item.gold for item in world.pool(120, seed=0, families=(name,))]
    for name in TAUGHT
    if name.startswith("worked_")
}
SOLUTIONS = st.sampled_from(sorted(gold for golds in WORKED.values() for gold in golds))
OTHER_WORDS = st.sampled_from(["hot", "wolf", "7", "12", "dunzo", "toreford", "flip", "home", "=", "+", "then"])
HOME, JOB = facts.HOME["dunzo"], facts.JOB["dunzo"]


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
        ("long_sum", ("9", "9", "0"), "18"),
        ("worked_sum", ("3", "4", "2"), "3 + 4 = 7 ; 7 + 2 = 9"),
        ("chain", ("hot big fast", "flip"), "fast big hot"),
        ("chain", ("hot big fast", "flip then rotate"), "big hot fast"),
        ("chain", ("hot big fast", "exchange then invert then cover"), "little cold little"),
        ("chain", ("hot big fast", "arrange"), "big fast hot"),
        ("worked_chain", ("hot big fast", "cover then invert"),
         "cover hot big fast = hot big hot ; invert hot big hot = cold little cold"),
        ("several", ("plural", "wolf", "opposite", "hot", "first_letter", "ant"), "wolves ; cold ; a"),
        ("home", ("dunzo",), HOME),
        ("worked_two_hop", ("dunzo",), f"home dunzo = {HOME} ; country {HOME} = {facts.COUNTRY[HOME]}"),
        ("legal_moves", ("1", "2", "9"), "leap"),
        ("legal_moves", ("9", "1", "8"), "stuck"),
        ("legal_moves", ("5", "1", "2"), "step leap back"),
    ],
)  # fmt: skip
def test_answers_worked_out_by_hand(operation, arguments, right):
    assert answer(operation, arguments) == right


def test_every_family_has_an_operation_or_constraints_and_every_operation_a_family():
    used = {families.get(name).operation or name for name in families.names() if not families.get(name).constraints}
    assert used == set(OPERATIONS)


@given(ADJECTIVES, CHAINS)
def test_chains_apply_their_operations_in_turn_and_keep_the_length(words, names):
    states = chain_states((" ".join(words), " then ".join(names)))
    assert states[0].split() == words and len(states) == len(names) + 1
    for name, before, after in zip(names, states[:-1], states[1:], strict=True):
        assert after.split() == change(name, before.split()) and len(after.split()) == 3


@given(st.lists(st.sampled_from(lexicon.ADJECTIVES), min_size=2, max_size=7))
def test_list_operations_have_the_algebra_their_names_promise(words):
    do = LIST_OPERATIONS
    for name in ("flip", "exchange", "invert"):
        assert do[name](do[name](words)) == words
    turned = words
    for _ in words:
        turned = do["rotate"](turned)
    assert turned == words
    assert do["arrange"](do["flip"](words)) == do["arrange"](words) == sorted(words)
    assert do["cover"](words)[-1] == words[0] and do["cover"](words)[:-1] == words[:-1]


@pytest.mark.parametrize(
    ("operation", "arguments", "told"),
    [
        ("oposite", ("hot",), "unknown operation 'oposite' .did you mean 'opposite'"),
        ("opposite", ("wolf",), "operation 'opposite' is not defined on .'wolf',."),
        ("addition", ("x", "1"), "operation 'addition'"),
        ("chain", ("hot big fast", "flop"), "operation 'chain'"),
        ("chain", ("hot",), "operation 'chain'"),
        ("several", ("plural",), "operation 'several'"),
        ("copy", (1, 2), "operation 'copy'"),
        ("swap", ("hot",), "operation 'swap'"),
    ],
)
def test_wrong_operands_are_refused_in_one_line(operation, arguments, told):
    with pytest.raises(InputError, match=told) as caught:
        answer(operation, arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", WORKED)
def test_right_solutions_have_true_steps_only(name):
    for gold in WORKED[name]:
        assert check_steps(gold) == (True,) * (gold.count(NEXT) + 1)


@given(SOLUTIONS, st.data(), OTHER_WORDS)
def test_a_step_with_one_other_word_is_false_and_the_others_stay_true(gold, data, other):
    """Every word of a step decides, but the one that is covered."""
    steps = gold.split(NEXT)
    which = data.draw(st.integers(0, len(steps) - 1))
    words = steps[which].split()
    at = data.draw(st.integers(0, len(words) - 1))
    if words[at] == other or (words[0] in LIST_OPERATIONS and at == 0) or (words[0] == "cover" and at == 3):
        return  # another operation can have the same effect, see below; and the word that "cover" hides is any word
    if words[0] in FACTS and at == 1 and FACTS[words[0]].get(other) == words[3]:
        return  # another person of the same town, another town of the same country
    words[at] = other
    steps[which] = " ".join(words)
    assert check_steps(NEXT.join(steps)) == tuple(index != which for index in range(len(steps)))


def test_the_word_that_is_covered_does_not_decide():
    assert check_steps("cover hot big fast = hot big hot ; cover hot big wolf = hot big hot") == (True, True)


@given(ADJECTIVES, st.sampled_from(sorted(LIST_OPERATIONS)), st.sampled_from(sorted(LIST_OPERATIONS)))
def test_another_operation_is_true_only_where_it_has_the_same_effect(words, name, other):
    listed, after = " ".join(words), " ".join(change(name, words))
    assert check_steps(f"{other} {listed} = {after}") == (change(other, words) == change(name, words),)


@pytest.mark.parametrize(
    "step",
    ["", " ", "3 + 4", "3 + 4 =", "= 7", "3 + 4 = 8", "3 - 4 = 7", "3 + 4 + 5 = 12", "x + 4 = 7", "home = toreford",
     "home dunzo", "country wolf = toreford", "rotate = hot", "invert wolf = cold", "exchange hot = hot",
     f"job dunzo = {JOB}", "opposite hot = cold", "wolf", "7", "3 + 4 = 7 .", f"home dunzo = {HOME} now"],
)  # fmt: skip
def test_what_is_no_true_step_is_false(step):
    assert check_steps(step) == (False,)


@pytest.mark.parametrize("step", ["flip = ", "arrange = ", "invert = "])
def test_an_operation_on_nothing_is_no_step(step):
    assert check_steps(step) == (False,)


def test_steps_are_judged_one_by_one_and_not_as_a_chain():
    assert check_steps("3 + 4 = 7 ; 7 + 2 = 8") == (True, False)
    assert check_steps(f"home dunzo = {HOME} ; 1 + 1 = 2 ; flip hot big = big hot") == (True, True, True)
    assert check_steps("3 + 4 = 7 ; ") == (True, False)
