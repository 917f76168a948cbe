"""Frozen dataclasses as typed schemas: lossless coercion, bounds, choices, unknown keys refused.

A value is taken only if it is losslessly a value of the declared type: ``1`` for a float, ``5.0`` or ``"7"`` for an
integer, ``"2e-5"`` for a float, ``"false"`` for a boolean, a list for a tuple. Everything else is an ``InputError``,
so that two spellings of one spec cannot get two digests and a mistyped parameter cannot start a run.

    @dataclass(frozen=True)
    class Params:
        learning_rate: float = param(1e-3, help="peak learning rate", exclusive_minimum=0)

        def __post_init__(self) -> None:
            coerce_fields(self, where="Params")
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from itlib.errors import InputError, did_you_mean

T = TypeVar("T")

_INTEGER = re.compile(r"[+-]?(0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BOOLEAN = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_LONGEST_NUMBER = 400
_SHOWN = 60


def param(
    default: Any,
    *,
    help: str,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    exclusive_minimum: float | None = None,
    choices: Sequence[Any] | None = None,
    identity: bool = True,
) -> Any:
    """A dataclass field that documents itself.

    Args:
        default: Its default value; a list is copied for each instance.
        help: One line saying what it is.
        unit: Unit of the value, empty where it has none.
        minimum: Smallest value allowed. Of a list, bounds and choices hold for each element.
        maximum: Largest value allowed.
        exclusive_minimum: The value must be greater than this.
        choices: The only values allowed.
        identity: False for a field that cannot move a number; it stays out of the digest.
    """
    metadata = {
        "help": help,
        "unit": unit,
        "minimum": minimum,
        "maximum": maximum,
        "exclusive_minimum": exclusive_minimum,
        "choices": None if choices is None else tuple(choices),
        "identity": identity,
    }
    if isinstance(default, list):
        return dataclasses.field(default_factory=functools.partial(list, default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class FieldType:
    """One constructor field of a schema with its annotation resolved."""

    name: str
    annotation: Any
    metadata: Mapping[str, Any]
    required: bool
    bounded: bool


@functools.cache
def field_types(cls: type) -> tuple[FieldType, ...]:
    """Return the constructor fields of a dataclass in order, string annotations resolved; cached per class."""
    hints = typing.get_type_hints(cls)
    return tuple(
        FieldType(
            name=item.name,
            annotation=hints[item.name],
            metadata=item.metadata,
            required=item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING,
            bounded=any(
                item.metadata.get(key) is not None for key in ("minimum", "maximum", "exclusive_minimum", "choices")
            ),
        )
        for item in dataclasses.fields(cls)
        if item.init
    )


def type_name(annotation: Any) -> str:
    """Return how a type is written in messages: ``float``, ``list of int``, ``ModelSpec``."""
    arguments = typing.get_args(annotation)
    if arguments:
        return f"list of {type_name(arguments[0])}"
    return getattr(annotation, "__name__", str(annotation))


def coerce(value: Any, annotation: Any, *, key: str, where: str) -> Any:
    """Return ``value`` as the declared type, without loss.

    Args:
        value: Anything.
        annotation: ``str``, ``int``, ``float``, ``bool``, ``tuple[T, ...]``, ``list[T]`` or a dataclass.
        key: Name of the value, for the message.
        where: Place of the value (file and line, or class), for the message.

    Raises:
        InputError: ``value`` is not losslessly a value of that type.
        TypeError: The schema itself uses an annotation that is not supported.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if annotation in _SCALARS:
        return _SCALARS[annotation](value, key, where)
    origin = typing.get_origin(annotation)
    if origin in (tuple, list):
        return _sequence(value, origin, annotation, key, where)
    if dataclasses.is_dataclass(annotation) and isinstance(annotation, type):
        if isinstance(value, annotation):
            return value
        if isinstance(value, Mapping):
            return build(annotation, value, where=f"{where}: {key}")
        raise _mismatch(annotation, value, key, where)
    raise TypeError(f"{where}: {key}: the schema uses unsupported type {annotation!r}")


def coerce_fields(instance: Any, *, where: str) -> None:
    """Coerce and check every field of a frozen dataclass in place; call it from ``__post_init__``."""
    for item in field_types(type(instance)):
        value = getattr(instance, item.name)
        if type(value) is not item.annotation or item.annotation is float:
            coerced = coerce(value, item.annotation, key=item.name, where=where)
            if coerced is not value:
                object.__setattr__(instance, item.name, coerced)
            value = coerced
        if item.bounded:
            check_bounds(value, item.metadata, key=item.name, where=where)


def check_bounds(value: Any, metadata: Mapping[str, Any], *, key: str, where: str) -> None:
    """Raise ``InputError`` if a value, or one element of a list, is outside the bounds or choices of its field."""
    if isinstance(value, tuple | list):
        for index, element in enumerate(value):
            check_bounds(element, metadata, key=f"{key}[{index}]", where=where)
        return
    minimum, maximum = metadata.get("minimum"), metadata.get("maximum")
    above, choices = metadata.get("exclusive_minimum"), metadata.get("choices")
    if minimum is not None and value < minimum:
        raise InputError(f"{where}: {key}: must be at least {minimum}, got {_shown(value)}")
    if above is not None and value <= above:
        raise InputError(f"{where}: {key}: must be greater than {above}, got {_shown(value)}")
    if maximum is not None and value > maximum:
        raise InputError(f"{where}: {key}: must be at most {maximum}, got {_shown(value)}")
    if choices is not None and value not in choices:
        options = [str(choice) for choice in choices]
        hint = did_you_mean(str(value), options)
        raise InputError(f"{where}: {key}: must be one of {', '.join(options)}, got {_shown(value)}{hint}")


def build(cls: type[T], mapping: Mapping[str, Any], *, where: str, lines: Mapping[str, int] | None = None) -> T:
    """Build an instance of a schema from keys and values.

    Args:
        cls: A dataclass; ``field_types`` says which keys it has.
        mapping: Values by key; what is absent takes its default.
        where: File name or other place, for messages.
        lines: Line number of each key; messages then read ``file:line``.

    Raises:
        InputError: A key is unknown or missing, or a value is not of its type or outside its bounds.
    """
    known = {item.name: item for item in field_types(cls)}
    for key in mapping:
        if key not in known:
            hint = did_you_mean(str(key), known)
            valid = ", ".join(known)
            raise InputError(f"{_place(where, lines, key)}: unknown key {_shown(key)}{hint}; valid keys: {valid}")
    missing = [item.name for item in known.values() if item.required and item.name not in mapping]
    if missing:
        raise InputError(f"{where}: missing key '{missing[0]}' ({type_name(known[missing[0]].annotation)})")
    values = {}
    for key, value in mapping.items():
        place = _place(where, lines, key)
        values[key] = coerce(value, known[key].annotation, key=key, where=place)
        check_bounds(values[key], known[key].metadata, key=key, where=place)
    try:
        return cls(**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def _place(where: str, lines: Mapping[str, int] | None, key: Any) -> str:
    return f"{where}:{lines[key]}" if lines and key in lines else where


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _mismatch(annotation: Any, value: Any, key: str, where: str, hint: str = "") -> InputError:
    return InputError(f"{where}: {key}: expected {type_name(annotation)}, got {_shown(value)}{hint}")


def _to_text(value: Any, key: str, where: str) -> str:
    if not isinstance(value, str):
        hint = f" (write '{value}' in quotes for text)" if isinstance(value, int | float) else ""
        raise _mismatch(str, value, key, where, hint)
    return str(value)


def _to_boolean(value: Any, key: str, where: str) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value in _BOOLEAN:
        return _BOOLEAN[value]
    raise _mismatch(bool, value, key, where, " (true or false would be right)")


def _to_integer(value: Any, key: str, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER:
        if _INTEGER.fullmatch(value):
            return int(value)
        # "1e3" is 1000, but beyond 2**53 a float no longer names one integer.
        if _NUMBER.fullmatch(value) and float(value).is_integer() and abs(float(value)) <= 2**53:
            return int(float(value))
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise _mismatch(int, value, key, where)


def _to_float(value: Any, key: str, where: str) -> float:
    number = math.nan
    if isinstance(value, float):
        number = float(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = _exact_float(value)
    elif isinstance(value, str) and len(value) <= _LONGEST_NUMBER and _NUMBER.fullmatch(value):
        number = float(value)
    if not math.isfinite(number):
        hint = " (a finite number would be right)" if isinstance(value, float) else ""
        raise _mismatch(float, value, key, where, hint)
    return number if number else 0.0  # -0.0 equals 0.0 and must not get a digest of its own


def _exact_float(value: int) -> float:
    """Return an integer as a float, or NaN where no float equals it."""
    if abs(value).bit_length() > 1000:
        return math.nan
    return float(value) if int(float(value)) == value else math.nan


def _sequence(value: Any, origin: type, annotation: Any, key: str, where: str) -> Any:
    element = typing.get_args(annotation)[0]
    if not isinstance(value, tuple | list):
        raise _mismatch(annotation, value, key, where, _as_list(value, element))
    items = [coerce(item, element, key=f"{key}[{index}]", where=where) for index, item in enumerate(value)]
    if type(value) is origin and all(new is old for new, old in zip(items, value, strict=True)):
        return value
    return origin(items)


def _as_list(value: Any, element: Any) -> str:
    """Return the hint that a single value, where it is one of the elements, would be right as a list."""
    try:
        one = coerce(value, element, key="", where="")
    except InputError:
        return ""
    return f" ([{_shown(one)}] would be right)" if one != "" else ""


_SCALARS = {str: _to_text, bool: _to_boolean, int: _to_integer, float: _to_float}


def options(component: Any, given: Sequence[str], name: str, key: str = "selector_options") -> dict[str, Any]:
    """Return "name=value" texts as keyword arguments of a component, each of the type of its default.

    Raises:
        InputError: A text is no "name=value", names no option or one twice, or its value has another type.
    """
    known = _known_options(getattr(component, "score", getattr(component, "select", component)))
    found: dict[str, Any] = {}
    for text in given:
        option, sign, value = text.partition("=")
        if not sign:
            raise InputError(f"{key}: '{text}' is not of the form name=value")
        if option not in known:
            has = f"known: {', '.join(known)}" if known else "it has none"
            raise InputError(f"{key}: '{name}' has no option '{option}'{did_you_mean(option, known)}; {has}")
        if option in found:
            raise InputError(f"{key}: '{option}' is given twice")
        found[option] = coerce(value, known[option], key=option, where=key)
    return found


@functools.cache
def _known_options(function: Any) -> dict[str, type]:
    """Return the names of keyword-only parameters with the types of their defaults."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: type(p.default) for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
