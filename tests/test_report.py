"""Reports: complete folders, equal bytes, strict JSON, and refusals before any work."""

import json
import os

import numpy as np
import pandas as pd
import planted
import pytest

from itlib import claims, figures, stats
from itlib.errors import InputError
from itlib.files import sha256_file, write_atomic
from itlib.report import Report


def _items(data):
    return data.rename(columns={"n_items": "item"})[["digest", "seed", "n_train", "family", "item", "metric", "value"]]


def _write(folder, data):
    report = Report("01_data_scaling", "cpu", folder, provenance={"device": "cpu"})
    report.frames(data, _items(data))
    curve = stats.mean_curve(data, "exact_match")
    report.figure("curves", figures.scaling_curves(curve), curve, "Mean over seeds.")
    report.table("curves", curve, "Mean over seeds.")
    report.claims([claims.judge(claims.load_claim(name), data) for name in claims.claim_ids()])
    return report.finish()


def _bytes(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_report_writes_everything_it_promises(tmp_path):
    data = planted.frame(sizes=[25, 100, 400, 1600])
    summary = _write(tmp_path, data)
    folder = tmp_path / "cpu" / "01_data_scaling"
    assert summary.folder == folder
    expected = {"frame.csv", "items.parquet", "claims.json", "manifest.json"}
    expected |= {f"figures/curves.{suffix}" for suffix in ("png", "svg", "pdf", "csv")}
    expected |= {"drawings/curves/drawing.json", "drawings/curves/curve.parquet"}
    expected |= {f"tables/{name}.{suffix}" for name in ("curves", "claims") for suffix in ("md", "tex", "csv")}
    assert set(_bytes(folder)) == expected == set(summary.files)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["files"]) == expected - {"manifest.json"}
    assert all(sha256_file(folder / name) == value for name, value in manifest["files"].items())
    assert manifest["runs"] == sorted(set(data["digest"]))
    assert {"python", "numpy", "matplotlib"} <= set(manifest["versions"])
    assert manifest["provenance"] == {"device": "cpu"}
    assert "SC1: reproduced" in str(summary) and "reproduced" in summary._repr_markdown_()


def test_a_second_execution_and_another_row_order_write_equal_bytes(tmp_path):
    data = planted.frame(sizes=[25, 100, 400, 1600])
    _write(tmp_path / "a", data)
    _write(tmp_path / "b", data)
    _write(tmp_path / "b", data)
    first = _bytes(tmp_path / "a")
    assert first == _bytes(tmp_path / "b")
    _write(tmp_path / "c", data.sample(frac=1, random_state=1))
    assert first == _bytes(tmp_path / "c")


def test_frame_csv_gives_the_numbers_back(tmp_path):
    data = planted.frame(sizes=[25, 100])
    _write(tmp_path, data)
    back = pd.read_csv(tmp_path / "cpu" / "01_data_scaling" / "frame.csv", dtype=str)
    left = data.sort_values(["digest", "family"])["value"].tolist()
    assert left == [float(text) for text in back.sort_values(["digest", "family"])["value"]]


def test_claims_json_is_strict(tmp_path):
    _write(tmp_path, planted.frame(seeds=[0], sizes=[25, 100]))

    def refuse(constant):
        raise AssertionError(constant)

    text = (tmp_path / "cpu" / "01_data_scaling" / "claims.json").read_text()
    listed = json.loads(text, parse_constant=refuse)
    assert [item["id"] for item in listed] == claims.claim_ids()
    for item in listed:
        assert {"id", "statement", "effect", "interval", "n_seeds", "verdict"} <= set(item)
        assert item["verdict"] == "not_run" and item["effect"] is None and item["interval"] == [None, None]


def test_images_name_the_runs_and_the_command(tmp_path):
    from PIL import Image

    data = planted.frame(sizes=[25, 100])
    _write(tmp_path, data)
    with Image.open(tmp_path / "cpu" / "01_data_scaling" / "figures" / "curves.png") as image:
        origin = json.loads(image.text["Description"])
    assert origin["runs"] == sorted(set(data["digest"])) and origin["profile"] == "cpu"
    assert origin["command"] == (
        "papermill notebooks/01_data_scaling.ipynb results/cpu/01_data_scaling/notebook.ipynb"
        " -f params/cpu/01_data_scaling.yaml"
    )
    assert str(tmp_path) not in json.dumps(origin)


def test_notebooks_show_pictures_and_tables(tmp_path):
    report = Report("s", folder=tmp_path)
    frame = pd.DataFrame({"a": [1.0]})
    curve = stats.mean_curve(planted.frame(sizes=[25, 100]), "exact_match")
    data, metadata = report.figure("f", figures.scaling_curves(curve), curve, "A curve.")._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG") and metadata["image/png"]["width"] == 330
    data, _ = report.table("t", frame, "A table.")._repr_mimebundle_()
    assert "| 1.000 |" in data["text/markdown"] and "A table." in data["text/markdown"]


@pytest.mark.parametrize("name", ["../up", "a/b", "", "..", ".hidden", "a b", "a\n"])
@pytest.mark.fault(28)
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="plain file name"):
        Report(name, folder=tmp_path)
    with pytest.raises(InputError, match="plain file name"):
        Report("s", name, folder=tmp_path)
    with pytest.raises(InputError, match="plain file name"):
        Report("s", folder=tmp_path).table(name, pd.DataFrame({"a": [1]}), "")
    assert not (tmp_path.parent / "up").exists()


def test_an_unwritable_folder_is_refused_at_construction(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written to"):
        Report("s", folder=tmp_path / "file")

    def deny(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", deny)
    with pytest.raises(InputError) as caught:
        Report("s", folder=tmp_path)
    assert "\n" not in str(caught.value) and "Permission denied" in str(caught.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
def test_a_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(InputError, match="cannot be written to"):
        Report("s", folder=tmp_path)


def test_provenance_must_be_plain(tmp_path):
    with pytest.raises(InputError, match="provenance"):
        Report("s", folder=tmp_path, provenance={"x": np.nan}).finish()


@pytest.mark.fault(20)
def test_an_interrupted_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomic(path, b"old")

    def stop(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("os.replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
