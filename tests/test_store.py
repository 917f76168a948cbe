"""The store: what was put comes back equal; what is damaged is never used; the first complete write wins."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from itlib.errors import InputError
from itlib.result import RunResult
from itlib.spec import RunSpec, with_fields
from itlib.store import Store

ITEMS = (
    ("opposite-1", "opposite", "latent", "p1", 1.0, 1.0, 0.123456789, 2, 5),
    ('a,b\n"c"', "all", "all", "", None, None, 12.5, 7, 30),
)


def result(spec=None, **changes):
    fields = {"items": ITEMS, "curve": ({"step": 1, "loss": 0.5, "gradient_norm": 1.0},), "totals": {"n_steps": 1}}
    return RunResult(spec or RunSpec(), "done", **(fields | {"provenance": {"wall_seconds": 1.0}} | changes))


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_what_was_put_comes_back_equal(store):
    assert store.get(RunSpec()) is None and not store.has(RunSpec())
    store.put(result())
    assert store.get(RunSpec()) == result() and store.has(RunSpec())
    assert list(store.results()) == [result()] and list(store.specs()) == [RunSpec()]


def test_a_later_equal_write_is_discarded_silently_and_a_different_one_reported(store, capsys):
    store.put(result())
    store.put(result(provenance={"wall_seconds": 9.0}))
    assert capsys.readouterr().err == ""
    kept = store.put(result(totals={"n_steps": 2}))
    assert kept == result() and store.get(RunSpec()) == result()
    assert "differs in result.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["spec.json", "result.json", "items.csv", "provenance.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
def test_any_damage_is_found_put_aside_and_computed_again(store, name, damage, capsys):
    store.put(result())
    path = store.folder(RunSpec()) / name
    content = path.read_bytes()
    if damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "flip":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        path.unlink()
    assert store.get(RunSpec()) is None
    assert "moved to aside/" in capsys.readouterr().err
    assert len(list((store.root / "aside").iterdir())) == 1
    store.put(result())
    assert store.get(RunSpec()) == result()


def test_swapped_folders_are_found(store):
    other = with_fields(RunSpec(), seed=1)
    store.put(result())
    store.put(result(other))
    here, there, away = store.folder(RunSpec()), store.folder(other), store.root / "away"
    here.rename(away), there.rename(here), away.rename(there)
    assert store.get(RunSpec()) is None and store.get(other) is None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_no_single_byte_change_is_ever_read_as_a_result(tmp_path_factory, data):
    store = Store(tmp_path_factory.mktemp("store"))
    store.put(result())
    files = sorted(store.folder(RunSpec()).iterdir())
    path = data.draw(st.sampled_from(files))
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(content))
    found = store.get(RunSpec())
    # A manifest may change in a way that says the same (white space): then the result must be the right one.
    assert found is None or (found == result() and path.name == "manifest.json")


def test_a_kill_during_a_write_leaves_nothing_that_reads_as_a_result(tmp_path):
    code = (
        "import os, sys; sys.path.insert(0, 'tests'); from itlib.store import Store; import itlib.store as m;"
        "from itlib.result import RunResult; from itlib.spec import RunSpec;"
        "m._write_manifest = lambda folder: os.kill(os.getpid(), 9);"
        f"Store({str(tmp_path)!r}).put(RunResult(RunSpec(), 'done'))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    store = Store(tmp_path)
    assert store.get(RunSpec()) is None and not list((tmp_path / "runs").iterdir())
    store.put(result())
    assert store.get(RunSpec()) == result()


def test_failures_are_remembered_until_forgotten_or_overcome(store):
    failed = RunResult(RunSpec(), "failed", error="ValueError: no", provenance={"traceback": "..."})
    store.put_failure(failed)
    assert store.get_failure(RunSpec()) == failed and store.get(RunSpec()) is None
    store.put(result())
    assert store.get_failure(RunSpec()) is None


def test_weights_are_checked_before_use(store):
    def save(folder):
        (folder / "model.safetensors").write_bytes(b"0123456789")

    store.put_weights(RunSpec(), save, {"curve": (), "totals": {"n_steps": 3}})
    folder = store.weights(RunSpec())
    assert store.training_record(RunSpec())["totals"] == {"n_steps": 3}
    assert store.weights(with_fields(RunSpec(), n_eval=7)) == folder
    assert store.weights(with_fields(RunSpec(), n_train=7)) is None
    (folder / "model.safetensors").write_bytes(b"0123456780")
    assert store.weights(RunSpec()) is None


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match="not writable"):
        Store(blocked / "store")


def test_nothing_is_pickled(store):
    store.put(result())
    for path in store.folder(RunSpec()).iterdir():
        assert path.suffix in {".json", ".csv"}
        if path.suffix == ".json":
            json.loads(path.read_text())
    assert os.listdir(store.root / "partial") == []
