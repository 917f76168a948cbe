"""Trained numbers counted from shapes are those that a method does train."""

import pytest
import tiny
import torch

from itlib.dense import matrices
from itlib.errors import InputError
from itlib.methods import Setting, method_of
from itlib.spec import MethodSpec, RunSpec, TrainSpec, with_fields
from itlib.studies.tuned_arms import arm_fields
from itlib.trainable import n_trainable, shapes_of


def tuning(arm):
    return MethodSpec(**arm_fields(arm))


@pytest.mark.parametrize(
    "arm",
    [
        "lora 2",
        "lora 3 attention",
        "lora 2 feedforward",
        "lora 2 qv",
        "lora 2 inner=orthonormal",
        "rslora 2",
        "dora 2",
        "pissa 2",
        "olora 2",
        "lottery_ticket 1",
        "grow_and_drop density=0.05",
        "grow_and_drop density=0.0001",
    ],
)
def test_the_count_is_that_of_the_method(arm):
    torch.manual_seed(0)
    model = tiny.llama()
    shapes = [(name, tuple(weight.shape)) for name, weight in matrices(model)]
    spec = tuning(arm)
    setting = Setting(examples=tiny.rows(4), train=TrainSpec(budget=1, batch_size=4))
    method = method_of(spec)
    assert n_trainable(spec, shapes) == method.n_trained(method.attach(model, spec, setting))


def test_other_methods_are_refused():
    for arm in ("full", "prefix 2", "vera 4", "mixture 2", "norms"):
        with pytest.raises(InputError, match="do not follow from shapes"):
            n_trainable(tuning(arm), [("q_proj", (4, 4))])


def test_shapes_are_those_of_the_base():
    shapes = shapes_of(with_fields(RunSpec(), model="micro-0.2m"))
    assert len(shapes) == 2 * 7 and dict(shapes)["model.layers.1.mlp.down_proj"] == (64, 172)
