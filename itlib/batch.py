"""Batches: params files and grid files in, stored runs and executed notebooks out. The command line calls these."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from itlib.engines import plan, run_all
from itlib.errors import InputError, did_you_mean
from itlib.grid import from_yaml_mapping
from itlib.models import existing
from itlib.notebooks import execute_notebook, notebook_path, report_folder, study_module
from itlib.params import from_yaml, overrides
from itlib.registry import models, sources
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.spec import RunSpec, digest
from itlib.store import Store
from itlib.studies import STUDIES
from itlib.workspace import open_store, project_root, results_root
from itlib.yamlio import load_strict

INVENTED = ("invented", "invented", "all", "all", "", 0.0, 0.0, None, 1.0, 1, 1, "")  # an item; see ``expected_specs``


@dataclass(frozen=True)
class StudyBatch:
    """One params file, read and checked."""

    study: str
    params: Any


@dataclass(frozen=True)
class GridBatch:
    """One grid file: runs without a notebook, and how to compute them."""

    name: str
    specs: tuple[RunSpec, ...]
    path: str = ""
    engine: str = "process"
    workers: int = 0
    retry_failed: bool = False


def load(
    paths: Sequence[str],
    changes: Mapping[str, Any],
    notify: Callable[[str], None],
    runtime: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Read every file before any work, with parameters changed on the way.

    Paths to data, model, scores and results become absolute, because notebooks run in the project's folder.

    Args:
        paths: Params files of studies, or files with one key ``grid``.
        changes: Parameter values that replace those of every study file.
        notify: Receives notes, such as text that was read as a number.
        runtime: ``engine``, ``workers`` and ``retry_failed`` for studies and grids alike, those that are given.

    Raises:
        InputError: One line that names the file.
    """
    for path in paths:
        if "\0" in path:
            raise InputError(f"{path!r}: a path cannot hold a NUL byte")
    runtime = runtime or {}
    return [
        _load_grid(path, changes, runtime) if _is_grid(path) else _load_study(path, changes, notify, runtime)
        for path in paths
    ]


def _load_study(
    path: str, changes: Mapping[str, Any], notify: Callable[[str], None], runtime: Mapping[str, Any]
) -> StudyBatch:
    file = from_yaml(path)
    for note in file.notes:
        notify(note)
    cls = type(file.params)
    known = {field.name for field in dataclasses.fields(cls)}
    for name in sorted(set(runtime) - known):
        notify(f"note: {path}: {file.study} has no parameter {name}; --{name.replace('_', '-')} does nothing here")
    given = overrides(cls, changes) | overrides(cls, {k: v for k, v in runtime.items() if k in known}, where="--")
    params = dataclasses.replace(file.params, **given)
    return StudyBatch(file.study, dataclasses.replace(params, **_absolute(params)))


def _absolute(params: Any) -> dict[str, str]:
    """Return data, model, scores and results as absolute paths, where they are paths from the current folder."""
    found = {}
    for name, registered in (("data", sources), ("model", models)):
        text = getattr(params, name, "")
        if text.strip() and text not in registered and (path := existing(text)):
            found[name] = str(path.absolute())
    for name in ("results", "scores"):
        if "\0" in (text := getattr(params, name, "")):
            raise InputError(f"{name}: {text!r}: a path cannot hold a NUL byte")
    if results := getattr(params, "results", ""):
        found["results"] = str(results_root(results))
    if scores := getattr(params, "scores", ""):
        found["scores"] = str(Path(scores).expanduser().absolute())
    return found


def _is_grid(path: str) -> bool:
    try:
        return Path(path).is_file() and "grid" in load_strict(path)
    except OSError as error:
        raise InputError(f"{path[:60]}: cannot be read ({error.strerror})") from None


def _load_grid(path: str, changes: Mapping[str, Any], runtime: Mapping[str, Any]) -> GridBatch:
    mapping = load_strict(path)
    unknown = sorted(set(mapping) - {"grid"})
    if unknown:
        raise InputError(f"{path}: unknown key '{unknown[0]}' beside 'grid'")
    if changes:
        raise InputError(f"{path}: -p {next(iter(changes))}: a grid file has no study parameters; edit its base")
    if not isinstance(mapping["grid"], dict):
        raise InputError(f"{path}: grid: expected a mapping with base, cross, zip, exclude")
    try:
        specs = tuple(resolve(spec) for spec in from_yaml_mapping(mapping["grid"]))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    distinct = {digest(spec): spec for spec in specs}  # cells that differ in fields without effect are one run
    return GridBatch(Path(path).stem, tuple(distinct.values()), path, **runtime)


def headline_studies(profile: str, study: str | None) -> list[str]:
    """Return the params files of a profile's headline studies (the numbered ones), or of any one study.

    Raises:
        InputError: Unknown study, a profile that is no folder of params with at least one headline study, or a study
            that has no params for the profile.
    """
    root = project_root() / "params"
    headline = [name for name in STUDIES if name[:2].isdigit()]
    known = sorted({path.parent.name for name in headline for path in root.glob(f"*/{name}.yaml")})
    if profile not in known:
        raise InputError(f"--profile: '{profile}' is not one of {', '.join(known)}{did_you_mean(profile, known)}")
    if study is not None and study not in STUDIES:
        raise InputError(f"study '{study}' is not one of {', '.join(STUDIES)}{did_you_mean(study, STUDIES)}")
    files = [root / profile / f"{name}.yaml" for name in ([study] if study else headline)]
    found = [str(path) for path in files if path.is_file()]
    if study and not found:
        profiles = sorted(path.parent.name for path in root.glob(f"*/{study}.yaml"))
        raise InputError(f"study '{study}' has no params for profile '{profile}'; it has {', '.join(profiles)}")
    return found


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
    if notebook:
        _check_writable(folder)
    store = open_store(params.results)
    module = study_module(batch.study)

    def run(specs: Sequence[RunSpec]) -> list[RunResult]:
        how = {"workers": params.workers, "retry_failed": params.retry_failed, "report_to": params.report_to}
        return run_all(specs, store, engine=params.engine, **how)

    results = tuple(module.collect(params, run)) if hasattr(module, "collect") else ()
    verdicts: tuple[dict[str, Any], ...] = ()
    if notebook:
        execute_notebook(batch.study, params)
        if (folder / "claims.json").is_file():
            verdicts = tuple(json.loads((folder / "claims.json").read_text()))
    return Outcome(batch.study, folder, results, verdicts)


def run_grid(batch: GridBatch) -> Outcome:
    """Compute a grid file's runs and write their frame to ``results/grids/<name>/frame.csv``.

    Raises:
        InputError: A spec cannot run, or the results folder cannot be written. Nothing has run then.
    """
    from itlib.frame import run_frame

    folder = results_root() / "grids" / batch.name
    _check_writable(folder)
    how = {"engine": batch.engine, "workers": batch.workers, "retry_failed": batch.retry_failed}
    results = run_all(batch.specs, open_store(), **how)
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / ".frame.csv.partial"
    run_frame(results).to_csv(partial, index=False, lineterminator="\n")
    partial.replace(folder / "frame.csv")
    return Outcome(batch.name, folder, tuple(results))


def _check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written, or cannot be created, without creating it."""
    try:
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise InputError(f"results folder {folder} is not writable: {error.strerror}; choose another") from None


class _NotYetKnown(Exception):
    """The next phase of a study depends on results that are not stored."""


def expected_specs(batch: Any) -> list[RunSpec]:
    """Return every run that a batch will ask for, with invented scores in the place of those that are not stored.

    What dev chooses from invented scores is arbitrary; it is a rate or the like, which changes no length.
    """
    if isinstance(batch, GridBatch):
        return list(batch.specs)
    store, module = open_store(batch.params.results), study_module(batch.study)
    asked: list[RunSpec] = []

    def invent(specs: Sequence[RunSpec]) -> list[RunResult]:
        resolved = plan(specs, store).specs
        asked.extend(resolved)
        return [store.get(spec) or RunResult(spec, "done", (INVENTED,)) for spec in resolved]

    if hasattr(module, "collect"):
        module.collect(batch.params, invent)
    return asked


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
