"""Accuracies of any models under any instructions, from a CSV file: read strictly, and every exception is told.

A file has one line per model, task and instruction, with the columns

    model,task,instruction,observed,accuracy

``observed`` says whether the model met the instruction in tuning. The same name of an instruction in two tasks means
the same wording. Accuracies are shares or percentages, one of the two in the whole file. A line without a number for
its accuracy, or with an empty cell, is left out and told by file and line; whatever else is wrong refuses the file in
one line.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from itlib.errors import InputError, did_you_mean
from itlib.schema import coerce

COLUMNS = ("model", "task", "instruction", "observed", "accuracy")
SYNONYMS = {
    "model_name": "model",
    "dataset": "task",
    "prompt": "instruction",
    "phrasing": "instruction",
    "template": "instruction",
    "observed?": "observed",
    "seen": "observed",
    "acc": "accuracy",
}
OBSERVED = {"true": True, "yes": True, "1": True, "observed": True}
OBSERVED |= {"false": False, "no": False, "0": False, "unobserved": False}
MAX_BYTES = 2**24
MAX_COLUMNS = 200
MAX_CHARACTERS = {"model": 120, "task": 120, "instruction": 10_000}
TOLD = 20  # remarks of one kind that are written out; the others are counted


@dataclass(frozen=True, eq=False)
class InstructionTable:
    """A table of accuracies, tidied.

    Attributes:
        name: Name of the file, without its folder.
        rows: Columns ``COLUMNS`` and ``line``; ``observed`` is boolean, ``accuracy`` lies between 0 and 1. Rows are in
            the order of the file.
        remarks: What was read otherwise than it stands, left out or cannot be compared; one line each.
        n_left_out: Lines that are not among the rows.
        percent: The file says percentages.
        sha256: Of the bytes of the file.
    """

    name: str
    rows: pd.DataFrame
    remarks: tuple[str, ...]
    n_left_out: int
    percent: bool
    sha256: str


@dataclass(frozen=True)
class _Line:
    """One line that has all its cells; ``text`` is the accuracy as it stands."""

    model: str
    task: str
    instruction: str
    observed: bool
    text: str
    value: float
    line: int

    @property
    def cell(self) -> tuple[str, str, str]:
        return self.model, self.task, self.instruction


def read(path: str | Path) -> InstructionTable:
    """Return the accuracies of a file.

    Raises:
        InputError: One line that names the file and, where there is one, the line: the file cannot be read, is too
            large or not UTF-8; a column is missing or named twice; ``observed`` says neither yes nor no; an accuracy is
            below 0 or above 100; percentages and shares are mixed; an instruction is given twice for one task of one
            model; or no accuracy is left.
    """
    path = Path(path)
    content = _content(path)
    header, places, remarks = None, {}, []
    lines: list[_Line] = []
    left_out: list[str] = []
    for number, cells in _records(_decoded(content, path), path):
        if header is None:
            header = cells
            places, remarks = _columns(cells, f"{path}:{number}", f"{path.name}:{number}")
            continue
        if len(cells) != len(header):
            raise InputError(f"{path}:{number}: {len(cells)} cells, but the first line names {len(header)} columns")
        given = {name: cells[place] for name, place in places.items()}
        line, reason = _line(given, f"{path}:{number}", number)
        if line:
            lines.append(line)
        if reason:
            left_out.append(f"{path.name}:{number}: {reason}; the line is left out")
    if header is None:
        raise InputError(f"{path}: the file is empty; a first line {','.join(COLUMNS)} would be right")
    return _checked(path, content, lines, left_out, remarks)


def two_sided(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the tasks that a model was asked in both observed and unobserved instructions."""
    return rows[rows.groupby(["model", "task"])["observed"].transform("nunique") == 2]


def _content(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; a CSV file of accuracies would be right")
        with path.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"table: file not found: {path}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"table: {str(path)[:60]!r} cannot be read ({error})") from None
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES} bytes")
    return content


def _decoded(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from None


def _records(text: str, path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of every line that is not blank, and the number of the line where it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    begins = 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                yield begins, stripped
            begins = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}:{begins}: not a line of CSV ({error})") from None


def _columns(cells: Sequence[str], where: str, short: str) -> tuple[dict[str, int], list[str]]:
    """Return the place of every column, and what was read otherwise than it stands."""
    if len(cells) > MAX_COLUMNS:
        raise InputError(f"{where}: {len(cells)} columns; needed: {', '.join(COLUMNS)}")
    places = {name: _place(name, cells, where) for name in COLUMNS}
    renamed = {name: cells[place] for name, place in places.items() if cells[place] != name}
    remarks = [f"{short}: column {_shown(cell)} is read as '{name}'" for name, cell in renamed.items()]
    unused = [_shown(cell) for place, cell in enumerate(cells) if place not in places.values()]
    if unused:
        remarks.append(f"{short}: not used: column {', '.join(unused)}")
    return places, remarks


def _place(wanted: str, cells: Sequence[str], where: str) -> int:
    """Return where a column stands: under its own name, or under the only synonym of it."""
    names = [cell.lower() for cell in cells]
    found = [place for place, name in enumerate(names) if name == wanted]
    found = found or [place for place, name in enumerate(names) if SYNONYMS.get(name) == wanted]
    if len(found) > 1:
        shown = " and ".join(_shown(cells[place]) for place in found)
        raise InputError(f"{where}: columns {shown} could both be '{wanted}'; name one of them {wanted}")
    if not found:
        hint = _hint(wanted, cells)
        raise InputError(f"{where}: column '{wanted}' is missing{hint}; needed: {', '.join(COLUMNS)}")
    return found[0]


def _hint(wanted: str, cells: Sequence[str]) -> str:
    if len(cells) == 1 and any(mark in cells[0] for mark in ";\t|"):
        return " (cells are separated by commas)"
    return did_you_mean(wanted, [cell for cell in cells if cell.lower() not in COLUMNS])


def _line(given: Mapping[str, str], where: str, number: int) -> tuple[_Line | None, str]:
    """Return a line, or why it is left out. A line without a number keeps its place, so that doubles are seen."""
    empty = [name for name in COLUMNS if not given[name]]
    if set(empty) - {"accuracy"}:
        return None, f"{empty[0]} is empty"
    for name, most in MAX_CHARACTERS.items():
        _check_name(given[name], name, most, where)
    if given["observed"].lower() not in OBSERVED:
        known = ", ".join(OBSERVED)
        raise InputError(f"{where}: observed: {_shown(given['observed'])} is none of {known}")
    value = _number(given["accuracy"])
    observed = OBSERVED[given["observed"].lower()]
    line = _Line(given["model"], given["task"], given["instruction"], observed, given["accuracy"], value, number)
    if math.isnan(value):
        return line, "accuracy is empty" if empty else f"accuracy {_shown(given['accuracy'])} is no number"
    if not 0 <= value <= 100:
        raise InputError(f"{where}: accuracy {_shown(given['accuracy'])} is neither a share nor a percentage")
    return line, ""


def _check_name(text: str, name: str, most: int, where: str) -> None:
    if len(text) > most:
        raise InputError(f"{where}: {name}: longer than {most} characters")
    printed = " ".join(text.split()) if name == "instruction" else text  # the text itself may break its lines
    if not printed.isprintable():
        raise InputError(f"{where}: {name}: {_shown(text)} holds a character that cannot be printed")


def _number(text: str) -> float:
    """Return a finite number, "57.4%" included, or NaN."""
    try:
        return coerce(text.removesuffix("%").rstrip(), float, key="accuracy", where="")
    except InputError:
        return float("nan")


def _checked(
    path: Path, content: bytes, lines: Sequence[_Line], left_out: Sequence[str], remarks: list[str]
) -> InstructionTable:
    """Check what can only be told from the whole file, and put it together."""
    _check_doubles(lines, path)
    usable = [line for line in lines if not math.isnan(line.value)]
    if not usable:
        told = f"; the first of {len(left_out)} left out: {left_out[0]}" if left_out else ""
        raise InputError(f"{path}: no line has an accuracy{told}")
    percent = _percent(usable, path)
    if percent:
        first = next((line for line in usable if line.value > 1 or line.text.endswith("%")), usable[0])
        remarks = [*remarks, f"{path.name}:{first.line}: accuracies are percentages, such as {_shown(first.text)}"]
    scale = 100 if percent else 1
    rows = pd.DataFrame(
        [(*line.cell, line.observed, line.value / scale, line.line) for line in usable], columns=[*COLUMNS, "line"]
    )
    if left_out:
        total = f"{path.name}: {len(left_out)} of {len(left_out) + len(rows)} lines are left out"
        remarks = [*remarks, *_bounded(left_out, path.name), total]
    remarks = [*remarks, *_bounded(_one_sided(rows, path.name), path.name)]
    digest = hashlib.sha256(content).hexdigest()
    return InstructionTable(path.name, rows, tuple(remarks), len(left_out), percent, digest)


def _check_doubles(lines: Sequence[_Line], path: Path) -> None:
    first: dict[tuple[str, str, str], int] = {}
    for line in lines:
        if line.cell in first:
            raise InputError(
                f"{path}:{line.line}: instruction {_shown(line.instruction)} of task {_shown(line.task)} is given "
                f"twice for model {_shown(line.model)}, first on line {first[line.cell]}"
            )
        first[line.cell] = line.line


def _percent(lines: Sequence[_Line], path: Path) -> bool:
    """Return whether the accuracies of a file are percentages.

    A percent sign says so, if it stands everywhere; else any value above 1 does. Then a value above 0 and up to 1 could
    be a share as well as a very low percentage, and nobody can tell, so it is refused.
    """
    signed = [line for line in lines if line.text.endswith("%")]
    if signed:
        bare = next((line for line in lines if not line.text.endswith("%")), None)
        if bare:
            raise InputError(
                f"{path}:{bare.line}: accuracy {_shown(bare.text)} has no percent sign, {_shown(signed[0].text)} on "
                f"line {signed[0].line} has one; write all accuracies in one scale"
            )
        return True
    high = next((line for line in lines if line.value > 1), None)
    low = next((line for line in lines if 0 < line.value <= 1), None)
    if high and low:
        whose = "the same model" if any(o.value > 1 for o in lines if o.model == low.model) else "another model"
        raise InputError(
            f"{path}:{low.line}: accuracy {_shown(low.text)} is a share or a very low percentage, {_shown(high.text)} "
            f"on line {high.line} ({whose}) a percentage; write all accuracies as shares, or all with a percent sign"
        )
    return high is not None


def _one_sided(rows: pd.DataFrame, name: str) -> list[str]:
    """Return a remark for every task that a model was asked in observed or in unobserved instructions only."""
    single = rows[rows.groupby(["model", "task"])["observed"].transform("nunique") == 1]
    return [
        f"{name}:{row.line}: task {_shown(row.task)} of model {_shown(row.model)} has "
        f"{'observed' if row.observed else 'unobserved'} instructions only; it is left out of the gap"
        for row in single.drop_duplicates(["model", "task"]).itertuples()
    ]


def _bounded(remarks: Sequence[str], name: str) -> list[str]:
    more = [f"{name}: {len(remarks) - TOLD} more remarks of this kind"] if len(remarks) > TOLD else []
    return [*remarks[:TOLD], *more]


def _shown(text: str) -> str:
    shown = repr(text)
    return shown if len(shown) <= 60 else f"{shown[:60]}…"
