"""Pretraining: the fast forward pass and Muon against the libraries' own, exact resume, what is saved."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from itlib.errors import InputError
from itlib.files import sha256_file
from itlib.microworld import pretrain
from itlib.microworld.fast_llama import logits_function, loss_function
from itlib.microworld.muon import StackedMuon, orthogonalise

TINY = pretrain.Recipe(
    n_tokens=6 * 2048, hidden_size=32, n_layers=1, n_heads=2, intermediate_size=64, threads=1, compiled=False
)


def perturbed(recipe):
    """A model whose norms and embeddings are far from their initial values, so that every one of them counts."""
    model, generator = pretrain.create_model(recipe), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model


def ids(rows, columns):
    return torch.randint(0, 500, (rows, columns), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("size", pretrain.SIZES)
def test_logits_and_gradients_are_those_of_the_library(size):
    model, block = perturbed(pretrain.Recipe(**pretrain.SIZES[size])), ids(3, 17)
    found = logits_function(model, 16, torch.float32)(block[:, :-1])
    expected = model(input_ids=block[:, :-1], use_cache=False).logits.flatten(0, 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    loss_function(model, 16, torch.float32)(block).backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    torch.nn.functional.cross_entropy(expected, block[:, 1:].flatten()).backward()
    for gradient, parameter in zip(gradients, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-5)


def test_bfloat16_loss_is_close_to_the_library_s_under_autocast():
    model, block = perturbed(pretrain.Recipe()), ids(8, 65)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        logits = model(input_ids=block[:, :-1], use_cache=False).logits
    expected = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), block[:, 1:].flatten())
    found = loss_function(model, 64, torch.bfloat16)(block).detach()
    assert float(found) == pytest.approx(float(expected), rel=5e-3)


def test_stacked_muon_takes_the_steps_of_torch_s_muon():
    generator = torch.Generator().manual_seed(0)
    shapes = [(24, 24), (40, 24), (24, 40), (24, 24), (40, 24)]
    one = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    other = [torch.nn.Parameter(parameter.detach().clone()) for parameter in one]
    pair = [StackedMuon(one, lr=0.02, weight_decay=0.1), torch.optim.Muon(other, lr=0.02, weight_decay=0.1)]
    before = [parameter.detach().clone() for parameter in one]
    for _ in range(5):
        for first, second in zip(one, other, strict=True):
            first.grad = torch.randn(first.shape, generator=generator)
            second.grad = first.grad.clone()
        for optimiser in pair:
            optimiser.step()
    for first, second, start in zip(one, other, before, strict=True):
        moved = float((second - start).detach().norm())
        assert moved > 0.1 and float((first - second).detach().norm()) < 0.01 * moved


def test_orthogonalised_matrices_have_singular_values_near_one():
    values = torch.linalg.svdvals(
        orthogonalise(torch.randn(3, 20, 50, generator=torch.Generator().manual_seed(0))).float()
    )
    assert values.min() > 0.4 and values.max() < 1.4


def test_adamw_decays_only_the_matrices_inside_the_layers():
    recipe = replace(TINY, optimizer="adamw")
    model = pretrain.create_model(recipe)
    inner, outer = pretrain._optimisers(model, recipe)
    names = {parameter: name for name, parameter in model.named_parameters()}
    decayed = {names[parameter] for parameter in inner.param_groups[0]["params"]}
    assert decayed == {n for n in names.values() if n.endswith("_proj.weight")} and len(decayed) == 7
    assert inner.param_groups[0]["weight_decay"] == 0.1 and outer.param_groups[0]["weight_decay"] == 0
    assert len(decayed) + len(outer.param_groups[0]["params"]) == len(names)
    assert inner.param_groups[0]["lr"] == 3e-3 and inner.param_groups[0]["betas"] == (0.9, 0.95)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(InputError, match="did you mean 'adamw'"):
        pretrain.Recipe(optimizer="adam_w")


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_interrupted_and_resumed_run_equals_an_undisturbed_one(optimizer, tmp_path, monkeypatch):
    recipe, file = replace(TINY, optimizer=optimizer), tmp_path / "checkpoint.safetensors"
    whole = pretrain.pretrain(recipe)
    taken, step = [], pretrain._step

    def counted(model, optimisers, loss_of, block, number, plan):
        if number == 5 and not resumed:
            raise KeyboardInterrupt
        taken.append(number)
        return step(model, optimisers, loss_of, block, number, plan)

    monkeypatch.setattr(pretrain, "_step", counted)
    resumed = False
    with pytest.raises(KeyboardInterrupt):
        pretrain.pretrain(recipe, checkpoint_file=file, checkpoint_every=2)
    resumed = True
    rest = pretrain.pretrain(recipe, checkpoint_file=file, checkpoint_every=2)
    assert taken == [0, 1, 2, 3, 4, 4, 5] and [path.name for path in tmp_path.iterdir()] == [file.name]
    assert rest.curve == whole.curve and rest.validation_loss == whole.validation_loss
    assert all(torch.equal(a, b) for a, b in zip(rest.model.parameters(), whole.model.parameters(), strict=True))


def test_a_checkpoint_of_another_run_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "checkpoint.safetensors"
    pretrain.pretrain(TINY, checkpoint_file=file, checkpoint_every=4)
    with pytest.raises(InputError, match="other recipe"):
        pretrain.pretrain(replace(TINY, seed=1), checkpoint_file=file)
    blocks = pretrain.token_blocks
    monkeypatch.setattr(pretrain, "token_blocks", lambda n, *key: blocks(n, "train", 9))
    with pytest.raises(InputError, match="other documents"):
        pretrain.pretrain(TINY, checkpoint_file=file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match="not a checkpoint"):
        pretrain.pretrain(TINY, checkpoint_file=file)


def test_a_longer_stream_begins_with_the_shorter_one():
    """So batch k is the same whichever steps were taken before it in this process."""
    long = pretrain.token_blocks(64, "train", 3)
    assert (pretrain.token_blocks(40, "train", 3) == long[:40]).all()
    assert (pretrain._batch(long, 1, TINY).numpy() == long[TINY.batch_blocks : 2 * TINY.batch_blocks]).all()


@pytest.mark.parametrize("size", pretrain.SIZES)
def test_sizes_are_about_what_their_names_say(size):
    count = sum(p.numel() for p in pretrain.create_model(pretrain.Recipe(**pretrain.SIZES[size])).parameters())
    assert count / 1e6 == pytest.approx(float(size.removeprefix("micro-").removesuffix("m")), rel=0.4)


def test_saved_float16_weights_give_the_recorded_loss(tmp_path):
    result = pretrain.pretrain(TINY)
    pretrain.save(result, TINY, tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16} and "lm_head.weight" not in weights
    record = json.loads((tmp_path / pretrain.RECORD).read_text())
    assert record["recipe"] == asdict(TINY) and record["weights_sha256"] == sha256_file(tmp_path / "model.safetensors")
    fresh = pretrain.create_model(replace(TINY, seed=9))
    fresh.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=False)
    assert pretrain.validation_loss(fresh) == record["validation_loss"] == result.validation_loss


def test_curve_falls_and_ends_at_the_last_token():
    recipe = replace(TINY, n_tokens=20 * 2048)
    curve = pretrain.pretrain(recipe).curve
    assert curve[-1][0] == recipe.n_tokens and curve[-1][1] < curve[0][1]
    assert np.diff([tokens for tokens, _ in curve]).min() > 0
