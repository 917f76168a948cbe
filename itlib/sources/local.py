"""Data files on this machine: Alpaca, ShareGPT, messages, prompt/completion, question/answer, Self-Instruct, text."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from itlib.errors import InputError
from itlib.registry import sources
from itlib.sources._containers import read_records
from itlib.sources._formats import parse_records
from itlib.sources._rows import Rows, RowSource, build_rows
from itlib.spec import DataSpec


def describe(path: str | Path) -> dict[str, object]:
    """Return what a data file holds: container, format, rows, usable, pool, dev, test, dropped (reason → count), notes.

    Raises:
        InputError: The file is missing, unreadable or without a usable row.
    """
    return read_file(path).summary()


def read_file(path: str | Path) -> Rows:
    """Read, parse and split a data file; bad rows are listed, not refused. Unchanged files are read once per process.

    Raises:
        InputError: The file is missing, unreadable or without a usable row.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        raise InputError(f"{path} is a folder; data_path must name one file")
    if not path.is_file():
        raise InputError(f"file not found: {path}")
    status = path.stat()
    return _read_file(str(path), status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=4)
def _read_file(path: str, size: int, modified: int) -> Rows:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if not content.strip():
        raise InputError(f"{path}: the file is empty")
    container, records = read_records(path, content)
    return build_rows(path, hashlib.sha256(content).hexdigest(), parse_records(path, container, records))


class LocalSource(RowSource):
    """Rows of the file ``data_path``; the fingerprint is the SHA-256 of its bytes."""

    name = "local"

    def rows(self, data: DataSpec) -> Rows:
        """Read the file; see ``read_file``."""
        if not data.data_path:
            raise InputError("source 'local' needs data_path: the data file")
        return read_file(data.data_path)


sources.register("local", version=1)(LocalSource())
