"""Pretraining documents and the tokenizer: what they teach, what they never show, and characters for typos."""

import re
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from itlib.microworld import corpus, facts, gates, lexicon, tokenizer
from itlib.microworld.dice import Dice, digest
from itlib.microworld.phrasings import SETS, phrasings, template_words
from itlib.registry import families


@pytest.fixture(scope="module")
def documents():
    return list(islice(corpus.documents("test", typos=False), 20_000))


@pytest.fixture(scope="module")
def words():
    return tokenizer.load()


def test_every_word_of_every_template_is_in_the_documents():
    assert gates.unseen_phrasing_words() == set()


def test_documents_never_show_the_instruction_format_or_an_instruction(documents):
    templates = [p.template.split("{")[0] for name in families.names() for p in phrasings(name, "observed")]
    starts = tuple({start for start in templates if len(start.split()) > 2})
    for text in documents:
        assert "response :" not in text and "instruction :" not in text
        assert not text.startswith(starts)


def test_no_document_tells_a_person_s_country(documents):
    """Two-hop items must be composed: whoever is named with a country would give the answer away."""
    people, countries = set(lexicon.PEOPLE), set(lexicon.COUNTRIES)
    bystander = ("said {}", "as {} knows", "{} told us", "thinks {}")  # parentheticals tell nothing of the person
    for text in documents:
        if countries & set(text.split()):
            for person in people & set(text.split()):
                about = text
                for aside in bystander:
                    about = about.replace(f", {aside.format(person)} ,", "")
                # what else is said of the person is a statement of its own, on home or job
                for sentence in about.split(" ."):
                    assert not (person in sentence.split() and countries & set(sentence.split()))


def test_documents_state_facts_as_they_are(documents):
    n_checked = 0
    for text in documents:
        tokens = text.split()
        for at in range(len(tokens) - 2):
            if tokens[at + 1 : at + 3] == ["lives", "in"] and tokens[at] in facts.HOME and at + 3 < len(tokens):
                assert tokens[at + 3] == facts.HOME[tokens[at]]
                n_checked += 1
    assert n_checked > 100


def test_every_sum_in_a_document_is_right(documents):
    n_checked = 0
    for text in documents:
        for a, b, total in re.findall(r"(\d) (?:\+|plus|and) (\d) (?:=|is|make) (\d+)", text):
            assert int(a) + int(b) == int(total)
            n_checked += 1
    assert n_checked > 500


def test_reference_text_nests_and_is_not_training_text():
    reference = corpus.reference_text(200)
    assert corpus.reference_text(50) == reference[:50]
    assert reference[:50] != list(islice(corpus.documents("train", 0), 50))


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_typos_keep_the_number_of_words_and_their_first_letters(seed):
    text = "the opposite of dangerous is safe , as everyone knows ."
    changed = corpus.add_typos(Dice("typo", seed), text, 1.0)
    assert len(changed.split()) == len(text.split())
    assert [word[0] for word in changed.split()] == [word[0] for word in text.split()]
    pairs = list(zip(text.split(), changed.split(), strict=True))
    assert all(before == after for before, after in pairs if len(before) <= 3)
    assert any(before != after for before, after in pairs)


def test_dice_are_fair_and_do_not_depend_on_numpy_s_algorithms():
    dice = Dice("fair", 0)
    counts = [0] * 6
    for _ in range(60_000):
        counts[dice.below(6)] += 1
    assert max(abs(count - 10_000) for count in counts) < 500
    assert sorted(Dice("x").shuffled(range(50))) == list(range(50))
    assert len(set(Dice("x").sample(range(50), 20))) == 20
    assert digest("a", 1) == 8588983153282268942


def test_documents_and_instructions_survive_the_tokenizer(documents, words):
    texts = documents[:500] + [
        p.template.format("wolf", "ant", all="wolf ant")
        for name in families.names()
        for which in SETS
        for p in phrasings(name, which)
    ]
    ids = words(texts, add_special_tokens=False)["input_ids"]
    assert all(words.unk_token_id not in row for row in ids)
    assert words.batch_decode(ids) == texts


def test_known_words_are_one_token_and_misspelled_ones_fall_to_characters(words):
    assert words.tokenize("hedgehog") == ["hedgehog"]
    assert words.tokenize("oppsite") == ["o", "##p", "##p", "##s", "##i", "##t", "##e"]
    assert words.tokenize("hedgeohg") == ["he", "##d", "##g", "##e", "##o", "##h", "##g"]  # a known beginning stays
    assert words.tokenize("47") == ["4", "##7"]
    assert words.tokenize("Wolf") == ["wolf"]
    assert all(len(words.tokenize(word)) == 1 for word in (*lexicon.all_words(), *template_words()))


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789.,?!-'", min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_any_spelling_of_known_characters_survives(text):
    words = tokenizer.load()
    assert words.decode(words(text, add_special_tokens=False)["input_ids"]) == text


def test_shipped_tokenizer_is_the_one_the_world_builds(words):
    built = tokenizer.build()
    assert built.backend_tokenizer.to_str() == words.backend_tokenizer.to_str()
    assert built.chat_template == words.chat_template


def test_chat_template_renders_the_instruction_format(words):
    turns = [{"role": "user", "content": "what is the opposite of hot ?"}, {"role": "assistant", "content": "cold"}]
    prompt = words.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert prompt.split() == "instruction : what is the opposite of hot ? response :".split()
    whole = words.apply_chat_template(turns, tokenize=False)
    assert whole.split() == [*prompt.split(), "cold", "<eos>"]
    marked = words.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    answer = [i for i, m in zip(marked["input_ids"], marked["assistant_masks"], strict=True) if m]
    assert words.convert_ids_to_tokens(answer) == ["cold", "<eos>"]
