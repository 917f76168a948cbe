"""Kills a batch again and again, anywhere, and sees that it ends as an undisturbed one does.

A sweep is ``itlib run`` of a small study: data, training, evaluation, frame, figures and the executed notebook. At a
random instant SIGKILL hits the driver, one of its processes, or all of them at once, and the sweep is started again,
until it ends by itself; then its outputs are compared and another sweep begins.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

from itlib.workspace import project_root

STUDY = "params/smoke/00_tour.yaml"
KEPT = (".csv", ".parquet", ".md", ".tex", ".png", ".svg", ".pdf", ".json")
MOVING = ("manifest.json",)  # names the time of a report


def start(results, workers):
    words = [sys.executable, "-m", "itlib", "run", STUDY, "-p", "engine", "process", "-p", "workers", str(workers)]
    environment = os.environ | {"ITLIB_RESULTS": str(results), "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(words, cwd=project_root(), env=environment, start_new_session=True, **quiet)


def outputs(results):
    """Every frame, table, figure and drawing of the finished report, by name."""
    folder = results / "smoke" / "00_tour"
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in KEPT and path.name not in MOVING
    }


def stored(results):
    """Every finished entry of the store: if it were computed again, its file would be another one."""
    return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in results.glob("store/*/*/manifest.json")}


def descendants(root):
    """Return the processes below one, of which some may be in sessions of their own."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(name)] = int(Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
    found, new = [], [root]
    while new:
        new = [child for child, parent in parents.items() if parent in new]
        found += new
    return found


def kill(driver, kind, rng):
    """Send SIGKILL as ``kind`` says; return what was hit, "" when there was nothing left to hit."""
    below = descendants(driver.pid)
    victims = {"driver": [driver.pid], "all": [driver.pid, *below]}.get(kind)
    if victims is None:
        victims = [int(rng.choice(below))] if below else []
    hit = 0
    for victim in victims:
        try:
            os.kill(victim, signal.SIGKILL)
            hit += 1
        except ProcessLookupError:
            pass
    if kind == "driver":  # what it leaves behind ends by itself
        until = time.monotonic() + 60
        while any(os.path.exists(f"/proc/{pid}") for pid in below):
            assert time.monotonic() < until, "a process outlived its driver"
            time.sleep(0.1)
    return kind if hit else ""


def phase(results):
    """Say roughly where a sweep is."""
    if (results / "smoke" / "00_tour").is_dir():
        return "frame, figures, notebook"
    runs = len(list(results.glob("store/runs/*/manifest.json")))
    return "before the first run is stored" if not runs else "between runs"


def disturbed(results, workers, rng, n_kills, seconds):
    """Run one sweep to its end with at most ``n_kills`` kills; return them as (seconds, kind, phase)."""
    kills = []
    while True:
        before = stored(results)
        began, driver = time.monotonic(), start(results, workers)
        moment = rng.uniform(0, 1.1 * seconds) if len(kills) < n_kills else float("inf")
        hit = ""
        while driver.poll() is None:
            if not hit and time.monotonic() - began >= moment:
                where, kind = phase(results), str(rng.choice(["driver", "one", "all"]))
                hit = kill(driver, kind, rng)
                if hit:
                    kills.append((round(time.monotonic() - began, 2), hit, where))
                moment = float("inf")
            time.sleep(0.02)
        told = driver.stderr.read().decode()
        after = stored(results)
        assert before.items() <= after.items(), "something that was stored was computed again or lost"
        if driver.returncode == 0:
            return kills
        assert hit, f"it failed by itself: {told[-1500:]}"


def campaign(folder, n_kills, seed):
    """Return all kills of a campaign, after every sweep has given the bytes of the undisturbed one."""
    rng = np.random.default_rng(seed)
    began = time.monotonic()
    assert disturbed(folder / "undisturbed", 1, rng, 0, 0.0) == []
    seconds = time.monotonic() - began
    expected = outputs(folder / "undisturbed")
    runs = len(list((folder / "undisturbed").glob("store/runs/*/manifest.json")))
    assert runs and {"frame.csv", "claims.json"} <= expected.keys()
    kills, sweeps = [], 0
    while len(kills) < n_kills:
        results = folder / f"sweep-{sweeps}"
        kills += disturbed(results, 1 + sweeps % 3, rng, n_kills - len(kills), seconds)
        assert outputs(results) == expected, f"sweep {sweeps} ended in other bytes"
        assert len(list(results.glob("store/runs/*/manifest.json"))) == runs
        sweeps += 1
    return kills, sweeps, seconds


def report(kills, sweeps, seconds, seed):
    """Return what happened in a few lines."""
    lines = [f"{len(kills)} kills over {sweeps} sweeps of {seconds:.0f} s, seed {seed}; all ended in the same bytes"]
    for name, place in (("kind", 1), ("phase", 2)):
        lines += [f"  {n:4} {name} {value}" for value, n in sorted(Counter(kill[place] for kill in kills).items())]
    return "\n".join([*lines, "  seconds after a start: " + ", ".join(f"{kill[0]:.1f}" for kill in kills)])
