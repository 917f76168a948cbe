"""SemScore: cosines of mean embeddings by hand, of a tiny encoder, and through the command on a stored run."""

import csv

import numpy as np
import pytest
import small
import torch

from itlib.cli import main
from itlib.errors import InputError
from itlib.execute import run_one
from itlib.semscore import Embedder, semscore, similarities
from itlib.spec import key
from itlib.store import Store

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *"abcdefghijklmnopqrstuvwxyz",
    *("##" + c for c in "abcdefghijklmnopqrstuvwxyz"),
]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """The folder of a BERT with random weights."""
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=64, **sizes)).save_pretrained(folder)
    return folder


def test_embeddings_are_mean_states_of_length_one_whatever_the_batch(encoder):
    from transformers import AutoModel, AutoTokenizer

    texts = ["red", "a much longer text than that", "blue is a colour"]
    model, tokenizer = AutoModel.from_pretrained(encoder).eval(), AutoTokenizer.from_pretrained(encoder)
    found = Embedder(str(encoder))(texts)
    for text, mine in zip(texts, found, strict=True):
        with torch.no_grad():
            mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).numpy()
        assert np.allclose(mine, mean / np.linalg.norm(mean), atol=1e-5)
    long = Embedder(str(encoder))(["word " * 500])
    assert np.isfinite(long).all()


def test_similarities_by_hand():
    vectors = {"east": [1.0, 0.0], "north": [0.0, 1.0], "west": [-1.0, 0.0]}
    embed = lambda texts: np.array([vectors[text] for text in texts])  # noqa: E731
    found = similarities(embed, ["east", "east", "west", "  "], ["east", "north", "east", "east"])
    assert found.tolist() == [1.0, 0.0, -1.0, 0.0]
    assert similarities(lambda texts: pytest.fail("nothing to embed"), ["", " "], ["", ""]).tolist() == [0.0, 0.0]


def test_a_stored_run_gets_a_score_per_family_and_one_over_all(encoder, tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    spec = small.resolved(keep_weights=True, n_eval=3)
    run_one(spec, store)
    rows = semscore(spec, store, Embedder(str(encoder)), limit=2)
    by_family = {row["family"]: row for row in rows}
    total = by_family.pop("all")
    assert total["n"] == sum(row["n"] for row in by_family.values()) and all(
        row["n"] == 2 for row in by_family.values()
    )
    assert total["value"] == pytest.approx(np.mean([row["value"] for row in by_family.values()]))
    assert all(-1 <= row["value"] <= 1 and row["metric"] == "semscore" for row in rows)
    monkeypatch.setenv("ITLIB_STORE", str(store.root))
    out = tmp_path / "scores.csv"
    assert main(["semscore", key(spec), "--model", str(encoder), "--limit", "2", "--out", str(out)]) == 0
    with out.open() as stream:
        written = {row["family"]: float(row["value"]) for row in csv.DictReader(stream)}
    assert written == pytest.approx({row["family"]: row["value"] for row in rows})


@pytest.mark.parametrize("name", ["nowhere", "file.txt"])
def test_what_is_no_model_is_refused_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(InputError, match="is no folder with a sentence-embedding model") as found:
        Embedder(name)
    assert "\n" not in str(found.value)


def test_pickled_weights_are_not_read(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="no safetensors in it"):
        Embedder(str(tmp_path))
