"""How fast the micro-world generates documents and pools: medians of repetitions, as text and as JSON.

Run it as ``python benchmarks/world_generation.py [--repetitions 5] [--json FILE]``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from itlib.microworld import corpus, tokenizer, world
from itlib.registry import families

N_DOCUMENTS = 20_000
STANDARD_POOL = 3200
LARGEST_POOL = 20_000
TOKENS_PER_SECOND = 0.5e6  # target: pretraining on one core consumes far fewer
POOL_SECONDS = 5.0  # target: a fraction of one tuning run


def seconds(work: Callable[[int], object], repetitions: int) -> float:
    """Return the median duration of ``work(repetition)``, after one call to fill caches."""
    work(repetitions)
    durations = []
    for repetition in range(repetitions):
        start = time.perf_counter()
        work(repetition)
        durations.append(time.perf_counter() - start)
    return statistics.median(durations)


def measure(repetitions: int) -> dict[str, dict[str, float | bool]]:
    """Return each quantity with its median, its target and whether it is met."""
    words = tokenizer.load()
    taught = tuple(name for name in world.every_family() if families.get(name).size("pool"))

    def documents(repetition: int) -> list[str]:
        return list(islice(corpus.documents("benchmark", repetition), N_DOCUMENTS))

    def tokens(repetition: int) -> int:
        rows = words(documents(repetition), add_special_tokens=False)["input_ids"]
        return sum(map(len, rows)) + len(rows)  # every document ends in <eos>

    n_tokens = statistics.median(tokens(repetition) for repetition in range(repetitions))
    rates = {
        "document tokens per second, generated": n_tokens / seconds(documents, repetitions),
        "document tokens per second, generated and tokenised": n_tokens / seconds(tokens, repetitions),
    }
    pools = {
        f"seconds for a standard pool of {STANDARD_POOL}": lambda seed: world.pool(STANDARD_POOL, seed=seed),
        f"seconds for a pool of {LARGEST_POOL} over all taught families": lambda seed: world.pool(
            LARGEST_POOL, seed=seed, families=taught
        ),
    }
    durations = {name: seconds(make, repetitions) for name, make in pools.items()}
    return {
        name: {"median": value, "target": TOKENS_PER_SECOND, "met": value >= TOKENS_PER_SECOND}
        for name, value in rates.items()
    } | {
        name: {"median": value, "target": POOL_SECONDS, "met": value <= POOL_SECONDS}
        for name, value in durations.items()
    }


def main() -> None:
    """Measure, print a line per quantity and the JSON, and write the JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", type=Path, help="write the measurements here, too")
    arguments = parser.parse_args()
    measured = measure(arguments.repetitions)
    for name, row in measured.items():
        verdict = "met" if row["met"] else "missed"
        print(f"{name:58} {row['median']:>14,.3f}   target {row['target']:>9,.1f}   {verdict}")
    machine = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    text = json.dumps({"repetitions": arguments.repetitions, **machine, "measured": measured}, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
