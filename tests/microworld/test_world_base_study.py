"""The notebook ``base_model``: its parameters, its form, and the comparison it makes."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import nbformat
import pytest
import torch

from itlib import params
from itlib.microworld import gates, lexicon, pretrain
from itlib.studies import base_model

ROOT = Path(__file__).parents[2]
RECORD = json.loads((lexicon.ASSETS / "micro-1m/seed-0/pretraining.json").read_text())


@pytest.fixture(scope="module")
def notebook():
    return nbformat.read(ROOT / "notebooks" / "base_model.ipynb", as_version=4)


def test_parameters_cell_is_the_schema_s_and_the_smoke_file_its_defaults(notebook):
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert [cell.source for cell in tagged] == [params.parameters_cell(base_model.BaseModelParams)]
    assert params.from_yaml(ROOT / "params/smoke/base_model.yaml").params == base_model.BaseModelParams()


def test_cpu_params_rebuild_the_shipped_model():
    given = params.from_yaml(ROOT / "params/cpu/base_model.yaml").params
    assert base_model.recipe(given) == pretrain.Recipe()
    assert RECORD["recipe"] == asdict(pretrain.Recipe())


def test_notebook_is_an_essay(notebook):
    assert nbformat.validate(notebook) is None
    assert notebook.cells[0].source.splitlines()[0].startswith("# ") and "?" in notebook.cells[0].source.splitlines()[0]
    for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown" and not cell.outputs and cell.execution_count is None
            assert not any(line.startswith(("def ", "class ")) for line in cell.source.splitlines())


def test_comparison_knows_equal_close_and_other_models(monkeypatch):
    model, _, record = base_model.shipped()
    monkeypatch.setattr(pretrain, "validation_loss", lambda model: record["validation_loss"])
    cfg = base_model.BaseModelParams(n_tokens=record["recipe"]["n_tokens"])
    same = pretrain.Pretrained(model, [], record["validation_loss"], 0.0, True)
    assert base_model.compare(cfg, same, model, record).loc["rebuilt", "verdict"] == "same model, byte for byte"
    other = pretrain.create_model(pretrain.Recipe(seed=1))
    close = replace(same, model=other, validation_loss=record["validation_loss"] + 0.015)
    assert "within" in base_model.compare(cfg, close, model, record).loc["rebuilt", "verdict"]
    far = replace(close, validation_loss=record["validation_loss"] + 0.03)
    assert "more than" in base_model.compare(cfg, far, model, record).loc["rebuilt", "verdict"]
    short = replace(cfg, n_tokens=4096)
    assert "not compared" in base_model.compare(short, far, model, record).loc["rebuilt", "verdict"]


def test_rebuild_saves_a_model_that_loads_as_it_was(tmp_path):
    from transformers import LlamaForCausalLM

    cfg = base_model.BaseModelParams(n_tokens=4096, results=str(tmp_path))
    built = base_model.rebuild(cfg)
    loaded = LlamaForCausalLM.from_pretrained(base_model.folder(cfg) / "model")
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), built.model.parameters(), strict=True))
    assert pretrain.validation_loss(loaded.eval()) == built.validation_loss


def test_an_untrained_model_fails_the_gates():
    """Gates that nothing can fail would gate nothing."""
    model, tokenizer, _ = base_model.shipped()
    table = base_model.gate_table(gates.check(pretrain.create_model(pretrain.Recipe()), tokenizer, 5))
    assert not table.loc[[name for name in table.index if name.startswith("document form")], "passed"].any()
