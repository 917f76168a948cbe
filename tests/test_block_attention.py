"""Attention in blocks: the library's attention and finite differences are its oracles."""

import pytest
import torch

from itlib.block_attention import causal_attention


def inputs(n=3, size=4, sharing=2, length=7, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = (n, size, sharing, length), (n, size, length), (n, size, length)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def by_library(queries, keys, values, scale):
    """The same by torch's attention, which wants (n, heads, length, size)."""
    query = queries.permute(0, 2, 3, 1)
    key, value = (x.mT[:, None].expand(-1, query.shape[1], -1, -1) for x in (keys, values))
    mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale)
    return mixed.permute(0, 3, 1, 2)


@pytest.mark.parametrize("sharing", [1, 2, 3])
@pytest.mark.parametrize("block", [1, 3, 7, 100])
def test_outputs_and_gradients_are_those_of_the_library(block, sharing):
    given = inputs(sharing=sharing)
    weights = torch.randn(3, 4, sharing, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ends = []
    for mixed in (causal_attention(*given, scale=0.7, block=block), by_library(*given, 0.7)):
        ends.append((mixed, *torch.autograd.grad((mixed * weights).sum(), given)))
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(*ends, strict=True))


@pytest.mark.parametrize("block", [2, 5])
def test_gradients_are_those_of_finite_differences(block):
    assert torch.autograd.gradcheck(lambda *given: causal_attention(*given, scale=0.5, block=block), inputs(n=2))


def test_a_hand_computed_case():
    """Scores of the second query are ln 3 and 0: it reads three quarters of the first value and one of the second."""
    queries, keys = torch.tensor([[[[5.0, 1.0]]]]), torch.tensor([[[3.0, 1.0]]]).log()
    mixed = causal_attention(queries, keys, torch.tensor([[[8.0, 4.0]]]), scale=1.0, block=1)
    assert mixed.flatten().tolist() == pytest.approx([8.0, 7.0])


def test_a_later_place_changes_nothing_before_it():
    queries, keys, values = (x.detach() for x in inputs())
    before = causal_attention(queries, keys, values, scale=1.0, block=3)
    keys[..., 5], values[..., 5] = 100.0, 100.0
    after = causal_attention(queries, keys, values, scale=1.0, block=3)
    assert torch.equal(before[..., :5], after[..., :5]) and not torch.allclose(before[..., 5:], after[..., 5:])


def test_a_gradient_of_a_gradient_is_refused_rather_than_wrong():
    given = inputs()
    loss = causal_attention(*given, scale=1.0, block=4).square().sum()
    (first,) = torch.autograd.grad(loss, given[1], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()
