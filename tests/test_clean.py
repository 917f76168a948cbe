"""What could go of a store goes only when it is named, and results of runs never do."""

import json

import pytest
import small

from itlib import clean
from itlib.cli import main
from itlib.engines import run_all
from itlib.errors import InputError
from itlib.store import Store


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "store")
    run_all([small.spec(n_train=8, keep_weights=True)], made, engine="serial", progress=False)
    (made.root / "aside" / "damaged").mkdir()
    (made.root / "aside" / "damaged" / "items.csv").write_text("x" * 1000)
    return made


def files(root):
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_a_dry_run_names_everything_and_touches_nothing(store, capsys):
    before = files(store.root)
    for arguments in (["clean"], ["clean", "aside", "--dry-run"]):
        assert main([*arguments, "--results", str(store.root.parent)]) == 0
        assert "nothing was removed" in capsys.readouterr().out
    assert files(store.root) == before
    assert main(["clean", "--json", "--results", str(store.root.parent)]) == 0
    told = {row["kind"]: row for row in json.loads(capsys.readouterr().out)["kinds"]}
    assert told["aside"] == {"kind": "aside", "entries": 1, "bytes": 1000}
    assert told["weights"]["entries"] == 1 and told["weights"]["bytes"] > 1e5


def test_what_is_named_goes_and_the_results_stay(store):
    before = files(store.root)
    assert main(["clean", "aside", "weights", "--results", str(store.root.parent)]) == 0
    after = files(store.root)
    assert {name for name in before - after if not name.startswith(("aside/", "weights/"))} == set()
    assert not [name for name in after if name.startswith(("aside/", "weights/"))]
    assert {name for name in before if name.startswith("runs/")} <= after
    (again,) = run_all([small.spec(n_train=8)], store, engine="serial", progress=False)
    assert again.status == "done"


@pytest.mark.parametrize("kind", ["runs", "failed", "partial", "..", "locks"])
def test_other_things_are_never_removed(store, kind, capsys):
    before = files(store.root)
    assert main(["clean", kind, "--results", str(store.root.parent)]) == 2
    assert "never removed" in capsys.readouterr().err and files(store.root) == before
    with pytest.raises(InputError):
        clean.waste(store.root, [kind])


def test_a_link_is_removed_and_not_followed(store, tmp_path):
    outside = tmp_path / "precious"
    outside.mkdir()
    (outside / "file").write_text("z")
    (store.root / "aside" / "link").symlink_to(outside)
    clean.remove(clean.waste(store.root, ["aside"]))
    assert (outside / "file").is_file() and not (store.root / "aside" / "link").exists()


def test_an_empty_store_has_nothing_to_remove(tmp_path):
    assert [part.entries for part in clean.waste(tmp_path / "nowhere")] == [()] * len(clean.KINDS)
