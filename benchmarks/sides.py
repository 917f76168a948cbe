"""Several ways to do the same work, in alternation in one process: their rates, and the ratios of a target."""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PATIENCE = 90.0  # seconds of a turn, beyond which a side is not asked to repeat it
PACKAGES = ("torch", "transformers", "peft", "trl", "lm-eval", "numpy")


@dataclass(frozen=True)
class Side:
    """One way: what it is called, and a function that does the work once.

    ``run`` returns how much work it did and in how many seconds, so that what it prepares is not timed.
    """

    name: str
    run: Callable[[], tuple[float, float]]


@dataclass(frozen=True)
class Target:
    """How much faster ``side`` should be than ``other``: the ratio of their rates, at least."""

    side: str
    other: str
    ratio: float


def timed(work: float, function: Callable[[], Any]) -> tuple[float, float]:
    """Call a function and return ``work`` and the seconds that it took."""
    start = time.perf_counter()
    function()
    return work, time.perf_counter() - start


def alternate(
    sides: Sequence[Side], repetitions: int, *, warm_up: int = 1, patience: float = PATIENCE
) -> dict[str, list[float]]:
    """Return the rates of every side, work per second, one per repetition.

    Sides take turns, and the order turns round after each repetition, so that neither a slow moment nor a place in the
    order belongs to one of them. The first ``warm_up`` rounds do not count, but for a side that takes more than
    ``patience`` seconds in one of them: that turn is its only one.
    """
    rates: dict[str, list[float]] = {side.name: [] for side in sides}
    slow: set[str] = set()
    for repetition in range(warm_up + repetitions):
        for side in sides if repetition % 2 == 0 else reversed(sides):
            if side.name in slow:
                continue
            gc.collect()
            work, seconds = side.run()
            if repetition < warm_up and seconds > patience:
                slow.add(side.name)
            if repetition >= warm_up or side.name in slow:
                rates[side.name].append(work / seconds)
            print(f"  {side.name}: {work / seconds:,.1f} per s", file=sys.stderr, flush=True)
    return rates


def ratios(rates: Mapping[str, Sequence[float]], side: str, other: str) -> tuple[float, float, float]:
    """Return the median over repetitions of the ratio of two rates, the smallest and the largest.

    Where one of the two had a single turn, each turn of the other is compared with it.
    """
    turns = max(len(rates[side]), len(rates[other]))
    mine, theirs = (rates[name] * turns if len(rates[name]) == 1 else rates[name] for name in (side, other))
    found = [one / another for one, another in zip(mine, theirs, strict=True)]
    return statistics.median(found), min(found), max(found)


def machine(threads: int) -> dict[str, Any]:
    """Return what times depend on: processor, cores, threads, versions."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "not installed"
    model = next((line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "")
    about = {"processor": model or platform.processor() or platform.machine(), "cores": os.cpu_count()}
    return about | {"threads": threads, "python": platform.python_version()} | versions


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def show(
    title: str, unit: str, rates: Mapping[str, Sequence[float]], targets: Sequence[Target], threads: int
) -> dict[str, Any]:
    """Print rates and what became of the targets, and return all of it as plain data."""
    about = machine(threads)
    print(f"# {title}\n\n{', '.join(f'{key} {value}' for key, value in about.items())}\n")
    print(f"| side | {unit} per second, median | smallest | largest |\n|---|---|---|---|")
    for name, found in rates.items():
        print(f"| {name} | {statistics.median(found):,.1f} | {min(found):,.1f} | {max(found):,.1f} |")
    print("\n| ratio | median | smallest | largest | target | |\n|---|---|---|---|---|---|")
    outcomes = []
    for target in targets:
        middle, low, high = ratios(rates, target.side, target.other)
        said = "met" if middle >= target.ratio else "missed"
        print(f"| {target.side} / {target.other} | {middle:.2f} | {low:.2f} | {high:.2f} | {target.ratio:g} | {said} |")
        outcomes.append(asdict(target) | {"median": middle, "low": low, "high": high, "outcome": said})
    print()
    return {"title": title, "unit": unit, "machine": about, "rates": dict(rates), "targets": outcomes}


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks share."""
    options = argparse.ArgumentParser(description=description)
    options.add_argument("--repetitions", type=int, default=5, help="timed rounds of all sides")
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of every side")
    options.add_argument("--json", type=Path, help="also write the figures to this file")
    return options


def write(path: Path | None, found: Sequence[Mapping[str, Any]]) -> None:
    """Write the outcomes of one benchmark as JSON, if a file was asked for."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(list(found), indent=1) + "\n")
