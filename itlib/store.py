"""Content-addressed results on disk. What is finished stays; what is damaged is never used.

    <root>/runs/<slug>-<digest12>/   spec.json result.json items.csv provenance.json manifest.json
    <root>/weights/<train digest>/   weights kept on request, with a manifest of their own
    <root>/checkpoints/<digest>/     where a long run that is under way can go on from
    <root>/failed/<slug>-<digest12>.json
    <root>/aside/                    damaged folders, kept for inspection

A folder is written elsewhere, flushed to the disk and renamed into place, its manifest written last. A folder
without a valid manifest does not exist for readers. The first complete write wins; a later equal one is
discarded and a later different one is reported, because equal specs must give equal bytes.
"""

from __future__ import annotations

import contextlib
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

from itlib._folders import MANIFEST, damage, publish, remove_debris, system_errors
from itlib.errors import InputError, RunError
from itlib.files import write_atomic
from itlib.result import ITEM_COLUMNS, RunResult, item_from_text
from itlib.spec import RunSpec, digest, flatten, from_mapping, key, train_digest

COMPARED = ("spec.json", "result.json", "items.csv")
_FOLDERS = ("runs", "weights", "failed", "aside", "locks", "partial")
_MALFORMED = (RecursionError, ValueError, KeyError, TypeError, AttributeError, csv.Error, InputError)


class Store:
    """Results of runs below one folder. Safe for several processes at once.

    Reading needs no write access and creates nothing; a folder that is not there is an empty store. The first
    write creates the folders.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).absolute()
        self._writable = False

    def check_writable(self) -> None:
        """Create the folders, try a write, and clear away what processes killed long ago left half-written.

        Raises:
            InputError: The folder cannot be created or written.
        """
        try:
            for name in _FOLDERS:
                (self.root / name).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root / "partial"):
                pass
            remove_debris(self.root / "partial")
        except OSError as error:
            raise InputError(f"results folder {self.root} is not writable: {error.strerror}; choose another") from None
        self._writable = True

    @property
    def features(self) -> Path:
        """Where numbers of pools and bases are kept that can be computed again; see ``itlib.shards``."""
        return self.root / "features"

    # ---- scores -------------------------------------------------------------------------------------------

    def folder(self, spec: RunSpec) -> Path:
        """Return where the scores of a resolved spec live."""
        return self.root / "runs" / key(spec)

    def has(self, spec: RunSpec) -> bool:
        """Return whether a manifest is there, without reading the files behind it."""
        return (self.folder(spec) / MANIFEST).is_file()

    def get(self, spec: RunSpec) -> RunResult | None:
        """Return the stored result, or None. Every file is checked against its SHA-256; damage is put aside.

        Raises:
            RunError: The system does not let a file be read; what is stored stays where it is.
        """
        folder = self.folder(spec)
        with system_errors(folder, "read"):
            if not folder.is_dir():
                return None
            problem = damage(folder)
            if not problem:
                try:
                    return _read_result(folder, spec)
                except (FileNotFoundError, *_MALFORMED) as error:
                    problem = str(error)
        self._put_aside(folder, problem)
        return None

    def put(self, result: RunResult) -> RunResult:
        """Store a result and return it as read back from the disk (an earlier one, if it was first).

        Raises:
            InputError: The store's folder cannot be created or written.
            RunError: The system refused the write (a full disk), or what is in the way can neither be read nor moved.
        """
        spec, folder = result.spec, self.folder(result.spec)
        record = {"status": result.status, "curve": result.curve, "totals": result.totals, "probes": result.probes}
        files = {
            "spec.json": _json_bytes(flatten(spec)),
            "result.json": _json_bytes(record),
            "items.csv": _items_bytes(result.items),
            "provenance.json": _json_bytes(result.provenance),
        }
        for _ in range(2):  # the second time after something damaged was put aside
            first = self._publish(folder, lambda path: _write_files(path, files))
            # Read back, so that a fresh result and a stored one are the same object to the last bit and key order.
            stored = self.get(spec)
            if stored is not None:
                if not first:
                    _report_differences(folder, files)
                self._forget_failure(spec)
                shutil.rmtree(self.checkpoints(spec), ignore_errors=True)
                return stored
        raise RunError(f"{folder} cannot be written: what is there is not a result and could not be put aside")

    def specs(self) -> Iterator[RunSpec]:
        """Yield the spec of every stored run without reading its scores; one that cannot be read is reported."""
        for folder in self._entries("runs"):
            if not (folder / MANIFEST).is_file():
                continue
            try:
                spec = _read_spec(folder)
            except (OSError, *_MALFORMED) as error:
                _report(f"{folder.name}: its spec cannot be read and is left out: {error}")
            else:
                yield spec

    def summary(self) -> dict[str, Any]:
        """Return counts and size of what is stored, and the failed runs, without reading any scores.

        "unreadable" counts run folders and failure records that this version cannot read; they stay in place.
        """
        report: dict[str, Any] = {"store": str(self.root), "runs": 0, "diverged": 0, "bytes": 0, "unreadable": 0}
        for folder in self._entries("runs"):
            try:
                if not folder.is_dir():
                    continue
                (folder / MANIFEST).stat()
                _read_spec(folder)
                diverged = json.loads((folder / "result.json").read_text())["status"] == "diverged"
                size = sum(path.stat().st_size for path in folder.iterdir())
            except (OSError, *_MALFORMED):
                report["unreadable"] += 1
                continue
            report["runs"] += 1
            report["bytes"] += size
            report["diverged"] += diverged
        report["aside"] = len(self._entries("aside"))
        report["failed"] = []
        for path in self._entries("failed"):
            if path.suffix != ".json" or (self.root / "runs" / path.stem / MANIFEST).is_file():
                continue
            try:
                report["failed"].append({"run": path.stem, "error": str(json.loads(path.read_text())["error"])})
            except (OSError, *_MALFORMED):
                report["unreadable"] += 1
        return report

    # ---- failures -----------------------------------------------------------------------------------------

    def put_failure(self, result: RunResult) -> None:
        """Remember a failed run, so that it is a visible row and not computed again unless asked for."""
        path = self._failure_path(result.spec)
        record = {"spec": flatten(result.spec), "error": result.error, "provenance": result.provenance}
        self._prepare()
        with system_errors(path, "written"):
            write_atomic(path, _json_bytes(record))

    def get_failure(self, spec: RunSpec) -> RunResult | None:
        """Return the remembered failure of a spec, or None. A damaged record is put aside."""
        path = self._failure_path(spec)
        with system_errors(path, "read"):
            try:
                record = json.loads(path.read_text())
                return RunResult(spec, "failed", error=str(record["error"]), provenance=dict(record["provenance"]))
            except (FileNotFoundError, NotADirectoryError):
                return None
            except _MALFORMED:
                self._put_aside(path, "its failure record is unreadable")
                return None

    def _forget_failure(self, spec: RunSpec) -> None:
        path = self._failure_path(spec)
        with system_errors(path, "removed"):
            path.unlink(missing_ok=True)

    def _failure_path(self, spec: RunSpec) -> Path:
        return self.root / "failed" / f"{key(spec)}.json"

    # ---- weights ------------------------------------------------------------------------------------------

    def weights(self, spec: RunSpec) -> Path | None:
        """Return the folder of the trained weights after checking their hashes, or None."""
        folder = self.root / "weights" / train_digest(spec)
        if not folder.is_dir():
            return None
        problem = damage(folder)
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

    def checkpoints(self, spec: RunSpec) -> Path:
        """Return where a run keeps its checkpoints while it trains; the folder goes when its result is stored."""
        return self.root / "checkpoints" / digest(spec)

    # ---- mechanics ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def lock(self, spec: RunSpec) -> Iterator[None]:
        """Hold a lock on a run for this machine; the system releases it when its holder dies."""
        from filelock import FileLock

        self._prepare()
        path = self.root / "locks" / f"{digest(spec)}.lock"
        held = FileLock(path)
        with system_errors(path, "locked"):
            held.acquire()
        try:
            yield
        finally:
            held.release()

    def _prepare(self) -> None:
        if not self._writable:
            self.check_writable()

    def _publish(self, folder: Path, write: Callable[[Path], None]) -> bool:
        self._prepare()
        with system_errors(folder, "written"):
            return publish(folder, self.root / "partial", write)

    def _entries(self, name: str) -> list[Path]:
        """Return what is in one of the store's folders, in the order of names; none while it does not exist."""
        folder = self.root / name
        with system_errors(folder, "read"):
            try:
                return sorted(folder.iterdir())
            except FileNotFoundError:
                return []

    def _put_aside(self, path: Path, why: str) -> None:
        target = self.root / "aside" / f"{path.name}-{uuid.uuid4().hex[:8]}"
        try:
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
        except FileNotFoundError:  # another process was quicker
            return
        except OSError as error:  # a store that is only read stays readable; the damage is not used all the same
            _report(f"{path.name}: {why}; it is not used and could not be moved aside: {error.strerror}")
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
    return tuple(item_from_text(row) for row in reader)


def _write_files(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def _report_differences(folder: Path, files: dict[str, bytes]) -> None:
    with system_errors(folder, "read"):
        different = [name for name in COMPARED if (folder / name).read_bytes() != files[name]]
    if different:
        _report(f"{folder.name}: a second computation differs in {', '.join(different)}; the first is kept")


def _read_spec(folder: Path) -> RunSpec:
    return from_mapping(json.loads((folder / "spec.json").read_text()))


def _read_result(folder: Path, expect: RunSpec) -> RunResult:
    spec = _read_spec(folder)
    if key(spec) != folder.name or digest(spec) != digest(expect):
        raise ValueError("its spec is not the one its name promises")
    record = json.loads((folder / "result.json").read_text())
    return RunResult(
        spec=expect,
        status=record["status"],
        items=_read_items((folder / "items.csv").read_bytes().decode()),
        curve=tuple(record["curve"]),
        totals=record["totals"],
        provenance=json.loads((folder / "provenance.json").read_text()),
        probes=tuple(record["probes"]),
    )
