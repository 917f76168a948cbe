"""Folders that appear whole or not at all: written aside, flushed, listed with their hashes, renamed into place."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from itlib.errors import RunError
from itlib.files import sha256_file, write_atomic

MANIFEST = "manifest.json"
DEBRIS_AGE_SECONDS = 3600.0
_PARTIAL_NAME = re.compile(r"([1-9][0-9]{0,8})-[0-9a-f]{32}")


@contextlib.contextmanager
def system_errors(path: Path, verb: str) -> Iterator[None]:
    """Turn an error of the operating system into ``RunError``: ``<path> cannot be <verb>: <reason>``."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} cannot be {verb}: {error.strerror or error}") from error


def publish(folder: Path, partial_root: Path, write: Callable[[Path], None]) -> bool:
    """Write a folder below ``partial_root``, flush it, add its manifest and rename it to ``folder``.

    Returns:
        False when something is there already; it stays as it is.

    Raises:
        OSError: The system refused. Nothing of the attempt is left then.
    """
    partial = partial_root / f"{os.getpid()}-{uuid.uuid4().hex}"
    partial.mkdir()
    try:
        write(partial)
        write_manifest(partial)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.exists():
                raise
            return False
        _sync(folder.parent)
        return True
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def damage(folder: Path) -> str:
    """Return what is wrong with a published folder, or an empty string when every hash agrees.

    Raises:
        RunError: A file is there and the system does not let it be read. That says nothing about its content.
    """
    path = folder / MANIFEST
    try:
        for name, entry in json.loads(path.read_text()).items():
            path = folder / name
            if sha256_file(path) != entry["sha256"]:
                return f"{name} does not have the hash its manifest states"
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return f"{path.name} is missing"
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"its manifest is unreadable ({type(error).__name__})"
    return ""


def remove_debris(partial_root: Path) -> None:
    """Remove what killed processes left half-written: their process is gone and the folder is over an hour old.

    The age keeps what a process of another machine, whose number says nothing here, is writing.
    """
    for path in partial_root.iterdir():
        name = _PARTIAL_NAME.fullmatch(path.name)
        if name is None or alive(int(name[1])):
            continue
        with contextlib.suppress(FileNotFoundError):  # another process was quicker
            if time.time() - path.lstat().st_mtime > DEBRIS_AGE_SECONDS:
                shutil.rmtree(path, ignore_errors=True)


def alive(process_id: int) -> bool:
    """Return whether a process of this machine is there."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it lives and belongs to someone else
        return True
    return True


def write_manifest(folder: Path) -> None:
    """Flush every file of a folder, then write the list of their hashes and sizes."""
    entries = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        _sync(path)
        name = path.relative_to(folder).as_posix()
        entries[name] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    write_atomic(folder / MANIFEST, (json.dumps(entries, indent=1, sort_keys=True) + "\n").encode())
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
