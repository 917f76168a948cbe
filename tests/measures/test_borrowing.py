"""Wrong answers that are the answer to another question."""

import measuring
import numpy as np
import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from itlib.example import Example, Turn
from itlib.measures import borrowing
from itlib.measures.borrowing import distances, measure_borrowing

WORDS = st.lists(st.sampled_from("a b c d".split()), max_size=6)


def edit_distance(a, b):
    """The textbook recursion."""
    if not a or not b:
        return len(a) + len(b)
    return min(edit_distance(a[1:], b) + 1, edit_distance(a, b[1:]) + 1, edit_distance(a[1:], b[1:]) + (a[0] != b[0]))


@given(WORDS, st.lists(WORDS, min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_distances_are_edit_distances(words, others):
    assert distances(words, others).tolist() == [edit_distance(words, other) for other in others]


def example(name, asked, answer, family="f"):
    return Example(name, (Turn("user", asked), Turn("assistant", answer)), family=family, gold=answer)


def test_counts_by_hand(monkeypatch):
    """Of four items one is right; one wrong answer is that of the nearest prompt, one of a far one, one of none."""
    trained = [example("1", "name the colour of snow", "white"), example("2", "name the colour of coal", "black")]
    trained += [example("3", "who lives in rome", "anna"), example("4", "who works in rome", "anna")]
    items = [
        example("a", "name the colour of milk", "white"),
        example("b", "name the colour of coal dust", "grey"),
        example("c", "who sleeps in rome", "bert"),
        example("d", "what is it", "red", "g"),
    ]
    monkeypatch.setattr(borrowing, "responses", lambda *a, **k: ["white", "black", "white", "blue"])
    found = measure_borrowing(measuring.about(tiny.llama(), items=items, trained_on=trained))
    assert found == {
        "family": ["f", "g"], "n": [3, 1], "n_wrong": [2, 1], "n_borrowed": [1, 0], "n_near": [1.0, 0.0],
        "chance": [0.5, 0.0],
    }  # fmt: skip


def test_equally_near_prompts_count_in_parts(monkeypatch):
    """Of three prompts that are one word away, two have the answer; the first of them does not."""
    answers = {"ann": "oslo", "bob": "rome", "cat": "rome"}
    trained = [example(name, f"the home of {name}", town) for name, town in answers.items()]
    trained += [example("far", "which colour has snow at night", "rome")]
    items = [example("x", "the home of dan", "bern")]
    monkeypatch.setattr(borrowing, "responses", lambda *a, **k: ["rome"])
    found = measure_borrowing(measuring.about(tiny.llama(), items=items, trained_on=trained))
    assert (found["n_borrowed"], found["n_near"], found["chance"]) == ([0], [pytest.approx(2 / 3, abs=1e-6)], [0.75])


def test_a_blank_prompt_is_as_far_as_it_is_long():
    assert distances(["a", "b"], [[], ["a"]]).tolist() == [2, 1]
    assert distances([], [["a"]]).tolist() == [1]
    assert np.issubdtype(distances(["a"], [["a"]]).dtype, np.integer)
    assert pytest.approx(0) == distances(["a"], [["a"]])[0]
