"""From the bytes of a data file to records with line numbers: JSON, JSONL, CSV, parquet, plain text.

The standard library decodes JSON record by record, because only that gives ``file:line`` for every fault.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

from itlib.errors import InputError

MAX_RECORD = 64 * 2**20  # characters in one record; a longer one is a broken file, not an example
MAX_DEPTH = 100  # nesting of one record
SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".txt")

_SPACE = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True)
class Record:
    """One record of a file: its value, or the problem that kept it from being read.

    ``line`` counts from 1; in parquet, which has no lines, it is the row number.
    """

    line: int
    value: object = None
    problem: str = ""


def read_records(name: str, content: bytes) -> tuple[str, list[Record]]:
    """Return the container ("json", "jsonl", "csv", "parquet", "txt") and the records of a file.

    Args:
        name: File name for messages; its suffix decides how the content is read. A ``.json`` file that does
            not start with ``[`` is read as one record per line.
        content: The bytes of the file.

    Raises:
        InputError: Unknown suffix, wrong encoding (with the byte offset), or damage that makes the rest of the
            file unreadable. A single bad JSONL line is a ``Record`` with a problem instead.
    """
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{name}: cannot read '{suffix}' files; known: {', '.join(SUFFIXES)}")
    if suffix == ".parquet":
        return "parquet", _parquet(name, content)
    text = _decode(name, content)
    if suffix == ".txt":
        return "txt", _paragraphs(text)
    if suffix in (".csv", ".tsv"):
        return "csv", _csv(name, text, "\t" if suffix == ".tsv" else ",")
    if suffix == ".json" and text.lstrip().startswith("["):
        return "json", _json_list(name, text)
    records = _json_lines(text)
    if suffix == ".json" and records and records[0].problem and _is_one_object(text):
        raise InputError(f"{name}: one object, not a list of rows; write the rows as a list, or one row per line")
    return "jsonl", records


def _is_one_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _decode(name: str, content: bytes) -> str:
    bom = len(codecs.BOM_UTF8) if content.startswith(codecs.BOM_UTF8) else 0
    try:
        return content[bom:].decode("utf-8")
    except UnicodeDecodeError as error:
        offset = error.start + bom
        line = content.count(b"\n", 0, offset) + 1
        raise InputError(
            f"{name}:{line}: not UTF-8 at byte offset {offset} (0x{content[offset]:02x}); save the file as UTF-8"
        ) from None


class _Decoder:
    """A JSON decoder that never recurses too deep and notices keys that appear twice in one object."""

    def __init__(self) -> None:
        self._repeated: list[str] = []
        self._decoder = json.JSONDecoder(object_pairs_hook=self._object)

    def _object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        result = dict(pairs)
        if len(result) < len(pairs):
            keys = [key for key, _ in pairs]
            self._repeated.append(next(key for key in keys if keys.count(key) > 1))
        return result

    def record(self, text: str, start: int, line: int) -> tuple[Record, int]:
        """Decode the value at ``start``; syntax errors pass through as ``json.JSONDecodeError``."""
        self._repeated.clear()
        try:
            value, end = self._decoder.raw_decode(text, start)
        except RecursionError:
            raise json.JSONDecodeError(f"nested deeper than {MAX_DEPTH}", text, start) from None
        if end - start > MAX_RECORD:
            return Record(line, problem=f"record of {end - start} characters, above the limit of {MAX_RECORD}"), end
        if _deeper_than(value, MAX_DEPTH):
            return Record(line, problem=f"nested deeper than {MAX_DEPTH}"), end
        if self._repeated:
            return Record(line, problem=f"key '{self._repeated[0]}' appears twice"), end
        return Record(line, value), end


def _deeper_than(value: object, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        containers = [item for item in level if isinstance(item, (dict, list))]
        if not containers:
            return False
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
    return True


def _json_lines(text: str) -> list[Record]:
    decoder, records = _Decoder(), []
    # Not splitlines(): it also cuts at U+2028 and others that JSON allows inside a string.
    for line, content in enumerate(text.split("\n"), start=1):
        content = content.strip()
        if not content:
            continue
        if len(content) > MAX_RECORD:
            records.append(Record(line, problem=f"line of {len(content)} characters, above the limit of {MAX_RECORD}"))
            continue
        try:
            record, end = decoder.record(content, 0, line)
        except json.JSONDecodeError as error:
            records.append(Record(line, problem=f"not valid JSON at column {error.colno} ({error.msg})"))
            continue
        end = _skip(content, end)
        if end < len(content):
            record = Record(line, problem=f"not valid JSON at column {end + 1} (more text after the value)")
        records.append(record)
    return records


def _json_list(name: str, text: str) -> list[Record]:
    decoder, records = _Decoder(), []
    line, counted = 1, 0
    index = _skip(text, text.index("[") + 1)
    closed = text.startswith("]", index)
    while not closed:
        line, counted = line + text.count("\n", counted, index), index
        try:
            record, index = decoder.record(text, index, line)
        except json.JSONDecodeError as error:
            raise InputError(f"{name}:{error.lineno}: not valid JSON at column {error.colno} ({error.msg})") from None
        records.append(record)
        index = _skip(text, index)
        closed = text.startswith("]", index)
        if not closed and not text.startswith(",", index):
            line += text.count("\n", counted, index)
            fault = "the file is truncated" if index == len(text) else "expected ',' or ']'"
            raise InputError(f"{name}:{line}: the list of rows is broken after row {len(records)}: {fault}")
        index = _skip(text, index + 1)
    if index < len(text) and _skip(text, index + (not records)) < len(text):
        line += text.count("\n", counted, index)
        raise InputError(f"{name}:{line}: more text after the end of the list")
    return records


def _skip(text: str, index: int) -> int:
    match = _SPACE.match(text, index)
    return match.end() if match else index


def _csv(name: str, text: str, separator: str) -> list[Record]:
    import pandas

    try:
        # Every cell stays text ("NA" and "007" are answers); blank lines stay rows, so that lines can be counted.
        how = {"dtype": str, "keep_default_na": False, "skip_blank_lines": False, "index_col": False}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pandas.errors.ParserWarning)  # it would leave out what a row has too much
            frame = pandas.read_csv(io.StringIO(text), sep=separator, **how)
    except pandas.errors.ParserWarning:
        raise InputError(_too_wide(name, text, separator)) from None
    except (pandas.errors.ParserError, pandas.errors.EmptyDataError) as error:
        raise InputError(f"{name}: not a readable table ({str(error).strip()})") from None
    records, line = [], 2
    for row in frame.to_dict("records"):
        cells = {str(key): value if isinstance(value, str) else None for key, value in row.items()}
        if any(cells.values()):
            records.append(Record(line, cells))
        line += 1 + sum(value.count("\n") for value in cells.values() if value)
    return records


def _too_wide(name: str, text: str, separator: str) -> str:
    """Return what is wrong with a table in which a row has more cells than the header."""
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    with contextlib.suppress(csv.Error, StopIteration):
        n_columns = len(next(reader))
        cells = next(row for row in reader if len(row) > n_columns)
        told = f"{len(cells)} cells, and the header names {n_columns}"
        return f"{name}:{reader.line_num}: {told}; put a cell that holds '{separator}' in quotes"
    return f"{name}: a row has more cells than the header"


def _parquet(name: str, content: bytes) -> list[Record]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError(f"{name}: reading parquet needs pyarrow (pip install pyarrow)") from None
    try:
        rows = pyarrow.parquet.read_table(pyarrow.BufferReader(content)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:  # names of columns may be no text
        raise InputError(f"{name}: not a readable parquet file ({str(error).splitlines()[0]})") from None
    return [Record(number, row) for number, row in enumerate(rows, start=1)]


def _paragraphs(text: str) -> list[Record]:
    """Cut plain text at blank lines; each paragraph is one document."""
    records: list[Record] = []
    lines: list[str] = []
    for number, line in enumerate([*text.split("\n"), ""], start=1):
        if line.strip():
            lines.append(line.rstrip("\r"))
        elif lines:
            records.append(Record(number - len(lines), "\n".join(lines)))
            lines = []
    return records
