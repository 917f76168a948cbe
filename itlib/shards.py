"""Numbers of many rows, computed a shard at a time and kept on the disk as soon as a shard is done.

A table is a folder of shards, each written whole under a name that holds the hash of its bytes, so that work goes on
where it was killed and what is damaged is computed again. The address of a table says everything that its numbers
depend on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from itlib.files import write_atomic

SHARD = 512  # rows

Columns = dict[str, np.ndarray]


def table(folder: Path | None, address: str, n_rows: int, measure: Callable[[slice], Columns]) -> Columns:
    """Return the columns of all rows, reading the shards that are there and computing the others.

    Args:
        folder: Where tables are kept; None keeps nothing.
        address: SHA-256 of what the numbers depend on.
        n_rows: How many rows the table has.
        measure: Returns the columns of some rows, each of as many entries.
    """
    parts = []
    for index, start in enumerate(range(0, n_rows, SHARD)):
        rows = slice(start, min(start + SHARD, n_rows))
        parts.append(_shard(folder / address[:24] if folder else None, index, rows, measure))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _shard(folder: Path | None, index: int, rows: slice, measure: Callable[[slice], Columns]) -> Columns:
    from safetensors.numpy import save

    if folder is None:
        return measure(rows)
    found = _read(folder, index, rows.stop - rows.start)
    if found is None:
        found = measure(rows)
        content = save({name: np.ascontiguousarray(column) for name, column in found.items()})
        write_atomic(folder / f"{index:05d}-{hashlib.sha256(content).hexdigest()[:24]}.safetensors", content)
    return found


def _read(folder: Path, index: int, n: int) -> Columns | None:
    """Return a stored shard whose bytes are those its name promises, or None; damaged files are removed."""
    from safetensors.numpy import load

    for path in sorted(folder.glob(f"{index:05d}-*.safetensors")):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest()[:24] == path.stem.partition("-")[2]:
            found = load(content)
            if all(len(column) == n for column in found.values()):
                return found
        path.unlink(missing_ok=True)
    return None
