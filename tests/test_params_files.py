"""Every study, every file below ``params`` and every study notebook say the same: keys, types, defaults, help."""

from __future__ import annotations

import importlib.util
import io
from collections import Counter
from contextlib import redirect_stdout
from pathlib import Path

import nbformat
import pytest
from papermill_cell import check_cell_against_schema

from itlib import params
from itlib.schema import field_types
from itlib.studies import STUDIES
from itlib.yamlio import load_with_lines

ROOT = Path(__file__).resolve().parent.parent
PROFILES = {"smoke", "cpu", "gpu-micro", "gpu", "paper"}
ABOUT_THE_WORLD = {"base_model", "world", "elicitation"}  # no other model or data could take part in them


def existing_studies():
    return [study for study, target in STUDIES.items() if importlib.util.find_spec(target.partition(":")[0])]


def study_files():
    return sorted(path for profile in PROFILES for path in (ROOT / "params" / profile).rglob("*.yaml"))


def study_of(path):
    """The study a file is named for; a variant of a study carries its name and more: 01_data_scaling_own_data."""
    named = [study for study in STUDIES if path.stem == study or path.stem.startswith(f"{study}_")]
    return max(named, key=len, default=path.stem)


def claim_files():
    return list((ROOT / "params" / "claims").rglob("*.yaml"))


def test_params_files_are_counted():
    """Every file below params is in a known profile, and every existing study has at least smoke and cpu."""
    seen = Counter(study_of(path) for path in study_files())
    strays = [path for path in (ROOT / "params").iterdir() if path.is_dir() and path.name not in {*PROFILES, "claims"}]
    assert not strays
    assert set(seen) <= set(STUDIES), f"a params file is named for no study: {seen}"
    assert (
        sum(seen.values()) == len(list((ROOT / "params").rglob("*.yaml"))) - len(claim_files()) - 1
    )  # disagreements.yaml
    for study in existing_studies():
        profiles = {path.parent.name for path in study_files() if path.stem == study}
        assert profiles >= {"smoke", "cpu"}, study
        assert profiles == ({"smoke", "cpu"} if study in ABOUT_THE_WORLD else PROFILES), study


@pytest.mark.parametrize("path", study_files(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_params_file_matches_its_schema(path):
    read = params.from_yaml(path)
    assert read.study == study_of(path)
    assert read.notes == (), "a value is written as text"
    keys = set(load_with_lines(path)[0]) - {"study"}
    missing = {item.name for item in field_types(type(read.params))} - keys
    assert not missing, f"every profile writes out every key; missing: {', '.join(sorted(missing))}"
    assert getattr(read.params, "profile", path.parent.name) == path.parent.name


@pytest.mark.parametrize("study", existing_studies())
def test_notebook_matches_its_schema(study):
    notebook = ROOT / "notebooks" / f"{study}.ipynb"
    assert notebook.is_file()
    schema = params.schema(study)
    assert params.study_name(schema) == study
    check_cell_against_schema(notebook, study, schema)
    tagged = [cell for cell in nbformat.read(notebook, 4).cells if "parameters" in cell.metadata.get("tags", ())]
    assert [cell.source for cell in tagged] == [params.parameters_cell(schema)], "regenerate with parameters_cell"


@pytest.mark.parametrize("study", existing_studies())
def test_defaults_are_the_smoke_file(study):
    """So that "Run all" on a laptop just works."""
    smoke = vars(params.from_yaml(ROOT / "params" / "smoke" / f"{study}.yaml").params)
    defaults = vars(params.schema(study)())
    assert {key: value for key, value in smoke.items() if value != defaults[key]} == {}


@pytest.mark.parametrize("study", existing_studies())
def test_schema_is_documented_and_round_trips(study):
    schema = params.schema(study)
    assert all(item.metadata.get("help") for item in field_types(schema))
    namespace: dict = {}
    exec(params.parameters_cell(schema), namespace)
    with redirect_stdout(io.StringIO()) as printed:
        assert params.from_notebook(study, namespace) == schema()
    assert printed.getvalue() == ""
    assert len(params.markdown_table(schema).splitlines()) == 2 + len(field_types(schema))
