"""Instruction templates: sets that share no text and few words, counts, adversarial sets, errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from itlib.errors import InputError
from itlib.microworld import gates, world
from itlib.microworld.phrasings import ADVERSARIAL, SETS, WRAPPERS, phrasings, template_words, wrong_task
from itlib.registry import families

EVERY = world.every_family()
COUNTS = {
    "observed": 32, "unobserved": 8, "dev": 4, "dev_wrapper": 16, "unobserved_wrapper": 16, "unobserved_phrase": 16,
    "negated": 16,
    "wrong_task": 32, "wrong_task_literal": 32, "random": 8, "name": 1, "none": 1,
}  # fmt: skip
FUNCTION_WORDS = frozenset(
    "a after an and around as at before by can each for from have how in is of on once one or that the to "
    "what where which with".split()
)
# content words that a held-out noun phrase shares with some observed template, of any family
SHARED_CONTENT = {
    "unobserved": {"end", "front", "move", "piece", "plus", "state", "walls"},
    "dev": {"piece", "walls"},
}
# and with an observed noun phrase of its own family: the board of the game has to be named
SHARED_IN_FAMILY = {"legal_moves": {"piece", "walls"}, "one_legal_move": {"move", "piece", "walls"}}


def words_of(texts):
    return {word for text in texts for word in text.split() if word.isalpha()}


def observed_words():
    return words_of(phrasing.template for name in EVERY for phrasing in phrasings(name, "observed"))


def test_counts_are_the_documented_ones():
    assert set(COUNTS) == set(SETS)
    for name in EVERY:
        assert {which: len(phrasings(name, which)) for which in SETS} == COUNTS


def test_sets_share_no_template():
    texts = {
        which: {phrasing.template for name in EVERY for phrasing in phrasings(name, which)}
        for which in ("observed", "unobserved", "unobserved_wrapper", "unobserved_phrase", "dev", "negated")
    }
    every = list(texts.values())
    assert all(one.isdisjoint(other) for at, one in enumerate(every) for other in every[at + 1 :])


def test_templates_and_ids_are_unique_in_a_family():
    for name in EVERY:
        own = [p for which in SETS if not which.startswith("wrong_task") for p in phrasings(name, which)]
        assert len({p.id for p in own}) == len({p.template for p in own}) == len(own)
        literal = phrasings(name, "wrong_task_literal")
        assert [p.template for p in literal] == [p.template for p in phrasings(name, "wrong_task")]
        assert all(p.literal and p.asks == wrong_task(name) != name for p in literal)


@pytest.mark.parametrize("which", ["unobserved", "dev"])
def test_held_out_noun_phrases_are_made_of_words_that_no_observed_template_has(which):
    """Beside function words some content words are shared, all of them named above."""
    known, shared = observed_words(), set()
    for name in EVERY:
        own = words_of(families.get(name).phrases.observed)
        for phrase in getattr(families.get(name).phrases, which):
            content = words_of([phrase]) - FUNCTION_WORDS
            assert content - known, f"nothing is new in '{phrase}'"
            assert content & own <= SHARED_IN_FAMILY.get(name, set()), phrase
            shared |= content & known
    assert shared == SHARED_CONTENT[which]


def test_held_out_wrappers_are_made_of_words_that_no_observed_wrapper_has():
    known = words_of(WRAPPERS["observed"])
    for which in ("unobserved", "dev"):
        for wrapper in WRAPPERS[which]:
            assert words_of([wrapper]) - words_of(WRAPPERS["observed"]) - FUNCTION_WORDS
        assert (words_of(WRAPPERS[which]) & known) - FUNCTION_WORDS == set()


def test_each_mixed_set_has_one_kind_of_novelty():
    for name in EVERY:
        phrases = families.get(name).phrases
        for which, wrappers, nouns in (
            ("unobserved_wrapper", WRAPPERS["unobserved"], phrases.observed),
            ("unobserved_phrase", WRAPPERS["observed"], phrases.unobserved),
        ):
            expected = {wrapper.format(phrase) for wrapper in wrappers for phrase in nouns}
            assert {p.template for p in phrasings(name, which)} == expected


def test_names_alone_and_nothing_at_all_leave_the_operands_to_be_seen():
    for name in EVERY:
        assert [p.template for p in phrasings(name, "none")] == ["{all}"]
        assert [p.template for p in phrasings(name, "name")] == [f"{name.replace('_', ' ')} : {{all}}"]
    (item,) = world.held_out("test", 1, families=("two_questions",), phrasing_set="none")
    assert item.instruction.split()[1::2] == list(item.entities[:2])


def test_negated_instructions_are_refusals_of_observed_ones():
    for name in EVERY:
        for phrasing in phrasings(name, "negated"):
            assert {"not", "never"} & set(phrasing.template.split()) and phrasing.unchanged
        for phrasing in phrasings(name, "observed"):
            assert not {"not", "never"} & set(phrasing.template.split()) and not phrasing.unchanged


def test_every_word_of_every_template_is_in_the_documents():
    assert gates.unseen_phrasing_words() == set()


def test_random_instructions_are_five_template_words_around_the_operands():
    for name in EVERY:
        used = []
        for phrasing in phrasings(name, "random"):
            words = phrasing.template.split()
            assert words[3] == "{all}" and words[-1] == "." and len(words) == 7
            used += [*words[:3], *words[4:6]]
        assert len(set(used)) == 40 and set(used) <= template_words()


def test_a_wrong_task_is_of_the_same_operands():
    for name in EVERY:
        own, other = families.get(name), families.get(wrong_task(name))
        assert other.name != name and own.phrases != other.phrases
        assert own.operand == other.operand or other.name in ("first_letter", "copy", "last_word")
    assert (wrong_task("opposite"), wrong_task("addition"), wrong_task("home")) == ("first_letter", "copy", "job")


@given(st.sampled_from(EVERY), st.sampled_from([name for name in SETS if name not in ADVERSARIAL]))
def test_sets_ask_the_same_things_in_the_same_order(name, which):
    base, other = (world.held_out("test", 8, families=(name,), phrasing_set=chosen) for chosen in ("observed", which))
    assert [item.entities for item in base] == [item.entities for item in other]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: phrasings("opposite", "observd"), "unknown phrasing set 'observd' .did you mean 'observed'.*known: "),
        (lambda: phrasings("oposite", "observed"), "unknown task family 'oposite' .did you mean 'opposite'"),
    ],
)
def test_unknown_names_are_refused_in_one_line(call, told):
    with pytest.raises(InputError, match=told) as caught:
        call()
    assert "\n" not in str(caught.value)
