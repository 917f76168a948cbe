"""States at the last prompt token: independent of the batch and of the kernel, and those of the stored weights."""

import numpy as np
import pytest
import small
import tiny
import torch

from itlib.errors import InputError
from itlib.execute import execute, scored_items
from itlib.representations import last_prompt_states, run_states
from itlib.resolve import resolve
from itlib.spec import with_fields
from itlib.store import Store


def prompts(n=12):
    rng = np.random.default_rng(0)
    return [rng.integers(3, tiny.VOCABULARY, int(rng.integers(2, 15))).astype(np.int32) for _ in range(n)]


def test_states_are_those_of_each_prompt_alone():
    model, rows = tiny.llama(), prompts()
    states = last_prompt_states(model, rows, pad=0, dtype="float32")
    assert states.shape == (2, 12, 32) and states.dtype == np.float32
    for i, row in enumerate(rows):
        with torch.inference_mode():
            alone = model(input_ids=torch.as_tensor(row[None].astype(np.int64)), output_hidden_states=True)
        wanted = np.stack([layer[0, -1].numpy() for layer in alone.hidden_states[1:]])
        assert states[:, i] == pytest.approx(wanted, abs=1e-5)


def asked(**fields):
    fields = {"eval_families": ("colour", "swap"), "n_reference": 0, "keep_weights": True} | fields
    return resolve(small.spec(**fields))


def test_packed_rows_have_the_same_states(tmp_path):
    store = Store(tmp_path)
    padded, packed = (run_states(asked(n_train=0, attention=kernel), store) for kernel in ("sdpa", "packed"))
    assert padded == pytest.approx(packed, abs=1e-3)


def test_a_tuned_model_is_read_from_its_weights(tmp_path):
    store = Store(tmp_path)
    tuned, base = asked(n_shots=1), asked(n_shots=1, n_train=0)
    execute(tuned, store)
    before, after = run_states(base, store), run_states(tuned, store)
    assert before.shape == after.shape == (4, len(scored_items(tuned)), 128)
    assert np.abs(before - after).max() > 1e-3
    assert (run_states(tuned, store) == after).all()


def test_demonstrations_move_the_states(tmp_path):
    plain, shown = (run_states(asked(n_train=0, n_shots=n), Store(tmp_path)) for n in (0, 2))
    assert plain.shape == shown.shape and np.abs(plain - shown).max() > 1e-2


def test_weights_that_were_not_kept_are_missed_in_one_line(tmp_path):
    spec = with_fields(asked(), keep_weights=False)
    with pytest.raises(InputError, match="kept no weights") as caught:
        run_states(spec, Store(tmp_path))
    assert "\n" not in str(caught.value)
