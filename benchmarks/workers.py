"""Equal runs by one worker process of one thread, by two, and by one of two threads.

Run it as ``python benchmarks/workers.py [--runs 24] [--ray] [--repetitions N] [--json F]``. Every side computes the
same runs into an empty store; ``--ray`` adds one and two tasks of a Ray cluster of this machine (extra: ray). What is
timed begins when each worker has finished its first run, so that starting processes and importing torch do not count.
Rates are runs per second.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from sides import Side, Target, alternate, parser, show, write

from itlib.engines.process import run_in_processes
from itlib.packing import TRIMMED
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.spec import RunSpec, with_fields
from itlib.store import Store

ONE, TWO, THREADS = "one worker", "two workers", "one worker of two threads"
RAY_ONE, RAY_TWO = "one task of Ray", "two tasks of Ray"


def specs(n_runs: int, threads: int, steps: int) -> list[RunSpec]:
    """Return equal runs that differ in their seed."""
    how = {"n_train": 400, "budget": steps, "batch_size": 32, "threads": threads, "n_eval": 10, "attention": TRIMMED}
    return [resolve(with_fields(RunSpec(), seed=seed, **how)) for seed in range(n_runs)]


def run(
    engine: Callable[..., Iterable[RunResult]], n_runs: int, workers: int, threads: int, steps: int
) -> tuple[float, float]:
    """Compute the runs; return how many count and the seconds that they took."""
    with tempfile.TemporaryDirectory() as folder:
        ends = []
        for result in engine(specs(n_runs, threads, steps), Store(Path(folder)), workers, False):
            if result.status != "done":
                raise SystemExit(f"a run ended as {result.status}: {result.error}")
            ends.append(time.perf_counter())
    return n_runs - workers, ends[-1] - ends[workers - 1]


def main() -> int:
    """Measure and print."""
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--runs", type=int, default=24)
    options.add_argument("--steps", type=int, default=75)
    options.add_argument("--ray", action="store_true", help="also through Ray")
    given = options.parse_args()
    how = {ONE: (1, 1), TWO: (2, 1), THREADS: (1, 2)}
    sides = [
        Side(name, partial(run, run_in_processes, given.runs, *numbers, given.steps)) for name, numbers in how.items()
    ]
    targets = [Target(TWO, ONE, 1.6), Target(TWO, THREADS, 1.0)]
    if given.ray:
        from itlib.engines.ray import run_on_ray

        how = {RAY_ONE: (1, 1), RAY_TWO: (2, 1)}
        sides += [
            Side(name, partial(run, run_on_ray, given.runs, *numbers, given.steps)) for name, numbers in how.items()
        ]
        targets.append(Target(RAY_TWO, RAY_ONE, 1.6))
    rates = alternate(sides, given.repetitions, warm_up=0)
    title = f"{given.runs} equal runs of {given.steps} steps"
    write(given.json, [show(title, "runs", rates, targets, 1)])
    return 0


if __name__ == "__main__":
    sys.exit(main())
