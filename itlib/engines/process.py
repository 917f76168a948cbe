"""The process engine: worker processes on one machine, spawned so that no state is inherited.

Each worker executes whole runs with the thread count of the spec; with GPUs each sees one of them. A worker that dies
takes down the pool of the standard library; the pool is then built anew and the runs that were under way are tried once
more, one at a time, so that a run that kills its worker is found and becomes a failed row without costing another run.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from itlib.engines.progress import expected_cost
from itlib.errors import RunError
from itlib.execute import run_one
from itlib.parallel import ONE
from itlib.provenance import provenance
from itlib.result import RunResult
from itlib.spec import RunSpec
from itlib.store import Store

VISIBLE = "CUDA_VISIBLE_DEVICES"
Part = TypeVar("Part")


def available_cores() -> int:
    """Return how many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def default_workers(specs: Sequence[RunSpec]) -> int:
    """Return one worker per GPU for runs on GPUs, else one per core."""
    return len(_gpus(specs)) or available_cores()


def _gpus(specs: Sequence[RunSpec]) -> tuple[str, ...]:
    """Return the names of the GPUs that runs may use, none where no run wants one."""
    if not any(spec.device.startswith("cuda") for spec in specs):
        return ()
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        return tuple(name for name in visible.split(",") if name.strip())
    import torch

    return tuple(map(str, range(torch.cuda.device_count())))


def run_in_processes(specs: Sequence[RunSpec], store: Store, workers: int, retry_failed: bool) -> Iterator[RunResult]:
    """Yield results as they are finished, longest runs started first.

    Args:
        specs: Resolved specs without repeats.
        store: The only state that workers share.
        workers: Number of worker processes, at least 1.
        retry_failed: Passed on to every run.
    """
    for spec in specs:
        if spec.train.parallel != ONE:  # it takes several devices, so nothing runs beside it
            yield run_one(spec, store, retry_failed=retry_failed)
    specs = [spec for spec in specs if spec.train.parallel == ONE]
    waiting = deque(sorted(specs, key=expected_cost, reverse=True))
    suspects: deque[RunSpec] = deque()
    deaths: Counter[RunSpec] = Counter()
    gpus = _gpus(specs)
    while waiting or suspects:
        alone = bool(suspects)
        queue = suspects if alone else waiting
        pool = _pool(1 if alone else workers, gpus)
        under_way: dict[Future[RunResult], RunSpec] = {}
        try:
            while queue or under_way:
                while queue and len(under_way) < (1 if alone else workers):
                    # Submitting fails when a worker has died since the last wait; the run must still be queued then.
                    under_way[pool.submit(run_one, queue[0], store, retry_failed=retry_failed)] = queue[0]
                    queue.popleft()
                for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                    result = future.result()
                    del under_way[future]
                    yield result
            pool.shutdown()
        except BrokenProcessPool:
            for spec in under_way.values():
                deaths[spec] += 1
                if deaths[spec] == 1:
                    suspects.append(spec)
                else:
                    yield _died(spec, store)
        finally:
            _stop(pool)


def spread_over_processes(function: Callable[..., Part], tasks: Sequence[tuple[Any, ...]], workers: int) -> list[Part]:
    """Return ``function(*task)`` of every task, in order. An exception in a worker is raised here."""
    pool = _pool(workers)
    try:
        found = [pool.submit(function, *task) for task in tasks]
        results = [future.result() for future in found]
        pool.shutdown()
        return results
    except BrokenProcessPool:
        raise RunError("a worker process died (killed, or out of memory); what it had kept is found again") from None
    finally:
        _stop(pool)


def _pool(workers: int, gpus: tuple[str, ...] = ()) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    started = context.Value("i", 0)
    return ProcessPoolExecutor(
        workers, mp_context=context, initializer=_start_worker, initargs=(os.getpid(), started, gpus)
    )


def _start_worker(parent: int, started: Any, gpus: tuple[str, ...]) -> None:
    """Leave interrupts to the parent, see one GPU, and never outlive the parent: no work must be left running."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with started.get_lock():
        number, started.value = started.value, started.value + 1
    if gpus:
        os.environ[VISIBLE] = gpus[number % len(gpus)]

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _stop(pool: ProcessPoolExecutor) -> None:
    """Stop workers at once. What they finished is in the store; what they were at will be computed again."""
    workers = list((pool._processes or {}).values())
    pool.shutdown(wait=False, cancel_futures=True)
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join()


def _died(spec: RunSpec, store: Store) -> RunResult:
    finished = store.get(spec)
    if finished is not None:
        return finished
    error = "the worker process died twice during this run (killed, or out of memory)"
    result = RunResult(spec, "failed", error=error, provenance=provenance(0.0))
    store.put_failure(result)
    return result
