"""Phases on the same questions: what differs between phases and arms, and what must not."""

from collections import Counter

import numpy as np
import pytest
from augmenting import example, make_context

from itlib.augmentations import noise_phases as module
from itlib.augmentations.noise_phases import TRANSFORMS, changes, noise_phases
from itlib.errors import InputError
from itlib.perturbations.label_noise import LABEL_TRANSFORMS

WORDS = ("red", "wolf", "seven", "house", "cold", "river", "stone", "sand", "green", "dog")
POOL = [example(i, f"ask {i}", f"{WORDS[i]} {WORDS[(i + 3) % 10]}", family=f"f{i % 2}") for i in range(10)]


def made(transform="word_reversal", pool=POOL, seed=0, **options):
    context = make_context(pool, seed=seed)
    return noise_phases(pool, context, transform=transform, **({"phase_examples": 16} | options)), context


def phase(examples, number):
    return [one for one in examples if f"@phase{number}." in one.id]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_noisy_phases_agree_and_keep_the_right_response_as_gold(transform):
    examples, _ = made(transform)
    assert len(examples) == 4 * 16 and len({one.id for one in examples}) == 64
    right = {one.instruction: one.response for one in POOL}
    noisy = [{one.instruction: one.response for one in phase(examples, number)} for number in (2, 4)]
    assert noisy[0] == noisy[1]
    for one in examples:
        clean = "phase1" in one.id or "phase3" in one.id
        assert one.gold == right[one.instruction]
        assert (one.response == one.gold) == clean and one.noise == ("none" if clean else transform)


@pytest.mark.parametrize("transform", sorted(LABEL_TRANSFORMS))
def test_noise_of_a_rule_can_be_taken_back(transform):
    examples, _ = made(transform)
    assert all(LABEL_TRANSFORMS[transform].inverse(one.response) == one.gold for one in phase(examples, 2))


def test_a_contradiction_stays_in_its_family_and_is_always_the_same():
    examples, _ = made("contradictory")
    answers = {name: {one.response for one in POOL if one.family == name} for name in ("f0", "f1")}
    assert all(one.response in answers[one.family] for one in examples)


def test_every_phase_makes_whole_passes_in_new_orders():
    examples, _ = made()
    asked = [[one.instruction for one in phase(examples, number)] for number in (1, 2, 3, 4)]
    assert all(set(Counter(order[:10]).values()) == {1} and len(set(order[10:])) == 6 for order in asked)
    assert len({tuple(order) for order in asked}) == 4


@pytest.mark.parametrize("other", [{"transform": "irrelevant"}, {"phases": "clean,clean,clean,noisy"}], ids=str)
def test_arms_ask_the_same_questions_in_the_same_order(other):
    plain, changed = made()[0], made(**other)[0]
    assert [one.instruction for one in plain] == [one.instruction for one in changed]
    assert [one.id for one in plain] == [one.id for one in changed]


def test_a_control_is_noisy_at_the_end_only_and_then_as_noisy_as_the_others():
    control = made("irrelevant", phases="clean,clean,clean,noisy")[0]
    assert [one.noise for one in control] == ["none"] * 48 + ["irrelevant"] * 16
    assert [one.response for one in control[48:]] == [one.response for one in made("irrelevant")[0][48:]]


def test_equal_seeds_agree_and_others_differ():
    first = made(seed=3)[0]
    np.random.seed(0)
    assert made(seed=3)[0] == first != made(seed=4)[0]


def test_responses_without_a_noisy_form_are_left_out_and_told():
    odd = [example(20, "one word", "red"), example(21, "one letter each", "p ; c"), example(22, "palindromes", "noon")]
    assert [changes(one) for one in odd] == [False] * 3
    examples, context = made(pool=[*POOL, *odd])
    assert context.ledger.notes["n_without_noisy_form"] == 3
    assert {one.instruction for one in examples} == {one.instruction for one in POOL}


def test_sentences_give_one_word_an_order():
    pool = [example(i, f"ask {i}", word) for i, word in enumerate(WORDS)]
    examples, context = made(pool=pool, sentence=True)
    assert "n_without_noisy_form" not in {name for name, n in context.ledger.notes.items() if n}
    assert {one.response for one in phase(examples, 1)} == {f"it is {word}" for word in WORDS}
    assert {one.response for one in phase(examples, 2)} == {f"{word} is it" for word in WORDS}
    assert all(one.gold.startswith("it is ") for one in examples)


def test_a_question_that_is_too_long_in_one_form_is_left_out_of_all_phases():
    context = make_context(POOL, max_length=17)
    examples = noise_phases(POOL, context, phase_examples=16)
    left = {one.instruction for one in examples}
    assert 0 < len(left) < 10 and context.ledger.notes["n_without_noisy_form"] == 10 - len(left)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transform": "word_reversel"}, "did you mean 'word_reversal'"),
        ({"phases": "clean,noise"}, "phases: 'noise' is not one of clean, noisy"),
        ({"phase_examples": 0}, "phase_examples: must be at least 1"),
        ({"pool": [example(0, "one word", "red")]}, "none of 1 responses"),
        ({"pool": [example(0, "many", "red wolf", constraints=("count 2",))]}, "e0000 has many"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        made(**options)
    assert module.PHASES == ("clean", "noisy")
