"""Models and data from a cache laid out as the hub's client lays it out, by that client itself, without a network."""

import json
import os
import shutil
import subprocess
import sys

import pytest
import worldly

from itlib.workspace import project_root

MODEL, DATA = "a" * 40, "b" * 40


def cached(home, kind, name, commit, fill):
    """Make a repository of the cache: a branch that points to a commit, and a tag."""
    folder = home / "hub" / f"{kind}s--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    for reference in ("main", "v1"):
        (folder / "refs" / reference).write_text(commit)
    fill(folder / "snapshots" / commit)


@pytest.fixture
def home(tmp_path):
    def rows(folder):
        folder.mkdir(parents=True)
        pairs = [{"instruction": f"copy : w{i}", "output": f"w{i}"} for i in range(120)]
        (folder / "train.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))

    made = worldly.folder(tmp_path / "made")
    cached(tmp_path, "model", "org/name", MODEL, lambda folder: shutil.copytree(made, folder))
    cached(tmp_path, "dataset", "org/rows", DATA, rows)
    return tmp_path


def itlib(home, *words, **environment):
    """Run the command line with nothing but HF_HOME to say where the hub's files lie."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    where = {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "ITLIB_RESULTS": str(home / "results")} | environment
    command = [sys.executable, "-m", "itlib", *words]
    return subprocess.run(command, cwd=project_root(), env=kept | where, capture_output=True, text=True, timeout=300)


def run(home, model, data, **environment):
    (model, model_revision), (data, data_revision) = (name.partition("@")[::2] for name in (model, data))
    base = {"model": "hub", "model_path": model, "model_revision": model_revision, "source": "hub", "data_path": data,
            "data_revision": data_revision, "n_train": 20, "budget": 2, "batch_size": 4, "n_eval": 4,
            "n_reference": 0, "max_length": 64, "eval_phrasing_set": "unobserved_wrapper"}  # fmt: skip
    (home / "one.yaml").write_text(json.dumps({"grid": {"base": base}}))
    return itlib(home, "run", str(home / "one.yaml"), **environment)


def test_a_run_takes_model_and_data_from_the_cache(home):
    done = run(home, "org/name", "org/rows@v1")
    assert done.returncode == 0, done.stderr
    (path,) = home.glob("results/store/runs/*/spec.json")
    spec = json.loads(path.read_text())
    assert (spec["model_revision"], spec["data_revision"]) == (MODEL, DATA)
    again = run(home, f"org/name@{MODEL}", f"org/rows@{DATA}")  # the commit says the same as a name for it
    assert again.returncode == 0 and len(list(home.glob("results/store/runs/*"))) == 1


@pytest.mark.parametrize(
    ("model", "environment", "said"),
    [
        ("org/name@v2", {}, "model org/name@v2 is not in the cache and the hub cannot be reached"),
        ("org/other", {}, "model org/other@main is not in the cache and the hub cannot be reached"),
        ("org/name", {"HF_HUB_CACHE": "/nowhere"}, "model org/name@main is not in the cache"),
    ],
)
def test_what_the_cache_lacks_is_named_in_one_line(home, model, environment, said):
    refused = run(home, model, "org/rows", **environment)
    assert refused.returncode == 2 and said in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
