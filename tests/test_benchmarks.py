"""Every benchmark runs, small, and says what became of its targets; the sides agree where they compute scores."""

import json
import os
import subprocess
import sys

import pytest

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
