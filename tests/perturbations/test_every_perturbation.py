"""What every perturbation promises, for every registered name: identity, determinism, kept words, an exact dose."""

import re
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itlib.microworld import lexicon
from itlib.microworld.phrasings import WRAPPERS
from itlib.perturbations.semantic import POLITE_FRAMES, POLITE_WORDS
from itlib.perturbations.word import FUNCTION_WORDS, SYNONYMS
from itlib.registry import perturbations

NAMES = perturbations.names()
# words in which two neighbouring letters differ, so that every character edit is possible; short ones; marks
WORDS = "what is the opposite of hot give tell me please a fox or oak 10 to show could Paris . , ? :".split()
WRAPPED = [wrapper for which in ("observed", "unobserved", "dev") for wrapper in WRAPPERS[which]]
plain = st.lists(st.sampled_from(WORDS), min_size=1, max_size=14).map(" ".join)
texts = plain | st.builds(lambda wrapper, inside: wrapper.format(inside), st.sampled_from(WRAPPED), plain)
keeps = st.frozensets(st.sampled_from([*WORDS, "the", "thanks", "task", "report"]), max_size=4)
severities = st.floats(0, 1) | st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
seeds = st.integers(0, 99)


def apply(name, text, severity, seed, keep=frozenset()):
    return perturbations.get(name)(text, severity, np.random.default_rng(seed), keep)


def spoken(text, keep=frozenset()):
    """Words that are no mark and not kept."""
    return [w for w in text.split() if any(c.isalnum() for c in w) and w.strip(string.punctuation) not in keep]


def letters_edited(text, keep):
    return len([w for w in spoken(text, keep) if w.isalpha() and len(w) >= 3])


def synonyms_known(text, keep):
    return len([w for w in spoken(text, keep) if set(SYNONYMS.get(w, ())) - keep])


def droppable(text, keep):
    found = len([w for w in spoken(text, keep) if w.lower() in FUNCTION_WORDS])
    return found - (found == len(text.split()))


def lone_marks(text, keep):
    found = len([w for w in text.split() if w in ".,;:!?" and w not in keep])
    return found - (found == len(text.split()))


def most_pairs(text, keep):
    """Most disjoint neighbouring pairs that may be swapped, by trying both: take a pair or leave it."""
    words = text.split()

    def best(i):
        if i + 1 >= len(words):
            return 0
        a, b = words[i : i + 2]
        real = a not in string.punctuation and b not in string.punctuation and a != b and not {a, b} <= keep
        return max(best(i + 1), 1 + best(i + 2) if real else 0)

    return best(0)


def is_wrapped(text, keep):
    """Whether a wrapper without a kept word is recognised, by plain prefixes and suffixes."""
    parts = [(wrapper, *wrapper.split("{}")) for wrapper in WRAPPED if not set(wrapper.split()) & keep]
    found = [w for w, start, end in parts if text.startswith(start) and text.endswith(end) and len(text) > len(w) - 2]
    return found[0] if found else ""


def wraps(differs):
    def possible(text, keep):
        own = is_wrapped(text, keep)
        free = [wrapper for wrapper in WRAPPED if not set(wrapper.split()) & keep]
        return int(bool(own) and any(differs(own, other) for other in free))

    return possible


def can_be_polite(text, keep):
    free = [frame for frame in POLITE_FRAMES if not set(frame.split()) & keep]
    return int(bool(free) and not POLITE_WORDS & set(text.split()))


def set_of(wrapper):
    return next(which for which in WRAPPERS if wrapper in WRAPPERS[which])


# name -> number of editable units
UNITS = {
    **dict.fromkeys(["typo", *(f"character_{kind}" for kind in ("swap", "delete", "insert", "substitute"))],
                    letters_edited),
    "synonym": synonyms_known,
    "word_drop": droppable,
    "word_repeat": lambda text, keep: len(spoken(text, keep)),
    "word_order": most_pairs,
    "distractor": lambda text, keep: len(spoken(text)),
    "irrelevant_sentences": lambda text, keep: 3,
    "upper_case": lambda text, keep: len([w for w in spoken(text, keep) if w.upper() != w]),
    "punctuation_lost": lone_marks,
    "punctuation_extra": lambda text, keep: len(spoken(text, keep)) if {",", ";", ":", "."} - keep else 0,
    "extra_blanks": lambda text, keep: len(text.split()) - 1,
    "quotes": lambda text, keep: 1,
    "tag": lambda text, keep: int("task" not in keep),
    "politeness": lambda text, keep: can_be_polite(text, keep),
    "mood": wraps(lambda own, other: own.endswith("?") != other.endswith("?")),
    "wrapper": wraps(lambda own, other: set_of(own) != set_of(other)),
}  # fmt: skip


def replaced(before, after):
    return sum(a != b for a, b in zip(before.split(), after.split(), strict=True))


def verbs(text):
    return [word for word in text.split() if word in lexicon.PAST.values()]


def added(before, after):
    return abs(len(after.split()) - len(before.split()))


# name -> number of units that were edited; by default, whether the text was
EDITS = {
    **dict.fromkeys(["typo", "character_swap", "character_delete", "character_insert", "character_substitute",
                     "synonym", "upper_case"], replaced),
    **dict.fromkeys(["word_drop", "word_repeat", "punctuation_lost", "punctuation_extra"], added),
    "word_order": lambda before, after: replaced(before, after) / 2,
    "distractor": lambda before, after: len(spoken(after)) - len(spoken(before)),
    "irrelevant_sentences": lambda before, after: len(verbs(after)) - len(verbs(before)),
    "extra_blanks": lambda before, after: sum(len(gap) > 1 for gap in re.findall(r"\s+", after)),
}  # fmt: skip


def test_every_registered_perturbation_has_its_dose_tested():
    assert {*UNITS, "none", "random_string"} == set(NAMES)


@pytest.mark.parametrize("name", UNITS)
@given(texts, severities, seeds, keeps)
def test_the_number_of_edited_units_is_exact(name, text, severity, seed, keep):
    changed = apply(name, text, severity, seed, keep)
    edits = EDITS.get(name, lambda before, after: int(before != after))
    assert edits(text, changed) == round(severity * UNITS[name](text, keep))


@given(texts, severities, seeds, keeps)
def test_random_strings_are_one_or_one_per_ten_words(text, severity, seed, keep):
    count = max(1, round(severity * len(spoken(text)) / 10)) if severity else 0
    changed = apply("random_string", text, severity, seed, keep)
    assert changed.startswith(text)
    assert re.fullmatch(f"( [a-z0-9]{{10}}){{{count}}}", changed.removeprefix(text))


@pytest.mark.parametrize("name", NAMES)
@given(texts, severities, seeds, keeps)
def test_kept_words_survive_in_order_and_nothing_becomes_one(name, text, severity, seed, keep):
    changed = apply(name, text, severity, seed, keep)
    assert [w for w in changed.split() if w in keep] == [w for w in text.split() if w in keep]
    assert changed.strip()


@pytest.mark.parametrize("name", NAMES)
@given(st.text(max_size=40), severities, seeds)
def test_any_text_is_taken_and_severity_zero_and_blank_text_change_nothing(name, text, severity, seed):
    assert apply(name, text, 0.0, seed) == text
    changed = apply(name, text, severity, seed)
    assert bool(changed.strip()) == bool(text.strip())
    if not text.strip():
        assert changed == text


@pytest.mark.parametrize("name", NAMES)
@given(texts, severities, seeds, keeps)
def test_equal_generators_agree_whatever_the_global_one_does(name, text, severity, seed, keep):
    first = apply(name, text, severity, seed, keep)
    np.random.seed(seed + 1)
    assert apply(name, text, severity, seed, keep) == first


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"none", "quotes", "tag"}))
def test_different_generators_differ(name):
    text = "tell me the first letter of the town , name it and show it ."
    assert len({apply(name, text, 0.6, seed) for seed in range(20)}) > 1


@pytest.mark.parametrize("name", sorted(name for name in EDITS if replaced is EDITS[name]))
@given(texts, severities, severities, seeds)
def test_a_larger_dose_makes_the_same_edits_and_more(name, text, one, other, seed):
    low, high = sorted((one, other))
    words = [text.split(), apply(name, text, low, seed).split(), apply(name, text, high, seed).split()]
    assert all(less in (before, more) for before, less, more in zip(*words, strict=True))
    assert all(less == more for before, less, more in zip(*words, strict=True) if less != before)


@pytest.mark.parametrize(
    "name", sorted({*EDITS} - {"distractor", "irrelevant_sentences", "extra_blanks"} | {"mood", "wrapper"})
)
def test_text_of_kept_words_alone_has_nothing_to_edit(name):
    assert apply(name, "tell me the fox", 1.0, 0, frozenset("tell me the fox".split())) == "tell me the fox"


@pytest.mark.parametrize("name", NAMES)
def test_kept_words_are_known_with_punctuation_around_them(name):
    changed = apply(name, 'Tell me: is "Paris" hot?', 1.0, 3, frozenset({"Paris", "hot"}))
    assert [word for word in re.findall(r"\w+", changed) if word in ("Paris", "hot")] == ["Paris", "hot"]
