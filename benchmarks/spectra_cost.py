"""What the analysis of singular vectors costs beside the training of the same run: seconds of both, and their ratio.

Run it as ``python benchmarks/spectra_cost.py [--quick] [--arms "lora 16" full] [--repetitions 3] [--json F]``.
Runs are those of ``params/cpu/04b_spectra.yaml``, on seeds that no study uses. The analysis of a run is to take less
time than its training; "met" says that the median ratio is below 1.

Training is the tuning alone, on a pool that is already made. The analysis is the whole measure, loading and decomposing
the base included, although a study decomposes each base once in a process; its result is stored with the run and never
computed again. Training and analysis take turns, so that a slower moment does not hit one of them alone. Everything
happens in one process on one thread, and seconds are those of the processor; elapsed ones are in the JSON, too.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from itlib.execute import load_base
from itlib.files import write_atomic
from itlib.measures import Measured
from itlib.measures import spectra as measure
from itlib.params import from_yaml
from itlib.resolve import resolve
from itlib.spec import RunSpec, with_fields
from itlib.studies.spectra_study import MEASURE, SpectraParams
from itlib.studies.tuned_arms import arm_fields, check_arms, rates_of, tuned_base
from itlib.training_set import training_set
from itlib.tune import tune
from itlib.workspace import project_root

ARMS = ("full", "lora 16")
FIRST_SEED = 100
QUICK_STEPS = 10
TARGET = 1.0  # ratio of the analysis to the training
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def described(params: SpectraParams, arm: str, seed: int) -> RunSpec:
    """Return the resolved spec of one run of an arm at the smallest of its rates."""
    rate = rates_of(params, arm)[0]
    spec = with_fields(tuned_base(params), measures=(MEASURE,), learning_rate=rate, seed=seed, **arm_fields(arm))
    return resolve(spec)


def clocks() -> np.ndarray:
    """Return processor and elapsed seconds."""
    return np.array([time.process_time(), time.perf_counter()])


def seconds(spec: RunSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return the processor and elapsed seconds of the training of a run and of the analysis of its weights."""
    training_set(spec, lambda: load_base(spec))  # the pool is made once and kept
    model, tokenizer = load_base(spec)
    start = clocks()
    tuned = tune(model, tokenizer, spec, None, None, lambda now: {})
    trained = clocks()
    measure._decomposed.cache_clear()
    nothing: dict[str, Any] = {"items": (), "trained_on": tuple, "pad_id": 0, "context_length": 0}
    about = Measured(spec, tuned.model.eval(), tokenizer, base=lambda: load_base(spec)[0], **nothing)
    begun = clocks()
    measure.measure_spectra(about)
    return trained - start, clocks() - begun


def compare(params: SpectraParams, arm: str, repetitions: int) -> dict[str, Any]:
    """Return medians of both times and of their ratio over repetitions, each on a seed of its own, with the spread."""
    runs = [seconds(described(params, arm, FIRST_SEED + number)) for number in range(repetitions)]
    ratios = [float(analysis[0] / training[0]) for training, analysis in runs]
    medians = {
        name: [statistics.median(float(run[place][clock]) for run in runs) for clock in (0, 1)]
        for place, name in enumerate(("training", "analysis"))
    }
    return {
        "training_seconds": medians["training"][0],
        "analysis_seconds": medians["analysis"][0],
        "elapsed_seconds": {name: values[1] for name, values in medians.items()},
        "ratio": statistics.median(ratios),
        "spread": [min(ratios), max(ratios)],
        "target": TARGET,
        "verdict": "met" if statistics.median(ratios) < TARGET else "missed",
    }


def line(arm: str, found: dict[str, Any]) -> str:
    """Return what was measured as one line of text."""
    low, high = found["spread"]
    times = f"training {found['training_seconds']:.2f} s, analysis {found['analysis_seconds']:.2f} s"
    ratio = f"ratio {found['ratio']:.2f} [{low:.2f}, {high:.2f}]"
    return f"{arm:24} {times}   {ratio}, target below {found['target']:g} ({found['verdict']})"


def main() -> None:
    """Measure, print a line per arm and write the JSON where asked, anew after every arm."""
    if any(os.environ.get(name) != "1" for name in THREADS):  # read by libraries when they are loaded, so begin again
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | dict.fromkeys(THREADS, "1"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), help="arms, in quotes: 'lora 16'")
    parser.add_argument("--quick", action="store_true", help=f"train for {QUICK_STEPS} steps, which is far too short")
    parser.add_argument("--repetitions", type=int, default=3, help="the median of that many is taken")
    parser.add_argument("--json", type=Path, help="write the measurements here, too")
    given = parser.parse_args()
    if given.repetitions < 1:
        parser.error("repetitions: at least one is needed")
    check_arms(given.arms)
    torch.set_num_threads(1)
    params = from_yaml(project_root() / "params" / "cpu" / "04b_spectra.yaml").params
    params = dataclasses.replace(params, budget=QUICK_STEPS) if given.quick else params
    machine = {"python": platform.python_version(), "torch": torch.__version__, "threads": 1}
    setting = {"model": params.model, "steps": params.budget, "repetitions": given.repetitions}
    measured = {}
    for arm in given.arms:
        measured[arm] = compare(params, arm, given.repetitions)
        print(line(arm, measured[arm]), flush=True)
        if given.json:
            content = json.dumps({"machine": machine, "setting": setting, "arms": measured}, indent=1) + "\n"
            write_atomic(given.json, content.encode())


if __name__ == "__main__":
    main()
