"""What studies share: which base a seed tunes, and that an untuned base is measured once."""

import dataclasses
import json

import pytest

from itlib.errors import InputError
from itlib.params import from_yaml
from itlib.registry import models
from itlib.resolve import resolve
from itlib.schema import build
from itlib.spec import RunSpec, with_fields
from itlib.studies import common
from itlib.studies.common import StudyParams, base_spec, one_per_base, replicate, replicates
from itlib.studies.data_scaling import DataScalingParams, choice_grid, pending, scaling_grid
from itlib.workspace import project_root


class Several:
    """A model shipped for some base seeds; for the rest the shipped one."""

    def __init__(self, seeds):
        self.seeds = seeds

    def base_seeds(self):
        return list(self.seeds)

    def resolve(self, model):
        if model.base_seed not in self.seeds:
            raise InputError(f"base_seed is {model.base_seed}, not shipped")
        return model

    def parameters(self, model):
        return 1000

    def context_length(self, model):
        return 256


@pytest.fixture
def several(monkeypatch):
    def ship(*seeds):
        models.names()
        monkeypatch.setitem(models._entries, "several", Several(seeds))
        monkeypatch.setitem(models._versions, "several", 1)
        return with_fields(RunSpec(), model="several")

    return ship


def pairs(specs):
    return [(spec.seed, spec.base.base_seed) for spec in specs]


def params(**changes):
    return dataclasses.replace(DataScalingParams(), model="several", **changes)


def test_seed_i_tunes_base_i_counted_round(several):
    spec = several(0, 1, 2)
    assert pairs(replicates([spec], range(5))) == [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1)]
    assert pairs(replicates([spec], (1000, 1001))) == [(1000, 1), (1001, 2)]
    assert replicate(spec, 4) == with_fields(spec, seed=4, base_seed=1)


def test_bases_are_counted_in_the_order_they_are_there(several):
    assert pairs(replicates([several(2, 5)], range(3))) == [(0, 2), (1, 5), (2, 2)]


def test_one_base_for_all_seeds(several):
    assert pairs(replicates([several(0, 1, 2)], range(4), 2)) == [(0, 2), (1, 2), (2, 2), (3, 2)]
    with pytest.raises(InputError, match="base_seed is 7"):
        resolve(replicate(several(0, 1, 2), 0, 7))


@pytest.mark.parametrize("model", ["local", "hub"])
def test_a_model_of_ones_own_is_one_base(model):
    spec = with_fields(RunSpec(), model=model, model_path="somewhere")
    assert pairs(replicates([spec], range(3))) == pairs(replicates([spec], range(3), 0)) == [(0, 0), (1, 0), (2, 0)]
    with pytest.raises(InputError, match=f"base_seed: 3 numbers a shipped base, and model '{model}' has none"):
        replicate(spec, 0, 3)


def test_every_base_is_measured_untuned_once(several):
    specs = replicates([several(0, 1, 2)], (4, 7, 5))
    assert pairs(one_per_base(specs)) == [(4, 1), (5, 2)]


def test_the_grids_of_a_study_follow_the_rule(several):
    several(0, 1, 2)
    p = params(sizes=(5, 10), seeds=(0, 1, 2, 3), choice_seeds=(1000, 1001), full_pool=True)
    specs = scaling_grid(p, {"learning_rate": 1e-4})
    assert pairs(s for s in specs if s.data.n_train == 0) == [(0, 0), (1, 1), (2, 2)]
    assert pairs(s for s in specs if s.data.n_train == 10) == [(0, 0), (1, 1), (2, 2), (3, 0)]
    assert pairs(s for s in specs if s.data.n_train == p.pool_size) == [(0, 0)]
    assert len(specs) == len(set(specs)) == 3 + 8 + 1
    assert {pair for pair in pairs(choice_grid(p))} == {(1000, 1), (1001, 2)}
    assert pending(p, []).startswith(f"{len(specs)} test runs")


def test_a_study_of_one_base(several):
    several(0, 1, 2)
    p = params(seeds=(0, 1, 2), base_seed=2)
    assert {spec.base.base_seed for spec in [*scaling_grid(p, {}), *choice_grid(p)]} == {2}
    assert pairs(s for s in scaling_grid(p, {}) if s.data.n_train == 0) == [(0, 2)]


def test_a_base_that_is_not_shipped_is_refused_before_any_run(several):
    several(0, 1)
    with pytest.raises(InputError, match="base_seed is 7"):
        choice_grid(params(base_seed=7))
    with pytest.raises(InputError, match="base_seed"):
        build(DataScalingParams, {"base_seed": -2}, where="test")


def test_the_first_base_need_not_be_base_zero(several):
    several(3, 4)
    assert base_spec(params()).base.base_seed == 3
    assert len(choice_grid(params())) == 2


def test_every_profile_tunes_as_many_bases_as_there_are():
    for path in sorted((project_root() / "params").glob("*/01_data_scaling*.yaml")):
        assert from_yaml(path).params.base_seed == -1, path


def test_a_gpu_gets_the_fastest_kernel_that_suits_and_compiles_long_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(common, "_device", lambda name: "cuda")
    shipped = base_spec(StudyParams(device="auto"))
    assert (shipped.base.attention, shipped.train.compile_after) == ("trimmed", common.COMPILE_AFTER)
    for kind, kernel in {"llama": "trimmed", "qwen2": "packed", "gemma2": "sdpa", "t5": "sdpa"}.items():
        (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
        assert base_spec(StudyParams(model=str(tmp_path))).base.attention == kernel
    monkeypatch.undo()
    assert base_spec(StudyParams(device="cpu")).train.compile_after == 0


@pytest.mark.parametrize(
    ("kind", "size", "wanted"),
    [
        ("llama", 10**6, ("trimmed", common.LONG_ROWS)),
        ("llama", 10**8, ("trimmed", 1024)),
        ("t5", 10**6, ("sdpa", 1024)),
    ],
)
def test_a_model_of_ones_own_is_packed_on_a_processor_and_a_small_one_in_larger_batches(
    kind, size, wanted, monkeypatch, tmp_path
):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    monkeypatch.setattr(type(common.models.get("local")), "parameters", lambda self, model: size)
    spec = base_spec(StudyParams(model=str(tmp_path), device="cpu"))
    assert (spec.base.attention, spec.train.micro_batch_tokens) == wanted


def test_a_folder_without_a_model_is_refused_in_one_line_before_its_kernel_is_chosen(tmp_path):
    with pytest.raises(InputError, match=r"has no config\.json, so it is not a model folder$"):
        base_spec(StudyParams(model=str(tmp_path), device="cpu"))
