"""What a user waits for: the import, the first run of a notebook, figures drawn again, headlines cold and warm.

Run it as ``python benchmarks/waiting.py [--figures PROFILE] [--headlines PROFILE] [--repetitions N] [--json F]``.
Medians of seconds of whole processes. Figures need reports of the profile in the results folder; headlines compute the
four first notebooks of the studies in an empty results folder, a command each, and then again, with every run stored:
one by one, and all by one command. Beside the times stands what ``itlib plan --probe`` had expected of the runs.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from sides import machine, parser, write

from itlib.workspace import project_root

HEADLINES = {
    "01_data_scaling": (),
    "02_data_selection": ("arms=[ifd_loss, rds, oracle_clean]", "budgets=[]"),
    "03_robustness": ("sizes=[]", "imbalance=0"),
    "04_lora_vs_full": ("frontier=false",),
}  # parameters that leave the headline part of a study


def run(command: Sequence[str]) -> str:
    """Return what a command prints; it has to succeed."""
    done = subprocess.run(command, cwd=project_root(), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr[-500:]}")
    return done.stdout


def seconds(command: Sequence[str]) -> float:
    """Return how long a command takes."""
    start = time.perf_counter()
    run(command)
    return time.perf_counter() - start


def importing() -> float:
    """Return the seconds of ``import itlib`` beyond those of an empty program; torch must stay out."""
    code = "import sys, itlib; sys.exit('torch' in sys.modules)"
    return seconds([sys.executable, "-c", code]) - seconds([sys.executable, "-c", "import sys"])


def first_run() -> float:
    """Return the seconds from the start of papermill to the first stored run of a study at smoke."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "papermill", "notebooks/01_data_scaling.ipynb", f"{folder}/out.ipynb"]
        command += ["-f", "params/smoke/01_data_scaling.yaml"]
        start = time.perf_counter()
        environment = {**os.environ, "ITLIB_RESULTS": folder}
        process = subprocess.Popen(command, cwd=project_root(), env=environment, stderr=subprocess.DEVNULL)
        while process.poll() is None and not any(Path(folder).glob("store/runs/*/manifest.json")):
            time.sleep(0.02)
        waited = time.perf_counter() - start
        process.wait()
    return waited


def headline(profile: str, study: str, folder: str, *, task: Sequence[str] = ("run",)) -> list[str]:
    """Return the command of one headline notebook, its results in a folder; ``task`` is the command before the file."""
    command = [sys.executable, "-m", "itlib", *task, f"params/{profile}/{study}.yaml", "-p", "results", folder]
    return command + [word for change in HEADLINES[study] for word in ("-p", *change.split("=", 1))]


def headlines(profile: str, folder: str) -> dict[str, float]:
    """Return the seconds of the four headline notebooks in a results folder."""
    return {study: seconds(headline(profile, study, folder)) for study in HEADLINES}


def opened_again(profile: str, folder: str) -> float:
    """Return the seconds of one command that opens all four headlines, every run of which is stored."""
    with tempfile.TemporaryDirectory() as written:
        for study, changes in HEADLINES.items():
            params = yaml.safe_load((project_root() / "params" / profile / f"{study}.yaml").read_text())
            for name, _, value in (change.partition("=") for change in changes):
                params[name] = yaml.safe_load(value)
            (Path(written) / f"{study}.yaml").write_text(yaml.safe_dump(params))
        files = [str(Path(written) / f"{study}.yaml") for study in HEADLINES]
        return seconds([sys.executable, "-m", "itlib", "run", *files, "-p", "results", folder])


def planned(profile: str, study: str) -> float:
    """Return the seconds that a plan expects of the runs of one headline, after its probe in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        (plan,) = json.loads(run(headline(profile, study, folder, task=("plan", "--probe", "--json"))))
    return plan["estimate"]["wall_seconds"]


def row(what: str, measure: Callable[[], float], target: float, repetitions: int) -> dict[str, Any]:
    """Measure, print a line and return it as plain data."""
    found = [measure() for _ in range(repetitions)]
    middle = statistics.median(found)
    said = "met" if middle <= target else "missed"
    print(f"| {what} | {middle:.2f} | {min(found):.2f} | {max(found):.2f} | {target:g} | {said} |", flush=True)
    return {"what": what, "seconds": found, "median": middle, "target": target, "outcome": said}


def main() -> int:
    """Measure and print."""
    options = parser(__doc__.split("\n")[0])
    options.add_argument("--figures", metavar="PROFILE", help="draw the figures of this profile again")
    options.add_argument("--headlines", metavar="PROFILE", help="run the four headline notebooks of this profile")
    given = options.parse_args()
    print(f"{', '.join(f'{key} {value}' for key, value in machine(given.threads).items())}\n")
    print("| seconds of | median | smallest | largest | at most | |\n|---|---|---|---|---|---|")
    found = [
        row("import itlib", importing, 0.5, given.repetitions),
        row("papermill to the first stored run", first_run, 10, given.repetitions),
    ]
    if given.figures:
        command = [sys.executable, "-m", "itlib", "figures", "--profile", given.figures]
        found.append(row("all figures again", lambda: seconds(command), 60, 1))
    plans = []
    if given.headlines:
        with tempfile.TemporaryDirectory() as folder:
            cold, warm = (headlines(given.headlines, folder) for _ in ("cold", "warm"))
            found.append(row("four headlines, cold", lambda: sum(cold.values()), 28 * 60, 1))
            found.append(row("four headlines, warm, one by one", lambda: sum(warm.values()), 60, 1))
            again = partial(opened_again, given.headlines, folder)
            found.append(row("four headlines, warm, one command", again, 60, 3))
        print("\n| headline | planned after a probe, s | cold, s | planned / cold | .75 to 1.25 | warm, s |")
        print("|---|---|---|---|---|---|")
        for study, took in cold.items():
            ratio = (expected := planned(given.headlines, study)) / took
            said = "met" if 0.75 <= ratio <= 1.25 else "missed"
            print(f"| {study} | {expected:.0f} | {took:.0f} | {ratio:.2f} | {said} | {warm[study]:.1f} |", flush=True)
            plans.append({"study": study, "planned": expected, "cold": took, "warm": warm[study], "outcome": said})
    write(given.json, [{"machine": machine(given.threads), "rows": found, "plans": plans}])
    return 0


if __name__ == "__main__":
    sys.exit(main())
