"""How time and memory grow with examples, parameters, runs and evaluation: medians per point, slopes, and a figure.

Run it as ``python benchmarks/cost_model.py [--repetitions N] [--quick] [--json F] [--figure F]``. One thing grows at a
time and the rest stays. Every point is a run, or a batch of runs, in a process of its own with one thread, so that its
peak of memory is its own; seconds are those of the run without the start of the process. Repetitions go round all
points, so that a slow moment does not hit one of them. A slope is that of log seconds on log size over the upper half
of the sizes, where fixed costs no longer count.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sides import parser, write

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
SAME = {"n_train": 400, "budget": 50, "batch_size": 32, "n_eval": 10, "n_reference": 20, "attention": "trimmed"}
MODELS = {"micro-0.2m": 258_368, "micro-1m": 1_122_432, "micro-4m": 4_183_648}  # parameters, by their card
GROWS: dict[str, dict[float, dict[str, Any]]] = {
    "steps of 32 examples": {n: {"budget": n} for n in (25, 50, 100, 200, 400)},
    "examples in one epoch": {
        n: {"n_train": n, "pool_size": n, "budget": 1, "budget_unit": "epochs"} for n in (800, 1600, 3200, 6400, 12800)
    },
    "parameters": {size: {"model": name, "base_seed": 0} for name, size in MODELS.items()},
    "items of a family": {n: {"n_eval": n, "n_reference": 0, "budget": 1} for n in (10, 20, 40, 80)},
    "phrasings of an item": {
        n: {"n_eval_phrasings": n, "eval_phrasing_set": "observed", "n_reference": 0, "budget": 1}
        for n in (2, 4, 8, 16)
    },
    "runs in a batch": {n: {"runs": n, "budget": 10} for n in (1, 2, 4, 8, 16)},
}


def measure(how: dict[str, Any]) -> tuple[float, float]:
    """Return seconds and peak mebibytes of a run, or of ``runs`` of them, in a new process."""
    command = [sys.executable, __file__, "--point", json.dumps(how)]
    done = subprocess.run(command, env=os.environ | THREADS, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def point(how: dict[str, Any]) -> None:
    """Execute runs in this process, through the store as a study does, and print seconds and mebibytes."""
    import resource

    from itlib.execute import run_one
    from itlib.resolve import resolve
    from itlib.spec import RunSpec, with_fields
    from itlib.store import Store

    runs = how.pop("runs", 1)
    specs = [resolve(with_fields(RunSpec(), seed=seed, **(SAME | how))) for seed in range(runs)]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        small = with_fields(specs[0], budget=1, budget_unit="steps", n_eval=1)
        run_one(resolve(small), store)  # loads what is loaded once
        began = time.perf_counter()
        results = [run_one(spec, store) for spec in specs]
        seconds = time.perf_counter() - began
    if any(result.status != "done" for result in results):
        raise SystemExit(f"a run ended as {results[0].status}: {results[0].error}")
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]))


def slope(sizes: list[float], values: list[float]) -> float:
    """Return the slope of log value on log size over the upper half of the sizes, two at least."""
    first = min(len(sizes) // 2, len(sizes) - 2)
    return float(np.polyfit(np.log(sizes[first:]), np.log(values[first:]), 1)[0])


def draw(found: list[dict[str, Any]], path: Path) -> None:
    """Plot seconds, and memory beside them, against what grows."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullLocator

    from itlib.theme import themed

    with themed():
        fig, axes = plt.subplots(2, len(found), figsize=(1.7 * len(found), 3.6), sharey="row", layout="constrained")
        for (time_ax, memory_ax), row in zip(axes.T, found, strict=True):
            ends = [row["sizes"][0], row["sizes"][-1]]
            time_ax.loglog(row["sizes"], row["seconds"], marker="o", markersize=3)
            time_ax.set_title(f"slope {row['slope']:.2f}")
            memory_ax.semilogx(row["sizes"], row["mebibytes"], marker="o", markersize=3)
            memory_ax.set(xlabel=row["grows"])
            for ax in (time_ax, memory_ax):
                ax.xaxis.set_minor_locator(NullLocator())
                ax.set_xticks(ends, [f"{size / 1e6:.2g}M" if size > 1e5 else f"{size:,}" for size in ends])
            time_ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            time_ax.yaxis.set_major_formatter("{x:g}")
            time_ax.yaxis.set_minor_locator(NullLocator())
        axes[0, 0].set_ylabel("seconds")
        axes[1, 0].set(ylabel="peak MiB", ylim=(0, 1.1 * max(max(row["mebibytes"]) for row in found)))
        path.parent.mkdir(parents=True, exist_ok=True)
        fig.savefig(path)


def main() -> int:
    """Measure, print a table, and write JSON and figure where asked."""
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--figure", type=Path, help="write the plot here")
    options.add_argument("--quick", action="store_true", help="the two smallest sizes of each")
    options.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.point is not None:
        point(given.point)
        return 0
    grows = {name: dict(list(sizes.items())[: 2 if given.quick else None]) for name, sizes in GROWS.items()}
    rounds = [
        {name: {size: measure(how) for size, how in sizes.items()} for name, sizes in grows.items()}
        for _ in range(given.repetitions)
    ]
    found = []
    print("# What time and memory grow with\n\n| grows | from | to | seconds | slope | MiB | slope |")
    print("|---|---|---|---|---|---|---|")
    for name, sizes in grows.items():
        at = list(sizes)
        seconds, memory = ([statistics.median(one[name][size][k] for one in rounds) for size in at] for k in (0, 1))
        row = {"grows": name, "sizes": at, "seconds": seconds, "mebibytes": memory}
        row |= {"slope": slope(at, seconds), "memory_slope": slope(at, memory), "rounds": [one[name] for one in rounds]}
        found.append(row)
        print(
            f"| {name} | {at[0]:g} | {at[-1]:g} | {seconds[0]:.2f} to {seconds[-1]:.2f} | {row['slope']:.2f} "
            f"| {memory[0]:.0f} to {memory[-1]:.0f} | {row['memory_slope']:.2f} |"
        )
    write(given.json, found)
    if given.figure:
        draw(found, given.figure)
    return 0


if __name__ == "__main__":
    sys.exit(main())
