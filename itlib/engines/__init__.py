"""Engines decide when and where runs happen, never what they give.

``run_all`` is the entry for runs: it resolves specs, reads what is stored, hands the rest to an engine, and returns
results in the order of the specs. ``spread`` is the one for what is measured beside runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from itlib.engines.progress import Progress
from itlib.errors import InputError, did_you_mean
from itlib.execute import weights_missing
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.spec import RunSpec, digest
from itlib.store import Store
from itlib.tracking import NONE, Tracking

ENGINES = ("process", "serial", "ray", "slurm", "stored")
NOT_STORED = "not computed: engine stored only reads"
Part = TypeVar("Part")


@dataclass(frozen=True)
class Plan:
    """What a grid will cost: how many runs there are, and what is known of each.

    Attributes:
        specs: Resolved specs, one per distinct run, in the order given.
        stored: How many of them are in the store.
        failed: How many failed earlier and stay failed unless retried.
    """

    specs: tuple[RunSpec, ...]
    stored: int
    failed: int

    def __str__(self) -> str:
        missing = len(self.specs) - self.stored - self.failed
        failed = f", {self.failed} failed earlier" if self.failed else ""
        return f"{len(self.specs)} runs: {self.stored} stored, {missing} to compute{failed}"


def plan(specs: Sequence[RunSpec], store: Store) -> Plan:
    """Resolve specs, drop repeats and count what is stored. Raises ``InputError`` for anything that cannot run."""
    distinct = {digest(spec): spec for spec in map(resolve, specs)}
    stored = {name for name, spec in distinct.items() if store.has(spec)}
    failed = sum(name not in stored and store.get_failure(spec) is not None for name, spec in distinct.items())
    return Plan(tuple(distinct.values()), len(stored), failed)


def run_all(
    specs: Sequence[RunSpec],
    store: Store,
    *,
    engine: str = "process",
    workers: int = 0,
    retry_failed: bool = False,
    report_to: str = NONE,
    progress: bool = True,
) -> list[RunResult]:
    """Return one result per spec, in order; what is stored is read, the rest is computed.

    Args:
        specs: Runs; they are resolved here, all of them before the first one starts.
        store: Where results live. Finished runs are in it at once, so an interrupted call loses none.
        engine: "serial" runs in this process; "process" in worker processes that are spawned; "ray" as tasks of a
            Ray cluster (``engines.ray``); "slurm" in the jobs of an array (``engines.slurm``); "stored" computes
            nothing: what is not in the store comes back as a failed result that is not kept.
        workers: Worker processes, tasks or jobs at once; 0 takes one per processor core or GPU, what a cluster has, or
            16 jobs. Ignored by "serial".
        retry_failed: Compute runs again that failed earlier.
        report_to: An experiment tracker that gets every run computed here; see ``itlib.tracking``.
        progress: Print one progress line to stderr.

    Raises:
        InputError: A spec cannot run. Nothing has been computed then.
    """
    _check_engine(engine, workers)
    resolved = [resolve(spec) for spec in specs]
    keep = {digest(spec) for spec in resolved if spec.keep_weights}
    resolved = [replace(spec, keep_weights=digest(spec) in keep) for spec in resolved]
    results: dict[str, RunResult] = {}
    missing: dict[str, RunSpec] = {}
    for spec in resolved:
        name = digest(spec)
        if name in results or name in missing:
            continue
        known = store.get(spec) or (None if retry_failed else store.get_failure(spec))
        if known is None or weights_missing(spec, known, store):
            missing[name] = spec
        else:
            results[name] = known
    if engine == "stored":
        results |= {name: RunResult(spec, "failed", error=NOT_STORED) for name, spec in missing.items()}
    elif missing:
        store.check_writable()
        tracking = Tracking(report_to, store.root.parent / "trackers")
        with Progress(list(missing.values()), stored=len(results), enabled=progress) as line:
            for result in _engine(engine, workers)(list(missing.values()), store, retry_failed):
                results[digest(result.spec)] = result
                line.advance(result)
                tracking.report(result)
    return [results[digest(spec)] for spec in resolved]


def spread(
    function: Callable[..., Part], tasks: Sequence[tuple[Any, ...]], *, engine: str = "serial", workers: int = 0
) -> list[Part]:
    """Return ``function(*task)`` of every task, in order: what studies measure beside their runs.

    Args:
        function: A function of a module, whose arguments and result can be pickled.
        tasks: Its arguments.
        engine: "process" computes in worker processes, any other engine in this one: what is kept beside runs is
            found by whoever computes it.
        workers: As in ``run_all``.
    """
    _check_engine(engine, workers)
    if engine != "process" or len(tasks) < 2:
        return [function(*task) for task in tasks]
    from itlib.engines.process import available_cores, spread_over_processes

    return spread_over_processes(function, tasks, min(workers or available_cores(), len(tasks)))


def _check_engine(engine: str, workers: int) -> None:
    if engine not in ENGINES:
        raise InputError(f"engine: '{engine}' is not one of {', '.join(ENGINES)}{did_you_mean(engine, ENGINES)}")
    if workers < 0:
        raise InputError(f"workers: must not be negative, got {workers}")


def _engine(name: str, workers: int) -> Callable[[Sequence[RunSpec], Store, bool], Iterable[RunResult]]:
    if name == "process":
        from itlib.engines.process import default_workers, run_in_processes

        return lambda specs, store, retry_failed: run_in_processes(
            specs, store, min(workers or default_workers(specs), len(specs)), retry_failed
        )
    if name == "ray":
        from itlib.engines.ray import run_on_ray

        return lambda specs, store, retry_failed: run_on_ray(specs, store, workers, retry_failed)
    if name == "slurm":
        from itlib.engines.slurm import run_on_slurm

        return lambda specs, store, retry_failed: run_on_slurm(specs, store, workers, retry_failed)
    from itlib.engines.serial import run_serially

    return run_serially
