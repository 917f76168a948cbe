"""Resolution: what cannot run is refused in one line before any run, and one run has one digest."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import tiny

from itlib.errors import InputError
from itlib.models import resolve_name as model_name
from itlib.registry import models, sources
from itlib.resolve import resolve
from itlib.sources import resolve_name as data_name
from itlib.spec import DataSpec, EvalSpec, ModelSpec, RunSpec, digest, with_fields


def refused(message, **fields):
    with pytest.raises(InputError, match=message) as caught:
        resolve(with_fields(RunSpec(), **fields))
    assert "\n" not in str(caught.value)


REFUSED = {
    "more items than a family holds": ({"n_eval": 5000, "eval_families": ["country"]}, "family 'country' holds 1 to"),
    "unknown evaluation family": ({"eval_families": ["oposite"]}, "did you mean 'opposite'"),
    "repeated evaluation family": ({"eval_families": ["swap", "swap"]}, "eval_families names a family twice"),
    "unknown phrasing set": ({"eval_phrasing_set": "unobservd"}, "did you mean 'unobserved'"),
    "repeated family": ({"families": ["swap", "swap"]}, "families names a family twice"),
    "unknown policy": ({"on_bad_rows": "ignore"}, "on_bad_rows is 'ignore'"),
    "unknown device": ({"device": "cudaa"}, "device: .*did you mean 'cuda'"),
    "unknown attention": ({"attention": "egaer"}, "attention: .*did you mean 'eager'"),
    "no step": ({"budget": 0.001, "budget_unit": "epochs", "n_train": 100}, "not one training step; at least 0.01 is"),
    "too many steps": ({"budget": 2e8, "batch_size": 32}, "1000000000 examples"),
    "too many epochs": ({"budget": 1e8, "budget_unit": "epochs"}, "1000000000 examples"),
    "too many tokens": ({"budget": 1e13, "budget_unit": "tokens"}, "at most 1000000000000 tokens"),
    "huge budget": ({"budget": 1e300}, "1000000000 examples"),
    "another world": ({"data_fingerprint": "world-0"}, "'world-.*' today, the spec recorded 'world-0'"),
    "another model": ({"model_fingerprint": "0" * 64}, "is shipped as [0-9a-f]{64}, the spec recorded 0{64}"),
    "another revision": ({"model_revision": "main"}, "model_revision: .*the spec recorded main"),
    "a contrast that cancels": ({"contrast": "null", "contrast_weight": -1.0}, "contrast_weight: must be above -1"),
    "a contrast that is none": ({"contrast": "oposite", "contrast_weight": -0.3}, "did you mean 'opposite'"),
    "a noisy prompt that is none": ({"noisy_prompt": "nul"}, "noisy_prompt: 'nul' is not one of none, opposite"),
    "all attention": ({"steering": 1.0}, "steering: must be at least 0 and below 1, got 1"),
    "less than no attention": ({"steering": -0.1}, "steering: must be at least 0"),
    "two interventions": (
        {"contrast": "null", "contrast_weight": -0.3, "steering": 0.2},
        "steering: cannot be combined",
    ),
    "a contrast of noise": (
        {"contrast": "null", "contrast_weight": -0.3, "noisy_prompt": "null"},
        "noisy_prompt: asks with a noisy instruction alone",
    ),
    "steering of another kernel": (
        {"steering": 0.2, "attention": "flex_attention"},
        "one of sdpa, eager, packed, trimmed is",
    ),
    "a number that no format can hold": ({"seed": -(10**350)}, "seed: must not be negative"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_is_refused(name):
    fields, message = REFUSED[name]
    refused(message, **fields)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("batch_size", 1_000_000), ("n_eval", 100_000), ("n_reference", 100_000), ("rank", 65_536), ("threads", 1024),
        ("pool_size", 10_000_000), ("seed", 2**31 - 1), ("max_length", 1_000_000), ("curve_points", 10_000),
    ],
)  # fmt: skip
def test_sizes_have_an_upper_bound_that_is_said(name, most):
    refused(f"^{name}: must be at most {most}, got {most + 1}$", **{name: most + 1})
    try:
        resolve(with_fields(RunSpec(), budget=1, **{name: most}))
    except InputError as error:  # the bound itself may be refused for another reason, such as the pool's size
        assert "must be at most" not in str(error)


def test_budgets_at_their_limit_pass():
    resolve(with_fields(RunSpec(), budget=0.01, budget_unit="epochs", n_train=100))
    resolve(with_fields(RunSpec(), budget=1e9 / 32, batch_size=32))
    resolve(with_fields(RunSpec(), budget=0.001, budget_unit="epochs", n_train=0))


@pytest.mark.parametrize(
    ("start", "ignored"),
    [
        ({"method": "full"}, {"rank": 4, "alpha": 1.0, "targets": "q_proj"}),
        ({"method": "lora"}, {"train_embeddings": True}),
        ({"perturbation": "none"}, {"severity": 0.5}),
        ({"contrast": "none"}, {"contrast_weight": -0.3}),
        ({"contrast_weight": 0.0}, {"contrast": "null"}),
        ({"noise_rate": 0.0}, {"noise_kinds": ["wrong"]}),
        ({}, {"on_bad_rows": "quarantine"}),
    ],
)
def test_fields_without_effect_make_no_second_run(start, ignored):
    plain = resolve(with_fields(RunSpec(), **start))
    changed = resolve(with_fields(RunSpec(), **start, **ignored))
    assert changed == plain and digest(changed) == digest(plain) and resolve(changed) == changed


@pytest.mark.parametrize(
    ("start", "used"),
    [
        ({"method": "lora"}, {"rank": 4}),
        ({"method": "full"}, {"train_embeddings": True}),
        ({"perturbation": "typo"}, {"severity": 0.5}),
        ({"contrast": "null"}, {"contrast_weight": -0.3}),
        ({"contrast_weight": -0.3}, {"contrast": "null"}),
        ({"n_train": 0}, {"steering": 0.2}),
        ({"n_train": 0}, {"noisy_prompt": "null"}),
        ({"noise_rate": 0.1}, {"noise_kinds": ["wrong"]}),
    ],
)
def test_fields_with_effect_do(start, used):
    plain, changed = (resolve(with_fields(RunSpec(), **start, **more)) for more in ({}, used))
    assert digest(changed) != digest(plain)


def test_a_misspelt_noise_kind_is_refused_even_without_noise():
    refused("did you mean 'wrong'", noise_kinds=["wrnog"])


def test_the_check_agrees_with_what_the_world_gives():
    source = sources.get("microworld")
    for split in ("dev", "test"):
        for families in (("country",), ("plural", "swap")):
            evaluation = EvalSpec(split=split, eval_families=families, n_eval=10_000)
            with pytest.raises(InputError) as asked:
                source.check_evaluation(DataSpec(), evaluation)
            with pytest.raises(InputError) as given:
                source.held_out(DataSpec(), evaluation)
            assert str(asked.value) == str(given.value)
            most = int(str(asked.value).partition("1 to ")[2].split()[0])
            if len(families) == 1:
                source.check_evaluation(DataSpec(), replace(evaluation, n_eval=most))


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    lines = [json.dumps({"instruction": f"say {i} again", "output": str(i)}) for i in range(60)]
    path.write_text("\n".join(lines))
    return {"source": "local", "data_path": str(path), "n_train": 8}


def test_an_evaluation_of_rows_has_no_families_and_known_phrasings(rows):
    for which in ("observed", "unobserved", "dev"):
        assert resolve(with_fields(RunSpec(), **rows, eval_phrasing_set=which)).data.pool_size > 0
    resolve(with_fields(RunSpec(), **rows, eval_families=["all"]))
    refused("has no task families", **rows, eval_families=["swap"])
    refused("has no phrasings; eval_phrasing_set is 'nice'", **rows, eval_phrasing_set="nice")
    for key in ("contrast", "noisy_prompt"):
        refused(f"has no phrasings to make a noisy one of; leave {key} at none", **rows, **{key: "null"})
    assert resolve(with_fields(RunSpec(), **rows, steering=0.2)).evaluate.steering == 0.2


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model"
    tiny.llama().save_pretrained(path)
    (path / "tokenizer.json").write_text("{}")
    return path


def edit_config(folder, **entries):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def test_a_local_model_is_checked_before_any_run(folder):
    local = {"model": "local", "model_path": str(folder), "max_length": 64}
    assert resolve(with_fields(RunSpec(), **local)).base.model_fingerprint
    edit_config(folder, model_type="lama")
    refused("model_type 'lama' is no language model known here .did you mean 'llama'", **local)
    edit_config(folder, model_type="vit")
    refused("model_type 'vit' is no", **local)
    edit_config(folder, model_type=None)
    refused("has no model_type", **local)
    edit_config(folder, model_type="llama")
    (folder / "tokenizer.json").unlink()
    refused("has no tokenizer", **local)
    (folder / "tokenizer.model").write_text("")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    refused("model.safetensors: damaged", **local)


def test_a_shipped_model_is_resolved_without_torch():
    code = (
        "import sys; from itlib.resolve import resolve; from itlib.spec import RunSpec; resolve(RunSpec());"
        "assert not {'torch', 'transformers', 'peft'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_spec_of_other_bytes_is_refused_by_the_shipped_model():
    model = models.get("micro-1m")
    resolved = model.resolve(ModelSpec())
    assert model.resolve(resolved) == resolved
    with pytest.raises(InputError, match="is shipped as"):
        model.resolve(replace(resolved, model_fingerprint="f" * 64))


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_name_says_what_to_give(text):
    with pytest.raises(InputError, match="^model: empty; give a shipped model, a folder or org/name@revision"):
        model_name(text)
    with pytest.raises(InputError, match="^data: empty; give microworld, a data file or org/name@revision"):
        data_name(text)


@pytest.mark.parametrize("text", ["x" * 5000, "a\0b", "~nobody-of-this-name/x"])
def test_a_name_that_no_path_can_have_is_refused(text):
    for resolve_name in (model_name, data_name):
        with pytest.raises(InputError):
            resolve_name(text)
