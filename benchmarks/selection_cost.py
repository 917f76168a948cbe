"""How the time of a selection grows with the pool: seconds per selector and size, and the slope of their logarithms.

Run it as ``python benchmarks/selection_cost.py [--quick] [--only rds less_sgd ...] [--skip nuggets ...] [--json F]``.
Every registered selector takes the same number of examples from micro-world pools of growing size. A selector is linear
in the pool when the slope of log seconds on log size is about 1; "met" says that it is at most 1.1.

What is timed is the selection alone: features of a pool that was never seen before are included, loading the model and
making the pool are not. Nothing is read from the disk. Everything happens in one process on one thread, and seconds are
those of the processor, so that neighbours on the machine count little; elapsed ones are in the JSON, too. Every size is
measured in turn, so that a slower moment does not hit one size alone. Where a selector has a parameter that sets its
price per example, it is low: that moves the level and not the slope.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

from itlib.errors import ItlibError
from itlib.execute import load_base
from itlib.files import write_atomic
from itlib.microworld import world
from itlib.registry import families, selectors
from itlib.resolve import resolve
from itlib.selection import select
from itlib.spec import RunSpec, with_fields

SIZES = (1000, 2000, 4000, 8000, 16000)
QUICK_SIZES = (500, 1000, 2000)
BUDGET = 100  # examples taken from a pool of any size
MODEL = "micro-0.2m"  # the smallest: the slope is asked for, not the level
OPTIONS = {
    "category_interaction": ("n_per_category=16",),
    "instruct_mining": ("n_subsets=8",),
    "iter_select_tune": ("n_judged=30",),
    "less_adam": ("checkpoints=1", "warmup_fraction=0.01"),
    "less_sgd": ("checkpoints=1", "warmup_fraction=0.01"),
    "mona": ("n_steps=100",),
    "nuggets": ("n_anchors=4", "second_stage=4"),
    "oracle_loo": ("most=100",),
}
STEEPEST = 1.1  # target: linear in the pool
TARGET_FAMILIES = ("opposite", "plural")
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def seconds(selector: str, size: int, seed: int, budget: int, model: str) -> tuple[float, float]:
    """Return processor and elapsed seconds of one selection of ``budget`` examples from a fresh pool."""
    taught = tuple(name for name in world.every_family() if families.get(name).size("pool"))
    pool = world.pool(size, seed=seed, families=taught)
    spec = resolve(
        with_fields(
            RunSpec(),
            model=model,
            pool_size=size,
            n_train=budget,
            selector=selector,
            selector_options=OPTIONS.get(selector, ()),
            target_families=TARGET_FAMILIES,
            families=taught,
        )
    )
    base = load_base(spec)
    processor, elapsed = time.process_time(), time.perf_counter()
    select(spec, pool, budget, lambda: base)
    return time.process_time() - processor, time.perf_counter() - elapsed


def measure(selector: str, sizes: list[int], repetitions: int, budget: int, model: str) -> dict:
    """Return the median seconds of a selector at every size and the slope of log seconds on log size.

    Every selection sees a pool of its own seed, so that nothing is remembered from an earlier one.
    """
    seconds(selector, sizes[0], repetitions, budget, model)  # fills what is filled once
    runs = [{size: seconds(selector, size, seed, budget, model) for size in sizes} for seed in range(repetitions)]
    medians = [{size: statistics.median(run[size][clock] for run in runs) for size in sizes} for clock in (0, 1)]
    slope = float(np.polyfit(np.log(sizes), np.log(list(medians[0].values())), 1)[0])
    return {
        "seconds": medians[0],
        "elapsed_seconds": medians[1],
        "slope": slope,
        "target": STEEPEST,
        "verdict": "met" if slope <= STEEPEST else "missed",
    }


def line(selector: str, found: dict) -> str:
    """Return what was measured as one line of text."""
    if "refused" in found:
        return f"{selector:24} refused: {found['refused']}"
    row = " ".join(f"{size}: {value:.3f}" for size, value in found["seconds"].items())
    return f"{selector:24} {row}   slope {found['slope']:.2f} ({found['verdict']})"


def main() -> None:
    """Measure, print a line per selector and write the JSON where asked, anew after every selector."""
    if any(os.environ.get(name) != "1" for name in THREADS):  # read by libraries when they are loaded, so begin again
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | dict.fromkeys(THREADS, "1"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), help="sizes of pools, two at least")
    parser.add_argument("--quick", action="store_true", help=f"sizes {QUICK_SIZES} instead")
    parser.add_argument("--budget", type=int, default=BUDGET, help="examples that are taken")
    parser.add_argument("--model", default=MODEL, help="the scorer")
    parser.add_argument("--only", nargs="+", default=selectors.names(), choices=selectors.names(), metavar="SELECTOR")
    parser.add_argument("--skip", nargs="+", default=[], choices=selectors.names(), metavar="SELECTOR")
    parser.add_argument("--repetitions", type=int, default=1, help="the median of that many is taken")
    parser.add_argument("--json", type=Path, help="write the measurements here, too")
    given = parser.parse_args()
    sizes = sorted(set(QUICK_SIZES if given.quick else given.sizes))
    if len(sizes) < 2 or given.budget > sizes[0]:
        parser.error("a slope needs two sizes, and the smallest pool must hold the budget")
    torch.set_num_threads(1)
    machine = {"python": platform.python_version(), "torch": torch.__version__, "threads": 1}
    setting = {"model": given.model, "budget": given.budget, "repetitions": given.repetitions, "options": OPTIONS}
    measured = {}
    for selector in [name for name in given.only if name not in given.skip]:
        try:
            measured[selector] = measure(selector, sizes, given.repetitions, given.budget, given.model)
        except ItlibError as error:
            measured[selector] = {"refused": str(error)}
        print(line(selector, measured[selector]), flush=True)
        if given.json:
            content = json.dumps({"machine": machine, "setting": setting, "selectors": measured}, indent=1) + "\n"
            write_atomic(given.json, content.encode())


if __name__ == "__main__":
    main()
