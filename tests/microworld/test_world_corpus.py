"""Pretraining documents and the tokenizer: what they teach, how often, what they never show, characters for typos."""

import re
from collections import Counter
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from world_oracle import COUNT, FACTS, KIND, TAUGHT, change, moves, one_word, untranslated

from itlib.microworld import corpus, facts, language, lexicon, tokenizer, world, writers
from itlib.microworld.dice import Dice, digest
from itlib.microworld.operations import LIST_OPERATIONS
from itlib.microworld.phrasings import SETS, WRAPPERS, phrasings, template_words
from itlib.registry import families

N_DOCUMENTS = 60_000
KNOWN = {*lexicon.PEOPLE, *lexicon.RARE_PEOPLE}
UNTOLD = {*lexicon.NEW_PEOPLE, *lexicon.NEVER_PEOPLE}
NAME = r"[a-z]+"
ASIDE = re.compile(
    rf" , (?:said {NAME}|as {NAME} knows|{NAME} told us|thinks {NAME}|as we all know|of course|so they say|i think) , "
)
PROSE = re.compile(
    "|".join(
        re.sub(r"\\\{[a-z]+\\\}", NAME, re.escape(line))
        for line in (lexicon.ASSETS / "prose.txt").read_text(encoding="utf-8").splitlines()
    )
)
FACT = re.compile(
    rf"the (home|job|country) of ({NAME}) is ({NAME})|({NAME}) (lives in|is at home in|works as|is by trade a|lies in) "
    rf"({NAME})|the town ({NAME}) belongs to ({NAME})|({NAME}) (?:-|=|->|/) ({NAME})"
)
LINKS = {"lives in": "home", "is at home in": "home", "works as": "job", "is by trade a": "job", "lies in": "country"}


ONLY_FIRST = {*language.counterparts(), *lexicon.VERBS, *lexicon.PAST.values(), *lexicon.PLURAL.values()}


@pytest.fixture(scope="module")
def raw():
    return list(islice(corpus.documents("train", 0, typos=False), N_DOCUMENTS))


@pytest.fixture(scope="module")
def documents(raw):
    """Documents as they would be in the first language, without parentheticals, word lists left out."""
    first = (text if not language.is_second(text) else untranslated(text) for text in raw)
    return [ASIDE.sub(" ", text) for text in first if not text.startswith("in the other language")]


def stated(document):
    """Yield (relation, subject, value) of what a document says of people and towns, read by form and by word."""
    if PROSE.fullmatch(document) or document.split()[0] in ("echo", "first", "they"):
        return
    for named, subject, value, other, link, told, town, land, key, entry in FACT.findall(document):
        if named:
            yield named, subject, value
        elif link and other != "who":  # "who works as what" is the header of a list
            yield LINKS[link], other, told
        elif town:
            yield "country", town, land
        elif key in facts.HOME or key in facts.COUNTRY:
            relations = {**dict.fromkeys(lexicon.TOWNS, "home"), **dict.fromkeys(lexicon.JOBS, "job")}
            yield relations.get(entry, "country"), key, entry


@pytest.fixture(scope="module")
def statements(documents):
    return [(index, *statement) for index, text in enumerate(documents) for statement in stated(text)]


def test_all_statements_on_people_and_towns_are_true(statements):
    counts = Counter()
    for _, relation, subject, value in statements:
        assert FACTS[relation][subject] == value
        counts[relation] += 1
    assert min(counts.values()) > 3000 and set(counts) == {"home", "job", "country"}


@pytest.mark.parametrize("relation", ["home", "job"])
def test_people_are_spoken_of_in_proportion_to_their_frequency(statements, relation):
    """Chi-square over frequent people one by one and rare people by level, within four of its standard deviations."""
    told = Counter(subject for _, which, subject, _ in statements if which == relation)
    total, weight = sum(told.values()), sum(facts.FREQUENCY.values())
    groups = [[person] for person in lexicon.PEOPLE]
    groups += [[p for p in lexicon.RARE_PEOPLE if facts.FREQUENCY[p] == level] for level in facts.RARE_LEVELS]
    assert [len(group) for group in groups[-4:]] == [20] * 4 and set(told) <= KNOWN
    chi_square = 0.0
    for group in groups:
        expected = total * sum(facts.FREQUENCY[person] for person in group) / weight
        chi_square += (sum(told[person] for person in group) - expected) ** 2 / expected
    freedom = len(groups) - 1
    assert abs(chi_square - freedom) < 4 * (2 * freedom) ** 0.5
    by_level = [sum(told[person] for person in group) for group in groups[-4:]]
    assert by_level == sorted(by_level, reverse=True) and by_level[-1] > 10


def test_new_and_never_people_are_named_but_nothing_is_told_of_them(raw, documents, statements):
    """They stand in parentheticals and in sentences of prose; every one of them is met."""
    assert UNTOLD <= {word for text in raw for word in text.split()}
    assert not UNTOLD & {subject for _, _, subject, _ in statements}
    for text in documents:
        if not UNTOLD.isdisjoint(text.split()):
            assert PROSE.fullmatch(text), text


def test_documents_never_show_the_instruction_format(raw):
    openings = {wrapper.split("{")[0].strip() for wrapper in WRAPPERS["observed"]}
    phrases = {phrase for name in families.names() for phrase in families.get(name).phrases.observed}
    asked = {phrase.split("{")[0].strip() for phrase in phrases}
    starts = tuple(f"{opening} {phrase} " for opening in openings for phrase in asked if phrase)
    instructions = {example.instruction for example in world.pool(4000, seed=0, families=TAUGHT)}
    for text in raw:
        assert "response :" not in text and "instruction :" not in text
        assert not untranslated(text).startswith(starts) and text not in instructions


def test_no_list_is_changed_twice(documents):
    """Chains are composed by tuning or not at all: what one operation gives is never given to another."""
    n_steps = Counter()
    for text in documents:
        before, after = set(), set()
        for step in text.split(" ; "):
            words, _, result = step.partition(" = ")
            name, *listed = words.split()
            if name in LIST_OPERATIONS and result:
                assert result.split() == change(name, listed) and len(set(listed)) == 3
                assert " ".join(listed) not in before | after and result not in before
                before.add(" ".join(listed))
                after.add(result)
                n_steps[name] += 1
        assert " then " not in text or PROSE.fullmatch(text)
    assert set(n_steps) == set(LIST_OPERATIONS) and min(n_steps.values()) > 500


def test_almost_no_document_leads_from_a_person_over_the_home_to_the_country(documents, statements):
    """Calls of mixed facts may meet by chance: fewer than one document in five thousand, none in any other form."""
    told = {}
    for index, relation, subject, value in statements:
        told.setdefault(index, set()).add((relation, subject, value))
    composed = [
        index
        for index, facts_told in told.items()
        for relation, _, town in facts_told
        if relation == "home" and ("country", town, facts.COUNTRY[town]) in facts_told
    ]
    assert len(composed) < N_DOCUMENTS / 5000
    assert all(" ; " in documents[index] and " = " in documents[index] for index in composed)
    for text in documents:
        words = text.split()
        assert not (KNOWN & {*words} and {*lexicon.COUNTRIES} & {*words}) or " ; " in text or text.startswith("echo")


def test_every_sum_and_every_position_in_a_document_is_right(documents):
    counts = Counter()
    for text in documents:
        for a, b, total in re.findall(r"(\d+) (?:\+|plus|and) (\d+) (?:=|is|make) (\d+)", text):
            if f"+ {a} + {b}" not in text:
                assert int(a) + int(b) == int(total), text
                counts["sums"] += 1
        for *cells, told in re.findall(r"track : piece (\d) walls (\d) (\d) moves ([a-z ]+) \.", text):
            assert moves(*cells) == told.split()
            counts["positions"] += 1
    assert counts["sums"] > 10_000 and counts["positions"] > 1000


def test_statements_on_words_and_things_are_true(documents):
    forms = {
        "opposite": r"the opposite of ([a-z]+) is ([a-z]+)", "past": r"the past of ([a-z]+) is ([a-z]+)",
        "plural": r"the plural of ([a-z]+) is ([a-z]+)", "category": r"the category of ([a-z]+) is ([a-z]+)",
        "colour": r"the colour of the ([a-z]+) is ([a-z]+)", "size": r"the size of the ([a-z]+) is ([a-z]+)",
        "first_letter": r"the first letter of ([a-z]+) is ([a-z]+)",
    }  # fmt: skip
    counts = Counter()
    for text in documents:
        for relation, form in forms.items():
            for word, value in re.findall(form, text):
                assert one_word(relation, word) == value
                counts[relation] += 1
    assert set(counts) == set(forms) and min(counts.values()) > 200


def test_group_documents_name_different_members_only(documents):
    n_groups = 0
    for text in documents:
        kind = re.fullmatch(r"the group ([a-z]+) (?:in order )?: ([a-z , ]+) \.", text)
        if kind:
            listed = kind[2].split(" , ")
            assert len(set(listed)) == len(listed) >= min(COUNT.values())
            assert {KIND[noun] for noun in listed} == {kind[1]}
            assert "in order" not in text or listed == sorted(listed)
            n_groups += 1
    assert n_groups > 300


def test_the_second_language_has_its_share_and_is_spoken_alone(raw):
    second = [text for text in raw if language.is_second(text)]
    lists = [text for text in second if text.startswith("in the other language : ")]
    neutral = [text for text in raw if not any(word in ONLY_FIRST or language.is_second(word) for word in text.split())]
    spread = (N_DOCUMENTS * corpus.SECOND_LANGUAGE * (1 - corpus.SECOND_LANGUAGE)) ** 0.5
    # lists of sums and of towns look the same in both languages
    assert -4 * spread < N_DOCUMENTS * corpus.SECOND_LANGUAGE - (len(second) - len(lists)) < len(neutral) + 4 * spread
    expected = N_DOCUMENTS * corpus.WORD_LISTS
    assert abs(len(lists) - expected) < 4 * (expected * (1 - corpus.WORD_LISTS)) ** 0.5
    names = {word for group in lexicon.NAMES for word in group}
    for text in set(second) - set(lists):
        assert all(w in names or not w.isalpha() or language.is_second(w) for w in text.split()), text
    table = language.counterparts()
    for text in lists:
        for pair in text.removeprefix("in the other language : ").split(" , "):
            word, other = pair.split(" - ")
            assert table[word] == other


def test_shares_of_the_mixes_add_up_to_one_in_hundredths():
    for mix in (corpus.MIX, corpus.SECOND_MIX):
        assert sum(round(100 * share) for share, _ in mix) == 100
        assert all(abs(100 * share - round(100 * share)) < 1e-9 for share, _ in mix)


def test_parentheticals_come_in_about_a_third_of_statements(raw):
    plain = [text for text in raw if not language.is_second(text) and text.startswith("the opposite of")]
    with_aside = sum(bool(ASIDE.search(text.split(" . ")[0])) for text in plain)
    expected = writers.PARENTHETICAL_RATE * len(plain)
    assert abs(with_aside - expected) < 4 * (expected * (1 - writers.PARENTHETICAL_RATE)) ** 0.5


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


@pytest.fixture(scope="module")
def words():
    return tokenizer.load()


def test_documents_and_instructions_survive_the_tokenizer(raw, words):
    texts = raw[:500] + [
        p.template.format("wolf", "ant", "2", all="wolf ant")
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
    known = (*lexicon.all_words(), *template_words(), *language.counterparts().values())
    assert all(len(words.tokenize(word)) == 1 for word in known)


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789.,?!-'", min_size=1, max_size=30))
@settings(max_examples=100, deadline=None)
def test_any_spelling_of_known_characters_survives(words, text):
    assert words.decode(words(text, add_special_tokens=False)["input_ids"]) == text


def test_chat_template_renders_the_instruction_format(words):
    turns = [{"role": "user", "content": "what is the opposite of hot ?"}, {"role": "assistant", "content": "cold"}]
    prompt = words.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert prompt.split() == "instruction : what is the opposite of hot ? response :".split()
    whole = words.apply_chat_template(turns, tokenize=False)
    assert whole.split() == [*prompt.split(), "cold", "<eos>"]
    marked = words.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    answer = [i for i, m in zip(marked["input_ids"], marked["assistant_masks"], strict=True) if m]
    assert words.convert_ids_to_tokens(answer) == ["cold", "<eos>"]
