"""Shrinking one direction: an intruder, its neighbour, a random one."""

import measuring
import numpy as np
import pytest
import tiny
import torch

from itlib import spectra
from itlib.dense import matrices
from itlib.registry import edits

PLACE = "model.layers.0.self_attn.o_proj"


def planted():
    """A tiny model with one intruder, in one matrix."""

    def plant(name, weight):
        if name != PLACE:
            return None
        left = spectra.decompose(weight.double().numpy()).left
        v = left @ np.sign(np.random.default_rng(0).standard_normal(left.shape[1])) / np.sqrt(left.shape[1])
        right = torch.nn.functional.normalize(torch.ones(weight.shape[1]), dim=0)
        return torch.outer(torch.as_tensor(v, dtype=weight.dtype), right) * 5 * torch.linalg.matrix_norm(weight, 2)

    return measuring.moved(plant)


def edited(name, scale):
    about = measuring.about(planted())
    edits.get(name)(about, scale)
    return dict(matrices(about.model))


def intruders(weight):
    base = spectra.decompose(dict(matrices(tiny.llama()))[PLACE].detach().double().numpy())
    return spectra.count_below(spectra.similarities(base, spectra.decompose(weight.detach().double().numpy())), [0.5])[
        0
    ]


@pytest.mark.parametrize("name", ["intruder", "neighbour", "random_direction"])
def test_scale_one_changes_nothing(name):
    for weight, other in zip(edited(name, 1.0).values(), dict(matrices(planted())).values(), strict=True):
        assert torch.allclose(weight, other, atol=1e-7)


@pytest.mark.parametrize("name", ["intruder", "neighbour", "random_direction"])
def test_matrices_without_an_intruder_stay_as_they_are(name):
    found, before = edited(name, 0.0), dict(matrices(planted()))
    changed = [place for place in found if not torch.equal(found[place], before[place])]
    assert changed == [PLACE]


def test_scale_zero_removes_the_intruder_and_its_neighbour_does_not():
    assert intruders(dict(matrices(planted()))[PLACE]) == 1
    assert intruders(edited("intruder", 0.0)[PLACE]) == 0
    assert intruders(edited("neighbour", 0.0)[PLACE]) == 1


def test_half_a_scale_halves_the_singular_value():
    before = torch.linalg.svdvals(dict(matrices(planted()))[PLACE]).detach()
    after = torch.linalg.svdvals(edited("intruder", 0.5)[PLACE]).detach()
    assert float(after[0]) == pytest.approx(float(before[0]) / 2, rel=1e-4)
    assert torch.allclose(after[1:], before[1:], atol=1e-4)
