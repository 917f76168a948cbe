import json

import httpx
import huggingface_hub
import pytest
from huggingface_hub import errors

from itlib import hub
from itlib.errors import InputError
from itlib.registry import sources
from itlib.spec import DataSpec, EvalSpec

HUB = sources.get("hub")
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def spec(**fields):
    return DataSpec(**({"source": "hub", "data_path": "org/name", "n_train": 5} | fields))


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    hub._fetch_once.cache_clear()


@pytest.fixture
def repository(monkeypatch, tmp_path):
    """A data set folder laid out as in the cache, behind a stand-in for the one hub function in use."""
    folder = tmp_path / "snapshots" / COMMIT
    folder.mkdir(parents=True)
    for split, n in (("train", 40), ("test", 7)):
        rows = [{"question": f"Double {split} {i}?", "answer": str(2 * i)} for i in range(n)]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    calls = []

    def download(name, *, revision, repo_type, **patterns):
        calls.append((name, revision, repo_type))
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    return folder, calls


def test_resolve_pins_the_commit_and_reads_the_train_split(repository):
    resolved = HUB.resolve(spec())
    assert repository[1] == [("org/name", "main", "dataset")]
    assert (resolved.data_revision, resolved.data_fingerprint) == (COMMIT, COMMIT)
    assert resolved.pool_size == 32
    pool = HUB.pool(resolved, seed=0)
    assert {example.instruction.split()[1] for example in pool} == {"train"}
    assert len(HUB.held_out(resolved, EvalSpec(split="test", n_eval=9))) == 4
    assert HUB.resolve(resolved) == resolved


def test_a_pinned_commit_asks_the_hub_once(repository):
    resolved = HUB.resolve(spec())
    for _ in range(3):
        HUB.pool(resolved, seed=0)
    assert repository[1] == [("org/name", "main", "dataset"), ("org/name", COMMIT, "dataset")]


def test_subset_is_part_of_the_fingerprint(repository):
    folder, _ = repository
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: small\n  data_files:\n  - {split: train, path: test.jsonl}\n"
        "- config_name: big\n  data_files:\n  - {split: train, path: train.jsonl}\n---\n"
    )
    small, big = (HUB.resolve(spec(data_path=f"org/name:{name}", n_train=2)) for name in ("small", "big"))
    assert (small.pool_size, big.pool_size) == (5, 32)
    assert small.data_fingerprint == f"{COMMIT}/small" and small.data_revision == COMMIT
    with pytest.raises(InputError, match="org/name:tiny@0123456789ab: cannot be read"):
        HUB.resolve(spec(data_path="org/name:tiny"))


def test_bad_rows_follow_the_policy(repository):
    folder, _ = repository
    (folder / "train.jsonl").write_text(
        "".join(json.dumps({"question": f"Q {i}?", "answer": str(i) if i else None}) + "\n" for i in range(20))
    )
    with pytest.raises(InputError, match="org/name:1: 'answer' is null, not text; .*quarantine"):
        HUB.resolve(spec())
    assert HUB.bad_rows(spec(on_bad_rows="quarantine")) == [(1, "'answer' is null, not text")]


def test_a_recorded_fingerprint_must_hold(repository):
    with pytest.raises(InputError, match="has changed"):
        HUB.resolve(spec(data_fingerprint="f" * 40))
    with pytest.raises(InputError, match="n_train is 33, but org/name has a pool of 32 rows"):
        HUB.resolve(spec(n_train=33))


def failing(kind):
    if issubclass(kind, errors.HfHubHTTPError):
        return kind("no", response=httpx.Response(404, request=httpx.Request("GET", "https://hub.invalid")))
    return kind("no\nmore lines")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (errors.GatedRepoError, "is gated: accept its terms"),
        (errors.RevisionNotFoundError, "no such revision"),
        (errors.RepositoryNotFoundError, "not found: misspelt, or private"),
        (errors.LocalEntryNotFoundError, "not in the cache and the hub cannot be reached"),
        (errors.OfflineModeIsEnabled, "not in the cache and the hub cannot be reached"),
        (errors.HfHubHTTPError, "the hub did not deliver"),
        (OSError, "the hub did not deliver .no."),
    ],
)
@pytest.mark.fault(26)
def test_hub_failures_are_one_helpful_line(monkeypatch, kind, message):
    def download(*args, **options):
        raise failing(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    with pytest.raises(InputError, match=f"dataset org/name@v1.*{message}") as caught:
        HUB.resolve(spec(data_revision="v1"))
    assert "\n" not in str(caught.value)


def test_malformed_ids_are_refused_before_the_hub_is_asked():
    for path, message in (("", "needs data_path"), ("../x/y", "not a hub id"), ("name", "not a hub id")):
        with pytest.raises(InputError, match=message):
            HUB.resolve(spec(data_path=path))


@pytest.mark.fault(26)
def test_offline_and_not_cached_is_refused_by_the_real_client(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(InputError, match="not in the cache and the hub cannot be reached"):
        HUB.resolve(spec())
