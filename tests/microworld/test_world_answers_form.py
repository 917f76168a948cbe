"""Answer or continuation: every answer of the world is one (sentences apart), no document is, and cases by hand."""

from itertools import islice

import pytest

from itlib.microworld import corpus, responses, world
from itlib.microworld.answers import answer_like, truncated
from itlib.registry import families

TAUGHT = [name for name in world.every_family() if families.get(name).size("pool")]


@pytest.mark.parametrize("name", TAUGHT)
def test_every_right_answer_is_an_answer(name):
    size = min(150, world.pool_limit(world.Mixture((name,))))
    for example in world.pool(size, seed=3, families=(name,)):
        assert answer_like(example.response) == (name != "sentence_with"), example.response


@pytest.mark.parametrize("style", responses.STYLES)
@pytest.mark.parametrize("second", [0.0, 1.0])
def test_wording_style_and_language_change_nothing(style, second):
    for example in world.pool(200, seed=1, response_wording="mixed", response_style=style, second_language=second):
        assert answer_like(example.response), example.response


def test_wrong_answers_are_answers():
    for example in world.pool(300, seed=1, noise_rate=1.0, noise_kinds=("wrong", "mismatched")):
        assert answer_like(example.response), example.response


def test_no_document_is_an_answer():
    """Ten thousand documents of two streams, as a base would write them."""
    for key in ("train", "reference"):
        wrong = [text for text in islice(corpus.documents(key), 5000) if answer_like(text)]
        assert not wrong, wrong[:5]


def test_no_instruction_and_no_part_of_one_is_an_answer():
    for example in world.pool(400, seed=2):
        words = example.instruction.split()
        assert not answer_like(example.instruction)
        assert not answer_like(" ".join(words[: len(words) // 2])), words


@pytest.mark.parametrize(
    "said",
    [
        "cold", "17", "0", "it is cold", "cold it is", "certainly , gladly : cold , hope this helps !", "h c n e b",
        "owl clarinet", "pear , shovel", "leap back", "stuck", "rosimere ; drills ; barber", "m ; d ; w",
        "1 + 7 = 8 ; 8 + 8 = 16", "1 + 7 = 9 ; 9 + 8 = 2",
        "flip hot big fast = fast big hot",
    ],
)  # fmt: skip
def test_what_is_an_answer(said):
    assert answer_like(said)


@pytest.mark.parametrize(
    "said",
    [
        "", " ", "?", "cold ?", "cold .", "of hot is cold", "the opposite of hot is cold .", "it is", "hot cold 3",
        "007", "1234", "owl hot", "owl owl owl owl owl", "pear , shovel ,", "pear , hot", "instruction : what is",
        "echo bee / bee", "5 + 0 = 5 ; 9 + 0 = 9", "5 + 0 = 5 ; 5 + 1 = 6 ; 6 + 1 = 7", "5 + 0 = 5",
        "flip hot big fast = fast big hot ; flip cold big fast = fast big cold", "opposite hot = cold",
        "home dunzo = cold ; country cold = falistan", "it is it is cold", "in colour pink", "zavel",
        "the shallot was crooked .",
    ],
)  # fmt: skip
def test_what_is_none(said):
    assert not answer_like(said)


def test_languages_do_not_mix():
    first = world.pool(200, seed=1, families=("swap",))
    second = world.pool(200, seed=1, families=("swap",), second_language=1.0)
    for one, other in zip(first, second, strict=True):
        assert answer_like(other.response) and one.response != other.response
        assert not answer_like(f"{one.response.split()[0]} {other.response.split()[1]}")


def test_a_truncated_instruction_is_the_beginning_of_the_whole_one():
    cut = 0
    for example in world.held_out("dev", 5):
        short = truncated(example)
        words, kept = example.instruction.split(), short.instruction.split()
        assert words[: len(kept)] == kept and 1 <= len(kept) <= max(1, len(words) // 2)
        assert short.response == example.response and truncated(example) == short
        cut += len(kept)
    assert cut > 200
