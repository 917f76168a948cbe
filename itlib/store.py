"""Content-addressed results on disk. What is finished stays; what is damaged is never used.

    <root>/runs/<slug>-<digest12>/   spec.json result.json items.csv provenance.json manifest.json
    <root>/weights/<train digest>/   weights kept on request, with a manifest of their own
    <root>/failed/<slug>-<digest12>.json
    <root>/aside/                    damaged folders, kept for inspection

A folder is written elsewhere, flushed to the disk and renamed into place, its manifest written last. A folder
without a valid manifest does not exist for readers. The first complete write wins; a later equal one is
discarded and a later different one is reported, because equal specs must give equal bytes.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from itlib.errors import InputError
from itlib.files import sha256_file, write_atomic
from itlib.result import ITEM_COLUMNS, RunResult
from itlib.spec import RunSpec, digest, flatten, from_mapping, key, train_digest

MANIFEST = "manifest.json"
COMPARED = ("spec.json", "result.json", "items.csv")


class Store:
    """Results of runs below one folder. Safe for several processes at once.

    Raises:
        InputError: The folder cannot be created or written.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).absolute()
        try:
            for name in ("runs", "weights", "failed", "aside", "locks", "partial"):
                (self.root / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root / "partial"):
                pass
        except OSError as error:
            raise InputError(f"results folder {self.root} is not writable: {error.strerror}; choose another") from None

    # ---- scores -------------------------------------------------------------------------------------------

    def folder(self, spec: RunSpec) -> Path:
        """Return where the scores of a resolved spec live."""
        return self.root / "runs" / key(spec)

    def has(self, spec: RunSpec) -> bool:
        """Return whether a manifest is there, without reading the files behind it."""
        return (self.folder(spec) / MANIFEST).is_file()

    def get(self, spec: RunSpec) -> RunResult | None:
        """Return the stored result, or None. Every file is checked against its SHA-256; damage is put aside."""
        return self._read(self.folder(spec), expect=spec)

    def put(self, result: RunResult) -> RunResult:
        """Store a result and return it as read back from the disk (an earlier one, if it was first)."""
        spec = result.spec
        files = {
            "spec.json": _json_bytes(flatten(spec)),
            "result.json": _json_bytes({"status": result.status, "curve": result.curve, "totals": result.totals}),
            "items.csv": _items_bytes(result.items),
            "provenance.json": _json_bytes(result.provenance),
        }
        folder = self.folder(spec)
        if not self._publish(folder, lambda path: _write_files(path, files)):
            earlier = self.get(spec)
            if earlier is None:  # it was damaged and has been put aside
                return self.put(result)
            different = [name for name in COMPARED if (folder / name).read_bytes() != files[name]]
            if different:
                _report(f"{key(spec)}: a second computation differs in {', '.join(different)}; the first is kept")
            return earlier
        self.forget_failure(spec)
        # Read back, so that a fresh result and a stored one are the same object to the last bit and key order.
        return self.get(spec) or result

    def results(self) -> Iterator[RunResult]:
        """Yield every readable result below the root, in the order of folder names."""
        for folder in sorted((self.root / "runs").iterdir()):
            result = self._read(folder, expect=None)
            if result is not None:
                yield result

    def specs(self) -> Iterator[RunSpec]:
        """Yield the spec of every stored run without reading its scores."""
        for path in sorted((self.root / "runs").glob("*/spec.json")):
            if (path.parent / MANIFEST).is_file():
                yield from_mapping(json.loads(path.read_text()))

    def summary(self) -> dict[str, Any]:
        """Return counts and size of what is stored, and the failed runs, without reading any scores."""
        report: dict[str, Any] = {"store": str(self.root), "runs": 0, "diverged": 0, "bytes": 0}
        for folder in (self.root / "runs").iterdir():
            if (folder / MANIFEST).is_file():
                report["runs"] += 1
                report["bytes"] += sum(path.stat().st_size for path in folder.iterdir())
                report["diverged"] += json.loads((folder / "result.json").read_text())["status"] == "diverged"
        report["aside"] = len(list((self.root / "aside").iterdir()))
        report["failed"] = [
            {"run": path.stem, "error": json.loads(path.read_text())["error"]}
            for path in sorted((self.root / "failed").glob("*.json"))
        ]
        return report

    # ---- failures -----------------------------------------------------------------------------------------

    def put_failure(self, result: RunResult) -> None:
        """Remember a failed run, so that it is a visible row and not computed again unless asked for."""
        path = self.root / "failed" / f"{key(result.spec)}.json"
        record = {"spec": flatten(result.spec), "error": result.error, "provenance": result.provenance}
        write_atomic(path, _json_bytes(record))

    def get_failure(self, spec: RunSpec) -> RunResult | None:
        """Return the remembered failure of a spec, or None."""
        path = self.root / "failed" / f"{key(spec)}.json"
        try:
            record = json.loads(path.read_text())
            return RunResult(spec, "failed", error=str(record["error"]), provenance=dict(record["provenance"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            self._put_aside(path, "its failure record is unreadable")
            return None

    def forget_failure(self, spec: RunSpec) -> None:
        """Remove a remembered failure before a retry."""
        (self.root / "failed" / f"{key(spec)}.json").unlink(missing_ok=True)

    # ---- weights ------------------------------------------------------------------------------------------

    def weights(self, spec: RunSpec) -> Path | None:
        """Return the folder of the trained weights after checking their hashes, or None."""
        folder = self.root / "weights" / train_digest(spec)
        if not (folder / MANIFEST).is_file():
            return None
        problem = _damage(folder)
        if problem:
            self._put_aside(folder, problem)
            return None
        return folder

    def put_weights(self, spec: RunSpec, save: Callable[[Path], None], record: dict[str, Any]) -> Path:
        """Store what ``save(folder)`` writes as a run's weights, with its training record; the first copy stays."""

        def write(folder: Path) -> None:
            save(folder)
            (folder / "training.json").write_bytes(_json_bytes(record))

        folder = self.root / "weights" / train_digest(spec)
        self._publish(folder, write)
        return folder

    def training_record(self, spec: RunSpec) -> dict[str, Any]:
        """Return the curve and totals stored with the weights of a run."""
        return json.loads((self.root / "weights" / train_digest(spec) / "training.json").read_text())

    # ---- mechanics ----------------------------------------------------------------------------------------

    def lock(self, spec: RunSpec) -> Any:
        """Return a lock on a run for this machine; the system releases it when its holder dies."""
        from filelock import FileLock

        return FileLock(self.root / "locks" / f"{digest(spec)}.lock")

    def _publish(self, folder: Path, write: Callable[[Path], None]) -> bool:
        """Write a folder aside, flush it, add its manifest and rename it. False when one is already there."""
        partial = self.root / "partial" / f"{os.getpid()}-{uuid.uuid4().hex}"
        partial.mkdir()
        try:
            write(partial)
            _write_manifest(partial)
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

    def _read(self, folder: Path, expect: RunSpec | None) -> RunResult | None:
        if not folder.is_dir():
            return None
        problem = _damage(folder)
        if problem:
            self._put_aside(folder, problem)
            return None
        try:
            spec = from_mapping(json.loads((folder / "spec.json").read_text()))
            if key(spec) != folder.name or (expect is not None and digest(spec) != digest(expect)):
                raise ValueError("its spec is not the one its name promises")
            record = json.loads((folder / "result.json").read_text())
            return RunResult(
                spec=expect or spec,
                status=record["status"],
                items=_read_items((folder / "items.csv").read_text()),
                curve=tuple(record["curve"]),
                totals=record["totals"],
                provenance=json.loads((folder / "provenance.json").read_text()),
            )
        except (OSError, ValueError, KeyError, TypeError, InputError) as error:
            self._put_aside(folder, str(error))
            return None

    def _put_aside(self, path: Path, why: str) -> None:
        target = self.root / "aside" / f"{path.name}-{uuid.uuid4().hex[:8]}"
        try:
            path.rename(target)
        except FileNotFoundError:  # another process was quicker
            return
        _report(f"{path.name}: {why}; moved to {target.parent.name}/{target.name} and will be computed again")


def _report(message: str) -> None:
    print(f"store: {message}", file=sys.stderr)


def _json_bytes(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _items_bytes(items: tuple[tuple[Any, ...], ...]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(ITEM_COLUMNS)
    for row in items:
        writer.writerow([format(v, ".9g") if isinstance(v, float) else "" if v is None else v for v in row])
    return text.getvalue().encode()


def _read_items(text: str) -> tuple[tuple[Any, ...], ...]:
    reader = csv.reader(io.StringIO(text))
    if tuple(next(reader, ())) != ITEM_COLUMNS:
        raise ValueError("items.csv has other columns than this version writes")

    def number(cell: str) -> float | None:
        return float(cell) if cell else None

    return tuple((*row[:4], *map(number, row[4:7]), int(row[7]), int(row[8])) for row in reader)


def _write_files(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _write_manifest(folder: Path) -> None:
    """Flush every file of a folder, then write the list of their hashes and sizes."""
    entries = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        _sync(path)
        name = path.relative_to(folder).as_posix()
        entries[name] = {"sha256": sha256_file(path), "bytes": path.stat().st_size}
    write_atomic(folder / MANIFEST, _json_bytes(entries))
    _sync(folder)


def _damage(folder: Path) -> str:
    """Return what is wrong with a stored folder, or an empty string when every hash agrees."""
    try:
        entries = json.loads((folder / MANIFEST).read_text())
        for name, entry in entries.items():
            path = folder / name
            if not path.is_file():
                return f"{name} is missing"
            if sha256_file(path) != entry["sha256"]:
                return f"{name} does not have the hash its manifest states"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"its manifest is unreadable ({type(error).__name__})"
    return ""


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
