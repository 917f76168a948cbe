"""The world as a source: resolution, bad fields, and what the run half receives."""

from dataclasses import fields, replace

import pytest

from itlib.constraints import validate
from itlib.errors import InputError
from itlib.microworld import corpus, tokenizer, world
from itlib.registry import sources
from itlib.sources.microworld import mixture
from itlib.spec import WORLD_VERSION, DataSpec, EvalSpec
from itlib.template import encode

SOURCE = sources.get("microworld")


def test_resolve_names_the_version_of_the_world_and_is_idempotent():
    resolved = SOURCE.resolve(DataSpec())
    assert resolved.data_fingerprint == f"world-{WORLD_VERSION}" and SOURCE.resolve(resolved) == resolved


def test_families_whose_pools_were_revised_have_another_fingerprint():
    """Runs on others keep their address: nothing that they read has changed."""
    plain, first, second = (
        SOURCE.resolve(DataSpec(source="microworld", pool_size=20, n_train=10, **how))
        for how in (
            {"families": ("copy",)},
            {"families": ("chain_2", "copy")},
            {"mix_families": ("chain_2",), "n_mix": 4},
        )
    )
    assert plain.data_fingerprint == f"world-{WORLD_VERSION}"
    assert first.data_fingerprint == second.data_fingerprint == f"world-{WORLD_VERSION}, chains 2"
    assert SOURCE.resolve(first) == first
    assert SOURCE.exact_match


def test_every_field_of_a_mixture_is_a_field_of_a_spec_with_the_same_default():
    assert mixture(DataSpec()) == world.Mixture()
    changed = {
        "families": ("swap",), "phrasing_set": "dev", "n_phrasings": 2, "n_operands": 30, "imbalance": 1.0,
        "second_language": 0.5, "response_wording": "mixed", "response_style": "formal", "noise_kinds": ("wrong",),
        "noise_rate": 0.25,
    }  # fmt: skip
    assert set(changed) == {field.name for field in fields(world.Mixture)}
    assert mixture(DataSpec(**changed)) == world.Mixture(**changed)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"families": ("oposite",)}, "opposite"),
        ({"phrasing_set": "unobservd"}, "unobserved"),
        ({"n_phrasings": 40}, "n_phrasings"),
        ({"n_operands": -3}, "n_operands"),
        ({"noise_kinds": ("mismatch",)}, "mismatched"),
        ({"noise_rate": -0.1}, "noise_rate"),
        ({"second_language": 2.0}, "second_language"),
        ({"response_style": "polte"}, "polite"),
        ({"imbalance": -1.0}, "imbalance"),
        ({"pool_size": 50, "n_train": 51}, "n_train is 51, more than pool_size 50"),
        ({"pool_size": 900, "families": ("country",)}, "pool_size is 900; .* at most 768"),
        ({"data_path": "mine.jsonl"}, "data_path is 'mine.jsonl', but source 'microworld' reads no file"),
        ({"data_fingerprint": "world-0"}, f"the micro-world is 'world-{WORLD_VERSION}' today.*'world-0'"),
        ({"on_bad_rows": "ignore"}, "on_bad_rows is 'ignore'; known: "),
    ],
)
def test_bad_fields_are_refused_before_any_run(change, told):
    with pytest.raises(InputError, match=told) as caught:
        SOURCE.resolve(replace(DataSpec(), **change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"eval_families": ("oposite",)}, "opposite"),
        ({"eval_phrasing_set": "negatd"}, "negated"),
        ({"eval_language": "third"}, "eval_language is 'third'"),
        ({"split": "pool"}, "held-out splits are dev and test"),
        ({"n_eval": 5000, "eval_families": ("country",)}, "n_eval is 5000; family 'country' holds 1 to"),
        ({"eval_families": ("past",), "eval_language": "second"}, "eval_language: 'past'"),
    ],
)
def test_bad_evaluations_are_refused_before_any_run(change, told):
    with pytest.raises(InputError, match=told) as caught:
        SOURCE.check_evaluation(DataSpec(), replace(EvalSpec(), **change))
    assert "\n" not in str(caught.value)


def test_pool_and_held_out_are_the_world_s():
    data = DataSpec(pool_size=120, n_train=100, noise_rate=0.2, families=("plural", "swap"))
    assert SOURCE.pool(data, seed=3) == world.pool(120, seed=3, families=("plural", "swap"), noise_rate=0.2)
    evaluation = EvalSpec(split="dev", n_eval=7, eval_phrasing_set="dev")
    items = SOURCE.held_out(data, evaluation)
    assert items == world.held_out("dev", 7, families=("plural", "swap"), phrasing_set="dev")
    elsewhere = SOURCE.held_out(data, replace(evaluation, eval_families=("colour",), eval_language="second"))
    assert elsewhere == world.held_out("dev", 7, families=("colour",), phrasing_set="dev", spoken="second")


@pytest.mark.parametrize("change", [{"response_wording": "sentence"}, {"response_style": "polite"}])
def test_answers_are_right_in_any_wording_where_the_pool_is_worded(change):
    items = SOURCE.held_out(DataSpec(families=("colour",), **change), EvalSpec(n_eval=5))
    assert all(item.constraints == (f"content {item.gold}",) for item in items)
    assert not any(item.constraints for item in SOURCE.held_out(DataSpec(families=("colour",)), EvalSpec(n_eval=5)))


def test_every_constraint_of_the_world_can_be_checked():
    for name in world.every_family():
        for item in world.held_out("test", 8, families=(name,), any_wording=True):
            validate(item.constraints)


def test_rows_train_the_answer_and_its_end_only():
    words = tokenizer.load()
    data = DataSpec(pool_size=300, n_train=100, families=(*world.default_families(), "worked_chain_5", "some_members"))
    examples = SOURCE.pool(data, seed=0)
    rows, audit = encode(examples, words, max_length=tokenizer.MAX_LENGTH)
    assert audit.n_rows == 300 and audit.stop_token_supervised
    for example, row in zip(examples, rows, strict=True):
        assert words.decode(row.input_ids[row.response_mask]) == f"{example.response} <eos>"
        whole = f"instruction : {example.instruction} response : {example.response} <eos>"
        assert words.decode(row.input_ids) == whole


def test_reference_rows_supervise_the_whole_document():
    words, examples = tokenizer.load(), SOURCE.reference(DataSpec(), 50)
    assert [example.gold for example in examples] == corpus.reference_text(50)
    rows, _ = encode(examples, words, max_length=256)
    assert len(rows) == 50 and all(row.response_mask.all() for row in rows)
    assert words.decode(rows[0].input_ids) == f"{examples[0].gold} <eos>"


def test_ids_are_unique_and_stable():
    ids = [example.id for example in SOURCE.pool(DataSpec(noise_rate=0.3), seed=1)]
    assert len(set(ids)) == len(ids)
