"""Sentences beside the instruction: as long as asked for, of words of the world, and not of its own."""

import numpy as np

from itlib.microworld import lexicon
from itlib.microworld.tokenizer import vocabulary
from itlib.registry import perturbations

TEXT = "tell me the opposite of hot ."


def outcomes(name, text, severity=1.0, keep=frozenset()):
    perturb = perturbations.get(name)
    return [perturb(text, severity, np.random.default_rng(seed), keep) for seed in range(40)]


def sides(changed):
    return changed.removeprefix(TEXT).removesuffix(TEXT).strip()


def test_a_distractor_is_a_sentence_of_the_world_on_either_side():
    found = outcomes("distractor", TEXT, 5 / 6)
    assert {text.startswith(TEXT) for text in found} == {text.endswith(TEXT) for text in found} == {True, False}
    for joint, the, adjective, noun, verb, end in (sides(text).split() for text in found):
        assert (joint, the, end) == ("and", "the", ".")
        assert adjective in lexicon.ADJECTIVES and noun in lexicon.NOUNS and verb in lexicon.PAST.values()
        assert {adjective, noun, verb} <= set(vocabulary())


def test_a_longer_distractor_ends_with_the_shorter_one():
    longer, shorter = (outcomes("distractor", TEXT, severity) for severity in (1.0, 0.5))
    assert all(len(sides(text).split()) == 7 for text in longer)
    assert all(len(sides(text).split()) == 4 for text in shorter)
    assert all(sides(a).endswith(sides(b)) for a, b in zip(longer, shorter, strict=True))


def test_a_distractor_has_no_word_of_the_text_and_no_kept_word():
    """All verbs but one are excluded, and all nouns but one: half by the text, half by ``keep``."""
    nouns, verbs = lexicon.NOUNS[1:], list(lexicon.PAST.values())[1:]
    text = " ".join(nouns[::2] + tuple(verbs[::2]))
    keep = frozenset((*nouns[1::2], *verbs[1::2], "and"))
    for changed in outcomes("distractor", text, 5 / 110, keep):
        words = changed.removeprefix(text).removesuffix(text).split()
        assert words[-2] == next(iter(lexicon.PAST.values())) and words[-3] == lexicon.NOUNS[0]
        assert not keep & set(words) and words[-1] == "."


def test_irrelevant_sentences_are_whole_and_leave_the_text_in_one_piece():
    for severity, count in ((0.0, 0), (1 / 3, 1), (2 / 3, 2), (1.0, 3)):
        found = outcomes("irrelevant_sentences", TEXT, severity)
        assert all(len(sides(text).split()) == 5 * count and text.count(TEXT) == 1 for text in found)
        assert all(set(sides(text).split()[::5]) <= {"the"} and text.endswith(".") for text in found)
    assert {text.startswith(TEXT) for text in outcomes("irrelevant_sentences", TEXT)} == {True, False}


def test_random_strings():
    perturb = perturbations.get("random_string")
    for severity, words, count in ((0.01, 1, 1), (1.0, 10, 1), (1.0, 30, 3), (0.5, 40, 2)):
        changed = perturb(" ".join(["word"] * words), severity, np.random.default_rng(0))
        assert [len(word) for word in changed.split()[words:]] == [10] * count
