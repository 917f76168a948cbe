"""The second language: a bijection of words, kept out of first-language text, and complete where it is spoken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world_oracle import TAUGHT, untranslated

from itlib.errors import InputError
from itlib.microworld import language, lexicon, responses, splits, tokenizer, world, writers
from itlib.microworld.phrasings import template_words
from itlib.registry import families

TABLE = language.counterparts()
NAMES = frozenset(word for names in lexicon.NAMES for word in names)
ABOUT_FORM = tuple(name for name in TAUGHT if families.get(name).about_form)
SPEAKABLE = tuple(name for name in TAUGHT if not families.get(name).about_form)
FIRST_WORDS = (
    set(lexicon.all_words()) | writers.static_words() | template_words() | responses.style_words()
    | responses.wording_words() | {"instruction", "response"}
)  # fmt: skip
WORDS = st.sampled_from(sorted({*TABLE, *NAMES, "7", "+", ";", ",", ".", "="}))


def second_words(text):
    return set(TABLE.values()) & set(text.split())


def is_wholly_second(text):
    return all(word in TABLE.values() or word in NAMES or not word.isalpha() for word in text.split())


def test_counterparts_are_a_bijection_onto_invented_words():
    seconds = list(TABLE.values())
    assert len(set(seconds)) == len(seconds) and FIRST_WORDS.isdisjoint(seconds)
    assert NAMES.isdisjoint(TABLE)
    assert all(word.isalpha() and word.islower() and len(word) > 2 for word in seconds)
    assert set(seconds) <= set(tokenizer.vocabulary())


def test_everything_that_is_said_in_the_second_language_has_a_counterpart():
    meant = {*lexicon.NOUNS, *lexicon.CATEGORIES, *lexicon.ADJECTIVES, *lexicon.COLOURS, *lexicon.SIZES, *lexicon.JOBS}
    assert meant | template_words() & {w for w in template_words() if w.isalpha()} <= TABLE.keys()
    assert responses.style_words() | responses.wording_words() | {"instruction", "response"} <= TABLE.keys()


@given(st.lists(WORDS, max_size=12))
def test_a_translation_goes_word_by_word_and_back(words):
    text = " ".join(words)
    said = language.translate(text)
    assert untranslated(said) == text
    assert said.split() == [TABLE.get(word, word) for word in words]
    assert language.is_second(said) == any(word in TABLE for word in words)
    assert not language.is_second(text)


@given(st.sampled_from(sorted({*lexicon.PLURAL.values(), *lexicon.PAST.values()} - TABLE.keys())), WORDS)
def test_inflected_forms_are_refused(word, other):
    with pytest.raises(InputError, match=f"'{word}' has no counterpart in the second language") as caught:
        language.translate(f"{other} {word}")
    assert "\n" not in str(caught.value)


def test_three_inflected_forms_have_a_counterpart_since_documents_use_them_as_words_of_sentences():
    assert {*lexicon.PLURAL.values(), *lexicon.PAST.values()} & TABLE.keys() == {"built", "stuck", "took"}


def test_a_pool_of_the_first_language_holds_no_word_of_the_second():
    for example in world.pool(8000, seed=0, families=TAUGHT):
        assert not second_words(f"{example.instruction} {example.response}")
        assert not language.is_second(example.instruction)


def test_a_pool_of_the_second_language_is_wholly_that_except_for_what_is_about_form():
    held_out = {word for kind in splits.WORDS for split in ("dev", "test") for word in splits.words(kind, split)}
    n_second = 0
    for example in world.pool(8000, seed=0, families=TAUGHT, second_language=1.0):
        if example.family in ABOUT_FORM:
            assert not second_words(f"{example.instruction} {example.response}")
        else:
            assert is_wholly_second(example.instruction) and is_wholly_second(example.response), example
            assert example.id.endswith("@second") and second_words(example.instruction)
            n_second += 1
        assert held_out.isdisjoint(example.entities)
    assert n_second > 2000


def test_second_language_items_are_the_first_language_items_translated():
    first = world.pool(2000, seed=4, families=SPEAKABLE)
    second = world.pool(2000, seed=4, families=SPEAKABLE, second_language=1.0)
    for before, after in zip(first, second, strict=True):
        assert (untranslated(after.instruction), untranslated(after.response)) == (before.instruction, before.response)
        assert after.id == f"{before.id}@second" and after.entities == before.entities
        assert after.gold == after.response
    shown = [world.held_out("test", 20, families=SPEAKABLE[:3], spoken=spoken) for spoken in language.LANGUAGES]
    assert [untranslated(item.gold) for item in shown[1]] == [item.gold for item in shown[0]]


def test_shares_of_the_second_language_nest_and_are_met():
    chosen = {}
    for share in (0.1, 0.3, 0.8):
        examples = world.pool(4000, seed=5, families=SPEAKABLE, second_language=share)
        chosen[share] = {index for index, example in enumerate(examples) if language.is_second(example.instruction)}
        assert abs(len(chosen[share]) - 4000 * share) < 4 * (4000 * share * (1 - share)) ** 0.5
    assert chosen[0.1] < chosen[0.3] < chosen[0.8]


def test_names_of_families_are_refused_in_the_second_language():
    with pytest.raises(InputError, match="eval_phrasing_set 'name'.*first language only"):
        world.held_out("test", 1, families=("opposite",), phrasing_set="name", spoken="second")
    with pytest.raises(InputError, match="phrasing_set 'name'.*second_language: 0"):
        world.pool(10, seed=0, phrasing_set="name", second_language=0.5)


def test_unknown_languages_are_refused_with_the_key():
    assert language.check("second") == "second"
    with pytest.raises(InputError, match="^eval_language is 'third'; known: first, second$"):
        language.check("third", "eval_language")
