"""Faults that the suite survives: a numbered row each, the tests that show it, and the page that lists both."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import defaultdict

import pytest
import small

from itlib.engines import run_all
from itlib.frame import origins
from itlib.report import Report
from itlib.result import RunResult
from itlib.store import Store
from itlib.workspace import project_root

ROWS = {
    1: ("a parameter is unknown or misspelt", "refused before any work, with the closest name; exit 2"),
    2: (
        "YAML reads `2e-5` as text, `no` as false, `017` as 15, `12:30:45` as a number, or a key comes twice",
        "read as YAML 1.2 by the type of the schema with a note, or refused with the line",
    ),
    3: ("`-p key false` is text that counts as true", "read by the type of the schema"),
    4: ("the name of a parameter holds code", "refused: it is no name"),
    5: ("a rate is NaN or negative, steps, batches or epochs are none or absurd", "refused with the bound"),
    6: ("the last line of a data file is cut off", "named by file and line, or kept aside and counted where asked"),
    7: (
        "garbage in the middle, a byte order mark, CRLF, Latin-1, blank lines",
        "located with line or byte offset; marks, CRLF and blank lines are tolerated",
    ),
    8: ("a file is empty or has no usable row", "refused in one line"),
    9: ("an answer is missing, null or no text", "named with its reason, or kept aside where asked"),
    10: (
        "rows repeat, or training and evaluation overlap",
        "counted; one opening never lies on both sides of the split",
    ),
    11: (
        "empty answers, two user turns in a row, unknown roles",
        "put right by a stated policy and counted, or kept aside",
    ),
    12: ("user text spells control tokens", "encoded as text; it cannot open a turn; rows are counted"),
    13: (
        "a chat template has no stop token or loses turns",
        "the stop token is added and supervised, or it is refused",
    ),
    14: ("rows are longer than the context", "left out whole and counted; refused where they are too many"),
    15: ("a tokenizer has no padding token, or more tokens than the model", "handled, or refused in one line"),
    16: ("an adapter belongs to another base, has another shape or is damaged", "refused before work, by fingerprint"),
    17: ("weights or scores are pickles", "refused with a way to convert them"),
    18: ("a process is killed at any instant", "nothing half-written reads as a result; the next start continues"),
    19: ("a stored file is cut, flipped, swapped or gone", "found by its hash, put aside, computed again"),
    20: ("the disk is full", "one line; nothing partial stays, what was there stays"),
    21: (
        "memory runs out, or the device is not there",
        "that run alone fails and says what may fit; `auto` says it took the CPU",
    ),
    22: ("a loss becomes NaN", "the run stops as `diverged`, a row that is shown and not averaged"),
    23: ("two workers compute one run", "the first complete write wins; an unequal second one is reported"),
    24: ("a worker dies with a lock", "the system frees the lock; the run is tried once more"),
    25: (
        "a notebook's kernel dies, or a cell fails",
        "started once more with what is finished; one line says why it stops",
    ),
    26: ("the hub is down, gated or unreachable", "the cache is used, or one line names the revision that is missing"),
    27: ("packages change in mid-study", "versions lie with every run; a report of a mixture says so"),
    28: (
        "folders are read-only, elsewhere, or named with spaces, letters of any script or `..`",
        "they work or are refused in one line",
    ),
    29: (
        "seeds or cells are missing when a figure is drawn",
        "what exists is drawn, gaps are marked, verdicts are not guessed",
    ),
    30: ("one seed, or no variance", "no interval is drawn or divided by"),
    31: ("there is no display, or the user has settings", "figures are drawn all the same, with the same bytes"),
    32: ("Ctrl-C in a cell", "workers stop, finished runs stay, the cell goes on when it is run again"),
    33: ("much is printed during runs", "one short progress line at most every twenty seconds"),
}


def shown_by():
    """Names of tests by the fault that their marker names, from the text of the tests."""
    found = defaultdict(list)
    for path in sorted((project_root() / "tests").rglob("test_*.py")):
        for numbers, name in re.findall(r"@pytest\.mark\.fault\(([\d, ]+)\)\ndef (test_\w+)", path.read_text()):
            for number in map(int, numbers.split(",")):
                found[number].append(f"{path.relative_to(project_root() / 'tests').as_posix()}::{name}")
    return found


def faults_page():
    lines = ["# Faults and bad inputs", "Each row has tests; `pytest -m fault` runs them all.", ""]
    lines += ["| # | fault | what happens | tests |", "|---|---|---|---|"]
    tests = shown_by()
    for number, (fault, outcome) in ROWS.items():
        names = "<br>".join(f"`{name}`" for name in tests[number])
        lines.append(f"| {number} | {fault} | {outcome} | {names} |")
    return "\n\n".join(lines[:2]) + "\n".join(["", *lines[2:]]) + "\n"


def test_every_fault_has_a_test_and_every_marker_a_fault():
    assert set(shown_by()) == set(ROWS)


def test_the_page_of_faults_is_current():
    page = project_root() / "docs" / "faults.md"
    assert page.read_text() == faults_page(), "write faults_page() of this test to docs/faults.md"


@pytest.mark.fault(27)
def test_a_mixture_of_package_versions_is_told(capsys):
    spec = small.resolved()
    runs = [RunResult(spec, "done", provenance={"packages": {"torch": version}}) for version in ("2.13.0", "2.14.0")]
    assert origins(runs)["mixed"] is True
    assert "2 different sets of package versions" in capsys.readouterr().out
    assert origins(runs[:1])["mixed"] is False and not capsys.readouterr().out


@pytest.mark.fault(28)
def test_folders_elsewhere_with_any_name_work(tmp_path, monkeypatch):
    folder = tmp_path / "my results ü 結果"
    monkeypatch.chdir(tmp_path)
    store = Store(folder / "store")
    specs = [small.spec(n_train=8, seed=seed) for seed in (0, 1)]
    assert [r.status for r in run_all(specs, store, engine="process", workers=2, progress=False)] == ["done", "done"]
    report = Report("a_study", "smoke", folder)
    report.finish()
    assert {path.name for path in tmp_path.iterdir()} == {folder.name}
    assert report.folder.is_relative_to(folder) and len(list((folder / "store/runs").iterdir())) == 2


PROGRAM = """
import signal
import small
signal.signal(signal.SIGINT, signal.default_int_handler)  # one started in the background would ignore it
from itlib.engines import run_all
from itlib.store import Store
specs = [small.spec(n_train=16, seed=seed, budget=40) for seed in range(6)]
try:
    run_all(specs, Store("STORE"), engine="process", workers=2)
except KeyboardInterrupt:
    raise SystemExit(130)
"""


@pytest.mark.fault(32)
def test_an_interrupt_keeps_what_is_finished_and_goes_on_from_it(tmp_path):
    """As JupyterLab's stop button does: SIGINT to the process that called ``run_all``."""
    root = tmp_path / "store"
    environment = {**os.environ, "PYTHONPATH": str(project_root() / "tests"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM.replace("STORE", str(root))]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, start_new_session=True)

    def stored():
        return {path.parent.name: path.stat().st_mtime_ns for path in root.glob("runs/*/manifest.json")}

    deadline = time.monotonic() + 120
    while not stored() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    first = stored()
    assert first
    group = ["ps", "-o", "pid=", "-g", str(process.pid)]
    deadline = time.monotonic() + 20
    while (
        left := subprocess.run(group, capture_output=True, text=True).stdout.split()
    ) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not left, "a worker is still there"
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 0
    again = stored()
    assert len(again) == 6 and first.items() <= again.items()
    assert json.dumps(sorted(again)) == json.dumps(sorted(stored()))
