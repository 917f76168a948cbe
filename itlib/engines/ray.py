"""The Ray engine: runs as tasks of Ray core, on this machine or on a cluster that ``RAY_ADDRESS`` names.

Ray decides where a task runs and runs it again when its worker or its node dies. The store is the only state that is
shared: it has to be at the same path on every node, and so has this package. Nothing is kept in Ray; a driver that dies
takes no stored run with it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any

from itlib.engines.process import available_cores
from itlib.engines.progress import expected_cost
from itlib.errors import InputError
from itlib.execute import run_one
from itlib.parallel import ONE
from itlib.provenance import provenance
from itlib.result import RunResult
from itlib.spec import RunSpec
from itlib.store import Store

RETRIES = 3  # of a task whose worker or node died
ADDRESS = "RAY_ADDRESS"
WAIT = 10  # seconds for something to listen at an address


def run_on_ray(specs: Sequence[RunSpec], store: Store, workers: int, retry_failed: bool) -> Iterator[RunResult]:
    """Yield results as they are finished, longest runs started first.

    Args:
        specs: Resolved specs without repeats.
        store: At the same path on every node.
        workers: Runs at once, at most; 0 leaves it to what the cluster has.
        retry_failed: Passed on to every run.

    Raises:
        InputError: Ray is not installed, or no cluster answers at the address.
    """
    ray = _ray()
    mine = not ray.is_initialized()
    if mine:
        _connect(ray, workers)
    try:
        waiting = sorted(specs, key=expected_cost)
        under_way: dict[Any, RunSpec] = {}
        while waiting or under_way:
            while waiting and (not workers or len(under_way) < workers):
                spec = waiting.pop()
                under_way[_submit(ray, spec, store, retry_failed)] = spec
            for finished in ray.wait(list(under_way), num_returns=1)[0]:
                yield _result(ray, finished, under_way.pop(finished), store)
    finally:
        if mine:
            ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise InputError("engine: ray is not installed; install the extra: pip install 'itlib[ray]'") from None
    return ray


def _connect(ray: Any, workers: int) -> None:
    """Connect to the cluster of ``RAY_ADDRESS``, or start one on this machine with a core per worker."""
    address = os.environ.get(ADDRESS, "")
    if not address:
        ray.init(num_cpus=workers or available_cores(), include_dashboard=False, log_to_driver=False)
        return
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(
            f"{ADDRESS}: no Ray cluster answers at '{address}' ({reason}); `ray start --head` prints an address"
        ) from None


def _knock(address: str) -> None:
    """Raise ``OSError`` where nothing listens at an address with a port; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=WAIT).close()


def _submit(ray: Any, spec: RunSpec, store: Store, retry_failed: bool) -> Any:
    needs = {"num_cpus": max(1, spec.threads), "num_gpus": float(spec.device.startswith("cuda"))}
    if spec.train.parallel != ONE:  # its processes ask for what they need, see itlib.parallel
        needs = {"num_cpus": 0, "num_gpus": 0.0}
    return ray.remote(max_retries=RETRIES, **needs)(run_one).remote(spec, store, retry_failed=retry_failed)


def _result(ray: Any, task: Any, spec: RunSpec, store: Store) -> RunResult:
    """Return what a task gave; one that died with its worker again and again is a failed row."""
    try:
        return ray.get(task)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
        stored = store.get(spec)
        if stored is not None:
            return stored
        line = f"its worker died {RETRIES + 1} times ({type(error).__name__})"
        result = RunResult(spec, "failed", error=line, provenance=provenance(0.0))
        store.put_failure(result)
        return result
    except ray.exceptions.RayTaskError as error:
        raise error.as_instanceof_cause() from None
