"""Figures from stored frames: the same bytes, no torch; and what an image says of itself."""

import json
import subprocess
import sys

import pandas as pd
import pytest

from itlib.cli import main
from itlib.errors import InputError
from itlib.figures import scaling_curves
from itlib.redraw import redraw, reports, trace
from itlib.report import Report
from itlib.theme import THEME


@pytest.fixture
def report(tmp_path):
    data = pd.DataFrame(
        {"familiarity": "latent", "n_train": [10, 100], "mean": [0.1, 0.5], "low": [0.0, 0.4], "high": [0.2, 0.6],
         "n_seeds": 8}
    )  # fmt: skip
    made = Report("a_study", "smoke", tmp_path)
    made.frames(pd.DataFrame({"digest": ["b", "a"], "seed": [0, 1], "family": "f", "metric": "m", "value": 0.5}))
    made.figure("curve", scaling_curves(data), data, "A (curve) \\ with brackets.")
    made.finish()
    return made.folder


def test_figures_are_drawn_again_to_the_byte(report):
    images = {path.name: path.read_bytes() for path in (report / "figures").iterdir()}
    manifest = (report / "manifest.json").read_bytes()
    for path in (report / "figures").glob("curve.[ps]*"):
        path.unlink()
    (drawn,) = redraw(report)
    assert drawn.name == "curve" and drawn.changed == ()
    assert {path.name: path.read_bytes() for path in (report / "figures").iterdir()} == images
    assert (report / "manifest.json").read_bytes() == manifest


def test_a_changed_style_is_told_and_the_manifest_follows(report, monkeypatch):
    monkeypatch.setitem(THEME, "lines.linewidth", 3.0)
    (drawn,) = redraw(report)
    assert set(drawn.changed) == {f"figures/curve.{kind}" for kind in ("png", "svg", "pdf")}
    monkeypatch.undo()
    assert set(redraw(report)[0].changed) == set(drawn.changed)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_an_image_names_its_runs(report, suffix, capsys):
    found = trace(report / "figures" / f"curve{suffix}")
    assert found["study"] == "a_study" and found["runs"] == ["a", "b"] and len(found["data_sha256"]) == 64
    assert main(["explain", str(report / "figures" / f"curve{suffix}")]) == 0
    assert found["command"] in capsys.readouterr().out


def test_a_foreign_image_is_refused_in_one_line(tmp_path, capsys):
    from matplotlib.figure import Figure

    for suffix in ("png", "svg", "pdf"):
        Figure().savefig(tmp_path / f"x.{suffix}")
        assert main(["explain", str(tmp_path / f"x.{suffix}")]) == 2
    (tmp_path / "text.png").write_text("no image")
    for name in ("text.png", "absent.png"):
        assert main(["explain", str(tmp_path / name)]) == 2
    assert all("x." in line or "png" in line for line in capsys.readouterr().err.splitlines())
    with pytest.raises(InputError, match=r"\.png, \.svg or \.pdf"):
        trace(tmp_path / "x.jpg")


def test_figures_need_no_torch(report, tmp_path):
    code = (
        "import sys; from itlib.cli import main; code = main(sys.argv[1:]); "
        "assert not {'torch', 'transformers', 'peft', 'datasets'} & set(sys.modules); sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "figures", "--sheet", "--json", "--results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["figures"] == 1 and told["changed"] == [] and len(told["pages"]) == 1


def test_a_folder_without_reports_is_refused(tmp_path, capsys):
    assert reports(tmp_path) == []
    assert main(["figures", "--results", str(tmp_path)]) == 2
    assert "no finished report here" in capsys.readouterr().err
