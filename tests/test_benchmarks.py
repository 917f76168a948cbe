"""Every benchmark runs, small, and says what became of its targets; the sides agree where they compute scores."""

import importlib
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from itlib.template import Encoded
from itlib.workspace import project_root

SMALL = {
    "fine_tuning": ["--rows", "48"],
    "evaluation": ["--items", "2"],
    "scoring": ["--rows", "32"],
    "workers": ["--runs", "4", "--steps", "5"],
    "waiting": [],
    "status": ["--results", "20"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_benchmark_runs_and_writes_its_figures(name, tmp_path):
    file = tmp_path / "found.json"
    command = [sys.executable, f"benchmarks/{name}.py", "--repetitions", "1", "--json", str(file), *SMALL[name]]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=project_root(), env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(file.read_text())
    outcomes = [row["outcome"] for part in found for row in part.get("targets", part.get("rows", []))]
    assert outcomes and set(outcomes) <= {"met", "missed"}
    assert "| met |" in done.stdout or "| missed |" in done.stdout


@pytest.mark.slow
def test_the_cost_model_has_a_slope_for_everything_that_grows(tmp_path):
    file, figure = tmp_path / "found.json", tmp_path / "cost.png"
    command = [sys.executable, "benchmarks/cost_model.py", "--quick", "--repetitions", "1", "--json", str(file)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*command, "--figure", str(figure)], cwd=project_root(), env=environment, timeout=500)
    assert done.returncode == 0 and figure.stat().st_size
    rows = {row["grows"]: row for row in json.loads(file.read_text())}
    assert len(rows) == 6 and all(min(row["seconds"] + row["mebibytes"]) > 0 for row in rows.values())
    assert rows["steps of 32 examples"]["slope"] > 0


@pytest.mark.slow
def test_where_time_goes_adds_up(tmp_path):
    file = tmp_path / "found.json"
    params = ["params/smoke/01_data_scaling.yaml", "params/smoke/02_data_selection.yaml"]
    command = [sys.executable, "benchmarks/where_time_goes.py", *params, "--runs", "4", "--json", str(file)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    assert subprocess.run(command, cwd=project_root(), env=environment, timeout=500).returncode == 0
    scaling, selection = json.loads(file.read_text())[0]["studies"]
    for row in (scaling, selection):
        assert sum(row["shares"].values()) == pytest.approx(1)
        assert min(row["shares"][name] for name in ("forward", "backward", "evaluation", "load the base")) > 0
    assert scaling["shares"]["scores of selectors"] < 0.01 < selection["shares"]["scores of selectors"]


@pytest.mark.slow
def test_the_benchmark_of_a_gpu_runs_small_without_one(tmp_path):
    file = tmp_path / "found.json"
    command = [sys.executable, "benchmarks/gpu.py", "--tiny", "--repetitions", "1", "--json", str(file)]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-2000:]
    about, tuned, scored = json.loads(file.read_text())
    assert min(about["peak"], tuned["utilisation, full"], tuned["utilisation, lora"]) > 0
    assert scored["targets"][0]["median"] > 0


def test_operations_by_hand(monkeypatch):
    """Two weights of a body, a head of 3 by 5, one layer, a row of 4 tokens of which 2 are supervised."""
    monkeypatch.syspath_prepend(str(project_root() / "benchmarks"))
    gpu = importlib.import_module("gpu")
    config = SimpleNamespace(vocab_size=5, hidden_size=3, num_hidden_layers=1)
    model = SimpleNamespace(config=config, parameters=lambda: [torch.zeros(15), torch.zeros(2)])
    row = Encoded(0, np.arange(4), np.array([False, False, True, True]), 0)
    attention = 6 * 1 * 3 * 4**2
    assert gpu.operations(model, [row], low_rank=False) == 6 * (2 * 4 + 15 * 2) + attention
    assert gpu.operations(model, [row], low_rank=True) == 4 * (2 * 4 + 15 * 2) + attention


def test_sides_take_turns_and_a_slow_one_has_a_single_turn(monkeypatch):
    """Rates by hand: the quick side does 10 in 1, 2 and 4 seconds; the slow one 10 in 100 seconds, once."""
    monkeypatch.syspath_prepend(str(project_root() / "benchmarks"))
    sides = importlib.import_module("sides")
    turns, seconds = [], iter([1.0, 1.0, 2.0, 4.0])

    def quick():
        turns.append("quick")
        return 10, next(seconds)

    def slow():
        turns.append("slow")
        return 10, 100.0

    rates = sides.alternate([sides.Side("quick", quick), sides.Side("slow", slow)], 3)
    assert rates == {"quick": [10.0, 5.0, 2.5], "slow": [0.1]}
    assert turns == ["quick", "slow", "quick", "quick", "quick"]
    assert sides.ratios(rates, "quick", "slow") == pytest.approx((50, 25, 100))
    assert sides.ratios({"a": [4.0, 9.0], "b": [2.0, 3.0]}, "a", "b") == pytest.approx((2.5, 2, 3))
    turns.clear()
    assert sides.alternate([sides.Side("slow", slow)], 2, patience=200) == {"slow": [0.1, 0.1]}
