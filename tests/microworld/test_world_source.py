"""The world as a source: resolution, bad fields, and what the run half receives."""

from dataclasses import replace

import pytest

from itlib.errors import InputError
from itlib.microworld import world
from itlib.registry import models, sources
from itlib.spec import WORLD_VERSION, DataSpec, EvalSpec, ModelSpec
from itlib.template import encode

SOURCE = sources.get("microworld")


def test_resolve_names_the_version_of_the_world_and_is_idempotent():
    resolved = SOURCE.resolve(DataSpec())
    assert resolved.data_fingerprint == f"world-{WORLD_VERSION}" and SOURCE.resolve(resolved) == resolved
    assert SOURCE.exact_match


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"families": ("oposite",)}, "opposite"),
        ({"phrasing_set": "unobservd"}, "unobserved"),
        ({"n_phrasings": 40}, "n_phrasings"),
        ({"noise_kinds": ("mismatch",)}, "mismatched"),
        ({"noise_rate": -0.1}, "noise_rate"),
        ({"pool_size": 50, "n_train": 51}, "pool_size"),
        ({"pool_size": 900, "families": ("country",)}, "768"),
        ({"data_path": "mine.jsonl"}, "data_path"),
    ],
)
def test_bad_fields_are_refused_before_any_run(change, words):
    with pytest.raises(InputError, match=words):
        SOURCE.resolve(replace(DataSpec(), **change))


def test_pool_and_held_out_are_the_world_s():
    data = DataSpec(pool_size=120, n_train=100, noise_rate=0.2, families=("plural", "swap"))
    assert SOURCE.pool(data, seed=3) == world.pool(120, seed=3, families=("plural", "swap"), noise_rate=0.2)
    evaluation = EvalSpec(split="dev", n_eval=7, eval_phrasing_set="dev")
    items = SOURCE.held_out(data, evaluation)
    assert items == world.held_out("dev", 7, families=("plural", "swap"), phrasing_set="dev")


def test_rows_train_the_answer_and_its_end_only():
    _, tokenizer = models.get("micro-1m").load(ModelSpec())
    examples = SOURCE.pool(DataSpec(pool_size=200), seed=0)
    rows, audit = encode(examples, tokenizer, max_length=64)
    assert audit.n_rows == 200 and audit.stop_token_supervised
    for example, row in zip(examples, rows, strict=True):
        assert tokenizer.decode(row.input_ids[row.response_mask]) == f"{example.response} <eos>"
        whole = f"instruction : {example.instruction} response : {example.response} <eos>"
        assert tokenizer.decode(row.input_ids) == whole


def test_reference_rows_supervise_the_whole_document():
    _, tokenizer = models.get("micro-1m").load(ModelSpec())
    examples = SOURCE.reference(DataSpec(), 50)
    rows, _ = encode(examples, tokenizer, max_length=256)
    assert len(rows) == 50 and all(row.response_mask.all() for row in rows)
    assert tokenizer.decode(rows[0].input_ids) == f"{examples[0].gold} <eos>"


def test_ids_are_unique_and_stable():
    ids = [example.id for example in SOURCE.pool(DataSpec(noise_rate=0.3), seed=1)]
    assert len(set(ids)) == len(ids)
