"""One typed schema per study: the source of the notebook's parameters cell, the YAML keys and the table in the docs.

A params file holds the key ``study`` and keys of that study's schema. papermill passes the same keys to the notebook,
but only warns of unknown ones and turns ``2e-5`` or ``-p flag false`` into text, so the cell after ``parameters``
calls ``from_notebook``, which coerces what is lossless and refuses the rest before any run.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itlib.errors import InputError, did_you_mean
from itlib.schema import FieldType, build, check_bounds, coerce, field_types, type_name
from itlib.studies import STUDIES
from itlib.yamlio import load_with_lines, parse_text_list

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_PLAIN = (str, int, float, bool, list, tuple, dict, type(None))
_IPYTHON = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})
_CHECKED = "_itlib_parameters_checked"


@dataclass(frozen=True)
class ParamsFile:
    """What a params file says: the study, its typed params, where they came from, and what was read from text."""

    study: str
    params: Any
    path: Path
    notes: tuple[str, ...] = ()


def schema(study: str) -> type:
    """Return the params schema of a study, or raise ``InputError`` naming the closest known one."""
    if study not in STUDIES:
        raise InputError(f"unknown study {study!r}{did_you_mean(study, STUDIES)}; known: {', '.join(STUDIES)}")
    module, _, name = STUDIES[study].partition(":")
    return getattr(importlib.import_module(module), name)


def study_name(schema: type) -> str:
    """Return the study a schema belongs to; the inverse of ``schema``."""
    target = f"{schema.__module__}:{schema.__qualname__}"
    for study, known in STUDIES.items():
        if known == target:
            return study
    raise ValueError(f"{target} is not in itlib.studies.STUDIES")


def from_yaml(path: str | Path) -> ParamsFile:
    """Read a params file: strict YAML, a known ``study``, only keys of its schema, every value of its type.

    Raises:
        InputError: One line that starts with ``file:line``.
    """
    data, lines = load_with_lines(path)
    _check_names(data, where=str(path), lines=lines)
    if "study" not in data:
        raise InputError(f"{path}: missing key 'study'; known: {', '.join(STUDIES)}")
    study = data.pop("study")
    if not isinstance(study, str) or study not in STUDIES:
        hint = did_you_mean(str(study), STUDIES)
        raise InputError(f"{path}:{lines['study']}: unknown study {study!r}{hint}; known: {', '.join(STUDIES)}")
    cls = schema(study)
    params = build(cls, _lists_from_text(cls, data, where=str(path)), where=str(path), lines=lines)
    return ParamsFile(study, params, Path(path), tuple(_notes(data, params, where=str(path))))


def load_many(paths: Iterable[str | Path]) -> list[ParamsFile]:
    """Read several params files; a folder stands for every ``*.yaml`` below it, sorted.

    Raises:
        InputError: As ``from_yaml``; or a folder holds no params file.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        found = sorted(path.rglob("*.yaml")) if path.is_dir() else [path]
        if not found:
            raise InputError(f"{path}: no .yaml file in this folder")
        files.extend(found)
    return [from_yaml(path) for path in files]


def from_notebook(study: str, namespace: dict[str, Any]) -> Any:
    """Return the typed params of a notebook, from its ``globals()``.

    Call it in the first cell after ``parameters``. There the namespace still holds nothing but parameters, so that a
    plain value which the schema does not know is a mistyped parameter. A later call in the same kernel checks the
    values alone, since by then the notebook has variables of its own. Text that was coerced is printed as a note.

    Args:
        study: Name of the study, as in ``STUDIES``.
        namespace: ``globals()`` of the notebook.

    Raises:
        InputError: A parameter is unknown, absent, of another type or out of bounds, or meant for another study.
    """
    cls = schema(study)
    where = f"parameters of {study}"
    known = [item.name for item in field_types(cls)]
    given = namespace.get("study", study)
    if given != study:
        raise InputError(f"{where}: study: these parameters are for {given!r}, this notebook is {study!r}")
    if _CHECKED not in namespace:
        for name, value in namespace.items():
            public = not name.startswith("_") and name not in _IPYTHON and name != "study"
            if public and name not in known and isinstance(value, _PLAIN):
                hint = did_you_mean(name, known)
                raise InputError(f"{where}: unknown parameter {name!r}{hint}; valid: {', '.join(known)}")
    absent = [name for name in known if name not in namespace]
    if absent:
        raise InputError(f"{where}: the parameters cell has no {absent[0]!r}; every key of the schema belongs there")
    values = {name: namespace[name] for name in known}
    params = build(cls, _lists_from_text(cls, values, where=where), where=where)
    for note in _notes(values, params, where=where):
        print(note)
    namespace[_CHECKED] = True
    return params


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """Return ``-p key value`` pairs, given as a flat list, as a mapping for ``overrides``.

    Values remain text and get their type from the schema; ``[1, 2]`` becomes a list of texts.

    Raises:
        InputError: A name is not ``[a-z][a-z0-9_]*``, is given twice or has no value, or a list is broken.
    """
    if len(pairs) % 2:
        raise InputError(f"-p {pairs[-1]}: a value is missing; -p key value would be right")
    found: dict[str, Any] = {}
    for key, value in zip(pairs[::2], pairs[1::2], strict=True):
        _check_names([key], where="-p")
        if key in found:
            raise InputError(f"-p {key}: given twice")
        is_list = value.startswith("[") and value.endswith("]")
        found[key] = parse_text_list(value, where=f"-p {key}") if is_list else value
    return found


def overrides(schema: type, mapping: Mapping[str, Any], *, where: str = "-p") -> dict[str, Any]:
    """Return some keys of a schema with their typed values, for ``dataclasses.replace(params, **values)``.

    Raises:
        InputError: A key is not of the schema, or a value is not of its type or outside its bounds.
    """
    _check_names(mapping, where=where)
    known = {item.name: item for item in field_types(schema)}
    typed = {}
    for key, value in _lists_from_text(schema, mapping, where=where).items():
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}{did_you_mean(key, known)}; valid keys: {', '.join(known)}")
        typed[key] = coerce(value, known[key].annotation, key=key, where=where)
        check_bounds(typed[key], known[key].metadata, key=key, where=where)
    return typed


def parameters_cell(schema: type) -> str:
    """Return the source of the notebook cell tagged ``parameters``: one line per key, in papermill's grammar.

    Raises:
        ValueError: The schema cannot be written so that papermill reads it back: a nested field, a ``=`` or ``#`` in
            a default, or a ``=`` in a help text.
    """
    study = json.dumps(study_name(schema))
    lines = [f"study = {study}  # type: str  the study these parameters belong to"]
    for item, default in _defaults(schema):
        value = _python_literal(item, default)
        unit = f" [{item.metadata['unit']}]" if item.metadata.get("unit") else ""
        kind = "list" if typing.get_origin(item.annotation) else type_name(item.annotation)
        comment = f"{item.metadata.get('help', '')}{unit}".strip()
        line = f"{item.name} = {value}  # type: {kind}  {comment}".rstrip()
        if line.count("=") > 1 or "#" in value or "\n" in line:
            raise ValueError(f"{schema.__name__}.{item.name}: papermill cannot parse {line!r}")
        lines.append(line)
    return "\n".join(lines)


def markdown_table(schema: type) -> str:
    """Return a Markdown table of a schema: key, type, default, what is allowed, meaning."""
    lines = ["| key | type | default | allowed | meaning |", "|---|---|---|---|---|"]
    for item, default in _defaults(schema):
        unit = f" [{item.metadata['unit']}]" if item.metadata.get("unit") else ""
        meaning = f"{item.metadata.get('help', '')}{unit}"
        cells = [f"`{item.name}`", type_name(item.annotation), f"`{_yaml_literal(default)}`", _allowed(item), meaning]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def _check_names(names: Iterable[Any], *, where: str, lines: Mapping[str, int] | None = None) -> None:
    # papermill writes a name into the notebook as it stands, so a name could carry code.
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            place = f"{where}:{lines[name]}" if lines and name in lines else where
            shown = repr(name)[:60]
            raise InputError(f"{place}: {shown} is not a parameter name (lower-case letters, digits and _)")


def _lists_from_text(cls: type, values: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return the values with the text ``"[1, 2]"`` as a list where the schema wants one."""
    lists = {item.name for item in field_types(cls) if typing.get_origin(item.annotation)}
    return {
        key: parse_text_list(value, where=f"{where}: {key}")
        if key in lists and isinstance(value, str) and value.startswith("[")
        else value
        for key, value in values.items()
    }


def _notes(given: Mapping[str, Any], params: Any, *, where: str) -> Iterable[str]:
    for key, value in given.items():
        taken = getattr(params, key)
        if isinstance(value, str) and not isinstance(taken, str):
            yield f"note: {where}: {key}: text {value!r} read as {_yaml_literal(taken)}"


def _defaults(schema: type) -> list[tuple[FieldType, Any]]:
    instance = schema()
    return [(item, getattr(instance, item.name)) for item in field_types(schema)]


def _python_literal(item: FieldType, value: Any) -> str:
    if dataclasses.is_dataclass(value):
        raise ValueError(f"{item.name}: a parameter is one plain value or a list, not a {type_name(item.annotation)}")
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple | list):
        return f"[{', '.join(_python_literal(item, element) for element in value)}]"
    return repr(value)


def _yaml_literal(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _allowed(item: FieldType) -> str:
    metadata = item.metadata
    if metadata.get("choices") is not None:
        return ", ".join(f"`{_yaml_literal(choice)}`" for choice in metadata["choices"])
    bounds = (("≥", "minimum"), (">", "exclusive_minimum"), ("≤", "maximum"))
    return ", ".join(f"{sign} {metadata[name]}" for sign, name in bounds if metadata.get(name) is not None)
