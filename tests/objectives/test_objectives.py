"""Objectives against closed values, against each other, and against what runs did before there were any."""

import copy
import math

import numpy as np
import pytest
import small
import tiny
import torch

from itlib.errors import InputError
from itlib.execute import execute
from itlib.objectives import Batch, check_pairs, objective_of
from itlib.objectives._states import logits_and_states, pooled_at
from itlib.objectives.coin import clipped, contrastive
from itlib.objectives.paraphrases import divergence
from itlib.ordering import Traits
from itlib.packing import KERNEL, register_kernel
from itlib.registry import methods, objectives
from itlib.spec import MethodSpec, TrainSpec, digest
from itlib.template import Encoded
from itlib.train import response_logits, train

PLAIN = {"pad_id": 0, "dtype": "float32"}
PAIRED = ("coin", "kl_align", "paraphrases")


def reworded(rows, seed=1):
    """The same responses after other prompts, longer by a few tokens."""
    rng = np.random.default_rng(seed)
    found = []
    for row in rows:
        start = int(row.response_mask.argmax())
        prompt = rng.integers(3, tiny.VOCABULARY, start + int(rng.integers(0, 4))).astype(np.int32)
        ids = np.concatenate([prompt, row.input_ids[start:]])
        mask = np.concatenate([np.zeros(len(prompt), dtype=bool), row.response_mask[start:]])
        found.append(Encoded(row.example_index, ids, mask, row.n_response_bytes))
    return found


def batch(n=6, families=None):
    rows = tiny.rows(n)
    return Batch(rows, reworded(rows), families or [f"f{i % 2}" for i in range(n)])


def made(name, *given):
    return objective_of(TrainSpec(objective=name, objective_options=given))


def loss(objective, pairs, model=None):
    return objective.loss(model or tiny.llama(), pairs, **PLAIN)


def gradients(objective, pairs):
    model = tiny.llama()
    loss(objective, pairs, model).backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters()}


def tuned(name="response", *given, rows=None, **changes):
    rows = rows or tiny.rows(12)
    settings = {"budget": 4, "batch_size": 6, "micro_batch_tokens": 60, "learning_rate": 1e-2} | changes
    spec = TrainSpec(objective=name, objective_options=given, **settings)
    model = methods.get("full").attach(tiny.llama(), MethodSpec(train_embeddings=True))
    traits = [Traits(str(i), 1, f"f{i % 3}", "latent") for i in range(len(rows))]
    paired = {} if name == "response" else {"paraphrases": reworded(rows)}
    trace = train(model, rows, spec, seed=0, traits=traits, **paired, **PLAIN)
    return trace, torch.cat([weight.detach().flatten() for weight in model.parameters()])


# ---- contrastive instruction tuning -------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "tau"), [(2, 0.05), (2, 0.5), (8, 0.2)])
def test_equal_pairs_and_orthogonal_negatives_have_a_closed_contrast(n, tau):
    states = torch.eye(n, 16, dtype=torch.float64)
    wanted = math.log1p((n - 1) * math.exp(-1 / tau))
    assert contrastive(states, 3 * states, tau).item() == pytest.approx(wanted, rel=1e-4, abs=1e-7)


def test_the_published_setting_leaves_next_to_nothing_between_orthogonal_pairs():
    assert math.log1p(math.exp(-20)) == pytest.approx(2.06e-9, rel=1e-3)
    assert contrastive(torch.eye(2), torch.eye(2), 0.05).item() == pytest.approx(0.0, abs=1e-7)  # float32 has no more


@pytest.mark.parametrize("n", [2, 5, 32])
def test_equal_states_have_a_contrast_of_log_n(n):
    assert contrastive(torch.ones(n, 4), torch.ones(n, 4), 0.05).item() == pytest.approx(math.log(n), rel=1e-5)


def test_rows_and_columns_count_alike():
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(5, 8, generator=generator) for _ in range(2))
    assert contrastive(left, right, 0.3).item() == pytest.approx(contrastive(right, left, 0.3).item(), rel=1e-6)
    cosines = torch.nn.functional.cosine_similarity(left[:, None], right[None], dim=-1) / 0.3
    by_row, by_column = (-torch.log_softmax(cosines, dim).diagonal().mean() for dim in (1, 0))
    assert contrastive(left, right, 0.3).item() == pytest.approx(((by_row + by_column) / 2).item(), rel=1e-5)


@pytest.mark.parametrize(("contrast", "generation", "value"), [(0.001, 2.0, 1.0), (0.5, 2.0, 2.0), (0.0, 2.0, 0.0)])
def test_the_weighted_contrast_never_outweighs_the_generation_loss(contrast, generation, value):
    """min(1000 * contrast, generation), and only the contrast gets a gradient, times the factor."""
    left, right = (torch.tensor(number, requires_grad=True) for number in (contrast, generation))
    term = clipped(left, right, 1000.0)
    assert term.item() == pytest.approx(value)
    term.backward()
    assert right.grad is None
    assert left.grad.item() == pytest.approx(min(1000.0, generation / contrast if contrast else math.inf))


def test_without_weight_the_contrast_is_the_baseline():
    pairs = batch()
    plain, coin = gradients(made("paraphrases"), pairs), gradients(made("coin", "weight=0"), pairs)
    assert all(torch.allclose(plain[name], coin[name], atol=1e-5) for name in plain)


def test_a_loss_of_groups_by_hand():
    pairs, model = batch(4), tiny.llama()
    with torch.no_grad():
        found = loss(made("coin", "tau=0.3"), pairs, model).item()
        wanted = 0.0
        for group in (pairs.at([0, 1]), pairs.at([2, 3])):
            n = sum(int(row.response_mask[1:].sum()) for row in group.rows)
            generation = loss(made("paraphrases"), group, model) / n
            states = [logits_and_states(model, rows, "response", 0)[2] for rows in (group.rows, group.paraphrases)]
            wanted += n * (generation + clipped(contrastive(*states, 0.3), generation, 1000.0)).item()
    assert found == pytest.approx(wanted, rel=1e-5)


def test_groups_hold_families_together_and_are_never_cut():
    pairs = batch(12, families=list("abcabcabcabc"))
    cut = made("coin", "contrast_batch=4").groups(pairs, 100)
    assert sorted(np.concatenate(cut)) == list(range(12)) and len(cut) > 1
    assert all(len(group) % 4 == 0 for group in cut)
    assert [pairs.families[i] for i in np.concatenate(cut)] == list("aaaabbbbcccc")


def test_an_example_alone_has_no_negatives():
    pairs = batch(3, families=list("aaa"))
    objective = made("coin")
    (group,) = objective.groups(pairs, 10_000)
    assert len(group) == 3
    alone = pairs.at([2])
    assert loss(objective, alone).item() == pytest.approx(loss(made("paraphrases"), alone).item(), rel=1e-5)


@pytest.mark.parametrize("attention", ["sdpa", KERNEL])
@pytest.mark.parametrize("pool", ["response", "prompt"])
def test_states_are_those_of_each_row_alone(pool, attention):
    register_kernel()
    model, rows = tiny.llama(attn_implementation=attention), tiny.rows(7)
    with torch.no_grad():
        logits, targets, states = logits_and_states(model, rows, pool, 0)
        wanted, wanted_targets, _ = response_logits(model, rows, pad_id=0)
        assert torch.allclose(logits, wanted, atol=1e-5) and torch.equal(targets, wanted_targets)
        for row, state in zip(rows, states, strict=True):
            ids = torch.as_tensor(row.input_ids[None].astype(np.int64))
            alone = tiny.llama()(input_ids=ids, output_hidden_states=True).hidden_states[-1][0]
            assert torch.allclose(state, alone[pooled_at(row, pool)], atol=2e-5)


def test_a_row_is_pooled_at_its_end_or_before_its_last_response():
    mask = np.array([False, True, False, False, True, True])
    row = Encoded(0, np.arange(6, dtype=np.int32), mask, 1)
    assert pooled_at(row, "response") == 5 and pooled_at(row, "prompt") == 3


# ---- alignment ----------------------------------------------------------------------------------------------


def test_equal_distributions_have_no_divergence():
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    assert divergence(logits, logits + 3.0).item() == pytest.approx(0.0, abs=1e-5)


def test_divergence_by_hand():
    reference, other = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    wanted = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert divergence(reference, other).item() == pytest.approx(wanted, rel=1e-5)


def test_the_reference_gets_no_gradient():
    reference, other = (torch.randn(4, 9, requires_grad=True) for _ in range(2))
    divergence(reference, other).backward()
    assert reference.grad is None and other.grad.abs().sum() > 0


def test_without_weight_alignment_is_the_baseline():
    pairs = batch()
    plain, aligned = gradients(made("paraphrases"), pairs), gradients(made("kl_align", "weight=0"), pairs)
    assert all(torch.equal(plain[name], aligned[name]) for name in plain)
    pulled = gradients(made("kl_align", "weight=5"), pairs)
    assert not all(torch.allclose(plain[name], pulled[name], atol=1e-4) for name in plain)


def test_equal_wordings_are_aligned_already():
    rows = tiny.rows(5)
    pairs = Batch(rows, rows, ["f"] * 5)
    assert loss(made("kl_align"), pairs).item() == pytest.approx(2 * loss(made("response"), pairs).item(), rel=1e-5)


def test_alignment_brings_wordings_together():
    def apart(model, rows):
        with torch.no_grad():
            first, second = (response_logits(model, part, pad_id=0)[0] for part in (rows, reworded(rows)))
        return divergence(first, second).item()

    found = {}
    for name, given in (("paraphrases", ()), ("kl_align", ("weight=100",))):
        rows, model = tiny.rows(12), methods.get("full").attach(tiny.llama(), MethodSpec())
        spec = TrainSpec(objective=name, objective_options=given, budget=30, batch_size=12, learning_rate=3e-3)
        traits = [Traits(str(i), 1, "f", "latent") for i in range(12)]
        train(model, rows, spec, seed=0, traits=traits, paraphrases=reworded(rows), **PLAIN)
        found[name] = apart(model, rows)
    assert found["kl_align"] < 0.7 * found["paraphrases"]


# ---- all of them --------------------------------------------------------------------------------------------


def test_the_response_objective_is_what_the_loop_always_did():
    """Bit for bit: a loop written out here as it was before objectives had names."""
    from itlib.batching import micro_batches
    from itlib.ordering import training_steps
    from itlib.train import adamw, learning_rate_factor

    rows = tiny.rows(12)
    spec = TrainSpec(budget=4, batch_size=6, micro_batch_tokens=60, learning_rate=1e-2)
    _, found = tuned(rows=rows)
    model = methods.get("full").attach(tiny.llama(), MethodSpec(train_embeddings=True)).train()
    optimizer = adamw(model, spec)
    steps = training_steps(rows, spec, seed=0)
    for step, positions in enumerate(steps):
        mine = [rows[i] for i in positions]
        count = sum(int(row.response_mask[1:].sum()) for row in mine)
        for group in micro_batches([len(row.input_ids) for row in mine], 60):
            logits, targets, _ = response_logits(model, [mine[i] for i in group], 0)
            (torch.nn.functional.cross_entropy(logits, targets, reduction="sum") / count).backward()
        torch.nn.utils.clip_grad_norm_(list(model.parameters()), 1.0)
        for parameters in optimizer.param_groups:
            parameters["lr"] = 1e-2 * learning_rate_factor(step, len(steps), spec.schedule, spec.warmup_fraction)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    assert torch.equal(found, torch.cat([weight.detach().flatten() for weight in model.parameters()]))


@pytest.mark.parametrize("name", [name for name in objectives.names() if name != "expert_balance"])
def test_a_step_may_be_cut_anywhere(name):
    """The balance of experts is no sum over examples: its step is one backward pass."""
    objective, pairs = made(name), batch(10)
    pairs = pairs if objective.paired else Batch(pairs.rows)
    found = []
    for most_tokens, least in ((10_000, 1), (40, 3)):
        model, groups = tiny.llama(), objective.groups(pairs, most_tokens)
        assert len(groups) >= least
        for group in groups:
            loss(objective, pairs.at(group), model).backward()
        found.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    assert torch.allclose(*found, atol=1e-3, rtol=1e-3) and found[0].abs().max() > 1


@pytest.mark.parametrize("name", PAIRED)
def test_both_wordings_count_as_tokens_and_one_as_examples(name):
    plain, paired = tuned()[0].totals, tuned(name)[0].totals
    assert paired["n_examples_seen"] == plain["n_examples_seen"]
    assert paired["n_response_tokens"] == plain["n_response_tokens"]
    assert paired["n_tokens"] > 1.9 * plain["n_tokens"]


def test_pairs_with_other_responses_are_refused():
    rows = tiny.rows(3)
    other = copy.deepcopy(reworded(rows))
    other[1].input_ids[-1] = (other[1].input_ids[-1] + 1) % tiny.VOCABULARY
    with pytest.raises(ValueError, match="example 1: its paraphrase has another response"):
        check_pairs(rows, other)
    with pytest.raises(ValueError, match="3 examples have 2 paraphrases"):
        check_pairs(rows, other[:2])


PAIRS = {"n_phrasings": 4, "families": ["plural", "past"], "learning_rate": 2e-3}


@pytest.mark.parametrize("name", PAIRED)
def test_a_run_is_the_same_again_and_another_than_without(name):
    plain, run = small.resolved(**PAIRS), small.resolved(objective=name, **PAIRS)
    first = execute(run)
    torch.manual_seed(99)
    assert small.scores(execute(run)) == small.scores(first)
    assert first.status == "done" and first.items != execute(plain).items
    assert digest(run) != digest(plain) and any(item.startswith("objective ") for item in run.components)


def test_the_default_objective_is_in_no_digest():
    assert not any("objective" in item for item in small.resolved().components)
    untuned = small.resolved(n_train=0, objective="coin", objective_options=["tau=0.1"])
    assert untuned == small.resolved(n_train=0)


def test_options_have_one_spelling():
    plain = small.resolved(objective="coin", objective_options=["tau=0.1", "weight=5"])
    assert small.resolved(objective="coin", objective_options=["weight=5.0", "contrast_batch=2", "tau=1e-1"]) == plain
    assert plain.train.objective_options == ("tau=0.1", "weight=5.0")
    assert small.resolved(objective="kl_align", objective_options=["weight=1"]).train.objective_options == ()


REFUSED = {
    "unknown objective": ({"objective": "coinn"}, "did you mean 'coin'"),
    "unknown option": ({"objective": "coin", "objective_options": ["taw=1"]}, "'coin' has no option 'taw'.*'tau'"),
    "an option of the default": ({"objective_options": ["tau=1"]}, "'response' has no option 'tau'"),
    "no temperature": ({"objective": "coin", "objective_options": ["tau=0"]}, "tau must be above 0"),
    "negative weight": ({"objective": "kl_align", "objective_options": ["weight=-1"]}, "weight must be between"),
    "no negatives": ({"objective": "coin", "objective_options": ["contrast_batch=1"]}, "contrast_batch must be"),
    "unknown pool": ({"objective": "coin", "objective_options": ["pool=respons"]}, "did you mean 'response'"),
    "a group above the batch": (
        {"objective": "coin", "objective_options": ["contrast_batch=16"]}, "contrast_batch 16 is above batch_size 8"
    ),
    "one phrasing": ({"objective": "coin", "n_phrasings": 1}, "n_phrasings is 1.*no second phrasing"),
    "a set of one phrasing": ({"objective": "coin", "phrasing_set": "name"}, "'name'.*no second phrasing"),
    "noise": ({"objective": "paraphrases", "noise_rate": 0.5}, "noise_rate: paraphrases are made of clean"),
    "documents": ({"objective": "kl_align", "pretraining_share": 0.3}, "pretraining_share: 0"),
    "another loop": ({"objective": "coin", "trainer": "transformers"}, "runs in our own loop only"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_run_is_refused_in_one_line(name):
    fields, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        small.resolved(**fields)
    assert "\n" not in str(caught.value)


def test_a_source_without_phrasings_is_refused(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(f'{{"instruction": "say {i} again", "output": "{i}"}}' for i in range(60)))
    with pytest.raises(InputError, match="'coin' needs paraphrases; source 'local' has no phrasings"):
        small.resolved(source="local", data_path=str(path), objective="coin", batch_size=8)
