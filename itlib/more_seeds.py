"""More seeds for one claim: the runs that it reads on new seeds, and no others.

Which runs a claim reads is found out by asking its estimator: where an effect changes when a run is taken out of the
evidence, the run is read. The same places of the design on new seeds are what is missing.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from itlib.claims import Claim, load_claim
from itlib.claims_ledger import claim_folder, studies_of_claims
from itlib.engines import run_all
from itlib.errors import InputError
from itlib.notebooks import report_folder, study_module
from itlib.params import from_yaml
from itlib.registry import claims
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.spec import RunSpec, digest
from itlib.store import Store
from itlib.workspace import open_store, project_root, results_root

SHORT = 12  # characters of a digest in a frame
SUBSETS = "_seeds"  # fields that name some of the seeds
APART = ("choice_seeds",)
MOST_ROUNDS = 20  # phases of a study that follow from each other


@dataclass(frozen=True)
class MoreSeeds:
    """What a claim needs on more seeds.

    Attributes:
        claim: Its id.
        study: The notebook that judges it.
        params: Parameters of the study with all seeds, which only reads what is stored.
        first: Parameters of the study with the first of the seeds it has.
        new: Seeds to add.
        read: Digests of the runs of the first seed that the claim reads.
    """

    claim: str
    study: str
    params: Any
    first: Any
    new: tuple[int, ...]
    read: frozenset[str]


def prepare(claim_id: str, n_seeds: int, results: str = "") -> MoreSeeds:
    """Return what ``n_seeds`` seeds in all need beyond those of the finished report.

    Raises:
        InputError: No such claim, no finished report with evidence, or no seed to add.
    """
    claim = load_claim(claim_id)
    study = studies_of_claims().get(claim_id)
    if study is None:
        raise InputError(f"--claim: no notebook judges '{claim_id}'")
    path = project_root() / "params" / claim.profile / f"{study}.yaml"
    params = from_yaml(str(path)).params
    params = dataclasses.replace(params, results=str(results_root(results or params.results)))
    evidence = report_folder(study, params) / "evidence.parquet"
    if not evidence.is_file():
        raise InputError(f"--claim: {claim_id} has no finished report yet; `itlib run {path}` comes first")
    if n_seeds <= len(params.seeds):
        raise InputError(f"--seeds: {n_seeds} is not more than the {len(params.seeds)} seeds that {path.name} has")
    taken = set(getattr(params, "choice_seeds", ()))
    more = (seed for seed in range(max(params.seeds) + 1, 10**9) if seed not in taken)
    new = tuple(next(more) for _ in range(n_seeds - len(params.seeds)))
    everything = _with_seeds(params, (*params.seeds, *new), params.seeds)
    first = _with_seeds(params, params.seeds[:1], None)
    read = runs_read(claim, pd.read_parquet(evidence), params.seeds[0])
    return MoreSeeds(claim_id, study, dataclasses.replace(everything, engine="stored"), first, new, read)


def runs_read(claim: Claim, evidence: pd.DataFrame, seed: int) -> frozenset[str]:
    """Return the digests, as they stand in the evidence, of the runs of a seed that a claim's estimator reads.

    Raises:
        InputError: It reads none, so the evidence has nothing to say about the claim.
    """
    before = _effects(claim, evidence)
    of_seed = evidence["seed"] == seed
    found = [
        name
        for name in evidence.loc[of_seed, "digest"].unique()
        if _effects(claim, evidence[~(of_seed & (evidence["digest"] == name))]) != before
    ]
    if not found:
        raise InputError(f"--claim: {claim.id} reads no run of seed {seed}; its study has to run first")
    return frozenset(found)


def compute(more: MoreSeeds, store: Store, *, engine: str, workers: int = 0) -> list[RunResult]:
    """Compute the runs that the claim reads on the new seeds, phase by phase, and return them.

    Raises:
        InputError: The report is older than the design: a run of the first seed is not stored.
    """
    module = study_module(more.study)
    template: list[list[RunSpec]] = []

    def note(specs: Sequence[RunSpec]) -> list[RunResult]:
        template.append([resolve(spec) for spec in specs])
        return _stored(template[-1], store)

    module.collect(more.first, note)
    done: dict[str, RunResult] = {}
    for _ in range(MOST_ROUNDS):
        missing = [spec for seed in more.new for spec in _missing(module, more, template, seed, store)]
        if not missing:
            return list(done.values())
        done |= {digest(run.spec): run for run in run_all(missing, store, engine=engine, workers=workers)}
    raise InputError(f"--claim: the phases of {more.study} do not come to an end")


@contextmanager
def apart(more: MoreSeeds) -> Iterator[Any]:
    """Give the parameters of the notebook that judges the claim, with a results folder of its own on the same store."""
    root = Path(more.params.results)
    before = os.environ.get("ITLIB_STORE")
    os.environ["ITLIB_STORE"] = str(open_store(str(root)).root)
    try:
        yield dataclasses.replace(more.params, results=str(claim_folder(root, more.claim, len(more.params.seeds))))
    finally:
        if before is None:
            del os.environ["ITLIB_STORE"]
        else:
            os.environ["ITLIB_STORE"] = before


def _effects(claim: Claim, evidence: pd.DataFrame) -> Any:
    try:
        effects = claims.get(claim.id)(evidence, **claim.settings)
    except LookupError as error:
        return str(error)
    return {name: np.asarray(values, dtype=float).round(12).tobytes() for name, values in effects.items()}


def _with_seeds(params: Any, seeds: tuple[int, ...], whole: tuple[int, ...] | None) -> Any:
    """Return the parameters with other seeds; lists of some seeds follow where they are ``whole`` (None: always)."""
    lists = {
        item.name: seeds
        for item in dataclasses.fields(params)
        if item.name.endswith(SUBSETS) and item.name not in APART and whole in (None, getattr(params, item.name))
    }
    return dataclasses.replace(params, seeds=seeds, **lists)


def _missing(module: Any, more: MoreSeeds, template: list[list[RunSpec]], seed: int, store: Store) -> list[RunSpec]:
    """Return the runs of the next phase on a seed that the claim reads and that are not stored."""
    phases = iter(template)
    wanted: list[RunSpec] = []

    def look(specs: Sequence[RunSpec]) -> list[RunResult]:
        like = next(phases, [])
        if len(like) != len(specs):
            raise InputError(f"--claim: the design of {more.study} has another shape on seed {seed}")
        resolved = [resolve(spec) for spec in specs]
        read = [
            spec
            for spec, first in zip(resolved, like, strict=True)
            if digest(first)[:SHORT] in more.read or digest(first) == digest(spec)
        ]
        wanted.extend(spec for spec in read if not store.has(spec))
        if wanted:
            raise _Next
        return _stored(resolved, store)

    try:
        module.collect(_with_seeds(more.first, (seed,), None), look)
    except _Next:
        pass
    return wanted


def _stored(specs: Sequence[RunSpec], store: Store) -> list[RunResult]:
    return run_all(specs, store, engine="stored", progress=False)


class _Next(Exception):
    """A phase has runs to compute before the following ones can be known."""
