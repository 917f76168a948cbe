"""The adapter to the library's Trainer: a run that was killed goes on from its newest whole checkpoint, to the bit."""

import hashlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import tiny
import torch
import tuned

from itlib import trainer
from itlib.methods import method_of
from itlib.registry import methods
from itlib.spec import TrainSpec
from itlib.trainer import newest_checkpoint, rows_per_device, train_with_transformers

STEPS = 6
SPEC = TrainSpec(budget=STEPS, batch_size=4, learning_rate=1e-2, schedule="cosine", micro_batch_tokens=40)
THROUGH_TRAINER = [name for name in methods.names() if not methods.get(name).own_optimizer]


class Killed(Exception):
    """Stands for a signal that no code can catch: it leaves training at once."""


def train(model, folder=None, on_step=None):
    return train_with_transformers(
        model, tiny.rows(8), SPEC, seed=0, pad_id=0, dtype="float32", checkpoints=folder, on_step=on_step
    )


def model_of(name="full", dropout=0.0):
    tuning = tuned.spec(name, *(("level=layer",) if name == "half" else ()))
    return tuned.attached(tuning, tiny.llama(attention_dropout=dropout))


def digest(model):
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        found.update(name.encode() + value.detach().contiguous().numpy().tobytes())
    return found.hexdigest()


def interrupted(model, folder, at, monkeypatch):
    """Train until the checkpoint after ``at`` steps is whole, and no further."""
    write = trainer.write_manifest

    def once(path):
        write(path)
        if path.name == f"checkpoint-{at}":
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "write_manifest", once)
        with pytest.raises(Killed):
            train(model, folder)


@pytest.fixture(autouse=True)
def after_every_step(monkeypatch):
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 0.0)


@pytest.mark.parametrize("name", THROUGH_TRAINER)
def test_an_interrupted_run_ends_in_the_same_bits(name, tmp_path, monkeypatch):
    whole = model_of(name)
    torch.manual_seed(1)
    trace = train(whole)
    torch.manual_seed(1)
    interrupted(model_of(name), tmp_path, 3, monkeypatch)
    again = model_of(name)
    torch.manual_seed(2)  # what ran in between must not matter
    assert train(again, tmp_path) == trace
    assert digest(again) == digest(whole)
    assert method_of(tuned.spec(name)).n_trained(again) == method_of(tuned.spec(name)).n_trained(whole)


def test_random_states_go_on_where_they_were(tmp_path, monkeypatch):
    whole = model_of(dropout=0.3)
    torch.manual_seed(1)
    train(whole)
    torch.manual_seed(1)
    interrupted(model_of(dropout=0.3), tmp_path, 2, monkeypatch)
    again = model_of(dropout=0.3)
    train(again, tmp_path)
    assert digest(again) == digest(whole)


def test_a_damaged_checkpoint_is_passed_over(tmp_path, monkeypatch):
    whole = model_of()
    train(whole)
    interrupted(model_of(), tmp_path, 4, monkeypatch)
    assert newest_checkpoint(tmp_path).endswith("checkpoint-4")
    assert len(list(tmp_path.glob("checkpoint-*"))) == trainer.N_CHECKPOINTS
    weights = tmp_path / "checkpoint-4" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert newest_checkpoint(tmp_path).endswith("checkpoint-3")
    again = model_of()
    train(again, tmp_path)
    assert digest(again) == digest(whole)


def test_one_without_a_manifest_was_not_finished(tmp_path):
    (tmp_path / "checkpoint-2").mkdir()
    (tmp_path / "checkpoint-2" / "model.safetensors").write_bytes(b"half")
    assert newest_checkpoint(tmp_path) is None


def test_short_runs_and_runs_that_are_measured_keep_none(tmp_path, monkeypatch):
    train(model_of(), tmp_path / "measured", on_step=lambda model, step, of: None)
    monkeypatch.setattr(trainer, "CHECKPOINT_SECONDS", 600.0)
    train(model_of(), tmp_path / "short")
    assert not list(tmp_path.rglob("checkpoint-*"))


def test_rows_per_device_is_the_largest_divisor_that_fits():
    assert rows_per_device(12, 10, 1000) == 12 and rows_per_device(12, 10, 45) == 4 and rows_per_device(7, 10, 60) == 1


KILLED = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    sys.path[:0] = {paths}
    import test_trainer as t
    from itlib import trainer

    trainer.CHECKPOINT_SECONDS = 0.0
    folder, at = Path(sys.argv[1]), int(sys.argv[2])
    write = trainer.write_manifest

    def then_die(path):
        if path.name == f"checkpoint-{{at}}" and sys.argv[3] == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        write(path)
        if path.name == f"checkpoint-{{at}}":
            os.kill(os.getpid(), signal.SIGKILL)

    trainer.write_manifest = then_die
    model = t.model_of(dropout=0.3)
    import torch
    torch.manual_seed(1)
    t.train(model, folder)
    print(t.digest(model))
""")


@pytest.mark.slow
@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_checkpoint_the_weights_are_the_same(when, tmp_path):
    """Every boundary, each by SIGKILL in a process of its own, before and after the manifest of the checkpoint."""
    here = Path(__file__).parent

    def run(folder, at):
        code = KILLED.format(paths=[str(here)])
        return subprocess.run(
            [sys.executable, "-c", code, str(folder), str(at), when], capture_output=True, text=True, check=False
        )

    whole = run(tmp_path / "whole", -1)
    assert whole.returncode == 0, whole.stderr[-2000:]
    for at in range(1, STEPS):
        assert run(tmp_path / str(at), at).returncode == -9
        expected = at if when == "after" else at - 1
        found = newest_checkpoint(tmp_path / str(at))
        assert (found or "checkpoint-0").endswith(f"checkpoint-{expected}")
        again = run(tmp_path / str(at), -1)
        assert again.stdout == whole.stdout, (at, again.stderr[-2000:])
