import numpy as np
import pytest
import torch

from itlib import shards as shards_module
from itlib.execute import load_base
from itlib.features import Features, neutral_prefix
from itlib.microworld import world
from itlib.resolve import resolve
from itlib.selectors._ledger import Ledger
from itlib.spec import RunSpec, with_fields
from itlib.workbench import selection_context


@pytest.fixture(scope="module")
def base():
    spec = resolve(with_fields(RunSpec(), n_train=0))
    return load_base(spec)


def make(base, folder=None, name="base"):
    return Features(lambda: base, name=name, dtype="float32", max_length=256, ledger=Ledger(), folder=folder)


@pytest.fixture(scope="module")
def pool():
    return world.pool(40, seed=0)


def one_at_a_time(model, ids):
    """Return the loss of every token but the first of one row, without padding or batches."""
    with torch.inference_mode():
        output = model(torch.as_tensor(ids)[None].long(), output_hidden_states=True)
    logits = output.logits[0, :-1].float()
    losses = torch.nn.functional.cross_entropy(logits, torch.as_tensor(ids)[1:].long(), reduction="none")
    return losses.double().numpy(), output.hidden_states[-1][0].numpy()


def test_losses_and_embeddings_equal_those_of_one_row_at_a_time(base, pool):
    made = make(base)
    losses, rows = made.losses(pool), made.encoded(pool)
    prefix = neutral_prefix(base[1])
    for index, row in enumerate(rows):
        each, states = one_at_a_time(base[0], row.input_ids)
        answer = row.response_mask[1:]
        assert losses.conditional[index] == pytest.approx(each[answer].mean(), rel=1e-5, abs=2e-5)
        assert losses.instruction[index] == pytest.approx(each[~answer].mean(), rel=1e-5, abs=2e-5)
        assert made.text_losses(pool)[index] == pytest.approx(each.mean(), rel=1e-5, abs=2e-5)
        alone, _ = one_at_a_time(base[0], np.concatenate([prefix, row.input_ids[row.response_mask]]))
        assert losses.unconditional[index] == pytest.approx(alone[len(prefix) - 1 :].mean(), rel=1e-5, abs=2e-5)
        place = np.arange(1, len(states) + 1)[:, None]
        for pooling, expected in (
            ("mean", states.mean(0)),
            ("weighted", (states * place).sum(0) / place.sum()),
            ("last", states[-1]),
            ("instruction", states[: int(np.argmax(row.response_mask))].mean(0)),
        ):
            np.testing.assert_allclose(made.embeddings(pool, pooling)[index], expected, rtol=1e-4, atol=5e-5)


def test_a_response_of_one_word_is_scored_whole_in_both_passes(base):
    pool = [example for example in world.pool(60, seed=1) if len(example.response.split()) == 1][:5]
    made = make(base)
    losses = made.losses(pool)
    assert len(pool) == 5 and (losses.n_response_tokens == 2).all()  # the word and the stop token
    for index, row in enumerate(made.encoded(pool)):
        each, _ = one_at_a_time(base[0], np.concatenate([made.prefix, row.input_ids[-2:]]))
        assert losses.unconditional[index] == pytest.approx(each[-2:].mean(), rel=1e-5, abs=2e-5)


def test_losses_of_responses_equal_those_of_the_whole_row_and_ask_for_fewer_logits(base, pool):
    n_logits = []
    head = base[0].get_output_embeddings()
    handle = head.register_forward_hook(lambda module, given, found: n_logits.append(found.shape[:-1].numel()))
    losses = make(base).losses(pool)
    n_whole, n_alone = n_logits
    conditional, unconditional = make(base).response_losses(pool)
    handle.remove()
    np.testing.assert_allclose(conditional, losses.conditional, rtol=1e-5, atol=2e-5)
    np.testing.assert_array_equal(unconditional, losses.unconditional)
    assert losses.n_response_tokens.sum() <= n_logits[2] < n_whole
    assert n_logits[3] == n_alone


def test_features_of_another_thread_count_are_another_table(base, pool, tmp_path):
    addresses = set()
    for threads in (1, 2):
        spec = resolve(with_fields(RunSpec(), n_train=1, selector="ifd_loss", threads=threads))
        features = selection_context(spec, pool, lambda: base, tmp_path).features
        addresses.add(features._address("whole row", features.encoded(pool)))
    assert len(addresses) == 2


def test_states_belong_to_their_examples(base, pool):
    made = make(base)
    found = {int(i): s for group, states in made.states(pool, layer=-1) for i, s in zip(group, states, strict=True)}
    assert sorted(found) == list(range(len(pool)))
    for index, mean in enumerate(made.embeddings(pool)):
        np.testing.assert_allclose(found[index].mean(0), mean, rtol=1e-4, atol=5e-5)


def test_a_table_is_read_back_and_a_damaged_shard_is_computed_again(base, pool, tmp_path, monkeypatch):
    monkeypatch.setattr(shards_module, "SHARD", 16)
    first = make(base, tmp_path).losses(pool)
    stored = sorted(tmp_path.rglob("*.safetensors"))
    assert len(stored) == 6  # two tables of three shards
    stored[0].write_bytes(stored[0].read_bytes()[:-1] + b"\x00\x01")
    stored[1].unlink()
    calls = []
    for name in ("_whole_rows", "_response_losses"):
        measured = getattr(Features, name)
        monkeypatch.setattr(Features, name, lambda self, rows, go=measured: calls.append(1) or go(self, rows))
    second = make(base, tmp_path).losses(pool)
    assert len(calls) == 2  # the others are not computed again
    for name in ("instruction", "conditional", "unconditional"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    make(base, tmp_path, name="another model").conditional_losses(pool)
    assert len(calls) == 5


def test_the_ledger_counts_a_pass_once_and_equally_from_the_cache(base, pool, tmp_path):
    costs = []
    for _ in range(2):
        made = make(base, tmp_path)
        made.losses(pool)
        made.embeddings(pool, "weighted")
        list(made.states(pool))
        costs.append(made.ledger.flops)
    rows = made.encoded(pool)
    n_whole = sum(len(row.input_ids) for row in rows)
    n_alone = sum(int(row.response_mask.sum()) + len(made.prefix) for row in rows)
    assert costs[0] == costs[1] == 2.0 * made.n_parameters * (n_whole + n_alone)


def test_the_neutral_prefix_is_what_the_template_puts_before_a_response(base):
    made = make(base)
    row = made.encoded(world.pool(1, seed=0))[0]
    first = int(np.argmax(row.response_mask))
    prefix = neutral_prefix(base[1])
    assert len(prefix) >= 1
    tail = prefix[1:] if base[1].bos_token_id is not None and prefix[0] == base[1].bos_token_id else prefix
    np.testing.assert_array_equal(row.input_ids[first - len(tail) : first], tail)
