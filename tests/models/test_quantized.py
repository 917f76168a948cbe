"""Weights in few bits: refused where they cannot be. The loading itself needs a GPU."""

import pytest
import small

from itlib.errors import InputError
from itlib.models._quantized import quantized
from itlib.spec import RunSpec, digest, with_fields


def test_no_quantization_tells_the_loader_nothing():
    assert quantized("none") == {}
    assert digest(small.resolved(quantization="none")) == digest(small.resolved())


def test_four_bits_without_a_gpu_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="quantization: '4bit' needs an NVIDIA GPU, and none is visible"):
        quantized("4bit")


def test_four_bits_without_the_package_are_refused(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package bitsandbytes; pip install 'itlib\[quantized\]'"):
        quantized("4bit")


@pytest.mark.parametrize(("changes", "message"), [
    ({"method": "lora"}, "quantization: '4bit' needs an NVIDIA GPU; set device: cuda"),
    ({"method": "lora", "device": "cuda"}, "quantization: '4bit' is for models from a folder or the hub"),
    ({"quantization": "8bit"}, "quantization: '8bit' is not one of none, 4bit"),
])  # fmt: skip
def test_runs_that_cannot_be_quantized_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        small.resolved(**({"quantization": "4bit"} | changes))


@pytest.mark.parametrize(("changes", "message"), [
    ({"method": "full"}, "leaves method 'full' nothing to tune"),
    ({"method": "pissa"}, "leaves method 'pissa' nothing to tune"),
    ({"method": "lora", "measures": ("spectra",)}, "has no weights to measure or edit"),
    ({"method": "lora", "first_steps": 2}, "cannot be combined with other stages"),
])  # fmt: skip
def test_what_needs_full_weights_is_refused(changes, message):
    from itlib.resolve import _check_quantization

    spec = with_fields(RunSpec(), model="hub", device="cuda", quantization="4bit", **changes)
    with pytest.raises(InputError, match=message):
        _check_quantization(spec)
