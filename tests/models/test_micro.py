"""Shipped sizes: names and counts come from what is there, and weights of half precision load as float32."""

import hashlib
import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from itlib.errors import InputError
from itlib.models import micro, resolve_name
from itlib.models._folder import header
from itlib.registry import models
from itlib.spec import ModelSpec

WEIGHTS = "model.safetensors"


def pin(assets):
    """Write the pins of everything that lies in a copy of the assets."""
    files = [p for p in assets.rglob("*") if p.is_file() and p.parent != assets]
    pins = {p.relative_to(assets).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
    (assets / "hashes.json").write_text(json.dumps(pins))


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """Assets with a second base of half precision and of another size: one layer less."""
    copy = tmp_path / "assets"
    shutil.copytree(micro.ASSETS, copy)
    source, other = copy / "micro-1m" / "seed-0", copy / "micro-tiny" / "seed-3"
    other.mkdir(parents=True)
    config = json.loads((source / "config.json").read_text())
    last = config["num_hidden_layers"] - 1
    (other / "config.json").write_text(json.dumps(config | {"num_hidden_layers": last}))
    tensors = {name: value.half() for name, value in load_file(source / WEIGHTS).items() if f".{last}." not in name}
    save_file(tensors, other / WEIGHTS)
    pin(copy)
    monkeypatch.setattr(micro, "ASSETS", copy)
    monkeypatch.setattr(micro, "PINS", copy / "hashes.json")
    return copy


def test_names_are_of_what_is_shipped():
    assert set(micro.shipped()) == {name for name in models.names() if name.startswith("micro-")}
    assert "micro-1m" in models and 0 in models.get("micro-1m").base_seeds()


def test_sizes_and_base_seeds_are_read_from_the_pins(assets):
    assert micro.shipped()["micro-tiny"] == [3] and micro.MicroModel("micro-tiny").base_seeds() == [3]
    shutil.copytree(assets / "micro-tiny" / "seed-3", assets / "micro-tiny" / "seed-11")
    pin(assets)
    assert micro.shipped()["micro-tiny"] == [3, 11]
    assert micro.MicroModel("micro-none").base_seeds() == []


def test_a_base_needs_weights_to_count(assets):
    (assets / "micro-tiny" / "seed-3" / WEIGHTS).unlink()
    pin(assets)
    assert "micro-tiny" not in micro.shipped()


def test_half_precision_loads_as_float32_with_the_same_values(assets):
    spec = ModelSpec(model="micro-tiny", base_seed=3)
    path = assets / "micro-tiny" / "seed-3" / WEIGHTS
    assert {entry["dtype"] for entry in header(path).values()} == {"F16"}
    loaded, _ = micro.MicroModel("micro-tiny").load(spec)
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32} and not loaded.training
    state = loaded.state_dict()
    assert all(torch.equal(state[name], value.float()) for name, value in load_file(path).items())
    assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


def test_the_number_of_parameters_is_that_of_the_file(assets):
    for name, seed in (("micro-1m", 0), ("micro-tiny", 3)):
        spec, model = ModelSpec(model=name, base_seed=seed), micro.MicroModel(name)
        assert model.parameters(spec) == sum(weight.numel() for weight in model.load(spec)[0].parameters())
    tiny, whole = micro.MicroModel("micro-tiny"), micro.MicroModel("micro-1m")
    assert tiny.parameters(spec) < whole.parameters(ModelSpec(model="micro-1m"))


def test_what_is_not_shipped_is_refused_in_one_line(assets):
    with pytest.raises(InputError, match=r"base_seed is 0; model 'micro-tiny' is shipped for base seeds 3$"):
        micro.MicroModel("micro-tiny").parameters(ModelSpec(model="micro-tiny"))
    with pytest.raises(InputError, match=r"^unknown model 'micro-9m' \(did you mean 'micro-.*'\?\); known: ") as caught:
        resolve_name("micro-9m")
    assert "\n" not in str(caught.value)
