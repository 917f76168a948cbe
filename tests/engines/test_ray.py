"""Ray decides where runs happen, and a node that dies costs time alone."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
import small

from itlib.engines import run_all
from itlib.errors import InputError
from itlib.frame import run_frame
from itlib.resolve import resolve
from itlib.store import Store

SPECS = [small.spec(n_train=8, seed=seed, learning_rate=rate) for seed in (0, 1) for rate in (1e-3, 5e-3)]


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    return [small.scores(r) for r in run_all(SPECS, Store(tmp_path_factory.mktemp("s")), engine="serial")]


@pytest.fixture
def ray(monkeypatch):
    """Ray, its temporary files in a short path, and nothing left running."""
    found = pytest.importorskip("ray", reason="Ray is not installed (extra: ray)")
    monkeypatch.setenv("RAY_DISABLE_IMPORT_WARNING", "1")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    yield found
    found.shutdown()


def test_without_ray_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        InputError, match=r"engine: ray is not installed; install the extra: pip install 'itlib\[ray\]'"
    ):
        run_all(SPECS[:1], Store(tmp_path), engine="ray", progress=False)


def stored(root):
    return {path: path.stat().st_mtime_ns for path in (root / "runs").rglob("manifest.json")}


def test_tasks_give_the_same_bits_in_the_order_asked(ray, reference, tmp_path):
    run_all(SPECS[:1], Store(tmp_path), engine="serial", progress=False)
    before = stored(tmp_path)
    results = run_all(SPECS, Store(tmp_path), engine="ray", workers=2, progress=False)
    assert [small.scores(r) for r in results] == reference
    assert not ray.is_initialized(), "what it started it stops"
    after = stored(tmp_path)
    assert len(after) == len(SPECS) and before.items() <= after.items()


def test_a_worker_that_dies_every_time_is_a_failed_row(ray, tmp_path, monkeypatch):
    from itlib.engines.ray import _result

    def dead(task):
        raise ray.exceptions.WorkerCrashedError

    monkeypatch.setattr(ray, "get", dead)
    spec, store = resolve(SPECS[0]), Store(tmp_path)
    result = _result(ray, None, spec, store)
    assert result.status == "failed" and "died 4 times" in result.error
    assert store.get_failure(spec).error == result.error
    run_all(SPECS[:1], store, engine="serial", retry_failed=True, progress=False)
    assert _result(ray, None, spec, store).status == "done", "it was stored before its worker died"


def test_an_address_without_a_cluster_is_refused_in_one_line(ray, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InputError, match="RAY_ADDRESS: no Ray cluster answers at '127.0.0.1:1'") as found:
        run_all(SPECS[:1], Store(tmp_path), engine="ray", progress=False)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_address_is_tried_before_ray_is(address):
    from itlib.engines.ray import _knock

    with pytest.raises(OSError):
        _knock(address)
    _knock("auto")


@pytest.mark.slow
def test_a_node_that_dies_in_mid_grid_loses_and_repeats_no_stored_run(ray, tmp_path):
    from ray.cluster_utils import Cluster

    specs = [small.spec(n_train=16, seed=seed, budget=20) for seed in range(10)]
    expected = [small.scores(r) for r in run_all(specs, Store(tmp_path / "serial"), engine="serial", progress=False)]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    root, seen = tmp_path / "ray", {}
    try:
        from itlib.engines.ray import run_on_ray

        results = {}
        for number, result in enumerate(run_on_ray([resolve(s) for s in specs], Store(root), 0, False)):
            results[result.spec.seed] = result
            if number == 2:
                time.sleep(0.2)
                seen = stored(root)
                cluster.remove_node(other)
        assert [small.scores(results[seed]) for seed in range(10)] == expected
        assert seen.items() <= stored(root).items() and len(stored(root)) == len(specs)
    finally:
        ray.shutdown()
        cluster.shutdown()


@pytest.mark.slow
def test_one_run_over_two_nodes_gives_the_numbers_of_one_process(ray, tmp_path, monkeypatch):
    """The run is a task; its two processes are in a placement group, one on each node."""
    from ray.cluster_utils import Cluster

    several = small.spec(trainer="transformers", n_train=32, parallel="ddp", processes=2, nodes=2)
    (one,) = run_all([small.spec(trainer="transformers", n_train=32)], Store(tmp_path), engine="serial", progress=False)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    try:
        (result,) = run_all([several], Store(tmp_path), engine="ray", progress=False)
        assert result.status == "done", result.error
        for mine, theirs in zip(one.curve, result.curve, strict=True):
            assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-5)
    finally:
        ray.shutdown()
        cluster.shutdown()


GRID = [small.spec(n_train=16, seed=seed, budget=40) for seed in range(8)]
DRIVER = """
import sys
sys.path.insert(0, {tests!r})
import small
from itlib.engines import run_all
from itlib.store import Store
from pathlib import Path
specs = [small.spec(n_train=16, seed=seed, budget=40) for seed in range(8)]
run_all(specs, Store(Path({store!r})), engine="ray", progress=False)
"""


@pytest.fixture
def two_nodes(ray, monkeypatch):
    """A cluster of two nodes with a core each, found through the environment as a user's is."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def table(specs, store):
    """The frame of a grid as bytes, everything read from the store."""
    results = run_all(specs, store, engine="stored", progress=False)
    assert {result.status for result in results} == {"done"}
    return run_frame(results).to_csv(index=False).encode()


def serial_table(tmp_path):
    store = Store(tmp_path / "serial")
    run_all(GRID, store, engine="serial", progress=False)
    return table(GRID, store)


def driver(tmp_path, root):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(tests=os.path.dirname(small.__file__), store=str(root)))
    return subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def wait_for(root, n, process):
    deadline = time.monotonic() + 240
    while len(stored(root)) < n:
        assert process.poll() is None and time.monotonic() < deadline, "the driver ended early"
        time.sleep(0.05)


def workers_at_work():
    """Processes of Ray that execute a run."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if "ray::run_one" in open(f"/proc/{pid}/cmdline").read().replace("\0", " "):
                found.append(int(pid))
    return found


@pytest.mark.slow
def test_a_worker_that_is_killed_in_mid_grid_costs_no_run(two_nodes, tmp_path):
    root = tmp_path / "ray"
    process = driver(tmp_path, root)
    wait_for(root, 2, process)
    while not (victims := workers_at_work()):
        assert process.poll() is None, "the grid was over before a worker was found"
        time.sleep(0.01)
    seen = stored(root)
    os.kill(victims[0], signal.SIGKILL)
    assert process.wait(timeout=300) == 0
    assert seen.items() <= stored(root).items() and len(stored(root)) == len(GRID)
    assert table(GRID, Store(root)) == serial_table(tmp_path)


@pytest.mark.slow
def test_a_driver_that_is_killed_is_started_again_and_goes_on(two_nodes, tmp_path):
    root = tmp_path / "ray"
    process = driver(tmp_path, root)
    wait_for(root, 2, process)
    process.kill()
    process.wait()
    seen = stored(root)
    assert 2 <= len(seen) < len(GRID)
    assert driver(tmp_path, root).wait(timeout=300) == 0
    assert seen.items() <= stored(root).items() and len(stored(root)) == len(GRID)
    assert table(GRID, Store(root)) == serial_table(tmp_path)


@pytest.mark.slow
def test_two_drivers_on_one_grid_leave_one_result_a_run(two_nodes, tmp_path):
    """Both may compute a run; the first complete write stays, and nothing is left half written."""
    root = tmp_path / "ray"
    both = [driver(tmp_path, root), driver(tmp_path, root)]
    wait_for(root, 2, both[0])
    seen = stored(root)
    assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert seen.items() <= stored(root).items() and len(stored(root)) == len(GRID)
    assert not list((root / "partial").iterdir()), "something was left half written"
    assert table(GRID, Store(root)) == serial_table(tmp_path)
