"""Engines never change a number, lose a run, or compute one twice."""

import json
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool

import pytest
import small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import itlib.engines.serial
from itlib.engines import ENGINES, plan, run_all, spread
from itlib.errors import InputError, RunError
from itlib.execute import execute
from itlib.spec import digest, with_fields
from itlib.store import Store

SPECS = [
    small.spec(n_train=n, seed=seed, method=method, learning_rate=rate)
    for n, seed in ((8, 0), (16, 1))
    for method, rate in (("full", 1e-3), ("lora", 5e-3))
]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Results of the serial engine in a fresh store, in the order of SPECS."""
    return [small.scores(r) for r in run_all(SPECS, Store(tmp_path_factory.mktemp("s")), engine="serial")]


def test_worker_processes_give_the_same_bits_in_the_order_asked(reference, tmp_path):
    store = Store(tmp_path)
    results = run_all(list(reversed(SPECS)), store, engine="process", workers=2)
    assert [small.scores(r) for r in reversed(results)] == reference
    assert [small.scores(store.get(r.spec)) for r in reversed(results)] == reference


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(order=st.permutations(range(len(SPECS))), warm=st.integers(0, len(SPECS)))
def test_order_and_a_warm_store_change_no_bit(reference, tmp_path_factory, order, warm):
    store = Store(tmp_path_factory.mktemp("store"))
    run_all([SPECS[i] for i in order[:warm]], store, engine="serial", progress=False)
    results = run_all([SPECS[i] for i in order], store, engine="serial", progress=False)
    assert [small.scores(r) for r in results] == [reference[i] for i in order]


def test_what_is_stored_is_not_computed_again(tmp_path, monkeypatch, capsys):
    store = Store(tmp_path)
    first = run_all(SPECS[:2], store, engine="serial")
    monkeypatch.setattr("itlib.execute.execute", lambda *a: pytest.fail("computed again"))
    assert run_all([SPECS[1], SPECS[0], SPECS[1]], store, engine="serial") == [first[1], first[0], first[1]]
    assert str(plan(SPECS, store)) == "4 runs: 2 stored, 2 to compute"


def test_a_failed_run_is_a_result_and_waits_for_retry(tmp_path, monkeypatch):
    store = Store(tmp_path)
    bad = small.spec(max_length=4)  # visible only once the rows are encoded
    good, failed = run_all([SPECS[0], bad], store, engine="serial")
    assert (good.status, failed.status) == ("done", "failed") and "max_length" in failed.error
    assert plan([bad], store).failed == 1
    calls = []
    monkeypatch.setattr("itlib.execute.execute", lambda spec, store: calls.append(spec) or execute(spec))
    assert run_all([bad], store, engine="serial")[0].status == "failed" and not calls
    assert run_all([bad], store, engine="serial", retry_failed=True)[0].status == "failed" and len(calls) == 1


def test_nothing_starts_when_one_spec_cannot_run(tmp_path, monkeypatch):
    monkeypatch.setattr(itlib.engines.serial, "run_one", lambda *a, **k: pytest.fail("started"))
    with pytest.raises(InputError, match="pool"):
        run_all([SPECS[0], small.spec(n_train=61)], Store(tmp_path), engine="serial")
    with pytest.raises(InputError, match="did you mean 'serial'"):
        run_all(SPECS, Store(tmp_path), engine="seriel")


@pytest.mark.fault(24)
def test_a_killed_worker_costs_no_run(tmp_path, reference):
    """One worker is killed in the middle of a run: the pool is built anew and every result is right."""
    store = Store(tmp_path)
    long = [with_fields(spec, budget=400) for spec in SPECS[:2]]
    killed = []

    def kill_one():
        while not killed:
            time.sleep(0.2)
            children = multiprocessing.active_children()
            # A lock file says that a worker is inside a run.
            if children and list((store.root / "locks").glob("*")):
                time.sleep(0.5)
                os.kill(children[0].pid, signal.SIGKILL)
                killed.append(children[0].pid)

    killer = threading.Thread(target=kill_one)
    killer.start()
    results = run_all([*long, *SPECS[2:]], store, engine="process", workers=2)
    killer.join()
    assert killed and [r.status for r in results] == ["done"] * 4
    assert [small.scores(r) for r in results[2:]] == reference[2:]


class PoolInThisProcess:
    """A pool that runs at once; ``submissions`` says after how many of them a worker is found dead."""

    _processes = None

    def __init__(self, submissions):
        self.submissions = submissions

    def submit(self, function, *args, **kwargs):
        if self.submissions == 0:
            raise BrokenProcessPool("a worker died while it was idle")
        self.submissions -= 1
        future = Future()
        future.set_result(function(*args, **kwargs))
        return future

    def shutdown(self, **options):
        pass


@pytest.mark.parametrize(("workers", "first"), [(2, 1), (1, 1), (1, 2)])
def test_a_worker_found_dead_at_the_next_submission_costs_no_run(tmp_path, reference, monkeypatch, workers, first):
    pools = iter([PoolInThisProcess(first)])
    monkeypatch.setattr("itlib.engines.process._pool", lambda workers, gpus=(): next(pools, PoolInThisProcess(99)))
    results = run_all(SPECS, Store(tmp_path), engine="process", workers=workers)
    assert [small.scores(r) for r in results] == reference


SWEEP = """
import sys
from itlib.engines import run_all
from itlib.store import Store
sys.path.insert(0, {tests!r})
import small
if __name__ == "__main__":
    run_all([small.spec(seed=s, budget=60) for s in range(8)], Store({store!r}), engine="process", workers=2)
"""


@pytest.mark.fault(18)
def test_a_killed_driver_leaves_no_worker_and_the_next_start_continues(tmp_path):
    script = tmp_path / "sweep.py"
    script.write_text(SWEEP.format(tests=os.path.dirname(small.__file__), store=str(tmp_path / "store")))
    store = Store(tmp_path / "store")
    driver = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list((store.root / "runs").glob("*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    specs = [small.resolved(seed=s, budget=60) for s in range(8)]
    before = {digest(s): (store.folder(s) / "manifest.json").stat().st_mtime_ns for s in specs if store.has(s)}
    assert 2 <= len(before) < 8
    deadline = time.monotonic() + 20
    while _running(str(script)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _running(str(script))
    results = run_all(specs, store, engine="serial")
    assert [r.status for r in results] == ["done"] * 8
    for spec in specs:
        if digest(spec) in before:
            assert (store.folder(spec) / "manifest.json").stat().st_mtime_ns == before[digest(spec)]


def _running(marker):
    """Worker processes of the driver that still live, found through the start-up data they were spawned with."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
            text = open(f"/proc/{pid}/cmdline").read()
            environment_cwd = os.readlink(f"/proc/{pid}/cwd")
        except (OSError, ValueError):
            continue
        if "spawn_main" in text and parent == 1 and environment_cwd == os.getcwd():
            found.append(pid)
    return found


@pytest.mark.fault(33)
def test_progress_is_short_where_there_is_no_terminal(tmp_path, capsys):
    run_all(SPECS[:2], Store(tmp_path), engine="serial")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "2 runs to compute" and len(lines) == 2 and lines[1].startswith("2/2 runs")
    assert not any("\r" in line for line in lines)


def test_results_are_plain_json_and_csv(tmp_path):
    store = Store(tmp_path)
    (result,) = run_all(SPECS[:1], store, engine="serial")
    record = json.loads((store.folder(result.spec) / "provenance.json").read_text())
    assert {"commit", "packages", "wall_seconds"} <= set(record)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_measured_beside_runs_comes_back_in_order(engine):
    assert spread(math.pow, [(2, n) for n in range(5)], engine=engine, workers=2) == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_error_beside_runs_is_raised(engine):
    with pytest.raises(ValueError, match="math domain"):
        spread(math.sqrt, [(1,), (-1,)], engine=engine, workers=2)


def test_a_worker_that_dies_beside_runs_gives_one_line():
    with pytest.raises(RunError, match="^a worker process died[^\n]*$"):
        spread(os._exit, [(1,), (1,)], engine="process", workers=1)


def test_nothing_to_measure_is_no_reason_to_start_workers():
    assert spread(math.sqrt, [], engine="process") == []
    with pytest.raises(InputError, match="engine: 'proces' is not one of"):
        spread(math.sqrt, [], engine="proces")


def visible(name):
    return os.environ.get(name)


def test_workers_see_one_gpu_each():
    """Devices are names in the environment, so that no GPU is needed to see who gets which."""
    from itlib.engines import process

    pool = process._pool(2, ("3", "5"))
    try:
        found = {pool.submit(visible, "CUDA_VISIBLE_DEVICES").result() for _ in range(40)}
        workers = len(pool._processes)
    finally:
        process._stop(pool)
    assert found <= {"3", "5"} and len(found) == min(2, workers)


def test_runs_on_gpus_get_a_worker_per_gpu(monkeypatch):
    from itlib.engines import process

    on_gpu = [with_fields(SPECS[0], device="cuda")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,4,7")
    assert process._gpus(on_gpu) == ("1", "4", "7") and process.default_workers(on_gpu) == 3
    assert process._gpus(SPECS) == () and process.default_workers(SPECS) == process.available_cores()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert process._gpus(on_gpu) == ()


def test_the_length_of_a_run_counts_examples_whatever_its_budget_is_in():
    """A length in tokens is one of about as many examples as it holds, so that the time left is about right."""
    from itlib.engines.progress import expected_cost

    steps = small.resolved(n_train=16, budget=10, batch_size=8, budget_unit="steps")
    epochs = small.resolved(n_train=16, budget=5, batch_size=8, budget_unit="epochs")
    tokens = small.resolved(n_train=16, budget=1200, batch_size=8, budget_unit="tokens")
    assert expected_cost(steps) == expected_cost(epochs) == expected_cost(tokens) == 81
    assert expected_cost(small.resolved(n_train=0)) == 1
