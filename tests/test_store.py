"""The store: what was put comes back equal; what is damaged is never used; the first complete write wins."""

import contextlib
import errno
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from itlib.errors import InputError, RunError
from itlib.result import RunResult
from itlib.spec import RunSpec, with_fields
from itlib.store import Store

ITEMS = (
    ("opposite-1", "opposite", "words", "latent", "p1", 1.0, 1.0, None, 0.123456789, 2, 5, ""),
    ('a,b\n"c"', "all", "all", "all", "", None, None, None, 12.5, 7, 30, ""),
    ("three-1", "three_animals", "lists", "weak", "p2", None, None, 0.666666667, 4.0, 6, 15, 'wolf , "bear'),
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
    assert list(store.specs()) == [RunSpec()]


@pytest.mark.fault(23)
def test_a_later_equal_write_is_discarded_silently_and_a_different_one_reported(store, capsys):
    store.put(result())
    store.put(result(provenance={"wall_seconds": 9.0}))
    assert capsys.readouterr().err == ""
    kept = store.put(result(totals={"n_steps": 2}))
    assert kept == result() and store.get(RunSpec()) == result()
    assert "differs in result.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["spec.json", "result.json", "items.csv", "provenance.json", "manifest.json"])
@pytest.mark.parametrize("damage", ["truncate", "flip", "delete"])
@pytest.mark.fault(19)
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
@pytest.mark.fault(19)
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


@pytest.mark.fault(18)
def test_a_kill_during_a_write_leaves_nothing_that_reads_as_a_result(tmp_path):
    code = (
        "import os, sys; sys.path.insert(0, 'tests'); from itlib.store import Store; import itlib._folders as m;"
        "from itlib.result import RunResult; from itlib.spec import RunSpec;"
        "m.write_manifest = lambda folder: os.kill(os.getpid(), 9);"
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


@pytest.mark.fault(19)
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


@pytest.mark.parametrize(
    "write",
    [
        lambda store: store.check_writable(),
        lambda store: store.put(result()),
        lambda store: store.put_failure(RunResult(RunSpec(), "failed", error="no")),
        lambda store: store.put_weights(RunSpec(), lambda folder: None, {}),
        lambda store: store.lock(RunSpec()).__enter__(),
    ],
    ids=["check", "put", "put_failure", "put_weights", "lock"],
)
def test_a_folder_that_cannot_be_written_is_refused_by_the_first_write(tmp_path, write):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(InputError, match=r"not writable: Not a directory; choose another"):
        write(Store(blocked / "store"))


@pytest.mark.parametrize("below", ["absent", "file"])
def test_reading_needs_no_folders_and_creates_none(tmp_path, below):
    (tmp_path / "file").write_text("")
    store = Store(tmp_path / below / "store")
    assert store.get(RunSpec()) is None and not store.has(RunSpec())
    assert store.get_failure(RunSpec()) is None and store.weights(RunSpec()) is None
    if below == "absent":
        assert list(store.specs()) == []
        counts = store.summary()
        assert not any(counts[name] for name in ("runs", "diverged", "bytes", "unreadable", "aside", "failed"))
    assert os.listdir(tmp_path) == ["file"]


def test_damage_in_a_store_that_is_only_read_is_not_used(store, monkeypatch, capsys):
    store.put(result())
    (store.folder(RunSpec()) / "items.csv").write_text("")

    def refuse(self, target):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "rename", refuse)
    assert store.get(RunSpec()) is None
    assert "could not be moved aside: Read-only file system" in capsys.readouterr().err


def break_result(store, folder):
    (folder / "result.json").write_text("{")


def break_spec(store, folder):
    (folder / "spec.json").unlink()


def newer_spec(store, folder):
    record = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps(record | {"field_of_a_later_version": 1}))


def break_manifest(store, folder):
    (folder / "manifest.json").unlink()


def break_failure(store, folder):
    (store.root / "failed" / "other.json").write_text("[]")


@pytest.mark.parametrize("harm", [break_result, break_spec, newer_spec, break_manifest, break_failure])
def test_one_damaged_entry_does_not_hide_the_others(store, harm):
    other = with_fields(RunSpec(), seed=1)
    store.put(result())
    store.put(result(other))
    store.put_failure(RunResult(with_fields(RunSpec(), seed=2), "failed", error="no"))
    harm(store, store.folder(other))
    counts = store.summary()
    intact = 2 if harm is break_failure else 1
    assert (counts["runs"], counts["unreadable"], counts["aside"]) == (intact, 1, 0)
    assert [row["error"] for row in counts["failed"]] == ["no"]
    assert RunSpec() in list(store.specs()) and store.folder(other).is_dir()


def test_a_spec_of_another_version_is_left_out_with_a_line(store, capsys):
    store.put(result())
    newer_spec(store, store.folder(RunSpec()))
    assert list(store.specs()) == []
    assert "field_of_a_later_version" in capsys.readouterr().err


@contextlib.contextmanager
def no_more_open_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_file_the_system_does_not_open_is_no_damage(store):
    store.put(result())
    store.put_weights(RunSpec(), lambda folder: (folder / "w").write_bytes(b"1"), {})
    failed = RunResult(with_fields(RunSpec(), seed=1), "failed", error="no")
    store.put_failure(failed)
    for read, name in (
        (lambda: store.get(RunSpec()), "manifest.json"),
        (lambda: store.weights(RunSpec()), "manifest.json"),
        (lambda: store.get_failure(failed.spec), ".json"),
    ):
        with pytest.raises(RunError, match=rf"{name} cannot be read: Too many open files$"), no_more_open_files():
            read()
    assert store.get(RunSpec()) == result() and store.weights(RunSpec()) and store.get_failure(failed.spec) == failed
    assert os.listdir(store.root / "aside") == []


@pytest.mark.parametrize("name", ["spec.json", "items.csv"])
def test_a_file_that_cannot_be_read_is_named(store, name, monkeypatch):
    store.put(result())
    opened = Path.open

    def open_unless(self, *args, **kwargs):
        if self.name == name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", open_unless)
        with pytest.raises(RunError, match=rf"{name} cannot be read: Input/output error$"):
            store.get(RunSpec())
    assert store.get(RunSpec()) == result()


@pytest.mark.parametrize("call", ["fsync", "mkdir", "rename"])
@pytest.mark.fault(20)
def test_a_full_disk_is_one_line_and_leaves_nothing(store, call, monkeypatch):
    store.check_writable()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(RunError) as caught:
            store.put(result())
    assert str(caught.value) == f"{store.folder(RunSpec())} cannot be written: No space left on device"
    assert os.listdir(store.root / "runs") == os.listdir(store.root / "partial") == []
    assert store.put(result()) == result()


def test_a_full_disk_is_one_line_for_a_failure_and_for_weights_too(store, monkeypatch):
    store.check_writable()

    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="failed/.*cannot be written: No space left"):
        store.put_failure(RunResult(RunSpec(), "failed", error="no"))
    with pytest.raises(RunError, match="weights/.*cannot be written: No space left"):
        store.put_weights(RunSpec(), lambda folder: (folder / "w").write_bytes(b"1"), {})
    assert os.listdir(store.root / "failed") == os.listdir(store.root / "partial") == []


def test_no_failure_is_remembered_beside_a_result(store):
    failed = RunResult(RunSpec(), "failed", error="no")
    store.put(result())
    store.put_failure(failed)
    assert store.summary()["failed"] == [] and store.summary()["runs"] == 1
    store.put(result())  # the second writer forgets it too
    assert store.get_failure(RunSpec()) is None


def test_something_else_in_the_place_of_a_result_ends_in_an_error(store):
    store.check_writable()
    store.folder(RunSpec()).write_text("not a folder")
    with pytest.raises(RunError, match="cannot be written: what is there is not a result"):
        store.put(result())
    assert store.folder(RunSpec()).read_text() == "not a folder" and os.listdir(store.root / "partial") == []


@pytest.mark.fault(24)
def test_a_lock_is_held_by_one_process_at_a_time(store):
    code = (
        "import sys; from filelock import FileLock, Timeout\n"
        "try: FileLock(sys.argv[1]).acquire(timeout=0)\n"
        "except Timeout: sys.exit(3)"
    )

    def other_process():
        (path,) = (store.root / "locks").iterdir()
        return subprocess.run([sys.executable, "-c", code, str(path)]).returncode

    with store.lock(RunSpec()):
        assert other_process() == 3
        (path,) = (store.root / "locks").iterdir()
    path.touch()
    assert other_process() == 0


@pytest.mark.fault(17)
def test_nothing_is_pickled(store):
    store.put(result())
    for path in store.folder(RunSpec()).iterdir():
        assert path.suffix in {".json", ".csv"}
        if path.suffix == ".json":
            json.loads(path.read_text())
    assert os.listdir(store.root / "partial") == []
