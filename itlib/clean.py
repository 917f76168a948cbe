"""What of a store could go: things that are put aside, or made again from what stays.

Results of runs are never among them. Weights and features are: a run that asks for them makes them again, at the price
of its time. What killed processes left half-written the store clears away by itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from itlib.errors import InputError

KINDS = {
    "aside": "damaged entries, put aside",
    "checkpoints": "where interrupted runs would go on from; they start anew without them",
    "features": "features of pools and bases, made again when a selector or a notebook needs them",
    "weights": "weights of tuned models; a run that keeps them is trained again when it is asked",
}


@dataclass(frozen=True)
class Waste:
    """The entries of one kind: how many there are and the bytes that they take."""

    kind: str
    entries: tuple[Path, ...]
    n_bytes: int


def waste(root: Path, kinds: Iterable[str] = KINDS) -> list[Waste]:
    """Return what of a store could go, by kind; nothing is touched.

    Raises:
        InputError: A kind is none of ``KINDS``.
    """
    found = []
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f"'{kind}' is not one of {', '.join(KINDS)}; results of runs are never removed")
        folder = root / kind
        inside = folder.is_dir() and not folder.is_symlink()
        entries = tuple(sorted(folder.iterdir())) if inside else ()
        found.append(Waste(kind, entries, sum(map(_size, entries))))
    return found


def remove(found: Iterable[Waste]) -> None:
    """Remove entries. A link is removed and not followed."""
    for part in found:
        for path in part.entries:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def _size(path: Path) -> int:
    files = [path] if not path.is_dir() or path.is_symlink() else path.rglob("*")
    return sum(file.lstat().st_size for file in files if not file.is_dir() or file.is_symlink())
