"""A tracker gets every run that is computed, and its failure costs none."""

import subprocess
import sys

import pytest
import small

from itlib.engines import run_all
from itlib.errors import InputError
from itlib.spec import key
from itlib.store import Store
from itlib.tracking import Tracking, scores

SPECS = [small.spec(seed=seed) for seed in (0, 1)]


class Noting:
    """Stands for a tracker of accelerate and keeps what it is told."""

    told = []

    def __init__(self, project, *arguments, **named):
        self.told.append(("run", project, named.get("name") or named.get("run_name")))

    def start(self):
        self.told.append(("start",))

    def store_init_configuration(self, values):
        self.told.append(("configuration", values["seed"], values["method"]))
        assert all(isinstance(value, (bool, int, float, str)) for value in values.values())

    def log(self, values, step):
        self.told.append(("log", step, *sorted(values)))

    def finish(self):
        self.told.append(("finish",))


@pytest.fixture
def noting(monkeypatch):
    from accelerate import tracking
    from accelerate.utils import imports

    monkeypatch.setattr(imports, "is_wandb_available", lambda: True)
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "wandb", Noting)
    Noting.told = []
    return Noting


def test_every_computed_run_is_reported_once(noting, tmp_path):
    store = Store(tmp_path / "store")
    plain = run_all(SPECS[:1], store, engine="serial", progress=False)
    results = run_all(SPECS, store, engine="serial", report_to="wandb", progress=False)
    assert results[0] == plain[0] and [entry for entry in noting.told if entry[0] == "run"] == [
        ("run", "itlib", key(results[1].spec))
    ]
    assert ("configuration", 1, "full") in noting.told and noting.told[-1] == ("finish",)
    points = [entry for entry in noting.told if entry[0] == "log"]
    assert len(points) == len(results[1].curve) + 1 and points[0][2:] == ("train/gradient_norm", "train/loss")
    assert set(points[-1][2:]) == {"status", *scores(results[1])} and "test/exact_match" in points[-1]


def test_a_tracker_that_fails_is_told_about_once_and_stops_nothing(noting, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(noting, "start", lambda self: 1 / 0)
    results = run_all(SPECS, Store(tmp_path / "store"), engine="serial", report_to="wandb", progress=False)
    assert [result.status for result in results] == ["done", "done"]
    assert capsys.readouterr().err.count("report_to: wandb failed and gets nothing more: ZeroDivisionError") == 1


def test_what_is_unknown_or_not_installed_is_refused_before_any_run(tmp_path, monkeypatch):
    from accelerate.utils import imports

    with pytest.raises(InputError, match="report_to: 'wandbb' is not one of none, tensorboard, wandb, mlflow, trackio"):
        Tracking("wandbb", tmp_path)
    monkeypatch.setattr(imports, "is_trackio_available", lambda: False)
    with pytest.raises(InputError, match="report_to: trackio is not installed: pip install trackio"):
        run_all(SPECS, Store(tmp_path), engine="serial", report_to="trackio", progress=False)
    assert not list((tmp_path / "runs").iterdir())


def test_tensorboard_reads_what_was_written(tmp_path):
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (result,) = run_all(SPECS[:1], Store(tmp_path / "store"), engine="serial", report_to="tensorboard", progress=False)
    events = EventAccumulator(str(tmp_path / "trackers" / "tensorboard" / key(result.spec))).Reload()
    losses = {event.step: event.value for event in events.Scalars("train/loss")}
    assert losses == pytest.approx({point["step"]: point["loss"] for point in result.curve})


def test_nothing_is_loaded_for_none(tmp_path):
    code = (
        "import sys, pathlib; from itlib.tracking import Tracking; Tracking('none', pathlib.Path('x'));"
        "assert 'accelerate' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
