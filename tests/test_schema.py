"""Coercion is lossless and idempotent; everything that is not losslessly of the type is refused in one line."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itlib.errors import InputError
from itlib.schema import build, coerce, coerce_fields, field_types, param, type_name


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5

    def __post_init__(self) -> None:
        coerce_fields(self, where="Inner")


@dataclass(frozen=True)
class Outer:
    name: str = param("a", help="a name", choices=("a", "b"))
    count: int = param(1, help="a count", minimum=0, maximum=10)
    rate: float = param(1e-3, help="a rate", unit="1/step", exclusive_minimum=0)
    flag: bool = param(False, help="a flag")
    sizes: tuple[int, ...] = param((1, 2), help="sizes", minimum=1)
    names: list[str] = param(["x"], help="names", identity=False)
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        coerce_fields(self, where="Outer")


def take(value, annotation):
    return coerce(value, annotation, key="k", where="here")


TAKEN = [
    (1, float, 1.0),
    (5.0, int, 5),
    ("2e-5", float, 2e-5),
    (".5", float, 0.5),
    ("7", int, 7),
    ("-7", int, -7),
    ("1e3", int, 1000),
    ("5.0", int, 5),
    ("false", bool, False),
    ("true", bool, True),
    ("True", bool, True),
    ([1, 2.0], tuple[int, ...], (1, 2)),
    ((1, 2), list[float], [1.0, 2.0]),
    ([], tuple[str, ...], ()),
    (np.float32(0.5), float, 0.5),
    (np.int64(3), int, 3),
    (np.int64(3), float, 3.0),
    (np.bool_(True), bool, True),
    (np.str_("x"), str, "x"),
    ("007", str, "007"),
    ({"rate": "1"}, Inner, Inner(1.0)),
]

REFUSED = [
    (True, int),
    (True, float),
    (1, bool),
    (0.0, bool),
    (np.int64(1), bool),
    (2.5, int),
    ("2.5", int),
    ("", int),
    ("", float),
    ("", bool),
    ("017", int),
    ("1_000", int),
    ("٣", int),
    (" 7", int),
    ("9" * 5000, int),
    ("1e300", int),
    (2**53 + 1, float),
    (10**400, float),
    ("1e999", float),
    (math.nan, float),
    (math.inf, float),
    (np.float64("nan"), float),
    ("nan", float),
    ("inf", float),
    ("fast", float),
    (math.inf, int),
    ("yes", bool),
    ("1", bool),
    (5, str),
    (5.0, str),
    (True, str),
    (None, str),
    (None, int),
    ("a", tuple[str, ...]),
    (3, list[int]),
    ({1, 2}, tuple[int, ...]),
    ({"a": 1}, tuple[int, ...]),
    ([1, "x"], tuple[int, ...]),
    ([[1]], tuple[int, ...]),
    (np.array([1, 2]), tuple[int, ...]),
    (3, Inner),
    (1j, float),
    (b"7", int),
]


@pytest.mark.parametrize(("value", "annotation", "expected"), TAKEN, ids=repr)
def test_lossless_values_are_taken(value, annotation, expected):
    result = take(value, annotation)
    assert result == expected
    assert type(result) is type(expected)
    assert repr(result) == repr(expected)


@pytest.mark.parametrize(("value", "annotation"), REFUSED, ids=lambda value: repr(value)[:30])
def test_everything_else_is_refused_in_one_line(value, annotation):
    with pytest.raises(InputError) as caught:
        take(value, annotation)
    message = str(caught.value)
    assert message.startswith("here: k")
    assert "expected " in message
    assert "\n" not in message
    assert len(message) < 250


def test_message_form():
    with pytest.raises(InputError, match=r"^params/x\.yaml:3: rate: expected float, got 'fast'$"):
        coerce("fast", float, key="rate", where="params/x.yaml:3")
    with pytest.raises(InputError, match=r"k\[1\]: expected int, got 'x'"):
        take([1, "x"], tuple[int, ...])
    with pytest.raises(InputError, match=r"expected list of int, got 3 \(\[3\] would be right\)"):
        take(3, tuple[int, ...])
    with pytest.raises(InputError, match=r"got '3' \(\[3\] would be right\)"):
        take("3", tuple[int, ...])
    with pytest.raises(InputError, match=r"got 'x'$"):
        take("x", tuple[int, ...])
    with pytest.raises(InputError, match=r"got 'x' \(\['x'\] would be right\)"):
        take("x", list[str])


def test_negative_zero_is_zero():
    assert math.copysign(1, take(-0.0, float)) == 1
    assert math.copysign(1, take("-0.0", float)) == 1


def test_an_unsupported_annotation_is_the_schema_author_s_error():
    with pytest.raises(TypeError, match="unsupported"):
        take("x", dict)


scalars = st.one_of(
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.floats(allow_nan=False).map(repr),
    st.integers().map(str),
    st.none(),
    st.sampled_from(["true", "false", "2e-5", "1e3", "007", ""]),
)
annotations = st.sampled_from([str, int, float, bool, tuple[int, ...], tuple[str, ...], list[float], tuple[float, ...]])


@given(st.one_of(scalars, st.lists(scalars, max_size=4)), annotations)
def test_coercion_is_idempotent_and_typed(value, annotation):
    try:
        once = take(value, annotation)
    except InputError as error:
        assert len(str(error).splitlines()) == 1
        return
    twice = take(once, annotation)
    assert repr(twice) == repr(once)
    if annotation in (str, int, float, bool):
        assert type(once) is annotation


@given(st.integers())
def test_integers_keep_their_value(number):
    assert take(number, int) == number
    assert take(str(number), int) == number
    if abs(number) <= 2**53:
        assert take(number, float) == number
        assert take(take(number, float), int) == number
    else:
        try:
            assert int(take(number, float)) == number
        except InputError:
            assert int(float(number)) != number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_keep_their_value(number):
    assert take(number, float) == number
    assert take(repr(number), float) == number
    if number.is_integer():
        assert take(number, int) == number
    else:
        with pytest.raises(InputError):
            take(number, int)


@given(st.text(max_size=20))
def test_text_stays_text(text):
    assert take(text, str) == text


def test_fields_are_coerced_in_place_and_equal_specs_compare_equal():
    loose = Outer(count=2.0, rate="1", flag="true", sizes=[3, 4], names=("y",))
    assert loose == Outer(count=2, rate=1.0, flag=True, sizes=(3, 4), names=["y"])
    assert [type(v) for v in (loose.count, loose.rate, loose.flag, loose.sizes)] == [int, float, bool, tuple]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": -1}, "Outer: count: must be at least 0, got -1"),
        ({"count": 11}, "Outer: count: must be at most 10, got 11"),
        ({"rate": 0.0}, "Outer: rate: must be greater than 0, got 0.0"),
        ({"sizes": (1, 0)}, "Outer: sizes[1]: must be at least 1, got 0"),
        ({"name": "c"}, "Outer: name: must be one of a, b, got 'c'"),
        ({"rate": math.nan}, "Outer: rate: expected float, got nan (a finite number would be right)"),
    ],
)
@pytest.mark.fault(5)
def test_bounds_and_choices(change, message):
    with pytest.raises(InputError) as caught:
        Outer(**change)
    assert str(caught.value) == message


def test_bounds_are_inclusive():
    assert Outer(count=0).count == 0
    assert Outer(count=10).count == 10


def test_a_list_default_is_not_shared():
    assert Outer().names == ["x"]
    assert Outer().names is not Outer().names


def test_metadata_is_readable():
    by_name = {item.name: item for item in dataclasses.fields(Outer)}
    assert by_name["rate"].metadata["unit"] == "1/step"
    assert by_name["names"].metadata["identity"] is False
    assert by_name["count"].metadata["identity"] is True
    assert [type_name(item.annotation) for item in field_types(Outer)] == [
        "str", "int", "float", "bool", "list of int", "list of str", "Inner",
    ]  # fmt: skip


def test_build_names_file_and_line():
    made = build(Outer, {"count": "3", "inner": {"rate": 2}}, where="x.yaml")
    assert made == Outer(count=3, inner=Inner(2.0))
    with pytest.raises(InputError, match=r"^x\.yaml:4: unknown key 'coutn' \(did you mean 'count'\?\); valid keys"):
        build(Outer, {"coutn": 3}, where="x.yaml", lines={"coutn": 4})
    with pytest.raises(InputError, match=r"^x\.yaml:2: rate: expected float, got 'fast'$"):
        build(Outer, {"rate": "fast"}, where="x.yaml", lines={"rate": 2})
    with pytest.raises(InputError, match=r"^x\.yaml:2: count: must be at most 10"):
        build(Outer, {"count": 99}, where="x.yaml", lines={"count": 2})
    with pytest.raises(InputError, match=r"^x\.yaml: inner: unknown key 'rat' \(did you mean 'rate'\?\)"):
        build(Outer, {"inner": {"rat": 1}}, where="x.yaml")
    with pytest.raises(InputError, match="unknown key 7"):
        build(Outer, {7: 1}, where="x.yaml")


def test_build_reports_missing_keys_and_checks_across_fields():
    @dataclass(frozen=True)
    class Needs:
        low: int
        high: int = 3

        def __post_init__(self) -> None:
            coerce_fields(self, where="Needs")
            if self.low > self.high:
                raise InputError(f"low: {self.low} is above high")

    with pytest.raises(InputError, match=r"x\.yaml: missing key 'low' \(int\)"):
        build(Needs, {}, where="x.yaml")
    with pytest.raises(InputError, match=r"^x\.yaml: low: 4 is above high$"):
        build(Needs, {"low": 4}, where="x.yaml")
