"""Edits in a run: one set of weights serves them all."""

from dataclasses import replace

import pytest
import small

from itlib.errors import InputError
from itlib.execute import run_one
from itlib.registry import edits
from itlib.resolve import resolve
from itlib.spec import digest, train_digest, with_fields
from itlib.store import Store


@pytest.mark.parametrize("method", ["full", "lora"])
def test_every_edit_reads_the_kept_weights(method, tmp_path, monkeypatch):
    store = Store(tmp_path)
    spec = replace(small.resolved(method=method, learning_rate=5e-3), keep_weights=True)
    plain = run_one(spec, store)
    monkeypatch.setattr("itlib.tune.train", lambda *a, **k: pytest.fail("trained again"))
    for name in edits.names():
        asked = resolve(with_fields(spec, edit=name, edit_scale=1.0))
        assert train_digest(asked) == train_digest(spec) and digest(asked) != digest(spec)
        result = run_one(asked, store)
        assert result.status == "done", result.error
        assert [item[0] for item in result.items] == [item[0] for item in plain.items]


def test_a_run_without_an_edit_has_no_scale():
    assert digest(small.resolved(edit_scale=0.5)) == digest(small.resolved())
    assert small.resolved(n_train=0, edit="intruder").evaluate.edit == "none"


@pytest.mark.parametrize(("changes", "message"), [
    ({"edit": "intruders"}, "unknown edit 'intruders'"),
    ({"edit": "intruder", "edit_scale": 1.5}, "edit_scale: 'intruder' takes 0 to 1, got 1.5"),
    ({"edit": "graft_random", "edit_scale": -0.1}, "edit_scale: 'graft_random' takes 0 to 1, got -0.1"),
    ({"edit": "intruder", "method": "prompt"}, "edit: 'intruder' changes weights, and method 'prompt' tunes none"),
])  # fmt: skip
def test_edits_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        small.resolved(**changes)
