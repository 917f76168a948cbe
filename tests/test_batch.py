"""Batches: paths that hold wherever a notebook runs, profiles, and notebooks that stop in every way they can."""

import os
import subprocess
import sys
import time
from pathlib import Path

import papermill
import pytest
from nbclient.exceptions import DeadKernelError

from itlib.batch import GridBatch, headline_studies, load, run_study
from itlib.errors import InputError, RunError
from itlib.notebooks import execute_notebook, report_folder
from itlib.params import schema
from itlib.workspace import project_root

Params = schema("01_data_scaling")
SMOKE = str(project_root() / "params" / "smoke" / "01_data_scaling.yaml")


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("ITLIB_RESULTS", str(tmp_path / "results"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results"


def read(*paths, runtime=None, **changes):
    notes = []
    return load(list(paths), changes, notes.append, runtime), notes


def test_paths_from_the_current_folder_become_absolute(tmp_path):
    (tmp_path / "rows.jsonl").write_text("")
    (tmp_path / "mine").mkdir()
    (tmp_path / "microworld").write_text("")
    ([batch], _) = read(SMOKE, data="rows.jsonl", model="mine", results="out")
    assert batch.params.data == str(tmp_path / "rows.jsonl") and batch.params.model == str(tmp_path / "mine")
    assert batch.params.results == str(tmp_path / "out")
    ([batch], _) = read(SMOKE, model="org/name@v1")  # a registered name and a hub id are no paths
    assert (batch.params.data, batch.params.model, batch.params.results) == ("microworld", "org/name@v1", "")


def test_a_nul_byte_in_a_path_is_refused(tmp_path):
    for arguments, changes in (([SMOKE], {"results": "a\0b"}), (["a\0.yaml"], {})):
        with pytest.raises(InputError, match="cannot hold a NUL byte") as caught:
            read(*arguments, **changes)
        assert "\0" not in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        read("x" * 5000)


def test_how_runs_are_computed_holds_for_studies_and_grids(tmp_path):
    (tmp_path / "g.yaml").write_text("grid:\n  base: {budget: 2}\n  cross: {severity: [0.0, 0.5]}\n")
    runtime = {"engine": "serial", "workers": 3, "retry_failed": True}
    ([study, grid], notes) = read(SMOKE, "g.yaml", runtime=runtime)
    for batch in (study.params, grid):
        assert {name: getattr(batch, name) for name in runtime} == runtime
    assert isinstance(grid, GridBatch) and len(grid.specs) == 1 and not notes  # severity of nothing is one run
    base = str(project_root() / "params" / "smoke" / "base_model.yaml")
    assert "--engine does nothing here" in read(base, runtime={"engine": "serial"})[1][0]


@pytest.mark.parametrize("profile", ["claims", "", "..", ".", "/", "nosuch", "smok"])
def test_a_profile_is_a_folder_of_params(profile):
    with pytest.raises(InputError, match="--profile: '.*' is not one of cpu, .*smoke"):
        headline_studies(profile, None)


def test_profiles_and_studies_that_are_there():
    assert headline_studies("smoke", None) and headline_studies("smoke", "01_data_scaling") == [SMOKE]
    with pytest.raises(InputError, match="did you mean '01_data_scaling'"):
        headline_studies("smoke", "01_data_scalling")
    assert [Path(path).stem for path in headline_studies("cpu", "world")] == ["world"]
    assert not {"world", "base_model"} & {Path(path).stem for path in headline_studies("cpu", None)}
    with pytest.raises(InputError, match="study 'world' has no params for profile 'gpu'; it has cpu, smoke"):
        headline_studies("gpu", "world")


def test_a_report_folder_that_cannot_be_written_is_refused_before_the_runs(results):
    results.mkdir()
    (results / "smoke").write_text("not a folder")
    ([batch], _) = read(SMOKE)
    with pytest.raises(InputError, match="smoke/01_data_scaling is not writable"):
        run_study(batch)
    assert not list(results.rglob("manifest.json"))


def stop(monkeypatch, error, *, content="{"):
    seen = {}

    def execute(source, target, **options):
        seen.update(options)
        if content is not None:
            with open(target, "w") as file:
                file.write(content)
        if error is not None:
            raise error

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    return seen


def cell_error(name, value):
    return papermill.PapermillExecutionError(0, 1, "", name, value, [])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (cell_error("ValueError", "wrong\nand more"), r"^01_data_scaling.ipynb: ValueError: wrong$"),
        (cell_error("MemoryError", ""), r"^01_data_scaling.ipynb: MemoryError$"),
        (DeadKernelError("Kernel died"), "the kernel died twice"),
    ],
)
@pytest.mark.parametrize("content", ["{", None])
@pytest.mark.fault(25)
def test_a_notebook_that_stops_says_why_in_one_line(monkeypatch, error, message, content):
    stop(monkeypatch, error, content=content)
    with pytest.raises(RunError, match=message):
        execute_notebook("01_data_scaling", Params())
    folder = report_folder("01_data_scaling", Params())
    assert [path.name for path in folder.iterdir()] == (["notebook-failed.ipynb"] if content else [])


@pytest.mark.fault(25)
def test_a_kernel_that_dies_once_is_started_again(monkeypatch, capsys):
    deaths = iter([DeadKernelError("Kernel died"), None])

    def execute(source, target, **options):
        error = next(deaths)
        if error is not None:
            raise error
        with open(target, "w") as file:
            file.write("{}")

    monkeypatch.setattr(papermill, "execute_notebook", execute)
    assert execute_notebook("01_data_scaling", Params()).read_text() == "{}"
    assert "the kernel died; once more" in capsys.readouterr().err


def test_half_a_notebook_never_hides_the_error(monkeypatch):
    stop(monkeypatch, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        execute_notebook("01_data_scaling", Params())
    assert not list(report_folder("01_data_scaling", Params()).iterdir())


def test_leftovers_of_killed_executions_are_removed_after_a_day(monkeypatch):
    folder = report_folder("01_data_scaling", Params())
    folder.mkdir(parents=True)
    old, fresh = folder / ".notebook-1-a.ipynb", folder / ".notebook-2-b.ipynb"
    for path, hours in ((old, 25), (fresh, 23)):
        path.write_text("{")
        os.utime(path, (time.time() - hours * 3600,) * 2)
    stop(monkeypatch, None)
    assert execute_notebook("01_data_scaling", Params()) == folder / "notebook.ipynb"
    assert {path.name for path in folder.iterdir()} == {"notebook.ipynb", fresh.name}


def test_a_notebook_is_told_where_results_from_the_current_folder_are(monkeypatch, tmp_path):
    seen = stop(monkeypatch, None)
    execute_notebook("01_data_scaling", Params())
    assert seen["parameters"]["results"] == ""  # the environment names it and is inherited
    monkeypatch.setenv("ITLIB_RESULTS", "elsewhere")
    execute_notebook("01_data_scaling", Params())
    assert seen["parameters"]["results"] == str(tmp_path / "elsewhere")


def test_papermill_is_imported_without_the_grammar_of_addresses_and_others_may_have_it():
    code = "import sys, itlib.notebooks as n; n._papermill(); print('lark' in sys.modules); import rfc3987_syntax"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
