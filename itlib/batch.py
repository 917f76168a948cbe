"""Batches: params files and grid files in, stored runs and executed notebooks out. The command line calls these."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itlib.engines import plan, run_all
from itlib.errors import InputError
from itlib.grid import from_yaml_mapping
from itlib.notebooks import execute_notebook, notebook_path, report_folder, study_module
from itlib.params import from_yaml, overrides
from itlib.result import RunResult
from itlib.spec import RunSpec
from itlib.store import Store
from itlib.studies import STUDIES
from itlib.workspace import open_store, project_root
from itlib.yamlio import load_strict


@dataclass(frozen=True)
class StudyBatch:
    """One params file, read and checked."""

    study: str
    params: Any


@dataclass(frozen=True)
class GridBatch:
    """One grid file: runs without a notebook."""

    name: str
    specs: tuple[RunSpec, ...]


def load(paths: Sequence[str], changes: Mapping[str, Any], notify: Callable[[str], None]) -> list[Any]:
    """Read every file before any work, with parameters changed on the way.

    Args:
        paths: Params files of studies, or files with one key ``grid``.
        changes: Parameter values that replace those of every study file.
        notify: Receives notes, such as text that was read as a number.
    """
    return [_load_grid(path, changes) if _is_grid(path) else _load_study(path, changes, notify) for path in paths]


def _load_study(path: str, changes: Mapping[str, Any], notify: Callable[[str], None]) -> StudyBatch:
    file = from_yaml(path)
    for note in file.notes:
        notify(note)
    return StudyBatch(file.study, dataclasses.replace(file.params, **overrides(type(file.params), changes)))


def _is_grid(path: str) -> bool:
    return Path(path).is_file() and "grid" in load_strict(path)


def _load_grid(path: str, changes: Mapping[str, Any]) -> GridBatch:
    mapping = load_strict(path)
    unknown = sorted(set(mapping) - {"grid"})
    if unknown:
        raise InputError(f"{path}: unknown key '{unknown[0]}' beside 'grid'")
    if changes:
        raise InputError(f"{path}: -p {next(iter(changes))}: a grid file has no study parameters; edit its base")
    if not isinstance(mapping["grid"], dict):
        raise InputError(f"{path}: grid: expected a mapping with base, cross, zip, exclude")
    return GridBatch(Path(path).stem, tuple(from_yaml_mapping(mapping["grid"])))


def headline_studies(profile: str, study: str | None) -> list[str]:
    """Return the params files of a profile's headline studies, or of one of them.

    Raises:
        InputError: Unknown profile or study.
    """
    folder = project_root() / "params" / profile
    if not folder.is_dir():
        known = sorted(p.name for p in folder.parent.iterdir() if p.is_dir() and p.name != "claims")
        raise InputError(f"--profile: '{profile}' is not one of {', '.join(known)}")
    files = {name: folder / f"{name}.yaml" for name in STUDIES if name[:2].isdigit()}
    if study and study not in files:
        raise InputError(f"study '{study}' is not one of {', '.join(files)}")
    return [str(path) for name, path in files.items() if name == study or (not study and path.is_file())]


@dataclass(frozen=True)
class Outcome:
    """What a batch gave: its folder, its results, and the verdicts that its notebook wrote."""

    name: str
    folder: Path
    results: tuple[RunResult, ...]
    verdicts: tuple[dict[str, Any], ...] = ()

    @property
    def exit_code(self) -> int:
        """1 when a run failed, else 0, whatever the verdicts."""
        return int(any(result.status == "failed" for result in self.results))

    def counts(self) -> str:
        """Return ``57 runs: 57 done``."""
        found = Counter(result.status for result in self.results)
        return f"{len(self.results)} runs: " + ", ".join(f"{found[name]} {name}" for name in sorted(found))


def run_study(batch: StudyBatch, *, notebook: bool = True) -> Outcome:
    """Compute a study's runs, then execute its notebook, which finds them stored.

    Raises:
        InputError: The notebook or the results folder is missing or cannot be written. Nothing has run then.
        RunError: The notebook stopped with an error.
    """
    params = batch.params
    notebook_path(batch.study)
    folder = report_folder(batch.study, params)
    store = open_store(params.results)
    module = study_module(batch.study)

    def run(specs: Sequence[RunSpec]) -> list[RunResult]:
        return run_all(specs, store, engine=params.engine, workers=params.workers, retry_failed=params.retry_failed)

    results = tuple(module.collect(params, run)) if hasattr(module, "collect") else ()
    verdicts: tuple[dict[str, Any], ...] = ()
    if notebook:
        execute_notebook(batch.study, params)
        if (folder / "claims.json").is_file():
            verdicts = tuple(json.loads((folder / "claims.json").read_text()))
    return Outcome(batch.study, folder, results, verdicts)


def run_grid(batch: GridBatch, *, engine: str, workers: int, retry_failed: bool) -> Outcome:
    """Compute a grid file's runs and write their frame to ``results/grids/<name>/frame.csv``."""
    from itlib.frame import run_frame
    from itlib.workspace import results_root

    folder = results_root() / "grids" / batch.name
    results = run_all(batch.specs, open_store(), engine=engine, workers=workers, retry_failed=retry_failed)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / ".frame.csv.partial"
    run_frame(results).to_csv(partial, index=False, lineterminator="\n")
    partial.replace(folder / "frame.csv")
    return Outcome(batch.name, folder, tuple(results))


class _NotYetKnown(Exception):
    """The next phase of a study depends on results that are not stored."""


def known_specs(batch: Any) -> tuple[list[RunSpec], Store, str]:
    """Return the specs of a batch that follow from its params and the store alone, and a note on what does not."""
    if isinstance(batch, GridBatch):
        return list(batch.specs), open_store(), ""
    store = open_store(batch.params.results)
    module = study_module(batch.study)
    known: list[RunSpec] = []

    def look(specs: Sequence[RunSpec]) -> list[RunResult]:
        resolved = plan(specs, store).specs
        known.extend(resolved)
        results = [store.get(spec) for spec in resolved]
        if None in results:
            raise _NotYetKnown
        return [result for result in results if result is not None]

    try:
        if hasattr(module, "collect"):
            module.collect(batch.params, look)
    except _NotYetKnown:
        return known, store, module.pending(batch.params, known) if hasattr(module, "pending") else ""
    return known, store, ""
