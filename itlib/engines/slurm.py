"""The Slurm engine: runs in the jobs of one array, through submitit.

Every job of the array takes a share of the runs, longest first, and stores each as soon as it is finished. A job that
is preempted or reaches its time limit is queued again and goes on with what is missing. Where jobs run is said in the
variables of sbatch: ``SBATCH_PARTITION``, ``SBATCH_TIMELIMIT``, ``SBATCH_ACCOUNT`` and the like. The store is the only
state that is shared, at the same path on every node.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from itlib.engines.progress import expected_cost
from itlib.errors import InputError
from itlib.execute import run_one
from itlib.provenance import provenance
from itlib.result import RunResult
from itlib.spec import RunSpec
from itlib.store import Store

JOBS = 16  # of an array, where nobody says how many
POLL = 2.0  # seconds between looks at the store
CLUSTER = "ITLIB_SUBMITIT"  # "local" runs the jobs as processes of this machine, as tests do


class Share:
    """The runs of one job. submitit calls it on a node, and asks it for a successor when the job is interrupted."""

    def __call__(self, specs: Sequence[RunSpec], store: Store, retry_failed: bool) -> int:
        """Compute and store every run; return how many there were. On further nodes of a job there is nothing to do."""
        if int(os.environ.get("SLURM_PROCID", "0")):
            return len(specs)
        for spec in specs:
            run_one(spec, store, retry_failed=retry_failed)
        return len(specs)

    def checkpoint(self, specs: Sequence[RunSpec], store: Store, retry_failed: bool) -> Any:
        """Queue the same share again: what is stored is not computed twice."""
        import submitit

        return submitit.helpers.DelayedSubmission(self, specs, store, retry_failed)


def run_on_slurm(specs: Sequence[RunSpec], store: Store, workers: int, retry_failed: bool) -> Iterator[RunResult]:
    """Yield results as they appear in the store.

    Args:
        specs: Resolved specs without repeats.
        store: At the same path on every node.
        workers: Jobs of the array; 0 takes ``JOBS``, and never more than there are runs.
        retry_failed: Passed on to every run.

    Raises:
        InputError: submitit is not installed, or this machine has no sbatch.
    """
    shares = shared(specs, min(workers or JOBS, len(specs)))
    before = {spec: store.get_failure(spec) for spec in specs}
    jobs = _submit(shares, store, retry_failed)
    try:
        for job, share in zip(jobs, shares, strict=True):
            yield from _followed(job, share, store, before)
    except BaseException:  # an interrupt, or a reader that stops: nothing may go on for nobody
        for job in jobs:
            job.cancel()
        raise


def shared(specs: Sequence[RunSpec], n_shares: int) -> list[list[RunSpec]]:
    """Return the runs dealt out to shares of about equal cost, each with its longest runs first."""
    shares: list[list[RunSpec]] = [[] for _ in range(n_shares)]
    costs = [0.0] * n_shares
    for spec in sorted(specs, key=expected_cost, reverse=True):
        smallest = costs.index(min(costs))
        shares[smallest].append(spec)
        costs[smallest] += expected_cost(spec)
    return shares


def _submit(shares: Sequence[Sequence[RunSpec]], store: Store, retry_failed: bool) -> list[Any]:
    try:
        import submitit
    except ImportError:
        raise InputError("engine: slurm needs submitit; install the extra: pip install 'itlib[slurm]'") from None
    cluster = os.environ.get(CLUSTER) or "slurm"
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise InputError("engine: slurm finds no sbatch on this machine; run it where jobs are submitted")
    executor = submitit.AutoExecutor(folder=store.root / "slurm", cluster=cluster)
    largest = max(chain(*shares), key=lambda spec: spec.train.processes)
    executor.update_parameters(name="itlib", slurm_array_parallelism=len(shares), **_needs(largest))
    with executor.batch():
        jobs = [executor.submit(Share(), share, store, retry_failed) for share in shares]
    return jobs


def _needs(spec: RunSpec) -> dict[str, int]:
    """Return what a job of the array is to have: a device, or the nodes and devices of the largest single run."""
    each = spec.train.processes // spec.train.nodes
    gpus = each * int(spec.device.startswith("cuda"))
    return {"nodes": spec.train.nodes, "cpus_per_task": max(1, spec.threads) * each, "gpus_per_node": gpus}


def _followed(
    job: Any, share: Sequence[RunSpec], store: Store, before: Mapping[RunSpec, RunResult | None]
) -> Iterator[RunResult]:
    """Yield the results of a job as they are stored; runs that a finished job left behind are failed rows.

    A failure from before the job is that of an earlier batch.
    """
    waiting = list(share)
    while waiting:
        over = job.done()
        for spec in list(waiting):
            found = store.get(spec) or store.get_failure(spec)
            if found is not None and found != before[spec]:
                waiting.remove(spec)
                yield found
        if over:
            break
        if waiting:
            time.sleep(POLL)
    for spec in waiting:
        error = f"its job {job.job_id} ended as {job.state} before this run"
        result = RunResult(spec, "failed", error=error, provenance=provenance(0.0))
        store.put_failure(result)
        yield result
