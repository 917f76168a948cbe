"""Two stages: the first is the plain run it says it is, the second starts from it, and both come back from the disk."""

from dataclasses import replace

import pytest
import small
import torch

from itlib.errors import InputError
from itlib.execute import execute, load_base, run_one
from itlib.models._adapter import recorded_base
from itlib.registry import methods
from itlib.resolve import resolve
from itlib.spec import digest, with_fields
from itlib.stages import FIRST, load_tuned
from itlib.store import Store

FIRST_STAGE = {"first_steps": 3, "first_rate": 5e-3}
SECOND = {"full": {}, "lora": {"rank": 2, "learning_rate": 1e-2}, "prompt": {"n_virtual_tokens": 3}}


def kept(**fields):
    return replace(small.resolved(**fields), keep_weights=True)


def state(spec, store):
    return load_tuned(load_base(spec)[0], spec, store.weights(spec)).state_dict()


def test_the_first_stage_is_the_plain_run_bit_for_bit(tmp_path):
    store = Store(tmp_path)
    plain, second = kept(learning_rate=5e-3), kept(method="prompt", **FIRST_STAGE)
    for spec in (plain, second):
        assert run_one(spec, store).status == "done"
    wanted = state(plain, store)
    first = methods.get("full").load(load_base(second)[0], second.tuning, store.weights(second) / FIRST).state_dict()
    assert all(torch.equal(weight, first[name]) for name, weight in wanted.items())


@pytest.mark.parametrize("method", SECOND)
def test_a_two_stage_run_comes_back_from_its_weights(method, tmp_path):
    store, spec = Store(tmp_path), kept(method=method, **FIRST_STAGE, **SECOND[method])
    first = run_one(spec, store)
    assert first.totals["n_first_steps"] == 3 and first.items != execute(small.resolved(method=method)).items
    assert (store.weights(spec) / FIRST).is_dir() == (method != "full")
    other = resolve(with_fields(spec, split="dev", keep_weights=False))
    again = run_one(other, store)
    assert again.totals["n_steps"] == 3 and again.items == execute(other).items


def test_an_adapter_says_that_it_belongs_to_no_base_on_the_disk(tmp_path):
    store, spec = Store(tmp_path), kept(method="lora", **FIRST_STAGE)
    run_one(spec, store)
    assert recorded_base(store.weights(spec)).startswith("tuned for 3 steps at 0.005, ")


def test_a_first_stage_that_diverges_is_a_diverged_run():
    result = execute(small.resolved(method="lora", first_steps=20, first_rate=1e30))
    assert result.status == "diverged" and not result.items


def test_one_stage_has_no_rate_and_no_new_digest():
    assert small.resolved(first_rate=0.5) == small.resolved()
    assert small.resolved(n_train=0, **FIRST_STAGE) == small.resolved(n_train=0)
    assert digest(small.resolved(**FIRST_STAGE)) != digest(small.resolved())


@pytest.mark.parametrize(("changes", "message"), [
    ({"first_steps": -1}, "first_steps: must not be negative"),
    ({"first_rate": 0.0}, "first_rate: must be greater than 0"),
    ({"first_steps": 3, "trainer": "transformers"}, "first_steps: a first stage runs in our own loop only"),
])  # fmt: skip
def test_first_stages_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        small.resolved(**changes)
