"""Runs in the jobs of an array. The jobs here are processes of this machine; Slurm itself is not."""

import sys

import pytest
import small

from itlib.engines import run_all, slurm
from itlib.engines.progress import expected_cost
from itlib.errors import InputError
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.store import Store

SPECS = [small.spec(n_train=8, seed=seed, learning_rate=rate) for seed in (0, 1) for rate in (1e-3, 5e-3)]


@pytest.fixture
def local(monkeypatch):
    """Jobs as processes of this machine."""
    pytest.importorskip("submitit", reason="submitit is not installed (extra: slurm)")
    monkeypatch.setenv("ITLIB_SUBMITIT", "local")
    monkeypatch.setattr(slurm, "POLL", 0.2)


def test_shares_hold_every_run_once_and_cost_about_the_same():
    specs = [resolve(small.spec(n_train=8, budget=budget)) for budget in (1, 2, 3, 4, 5, 6, 30)]
    shares = slurm.shared(specs, 3)
    assert sorted(s.train.budget for share in shares for s in share) == [1, 2, 3, 4, 5, 6, 30]
    assert [share[0].train.budget for share in shares][0] == 30
    costs = [sum(map(expected_cost, share)) for share in shares]
    assert max(costs[1:]) - min(costs[1:]) <= max(map(expected_cost, specs[:2]))


def test_without_submitit_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(InputError, match=r"engine: slurm needs submitit; .*pip install 'itlib\[slurm\]'"):
        run_all(SPECS[:1], Store(tmp_path), engine="slurm", progress=False)


def test_a_machine_that_submits_nothing_is_refused_in_one_line(tmp_path, monkeypatch):
    pytest.importorskip("submitit", reason="submitit is not installed (extra: slurm)")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="engine: slurm finds no sbatch on this machine"):
        run_all(SPECS[:1], Store(tmp_path), engine="slurm", progress=False)


def test_jobs_give_the_same_bits_in_the_order_asked(local, tmp_path):
    expected = [small.scores(r) for r in run_all(SPECS, Store(tmp_path / "a"), engine="serial", progress=False)]
    store = Store(tmp_path / "b")
    run_all(SPECS[:1], store, engine="serial", progress=False)
    before = {p: p.stat().st_mtime_ns for p in (store.root / "runs").rglob("manifest.json")}
    results = run_all(SPECS, store, engine="slurm", workers=2, progress=False)
    assert [small.scores(r) for r in results] == expected
    after = {p: p.stat().st_mtime_ns for p in (store.root / "runs").rglob("manifest.json")}
    assert len(after) == len(SPECS) and before.items() <= after.items()


def test_an_interrupted_job_queues_what_is_left(tmp_path):
    submitit = pytest.importorskip("submitit", reason="submitit is not installed (extra: slurm)")
    specs, store = [resolve(spec) for spec in SPECS[:2]], Store(tmp_path)
    again = slurm.Share().checkpoint(specs, store, False)
    assert isinstance(again, submitit.helpers.DelayedSubmission)
    assert again.args == (specs, store, False) and isinstance(again.function, slurm.Share)


class Job:
    """A job as submitit shows it, that ended after some of its runs."""

    job_id, state = "7_0", "TIMEOUT"

    def done(self):
        return True


def test_runs_that_a_job_left_behind_are_failed_rows(tmp_path):
    store, specs = Store(tmp_path), [resolve(spec) for spec in SPECS[:2]]
    run_all(SPECS[:1], store, engine="serial", progress=False)
    found = list(slurm._followed(Job(), specs, store, dict.fromkeys(specs)))
    assert [r.status for r in found] == ["done", "failed"]
    assert "its job 7_0 ended as TIMEOUT" in found[1].error and store.get_failure(specs[1]) is not None


def test_a_failure_of_an_earlier_batch_is_not_the_answer_of_this_one(tmp_path):
    store, spec = Store(tmp_path), resolve(SPECS[0])
    store.put_failure(RunResult(spec, "failed", error="of yesterday"))
    before = {spec: store.get_failure(spec)}

    class Running(Job):
        looks = 0

        def done(self):
            Running.looks += 1
            if Running.looks == 2:
                run_all([SPECS[0]], store, engine="serial", retry_failed=True, progress=False)
            return Running.looks > 2

    slurm_poll, slurm.POLL = slurm.POLL, 0.01
    try:
        (result,) = slurm._followed(Running(), [spec], store, before)
    finally:
        slurm.POLL = slurm_poll
    assert result.status == "done"
