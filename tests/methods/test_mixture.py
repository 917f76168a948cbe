"""Experts beside the feed-forward matrices: against one adapter, and token by token by hand."""

import pytest
import small
import tiny
import torch
import tuned

from itlib.errors import InputError
from itlib.methods.mixture import mixture_layers
from itlib.packing import KERNEL, register_kernel

FEEDFORWARD = ("gate_proj", "up_proj", "down_proj")


def mixed(experts=4, rank=3, spread=0.3, **changes):
    """The tiny model with experts and routers that differ from their start."""
    model = tuned.attached(tuned.spec("mixture", f"experts={experts}", rank=rank, alpha=6.0), tiny.llama(**changes))
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for layer in mixture_layers(model):
            layer.outer += spread * torch.randn(layer.outer.shape, generator=generator)
            layer.router.weight += spread * torch.randn(layer.router.weight.shape, generator=generator)
    return model


def test_experts_lie_beside_every_feed_forward_matrix_and_no_other():
    model = tuned.attached(tuned.spec("mixture"))
    kind = type(next(mixture_layers(model)))
    found = [name for name, module in model.named_modules() if isinstance(module, kind)]
    assert found == [f"model.layers.{i}.mlp.{part}" for i in (0, 1) for part in FEEDFORWARD]
    asked = {name.split(".", 5)[5] for name, weight in model.named_parameters() if weight.requires_grad}
    assert asked == {"inner", "outer", "router.weight"}


@pytest.mark.parametrize("experts", [2, 4, 8])
def test_as_many_numbers_are_trained_as_experts_and_routers_have(experts):
    model = tuned.attached(tuned.spec("mixture", f"experts={experts}", rank=3))
    wanted = 2 * experts * (3 * 3 * (32 + 64) + 32 + 32 + 64)
    assert sum(weight.numel() for weight in model.parameters() if weight.requires_grad) == wanted


@pytest.mark.parametrize("experts", [2, 4])
def test_equal_experts_are_one_adapter_whatever_the_router_does(experts):
    model = mixed(experts)
    adapter = tuned.attached(tuned.spec("lora", rank=3, alpha=6.0, targets=",".join(FEEDFORWARD)))
    with torch.no_grad():
        for name, module in list(adapter.named_modules()):
            if name.split(".")[-1] not in FEEDFORWARD:
                continue
            layer = model.get_submodule(name.removeprefix("base_model.model."))
            module.lora_A["default"].weight.copy_(layer.inner[:3])
            module.lora_B["default"].weight.copy_(layer.outer[:, :3])
            layer.inner.copy_(layer.inner[:3].repeat(experts, 1))
            layer.outer.copy_(layer.outer[:, :3].repeat(1, experts))
    found = tuned.logits(model)
    assert torch.allclose(found, tuned.logits(adapter), atol=2e-5)
    assert (found - tuned.logits(tiny.llama())).abs().max() > 0.1
    spreads = [float(layer.weights.amax(-1).mean()) for layer in mixture_layers(model)]
    assert min(spreads) > 1 / experts + 0.05  # the routers do choose


def test_different_experts_are_no_single_adapter():
    model = mixed()
    before = tuned.logits(model)
    with torch.no_grad():
        for layer in mixture_layers(model):
            layer.router.weight.zero_()
    assert (tuned.logits(model) - before).abs().max() > 0.1


def test_a_layer_by_hand():
    """W x + alpha / rank times the sum over experts of weight times B A x, one token at a time."""
    layer = next(mixture_layers(mixed(experts=2, rank=3)))
    x = torch.randn(2, 5, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = layer(x)
        for row in range(2):
            for place in range(5):
                token = x[row, place]
                share = torch.softmax(layer.router.weight @ token, 0)
                wanted = layer.layer.weight @ token
                for expert in range(2):
                    inner = layer.inner[3 * expert : 3 * expert + 3]
                    outer = layer.outer[:, 3 * expert : 3 * expert + 3]
                    wanted = wanted + 6.0 / 3 * share[expert] * (outer @ (inner @ token))
                assert torch.allclose(found[row, place], wanted, atol=1e-5)
                assert torch.allclose(layer.weights[row, place], share, atol=1e-6)


def test_the_weights_of_a_token_sum_to_one():
    model = mixed()
    tuned.logits(model)
    for layer in mixture_layers(model):
        assert layer.weights.shape[-1] == 4 and layer.weights.min() > 0
        assert torch.allclose(layer.weights.sum(-1), torch.ones(layer.weights.shape[:-1]), atol=1e-6)


def test_logits_are_the_same_packed_and_padded():
    register_kernel()
    padded, packed = tuned.logits(mixed()), tuned.logits(mixed(attn_implementation=KERNEL))
    assert torch.allclose(padded, packed, atol=2e-5)
    assert not torch.allclose(padded, tuned.logits(tiny.llama()), atol=0.1)


def test_every_expert_and_every_router_moves():
    tuning = tuned.spec("mixture", "experts=2", rank=3)
    model = tuned.attached(tuning)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}
    after = dict(tuned.trained(model, tuning).named_parameters())
    for name, weight in before.items():
        change = (after[name] - weight).detach()
        by_expert = (change.T if name.endswith("outer") else change).unflatten(0, (2, -1))
        assert all(part.any() for part in by_expert)


@pytest.mark.parametrize("experts", ["3", "1", "0", "-2"])
def test_experts_come_in_two_halves(experts):
    with pytest.raises(InputError, match=f"experts must be an even number of at least 2, got {experts}") as caught:
        small.resolved(method="mixture", method_options=[f"experts={experts}"])
    assert "\n" not in str(caught.value)


def test_a_model_without_such_matrices_is_refused():
    import transformers

    sizes = {"vocab_size": 64, "n_embd": 32, "n_layer": 1, "n_head": 4, "n_positions": 64}
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, bos_token_id=1, eos_token_id=1))
    with pytest.raises(InputError, match="'mixture' needs layers named gate_proj, up_proj, down_proj"):
        tuned.attached(tuned.spec("mixture"), model)
