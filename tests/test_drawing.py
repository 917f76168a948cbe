"""A drawing function's arguments come back as they were, and nothing that is no drawing of the package is called."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itlib import drawing as module
from itlib.drawing import Drawing, draw, drawing_of, read_drawing, write_drawing
from itlib.errors import InputError
from itlib.figures import new_figure, scaling_curves
from itlib.positions import Position

FRAME = pd.DataFrame(
    {"text": ["a", None], "n": [1, 2], "x": [0.1, np.nan], "flag": [True, False], "pair": [(0.0, np.inf), (1.0, 2.0)]},
    index=pd.Index([4, 7], name="seed"),
)


def back(arguments, folder):
    write_drawing(Drawing("itlib.figures:arms", arguments), folder, {"study": "x"})
    call, metadata = read_drawing(folder)
    assert metadata == {"study": "x"} and call.function == "itlib.figures:arms"
    return call.arguments


def test_every_kind_of_argument_comes_back(tmp_path):
    position = Position("effect", "paper", "says", ((-np.inf, 0.0),))
    given = {
        "frame": FRAME,
        "named": {"a": FRAME, "b": FRAME[["n"]]},
        "array": np.arange(6.0).reshape(2, 3),
        "series": pd.Series([1.5, np.nan], index=["p", "q"], name="s"),
        "plain": [1, 2.5, "text", None, True, np.float64(0.25), float("inf")],
        "pair": (0, (1, 2)),
        "position": position,
        "objects": FRAME[["n"]].assign(position=[position, None], last=1),
    }
    found = back(given, tmp_path)
    columns = ["text", "n", "x", "flag"]
    pd.testing.assert_frame_equal(found["frame"][columns], FRAME[columns])
    assert [tuple(pair) for pair in found["frame"]["pair"]] == list(FRAME["pair"])
    pd.testing.assert_frame_equal(found["named"]["b"], FRAME[["n"]])
    assert list(found["objects"].columns) == ["n", "position", "last"] and list(found["objects"].index) == [4, 7]
    assert list(found["objects"]["position"]) == [position, None]
    assert found["array"].tolist() == given["array"].tolist() and found["array"].shape == (2, 3)
    pd.testing.assert_series_equal(found["series"], given["series"])
    assert found["plain"] == given["plain"] and found["pair"] == given["pair"] and found["position"] == position


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(plain)
def test_plain_values_come_back(value):
    frames = {}
    text = json.dumps(module._encoded(value, "x", frames), allow_nan=False)
    assert module._decoded(json.loads(text), None) == value and not frames


def test_what_cannot_be_kept_is_refused(tmp_path):
    @dataclass
    class Foreign:
        value: int = 1

    for value in (object(), Foreign(), lambda: 1):
        with pytest.raises(TypeError, match="cannot be kept"):
            write_drawing(Drawing("itlib.figures:arms", {"x": value}), tmp_path, {})


def curve():
    return pd.DataFrame(
        {"familiarity": "latent", "n_train": [10, 100], "mean": [0.1, 0.5], "low": [0.0, 0.4], "high": [0.2, 0.6],
         "n_seeds": 8}
    )  # fmt: skip


def test_a_figure_knows_what_drew_it_and_is_drawn_again(tmp_path):
    first = scaling_curves(curve(), y_label="score")
    call = drawing_of(first)
    assert call.function == "itlib.figures:scaling_curves" and call.arguments["y_label"] == "score"
    write_drawing(call, tmp_path, {})
    again = draw(read_drawing(tmp_path)[0])
    assert again.axes[0].get_ylabel() == "score"
    assert [line.get_xydata().tolist() for line in again.axes[0].lines] == [
        line.get_xydata().tolist() for line in first.lines
    ]


def test_drawing_into_given_axes_leaves_no_trace():
    ax = new_figure().subplots()
    scaling_curves(curve(), ax=ax)
    assert drawing_of(ax) is None


@pytest.mark.parametrize(
    "function",
    [
        "os:system",
        "itlib.files:write_atomic",
        "itlib.figures:no_such",
        "itlib.figures:_finish",
        "itlibre:x",
        "itlib:__doc__",
    ],
)
def test_only_drawings_of_the_package_are_called(function):
    with pytest.raises(InputError) as caught:
        draw(Drawing(function, {}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"function": "itlib.figures:arms", "arguments": {"x": {"frame": "../../secret"}}, "metadata": {}}',
        '{"function": "itlib.figures:arms", "arguments": {"x": {"frame": "absent"}}, "metadata": {}}',
        '{"function": "itlib.figures:arms", "arguments": {"x": {"object": "os:stat", "fields": {}}}, "metadata": {}}',
        '{"function": "x", "arguments": {"x": {"object": "itlib.files:sha256_file", "fields": {}}}, "metadata": {}}',
    ],
)  # fmt: skip
def test_a_broken_or_hostile_drawing_is_refused(tmp_path, content):
    (tmp_path / module.FILE).write_text(content)
    with pytest.raises(InputError) as caught:
        read_drawing(tmp_path)
    assert "\n" not in str(caught.value)
