"""What a grid will take: by hand from invented times, and near what it took from a real probe."""

import dataclasses
import json
import time

import pytest
import small

from itlib import estimate
from itlib.cli import main
from itlib.engines import run_all
from itlib.errors import InputError
from itlib.resolve import resolve
from itlib.result import RunResult
from itlib.store import Store
from itlib.studies import tour
from itlib.studies.tour import TourParams
from itlib.workspace import project_root


def finished(spec, seconds, memory=0):
    totals = {"n_tokens": 1000, "n_parameters": 10, "n_trainable_parameters": 10}
    provenance = {"wall_seconds": seconds, "peak_memory": memory}
    return RunResult(resolve(spec), "done", totals=totals, provenance=provenance)


def specs(n, **fields):
    return [resolve(small.spec(n_train=8, seed=seed, **fields)) for seed in range(n)]


def test_kinds_differ_in_more_than_seed_and_rate(tmp_path):
    store = Store(tmp_path)
    every = [*specs(3), *specs(2, learning_rate=9e-3), *specs(2, method="lora"), *specs(1, budget=9)]
    assert [len(kind.missing) for kind in estimate.kinds_of(every, store).values()] == [5, 2, 1]
    assert len(estimate.probe(every, store)) == 3
    store.put(finished(every[0], 2.0))
    assert [spec.tuning.method for spec in estimate.probe(every, store)] == ["lora", "full"]


def test_an_estimate_by_hand(tmp_path):
    """Two kinds are measured, 2 and 5 seconds a run; a third sees twice the examples of the first."""
    store = Store(tmp_path)
    short, adapters, long = specs(5, budget=2), specs(3, budget=2, method="lora"), specs(2, budget=4)
    store.put(finished(short[0], 2.0, 10))
    store.put(finished(adapters[0], 5.0, 30))
    found = estimate.estimate([*short, *adapters, *long], store)
    cost = [estimate.expected_cost(spec) for spec in (short[0], long[0])]
    per_example = (2.0 / cost[0] + 5.0 / cost[0]) / 2
    assert found.seconds == pytest.approx(4 * 2.0 + 2 * 5.0 + 2 * per_example * cost[1])
    assert (found.runs, found.kinds, found.measured, found.tokens) == (8, 3, 2, 6000)
    assert found.flops == 6 * 6 * 10 * 1000 and found.peak_memory == 30 and found.disk > 0
    assert "2 of 3 kinds measured" in found.text(2) and "with 2 workers" in found.text(2)
    assert estimate.estimate(short[:1], store).text(1) == "nothing to compute"
    assert "--probe computes one of each" in estimate.estimate(specs(2, budget=7), store).text(1)


def test_what_cannot_fit_is_refused(monkeypatch):
    base = specs(1)[0]
    n = 12 * estimate._parameters(base)
    monkeypatch.setattr(estimate, "total_memory", lambda: 1.5 * n)
    with pytest.raises(InputError, match="with 2 workers need at least .* this machine has .* fewer workers"):
        estimate.check_memory([base], 2)
    estimate.check_memory([dataclasses.replace(base, data=dataclasses.replace(base.data, n_train=0))], 2)


@pytest.mark.slow
def test_a_probe_tells_the_time_of_a_study(tmp_path, capsys):
    """Within a quarter, on a machine that does nothing else; here within a factor of two, so that it can be shared."""
    params = ["params/smoke/00_tour.yaml", "-p", "seeds", str(list(range(8))), "-p", "budget", "60",
              "-p", "results", str(tmp_path), "-p", "engine", "serial", "-p", "workers", "1"]  # fmt: skip
    assert main(["plan", *params, "--probe", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)[0]["estimate"]
    assert told["runs"] == 14 and told["measured"] == told["kinds"] == 2
    p = dataclasses.replace(TourParams(), seeds=tuple(range(8)), budget=60, results=str(tmp_path))
    start = time.perf_counter()
    run_all(tour.runs(p), Store(tmp_path / "store"), engine="serial", progress=False)
    assert 0.5 < told["wall_seconds"] / (time.perf_counter() - start) < 2


SMOKE = sorted((project_root() / "params" / "smoke").glob("[0-9]*.yaml"))


@pytest.mark.parametrize("path", SMOKE, ids=[path.stem for path in SMOKE])
def test_every_study_can_be_estimated_before_any_run(path, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ITLIB_RESULTS", str(tmp_path))
    assert main(["plan", str(path), "--estimate", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["estimate"]["runs"] >= row["runs"] and row["estimate"]["measured"] == 0


@pytest.mark.parametrize(
    ("study", "n_dev", "n_test"),
    [("02_data_selection", 32, 234), ("03_robustness", 16, 72), ("03f_prompting", 16, 128)],
)
def test_runs_that_wait_for_a_choice_are_counted(study, n_dev, n_test, tmp_path, monkeypatch, capsys):
    """What the heads of the params files say, dev runs and test runs."""
    monkeypatch.setenv("ITLIB_RESULTS", str(tmp_path))
    path = project_root() / "params" / "cpu" / f"{study}.yaml"
    assert f"{n_dev} dev runs" in path.read_text() and f"{n_test} test runs" in path.read_text()
    assert main(["plan", str(path), "--estimate", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["runs"], row["estimate"]["runs"]) == (n_dev, n_dev + n_test)
