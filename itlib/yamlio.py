"""Strict YAML: plain data only, numbers and booleans as in YAML 1.2, and one line that says what is wrong.

PyYAML follows YAML 1.1, where ``no`` is false, ``017`` is 15, ``12:30:45`` is 45045 and ``2e-5`` is text. Here only
``true`` and ``false`` are booleans, ``2e-5`` is a number, and ``no``, ``017`` and ``12:30:45`` stay text. Duplicate
keys, tags, aliases (and with them alias bombs), deep nesting and large files are refused.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from itlib.errors import InputError, did_you_mean

MAX_BYTES = 2**20
MAX_DEPTH = 20

_NULL = re.compile(r"(?:~|null|Null|NULL|)$")
_BOOLEAN = re.compile(r"(?:true|True|TRUE|false|False|FALSE)$")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,399})$")
_FLOAT = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]*)\.[0-9]*(?:[eE][-+]?[0-9]+)?|(?:0|[1-9][0-9]*)[eE][-+]?[0-9]+|\.[0-9]+(?:[eE][-+]?[0-9]+)?)$"
)


class _StrictLoader(yaml.SafeLoader):
    """The safe loader with YAML 1.2 scalars, unique text keys, no tags, no aliases and bounded depth."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise _problem(f"alias '*{event.anchor}' is refused; write the value out", event)
        if getattr(event, "tag", None) is not None:
            raise _problem(f"tag '{event.tag}' is refused; only plain values are read", event)
        if self.depth >= MAX_DEPTH:
            raise _problem(f"nested deeper than {MAX_DEPTH} levels", event)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        lines: dict[str, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise _problem(f"key {_shown(key)} must be text (put it in quotes)", key_node)
            if key in lines:
                raise _problem(f"key {_shown(key)} is given twice, first on line {lines[key]}", key_node)
            lines[key] = key_node.start_mark.line + 1
        return super().construct_mapping(node, deep)


class _TextLoader(_StrictLoader):
    """Every scalar stays text; a schema gives it a type later."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


for _tag, _pattern, _first in (
    ("null", _NULL, ["~", "n", "N", ""]),
    ("bool", _BOOLEAN, list("tTfF")),
    ("int", _INTEGER, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _pattern, _first)


def load_strict(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; see the module for what is refused.

    Raises:
        InputError: The file is missing, not a regular file, too large, not UTF-8, empty, not a mapping, or not
            strict YAML. The message starts with ``file:line`` where there is a line.
    """
    return load_with_lines(path)[0]


def load_with_lines(path: str | Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Return the mapping in a YAML file and the line number of each of its top-level keys."""
    text = _read(Path(path))
    loader = None
    try:
        loader = _StrictLoader(text)
        node = loader.get_single_node()
        if node is None:
            raise InputError(f"{path}: the file is empty; 'key: value' lines would be right")
        if not isinstance(node, yaml.MappingNode):
            line = node.start_mark.line + 1
            raise InputError(f"{path}:{line}: expected 'key: value' lines at the top level, got a {node.id}")
        data = loader.construct_document(node)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(f"{path}:{line}: character U+{error.character:04X} is not allowed in YAML") from error
    except yaml.MarkedYAMLError as error:
        raise InputError(f"{path}{_place(error)}: {_one_line(error)}") from error
    finally:
        if loader is not None:
            loader.dispose()
    return data, {key.value: key.start_mark.line + 1 for key, _ in node.value}


def parse_text_list(text: str, *, where: str) -> list[Any]:
    """Return the elements of a flow list such as ``[1, 2e-5]``, each still text.

    Raises:
        InputError: ``text`` is not a well-formed list.
    """
    try:
        value = yaml.load(text, Loader=_TextLoader)  # noqa: S506 - a SafeLoader subclass
    except yaml.YAMLError as error:
        raise InputError(f"{where}: {_shown(text)} is not a list such as [1, 2]: {_one_line(error)}") from error
    if not isinstance(value, list):
        raise InputError(f"{where}: {_shown(text)} is not a list such as [1, 2]")
    return value


def _meant(path: Path) -> str:
    """Return the file that was meant: one beside it, or, of the bare name of a study, its params for the CPU."""
    folder = Path("params/cpu") if path.parent == Path(".") else path.parent
    beside = sorted(str(item) for item in folder.glob("*.y*ml")) if folder.is_dir() else []
    begun = [name for name in beside if Path(name).name.startswith(path.stem)]
    return did_you_mean(str(path), begun or beside)


def _read(path: Path) -> str:
    if path.is_dir():
        raise InputError(f"{path}: is a folder; a YAML file would be right")
    if not path.exists():
        raise InputError(f"{path}: no such file{_meant(path)}")
    if not path.is_file():
        raise InputError(f"{path}: not a regular file")
    try:
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error


def _problem(message: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=message, problem_mark=at.start_mark)


def _place(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    return f":{mark.line + 1}" if mark else ""


def _one_line(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or str(error)
    context = getattr(error, "context", None)
    return " ".join(f"{problem} ({context})".split() if context else problem.split())


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
