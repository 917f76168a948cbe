"""What a grid will take, from what its runs took before: time, tokens, operations, memory, disk.

Runs that differ in nothing but seed and rate take about as long. A grid is therefore measured by one run of each kind,
the probe, and what is stored already counts as one.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from itlib.engines.progress import expected_cost
from itlib.errors import InputError
from itlib.fairness import PAIRED, training_flops
from itlib.registry import models
from itlib.result import RunResult
from itlib.spec import RunSpec, flatten
from itlib.store import Store

REPLICATE = (*PAIRED, "target_families", "learning_rate")  # what two runs of one kind may differ in
WEIGHT, GRADIENT, MOMENTS = 4, 4, 8  # bytes of a parameter that AdamW trains in float32
GIB = 2**30


@dataclass(frozen=True)
class Estimate:
    """What runs that are not stored will take.

    Attributes:
        runs: How many there are.
        kinds: Of how many kinds they are, seeds and rates aside.
        measured: Kinds of which a run is stored; the others are scaled by the examples that they see.
        seconds: Of all runs one after another, as measured in a worker.
        tokens: Tokens of training.
        flops: Floating-point operations of selection and training.
        disk: Bytes of results and kept weights.
        peak_memory: Bytes of the largest run, as measured; 0 where nothing is.
    """

    runs: int
    kinds: int
    measured: int
    seconds: float
    tokens: float
    flops: float
    disk: float
    peak_memory: float

    def text(self, workers: int) -> str:
        """Return the estimate in words, for so many workers."""
        if not self.runs:
            return "nothing to compute"
        if not self.measured:
            return f"{self.runs} runs of {self.kinds} kinds; no run of these is stored, --probe computes one of each"
        hours = self.seconds / workers / 3600
        time = f"{60 * hours:.0f} min" if hours < 2 else f"{hours:.1f} h"
        return (
            f"about {time} with {workers} workers, {self.tokens:.1e} tokens, {self.flops:.1e} FLOPs, "
            f"{self.disk / 1e6:.0f} MB on disk, {self.peak_memory / GIB:.1f} GiB a worker "
            f"({self.measured} of {self.kinds} kinds measured)"
        )


@dataclass
class _Kind:
    missing: list[RunSpec] = field(default_factory=list)
    known: list[RunResult] = field(default_factory=list)


def kinds_of(specs: Sequence[RunSpec], store: Store) -> dict[tuple[object, ...], _Kind]:
    """Return resolved specs by kind: those that are missing, and the results of those that finished."""
    found: dict[tuple[object, ...], _Kind] = {}
    for spec in specs:
        values = {name: value for name, value in flatten(spec).items() if name not in REPLICATE}
        kind = found.setdefault(tuple(map(str, values.values())), _Kind())
        result = store.get(spec)
        if result is None:
            kind.missing.append(spec)
        elif result.status == "done":
            kind.known.append(result)
    return found


def probe(specs: Sequence[RunSpec], store: Store) -> list[RunSpec]:
    """Return a missing run of every kind of which none is stored: what to compute before an estimate."""
    return [kind.missing[0] for kind in kinds_of(specs, store).values() if kind.missing and not kind.known]


def estimate(specs: Sequence[RunSpec], store: Store) -> Estimate:
    """Return what the missing runs will take.

    Args:
        specs: Resolved specs, one per run.
        store: Where runs of the same kinds may be.
    """
    kinds = kinds_of(specs, store)
    waiting = {name: kind for name, kind in kinds.items() if kind.missing}
    everything = [result for kind in kinds.values() for result in kind.known]
    per_example = _median([_seconds(result) / expected_cost(result.spec) for result in everything])
    seconds = tokens = flops = disk = 0.0
    for kind in waiting.values():
        n, like = len(kind.missing), kind.known
        rough = per_example * expected_cost(kind.missing[0])
        seconds += n * (_median([_seconds(result) for result in like]) if like else rough)
        tokens += n * _median([float(result.totals.get("n_tokens", 0)) for result in like])
        flops += n * _median([training_flops(r) for r in like if "n_tokens" in r.totals])
        disk += n * _median([_size(store, result) for result in like or everything])
        disk += sum(WEIGHT * _parameters(spec) for spec in kind.missing if spec.keep_weights)
    return Estimate(
        runs=sum(len(kind.missing) for kind in waiting.values()),
        kinds=len(waiting),
        measured=sum(bool(kind.known) for kind in waiting.values()),
        seconds=seconds,
        tokens=tokens,
        flops=flops,
        disk=disk,
        peak_memory=max((float(r.provenance.get("peak_memory", 0)) for r in everything), default=0.0),
    )


def check_memory(specs: Sequence[RunSpec], workers: int) -> None:
    """Refuse a grid of which a run cannot fit: weights, gradients and optimizer of its model against the memory here.

    Raises:
        InputError: The largest model needs more than there is.
    """
    for base, spec in {spec.base: spec for spec in specs if spec.device == "cpu"}.items():
        n = _parameters(spec)
        full = spec.tuning.method == "full" and spec.data.n_train > 0
        needs = workers * n * (WEIGHT + (GRADIENT + MOMENTS) * full)
        if needs > total_memory():
            raise InputError(
                f"model: {n:.2e} parameters of '{base.model}' with {workers} workers need at least "
                f"{needs / GIB:.1f} GiB; this machine has {total_memory() / GIB:.1f}: take fewer "
                "workers, adapters or a smaller model"
            )


def total_memory() -> float:
    """Return the bytes of memory of this machine; infinite where the system does not tell."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return float("inf")


def _parameters(spec: RunSpec) -> int:
    return models.get(spec.base.model).parameters(spec.base)


def _seconds(result: RunResult) -> float:
    return float(result.provenance.get("wall_seconds", 0.0))


def _size(store: Store, result: RunResult) -> float:
    return float(sum(path.stat().st_size for path in store.folder(result.spec).iterdir()))


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else 0.0
