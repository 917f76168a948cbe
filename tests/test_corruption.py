"""Whatever happens to a stored file, it is found, put aside and computed again; a damaged number is never read."""

import shutil

import pytest
import small
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from itlib.execute import run_one
from itlib.spec import key, train_digest
from itlib.store import Store

SPECS = [small.resolved(seed=seed, keep_weights=True) for seed in (0, 1)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store with two runs and their weights, and what reading it gives."""
    store = Store(tmp_path_factory.mktemp("whole"))
    return store.root, [run_one(spec, store) for spec in SPECS]


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    return tmp_path_factory.mktemp("copies")


def cut(path, other, draw):
    content = path.read_bytes()
    path.write_bytes(content[: draw(st.integers(0, len(content) - 1))])


def flip(path, other, draw):
    content = bytearray(path.read_bytes())
    content[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
    path.write_bytes(content)


def overwrite(path, other, draw):
    path.write_bytes(draw(st.binary(max_size=200)))


def lengthen(path, other, draw):
    path.write_bytes(path.read_bytes() + draw(st.binary(min_size=1, max_size=20)))


def delete(path, other, draw):
    path.unlink()


def swap(path, other, draw):
    """With the same file of the other run."""
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs), other.write_bytes(mine)


def folder_in_place(path, other, draw):
    path.unlink(), path.mkdir()


def dangling(path, other, draw):
    path.unlink(), path.symlink_to("nowhere")


DAMAGES = (cut, flip, overwrite, lengthen, delete, swap, folder_in_place, dangling)


def files(root, spec):
    folders = (root / "runs" / key(spec), root / "weights" / train_digest(spec))
    return [path for folder in folders for path in sorted(folder.iterdir())]


def cases(n):
    how = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture]}
    return lambda function: settings(max_examples=n, **how)(given(data=st.data())(function))


@pytest.mark.fault(19)
@cases(60)
def test_damage_of_any_kind_to_any_file_is_never_used(whole, copies, data):
    check(whole, copies, data)


@pytest.mark.slow
@pytest.mark.fault(19)
@cases(500)
def test_damage_is_never_used_in_five_hundred_cases(whole, copies, data):
    check(whole, copies, data)


def check(whole, copies, data):
    root, results = whole
    place = copies / "store"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(root, place)
    store = Store(place)
    pairs = list(zip(files(place, SPECS[0]), files(place, SPECS[1]), strict=True))
    before = {path: path.read_bytes() for pair in pairs for path in pair}
    for _ in range(data.draw(st.integers(1, 3))):
        pair = data.draw(st.sampled_from(pairs))
        damage = data.draw(st.sampled_from(DAMAGES))
        if all(path.is_file() and path.stat().st_size for path in pair):
            damage(*pair, data.draw)
    changed = {path for path, content in before.items() if not path.is_file() or path.read_bytes() != content}
    for spec, result in zip(SPECS, results, strict=True):
        hurt = [path for path in changed if key(spec) in path.parts]
        found = store.get(spec)
        assert found is None if hurt else found == result
        hurt = [path for path in changed if train_digest(spec) in path.parts]
        weights = store.weights(spec)
        assert weights is None if hurt else weights is not None
    damaged = {path.parent.name for path in changed}
    assert {path.name.rsplit("-", 1)[0] for path in (place / "aside").iterdir()} == damaged, "kept for inspection"


@pytest.mark.fault(19)
def test_what_was_damaged_is_computed_again_to_the_same_bytes(whole, tmp_path):
    root, results = whole
    shutil.copytree(root, tmp_path / "store")
    store = Store(tmp_path / "store")
    for path in files(store.root, SPECS[0]):
        if path.name != "provenance.json":  # tells the time
            fresh = path.read_bytes()
            path.write_bytes(fresh[:-1])
            again = run_one(SPECS[0], store)
            assert small.scores(again) == small.scores(results[0])
            assert path.name == "manifest.json" or path.read_bytes() == fresh
