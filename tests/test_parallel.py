"""One run over several processes: the same numbers to rounding, nothing left running, and refusals in one line."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import small
from safetensors.torch import load_file

from itlib.errors import InputError, RunError
from itlib.execute import execute, run_one
from itlib.parallel import Part, command, train_apart
from itlib.resolve import resolve
from itlib.spec import digest
from itlib.store import Store

QUICK = {"trainer": "transformers", "budget": 4, "n_train": 32, "keep_weights": True}


def spec(parallel="ddp", **fields):
    several = {} if parallel == "one" else {"processes": 2}
    return small.resolved(parallel=parallel, **(QUICK | several | fields))


# ---- what is refused, and what is started -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"parallel": "dpp", "processes": 2}, "parallel: .*did you mean 'ddp'"),
        ({"processes": 2}, "processes: several need parallel: ddp, or fsdp"),
        ({"nodes": 2}, "nodes: several need parallel"),
        ({"parallel": "ddp"}, "processes: parallel 'ddp' needs at least 2, got 1"),
        ({"parallel": "ddp", "processes": 3}, "processes: 3 do not divide batch_size 8"),
        ({"parallel": "ddp", "processes": 2, "nodes": 4}, "nodes: 4 do not divide 2 processes"),
        ({"parallel": "ddp", "processes": 2, "trainer": "loop"}, "parallel: our own loop is one process"),
        ({"parallel": "ddp", "processes": 2, "n_probes": 2}, "parallel: a run that is measured on the way"),
        ({"parallel": "fsdp", "processes": 2, "rounds": "persistent"}, "parallel: training in rounds is one process"),
    ],
)
def test_what_cannot_be_is_refused(fields, told):
    with pytest.raises(InputError, match=told) as found:
        resolve(small.spec(**fields))
    assert "\n" not in str(found.value)


def test_one_process_is_what_runs_were_before():
    plain = small.resolved()
    assert plain.train.trainer == "loop" and digest(small.resolved(parallel="one", processes=1)) == digest(plain)
    assert spec().train.trainer == "transformers" and digest(spec()) != digest(spec("one"))
    assert digest(spec(nodes=2)) == digest(spec()), "where processes are moves no number"
    assert spec("fsdp", method="lora") == spec("ddp", method="lora") != spec("fsdp")
    untuned = small.resolved(n_train=0, parallel="ddp", processes=2)
    assert digest(untuned) == digest(small.resolved(n_train=0))


def test_a_node_starts_its_share(tmp_path):
    words = command(spec("fsdp", processes=4, nodes=2), Part(1, 2, "10.0.0.7", 1234), tmp_path)
    assert words[1:3] == ["-m", "accelerate.commands.launch"] and words[-3:] == ["-m", "itlib.parallel", str(tmp_path)]
    expected = {"--num_processes=4", "--num_machines=2", "--machine_rank=1", "--main_process_ip=10.0.0.7"}
    assert expected | {"--main_process_port=1234", "--use_fsdp", "--fsdp_version=2"} <= set(words)
    assert "--use_fsdp" not in command(spec(), Part(), tmp_path)


def test_nodes_that_nothing_reaches_are_told(tmp_path, monkeypatch):
    monkeypatch.delenv("SLURM_JOB_NUM_NODES", raising=False)
    with pytest.raises(InputError, match="nodes: 2 nodes need a Slurm allocation of as many, or engine: ray"):
        train_apart(spec(nodes=2), Store(tmp_path))
    with pytest.raises(InputError, match="parallel: a run over several processes hands its weights over in a store"):
        execute(spec())


@pytest.mark.slow
def test_slurm_starts_one_launcher_per_node(tmp_path, monkeypatch):
    """A srun that stands for two nodes: it calls what it is given once per node, with the rank in the environment."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "scontrol").write_text("#!/bin/sh\necho 127.0.0.1\necho other\n")
    (folder / "srun").write_text(
        '#!/bin/sh\nwhile [ $# -gt 0 ] && [ "$1" != "$ITLIB_PYTHON" ]; do shift; done\n'
        'SLURM_NODEID=1 "$@" & SLURM_NODEID=0 "$@"; code=$?; wait $!; exit $code\n'
    )
    for path in folder.iterdir():
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for name, value in {"NUM_NODES": "2", "NODELIST": "n[1-2]", "ID": str(os.getpid())}.items():
        monkeypatch.setenv(f"SLURM_JOB_{name}", value)
    monkeypatch.setenv("ITLIB_PYTHON", sys.executable)
    outcome = train_apart(spec(nodes=2), Store(tmp_path / "store"))
    assert not outcome["diverged"] and outcome["totals"]["n_steps"] == 4


# ---- numbers ------------------------------------------------------------------------------------------------------


def weights(run, store):
    return load_file(store.weights(run) / "model.safetensors")


def check_equal_to_one_process(run, alone, tmp_path):
    store = Store(tmp_path)
    one, several = run_one(alone, store), run_one(run, store)
    assert (one.status, several.status) == ("done", "done"), several.error
    for mine, theirs in zip(one.curve, several.curve, strict=True):
        assert mine["step"] == theirs["step"]
        assert theirs["loss"] == pytest.approx(mine["loss"], rel=1e-5)
        assert theirs["gradient_norm"] == pytest.approx(mine["gradient_norm"], rel=1e-4)
    cut = ("n_padded_tokens",)  # device batches are smaller
    assert {k: v for k, v in one.totals.items() if k not in cut} == {
        k: v for k, v in several.totals.items() if k not in cut
    }
    left, right = weights(alone, store), weights(run, store)
    assert left.keys() == right.keys()
    apart = np.concatenate([(left[name] - right[name]).abs().flatten().numpy() for name in left])
    # Adam makes a full step of a gradient that is all rounding, as those of a few entries are.
    assert np.quantile(apart, 0.99) < 1e-5 and apart.max() < run.train.learning_rate
    assert np.allclose([item[-1] or 0 for item in one.items], [item[-1] or 0 for item in several.items], atol=1e-2)
    assert not list((tmp_path / "partial").iterdir()) and not list((tmp_path / "checkpoints").glob("*"))


def test_two_processes_give_the_numbers_of_one(tmp_path):
    check_equal_to_one_process(spec(), spec("one"), tmp_path)


AS_IF_GPUS = textwrap.dedent("""
    # accelerate shards models on accelerators alone; here processors pass for them, so that sharding can be tested.
    import accelerate.state as state
    from accelerate.utils import DistributedType

    begin = state.AcceleratorState.__init__

    def initialise(self, *arguments, **named):
        state.PartialState(cpu=True)
        state.PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        begin(self, *arguments, **named)

    state.AcceleratorState.__init__ = initialise
""")


@pytest.mark.slow
def test_shards_give_the_numbers_of_one_process(tmp_path, monkeypatch):
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(
        f"import os\nif 'RANK' in os.environ:\n{textwrap.indent(AS_IF_GPUS, '    ')}"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hook"))
    check_equal_to_one_process(spec("fsdp"), spec("one"), tmp_path / "store")


# ---- ends that are not the usual one ------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_divergence_is_told_and_leaves_no_weights(tmp_path):
    run, store = spec(learning_rate=1e30), Store(tmp_path)
    result = run_one(run, store)
    assert result.status == "diverged" and store.weights(run) is None


def test_the_error_of_a_process_is_the_error_of_the_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "sitecustomize.py").write_text(
        "import os\nif 'RANK' in os.environ:\n"
        "    import itlib.tune\n"
        "    def load_base(spec): raise MemoryError('no room for a model')\n"
        "    itlib.tune.load_base = load_base\n"
    )
    with pytest.raises(RunError, match="^MemoryError: no room for a model$"):
        train_apart(spec(), Store(tmp_path / "store"))
    assert not list((tmp_path / "store" / "partial").iterdir())


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="reads the processes of Linux")
def test_nothing_trains_on_for_a_driver_that_was_killed(tmp_path):
    job = json.dumps(str(tmp_path))
    code = (
        "import small; from itlib.execute import run_one; from itlib.store import Store;"
        "run_one(small.resolved(parallel='ddp', processes=2, budget=100000, n_train=32), Store(" + job + "))"
    )
    environment = os.environ | {"PYTHONPATH": os.path.dirname(__file__)}
    driver = subprocess.Popen([sys.executable, "-c", code], env=environment)

    def at_work():
        found = []
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                words = open(f"/proc/{name}/cmdline", "rb").read().split(b"\0")
            except OSError:
                continue
            if b"itlib.parallel" in b" ".join(words) and str(tmp_path).encode() in b" ".join(words):
                found.append(int(name))
        return found

    try:
        wait_for(lambda: len(at_work()) >= 3)  # a launcher and two processes
        time.sleep(1)
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    wait_for(lambda: not at_work())


def wait_for(condition, seconds=90):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.2)


def test_several_processes_never_share_a_worker_pool(tmp_path, monkeypatch):
    """The process engine runs them by themselves, one after another, in the driver."""
    from itlib.engines import process

    called = []
    monkeypatch.setattr(process, "run_one", lambda run, *_, **__: called.append(run) or run)
    monkeypatch.setattr(process, "_pool", lambda *_: pytest.fail("a pool was made"))
    assert list(process.run_in_processes([spec()], Store(tmp_path), 2, False)) == [spec()] == called


DIES = textwrap.dedent("""
    # Once, the first process is killed right after the checkpoint of the second step is whole.
    import itlib.trainer as trainer, os, signal

    trainer.CHECKPOINT_SECONDS, write = 0.0, trainer.write_manifest

    def then_die(path):
        write(path)
        if path.name == "checkpoint-2" and not os.path.exists("{marker}"):
            open("{marker}", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.write_manifest = then_die
""")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_processes_that_were_killed_go_on_to_the_same_bits(kind, tmp_path, monkeypatch):
    marker = tmp_path / "died"
    code = DIES.format(marker=marker) + (AS_IF_GPUS if kind == "fsdp" else "")
    (tmp_path / "sitecustomize.py").write_text(f"import os\nif 'RANK' in os.environ:\n{textwrap.indent(code, '    ')}")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    run = spec(kind)
    marker.touch()
    whole = Store(tmp_path / "whole")
    expected = run_one(run, whole)
    assert expected.status == "done", expected.error
    marker.unlink()
    store = Store(tmp_path / "store")
    assert run_one(run, store).status == "failed" and marker.exists()
    assert [path.name for path in store.checkpoints(run).glob("checkpoint-2")] == ["checkpoint-2"]
    again = run_one(run, store, retry_failed=True)
    assert small.scores(again) == small.scores(expected)
    left, right = weights(run, whole), weights(run, store)
    assert all(bool((left[name] == right[name]).all()) for name in left)
    assert not store.checkpoints(run).exists()
