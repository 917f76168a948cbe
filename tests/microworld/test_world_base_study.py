"""The notebook ``base_model``: its parameters, its form, and the comparison it makes."""

from dataclasses import asdict, replace
from pathlib import Path

import nbformat
import pytest
import torch

from itlib import params
from itlib.errors import InputError
from itlib.microworld import gates, pretrain, tokenizer
from itlib.microworld.recipes import BASES
from itlib.studies import base_model

ROOT = Path(__file__).parents[2]
TINY = pretrain.Recipe(n_tokens=4096, hidden_size=32, n_layers=1, n_heads=2, intermediate_size=64, compiled=False)


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(ROOT / "notebooks" / "base_model.ipynb", as_version=4)


def test_parameters_cell_is_the_schema_s_and_the_smoke_file_its_defaults(notebook):
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert [cell.source for cell in tagged] == [params.parameters_cell(base_model.BaseModelParams)]
    assert params.from_yaml(ROOT / "params/smoke/base_model.yaml").params == base_model.BaseModelParams()


@pytest.mark.parametrize("seed", base_model.SEEDS)
def test_cpu_params_rebuild_a_shipped_model(seed):
    given = replace(params.from_yaml(ROOT / "params/cpu/base_model.yaml").params, base_seed=seed)
    own = BASES[f"micro-1m/seed-{seed}"]
    assert own.seed == seed
    assert replace(base_model.recipe(given), threads=own.threads, compiled=own.compiled) == own


def test_a_base_that_is_not_shipped_is_refused():
    with pytest.raises(InputError, match="base_seed"):
        base_model.BaseModelParams(base_seed=8)


def test_notebook_is_an_essay(notebook):
    assert nbformat.validate(notebook) is None
    assert notebook.cells[0].source.splitlines()[0].startswith("# ") and "?" in notebook.cells[0].source.splitlines()[0]
    for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown" and not cell.outputs and cell.execution_count is None
            assert not any(line.startswith(("def ", "class ")) for line in cell.source.splitlines())


def test_comparison_knows_equal_close_and_other_models(monkeypatch):
    monkeypatch.setattr(pretrain, "validation_loss", lambda model: 1.6)
    cfg = base_model.BaseModelParams(n_tokens=0, threads=2)
    record = {"recipe": asdict(BASES["micro-1m/seed-0"])}
    model = pretrain.create_model(TINY)

    def verdict(rebuilt, params=cfg):
        return base_model.compare(params, rebuilt, model, record).loc["rebuilt", "verdict"]

    same = pretrain.Pretrained(model, [], 1.6, 0.0, True)
    assert verdict(same) == "same model, byte for byte"
    close = replace(same, model=pretrain.create_model(replace(TINY, seed=1)), validation_loss=1.615)
    assert "within" in verdict(close)
    assert "more than" in verdict(replace(close, validation_loss=1.63))
    assert "not compared" in verdict(close, replace(cfg, n_tokens=4096))
    assert "not compared" in verdict(close, replace(cfg, base_seed=1))


def test_rebuild_saves_a_model_that_loads_as_it_was(tmp_path):
    from transformers import LlamaForCausalLM

    cfg = base_model.BaseModelParams(n_tokens=4096, results=str(tmp_path))
    built = base_model.rebuild(cfg)
    loaded = LlamaForCausalLM.from_pretrained(base_model.folder(cfg) / "model")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), built.model.parameters(), strict=True))
    assert pretrain.validation_loss(loaded.eval()) == built.validation_loss


def test_an_untrained_model_fails_the_gates():
    """Gates that nothing can fail would gate nothing."""
    table = base_model.gate_table(gates.check(pretrain.create_model(TINY), tokenizer.load(), 5))
    assert not table.loc[[name for name in table.index if name.startswith("document form")], "passed"].any()
