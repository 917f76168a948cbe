"""How responses are worded: content, wording and style use different words, and any frame is right."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world_oracle import TAUGHT, untranslated

from itlib.constraints import graded
from itlib.errors import InputError
from itlib.microworld import language, responses, world
from itlib.microworld.dice import Dice
from itlib.registry import families

EXACT = tuple(name for name in TAUGHT if not families.get(name).constraints)
ANSWERS = st.sampled_from(sorted({item.gold for item in world.pool(2000, seed=0, families=EXACT)}))
FRAMES = st.sampled_from(responses.frames())


def test_content_wording_and_style_use_different_words():
    style, wording = responses.style_words(), responses.wording_words()
    content = {w for item in world.pool(20_000, seed=1, families=EXACT) for w in item.gold.split() if w.isalpha()}
    for split in ("dev", "test"):
        content |= {
            w for name in EXACT for item in world.held_out(split, 30, families=(name,), phrasing_set="observed")
            for w in item.gold.split() if w.isalpha()
        }  # fmt: skip
    assert style and wording and style.isdisjoint(wording)
    assert content.isdisjoint(style) and content.isdisjoint(wording)


def test_no_template_uses_a_word_of_style():
    asked = {word for item in world.pool(5000, seed=0, families=TAUGHT) for word in item.instruction.split()}
    assert asked.isdisjoint(responses.style_words())


def test_frames_are_all_wordings_in_all_styles_and_the_bare_content_is_the_last():
    assert len(responses.frames()) == len(responses.STYLES) * len(responses.WORDINGS["mixed"])
    assert responses.frames()[-1] == "{}" and all(frame.count("{}") == 1 for frame in responses.frames())


@given(ANSWERS, FRAMES)
def test_right_content_is_right_in_every_frame_of_both_languages(answer, frame):
    content = (f"content {answer}",)
    assert graded(content, frame.replace("{}", answer)) == 1.0
    assert graded(content, language.translate(frame).replace("{}", answer)) == 1.0


@given(ANSWERS, ANSWERS, FRAMES)
def test_other_content_is_wrong_in_every_frame(answer, other, frame):
    assert graded((f"content {answer}",), frame.replace("{}", other)) == (answer == other)


@given(ANSWERS, FRAMES, st.data())
def test_a_frame_that_lacks_or_doubles_a_word_is_wrong(answer, frame, data):
    """What is left may be another frame: "it is wolf" without its style is right, "is wolf" is not."""
    words = frame.replace("{}", answer).split()
    at = data.draw(st.integers(0, len(words) - 1))
    allowed = {text.replace("{}", answer) for text in responses.frames()}
    for changed in ([*words[:at], *words[at + 1 :]], [*words[:at], words[at], *words[at:]]):
        if changed and " ".join(changed) not in allowed:
            assert graded((f"content {answer}",), " ".join(changed)) == 0.0


@pytest.mark.parametrize("style", responses.STYLES)
@pytest.mark.parametrize("wording", responses.WORDINGS)
def test_a_pool_is_worded_and_styled_as_asked(wording, style):
    plain = world.pool(400, seed=2, families=EXACT)
    told = world.pool(400, seed=2, families=EXACT, response_wording=wording, response_style=style)
    opening, closing = responses.STYLES[style]
    used = set()
    for before, after in zip(plain, told, strict=True):
        assert (after.id, after.instruction, after.entities) == (before.id, before.instruction, before.entities)
        assert graded((f"content {before.gold}",), after.response) == 1.0 and after.gold == after.response
        inner = after.response.removeprefix(f"{opening} ").removesuffix(f" {closing}")
        used.add(next(w for w in reversed(responses.WORDINGS["mixed"]) if inner == w.replace("{}", before.gold)))
        assert after.response.startswith(opening) and after.response.endswith(closing)
    assert used == set(responses.WORDINGS[wording])


def test_open_ended_responses_are_left_alone_and_the_second_language_keeps_its_own_frames():
    names = ("some_members", "colour", "sentence_with")
    mixture = {"families": names, "response_wording": "sentence", "response_style": "polite"}
    plain = world.pool(300, seed=3, families=names)
    told = world.pool(300, seed=3, **mixture)
    second = world.pool(300, seed=3, second_language=1.0, **mixture)
    for before, after, translated in zip(plain, told, second, strict=True):
        assert (after.response == before.response) == bool(before.constraints)
        assert untranslated(translated.response) == after.response


@given(st.integers(0, 1000), st.sampled_from(sorted(responses.WORDINGS)), st.sampled_from(sorted(responses.STYLES)))
def test_drawn_frames_are_known_frames(seed, wording, style):
    assert responses.frame(wording, style, Dice("frame", seed)) in responses.frames()


def test_held_out_items_of_any_wording_accept_every_frame():
    for spoken in language.LANGUAGES:
        for item in world.held_out("test", 5, families=("colour", "swap"), any_wording=True, spoken=spoken):
            assert item.constraints == (f"content {item.gold}",)
            for frame in responses.frames():
                assert graded(item.constraints, frame.replace("{}", item.gold)) == 1.0
    for item in world.held_out("test", 5, families=("some_members",), any_wording=True):
        assert "content" not in " ".join(item.constraints)


@pytest.mark.parametrize(
    ("wording", "style", "told"),
    [
        ("sentense", "plain", "response_wording is 'sentense' .did you mean 'sentence'.*known: short, sentence, mixed"),
        ("short", "polit", "response_style is 'polit' .did you mean 'polite'.*known: plain, polite, cheerful, formal"),
    ],
)
def test_unknown_wordings_and_styles_are_refused_in_one_line(wording, style, told):
    with pytest.raises(InputError, match=told) as caught:
        responses.check(wording, style)
    assert "\n" not in str(caught.value)
