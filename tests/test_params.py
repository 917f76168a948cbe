"""Typed params close papermill's gaps before any run; shown on a small schema of its own."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, replace

import nbformat
import papermill
import pytest
from papermill_cell import check_cell_against_schema

from itlib import params
from itlib.errors import InputError
from itlib.schema import coerce_fields, param
from itlib.studies import STUDIES


@dataclass(frozen=True)
class ExampleParams:
    n_train: int = param(100, help="training examples", unit="examples", minimum=1)
    learning_rate: float = param(1e-3, help="peak learning rate", exclusive_minimum=0)
    train_embeddings: bool = param(False, help="whether embeddings | heads move")
    selector: str = param("random", help="how examples are taken", choices=("random", "longest"))
    sizes: tuple[int, ...] = param((100, 200), help="sizes of the grid", minimum=1)
    names: list[str] = param(["a"], help="names")

    def __post_init__(self) -> None:
        coerce_fields(self, where="ExampleParams")


DEFAULTS = {
    "n_train": 100,
    "learning_rate": 1e-3,
    "train_embeddings": False,
    "selector": "random",
    "sizes": [100, 200],
    "names": ["a"],
}


@pytest.fixture(autouse=True)
def example_study(monkeypatch):
    """Make the example schema the study 99_example."""
    module = types.ModuleType("itlib.studies.example_for_tests")
    module.ExampleParams = ExampleParams
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(ExampleParams, "__module__", module.__name__)
    monkeypatch.setitem(STUDIES, "99_example", f"{module.__name__}:ExampleParams")


@pytest.fixture
def write(tmp_path):
    def write(text, name="99_example.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return write


def kernel(**injected):
    """Globals of a fresh IPython kernel after the parameters and the injected cell."""
    own = {"In": [""], "Out": {}, "exit": object(), "quit": object(), "get_ipython": print, "open": open, "_i1": "x"}
    return {"__name__": "__main__", "_": "", "itlib": types, **own, "study": "99_example", **DEFAULTS, **injected}


def refused(call, *args, **kwargs):
    with pytest.raises(InputError) as caught:
        call(*args, **kwargs)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_schema_is_looked_up_lazily_and_by_closest_name():
    assert params.schema("99_example") is ExampleParams
    assert params.study_name(ExampleParams) == "99_example"
    assert "did you mean '01_data_scaling'?" in refused(params.schema, "01_data_scalng")


def test_from_yaml(write):
    path = write("study: 99_example\nn_train: 7\nlearning_rate: 2e-5\nsizes: [3, 4.0]\n")
    read = params.from_yaml(path)
    assert (read.study, read.path, read.notes) == ("99_example", path, ())
    assert read.params == ExampleParams(n_train=7, learning_rate=2e-5, sizes=(3, 4))


@pytest.mark.fault(2)
def test_from_yaml_notes_text_that_was_coerced(write):
    path = write("study: 99_example\nlearning_rate: '2e-5'\ntrain_embeddings: 'true'\nsizes: '[3, 4]'\n")
    read = params.from_yaml(path)
    assert read.params == ExampleParams(learning_rate=2e-5, train_embeddings=True, sizes=(3, 4))
    assert len(read.notes) == 3
    assert read.notes[0] == f"note: {path}: learning_rate: text '2e-5' read as 2e-05"


FILE_FAULTS = [
    ("study: 99_example\nlerning_rate: 1\n", ":2: unknown key 'lerning_rate' (did you mean 'learning_rate'?)"),
    ("study: 99_example\n\nlearning_rate: fast\n", ":3: learning_rate: expected float, got 'fast'"),
    ("study: 99_example\nlearning_rate: .nan\n", ":2: learning_rate: expected float, got '.nan'"),
    ("study: 99_example\nlearning_rate: 1e999\n", ":2: learning_rate: expected float, got inf"),
    ("study: 99_example\nlearning_rate: -1\n", ":2: learning_rate: must be greater than 0, got -1.0"),
    ("study: 99_example\nn_train: 017\n", ":2: n_train: expected int, got '017'"),
    ("study: 99_example\nn_train: 12:30:45\n", ":2: n_train: expected int, got '12:30:45'"),
    ("study: 99_example\nn_train: 0\n", ":2: n_train: must be at least 1, got 0"),
    ("study: 99_example\nn_train: 1\nn_train: 2\n", ":3: key 'n_train' is given twice, first on line 2"),
    ("study: 99_example\ntrain_embeddings: no\n", ":2: train_embeddings: expected bool, got 'no'"),
    ("study: 99_example\ntrain_embeddings: 1\n", ":2: train_embeddings: expected bool, got 1"),
    ("study: 99_example\nsizes: 3\n", ":2: sizes: expected list of int, got 3 ([3] would be right)"),
    ("study: 99_example\nselector: randon\n", ":2: selector: must be one of random, longest, got 'randon'"),
    ("study: 99_exmple\n", ":1: unknown study '99_exmple' (did you mean '99_example'?)"),
    ("study: [1]\n", ":1: unknown study [1]"),
    ("n_train: 1\n", ": missing key 'study'"),
    ("study: 99_example\n'import os;os.getcwd()#': 1\n", ":2: 'import os;os.getcwd()#' is not a parameter name"),
]


@pytest.mark.parametrize(("text", "message"), FILE_FAULTS)
def test_from_yaml_faults_name_file_and_line(write, text, message):
    path = write(text)
    assert refused(params.from_yaml, path).startswith(f"{path}{message}")


def test_load_many_takes_files_and_folders(write, tmp_path):
    first = write("study: 99_example\n", "a/x.yaml")
    write("study: 99_example\nn_train: 2\n", "a/b/y.yaml")
    third = write("study: 99_example\nn_train: 3\n", "z.yaml")
    assert [read.params.n_train for read in params.load_many([tmp_path / "a", third])] == [2, 100, 3]
    assert [read.path for read in params.load_many([first])] == [first]
    (tmp_path / "none").mkdir()
    assert "no .yaml file" in refused(params.load_many, [tmp_path / "none"])


def test_from_notebook_takes_what_papermill_leaves(capsys):
    namespace = kernel(learning_rate="2e-5", train_embeddings="false", n_train=7.0, sizes="[3, 4]")
    made = params.from_notebook("99_example", namespace)
    assert made == ExampleParams(learning_rate=2e-5, train_embeddings=False, n_train=7, sizes=(3, 4))
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3
    assert "note: parameters of 99_example: train_embeddings: text 'false' read as false" in printed


def test_from_notebook_is_silent_about_clean_values(capsys):
    assert params.from_notebook("99_example", kernel()) == ExampleParams()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("value", [1, 1.0, "x", True, [1], None, {"a": 1}])
@pytest.mark.fault(1)
def test_from_notebook_refuses_unknown_parameters(value):
    message = refused(params.from_notebook, "99_example", kernel(lerning_rate=value))
    assert "unknown parameter 'lerning_rate' (did you mean 'learning_rate'?); valid: n_train" in message


def test_from_notebook_runs_again_in_a_used_kernel():
    namespace = kernel()
    params.from_notebook("99_example", namespace)
    namespace.update(n_runs=3, learning_rate=0.5)
    assert params.from_notebook("99_example", namespace).learning_rate == 0.5
    namespace["learning_rate"] = "fast"
    assert "expected float, got 'fast'" in refused(params.from_notebook, "99_example", namespace)


def test_from_notebook_refuses_absent_and_foreign_parameters():
    namespace = kernel()
    del namespace["sizes"]
    assert "has no 'sizes'" in refused(params.from_notebook, "99_example", namespace)
    message = refused(params.from_notebook, "99_example", kernel(study="01_data_scaling"))
    assert "for '01_data_scaling', this notebook is '99_example'" in message


@pytest.mark.fault(3)
def test_overrides_from_the_command_line():
    pairs = ["n_train", "7", "learning_rate", "2e-5", "train_embeddings", "true", "sizes", "[3, 4]", "names", "[007]"]
    parsed = params.parse_overrides(pairs)
    assert parsed["n_train"] == "7"
    assert parsed["sizes"] == ["3", "4"]
    typed = params.overrides(ExampleParams, parsed)
    expected = ExampleParams(7, 2e-5, True, "random", (3, 4), ["007"])
    assert replace(ExampleParams(), **typed) == expected
    assert params.parse_overrides([]) == {}


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["n_train"], "-p n_train: a value is missing"),
        (["n_train", "1", "n_train", "2"], "-p n_train: given twice"),
        (["import os;print(1)#", "1"], "-p: 'import os;print(1)#' is not a parameter name"),
        (["N_train", "1"], "-p: 'N_train' is not a parameter name"),
        (["sizes", "[1,]]"], "-p sizes: '[1,]]' is not a list"),
    ],
)
@pytest.mark.fault(4)
def test_parse_overrides_faults(pairs, message):
    assert refused(params.parse_overrides, pairs).startswith(message)


def test_overrides_faults():
    assert "did you mean 'n_train'?" in refused(params.overrides, ExampleParams, {"n_trian": "1"})
    assert "n_train: expected int, got 'x'" in refused(params.overrides, ExampleParams, {"n_train": "x"})
    assert "n_train: must be at least 1" in refused(params.overrides, ExampleParams, {"n_train": "0"})


def write_notebook(path, cell):
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    notebook.metadata["language_info"] = {"name": "python"}
    notebook.cells = [nbformat.v4.new_code_cell(cell, metadata={"tags": ["parameters"]})]
    nbformat.write(notebook, path)
    return path


def test_parameters_cell_is_what_papermill_reads(tmp_path):
    cell = params.parameters_cell(ExampleParams)
    assert cell.splitlines()[1] == "n_train = 100  # type: int  training examples [examples]"
    check_cell_against_schema(write_notebook(tmp_path / "x.ipynb", cell), "99_example", ExampleParams)
    namespace = {}
    exec(cell, namespace)
    assert params.from_notebook("99_example", namespace) == ExampleParams()


@pytest.mark.parametrize("default", ["a=b", "a#b"])
def test_parameters_cell_refuses_what_papermill_cannot_parse(default):
    @dataclass(frozen=True)
    class Bad:
        text: str = param(default, help="text")

    Bad.__module__, Bad.__qualname__ = "m", "Bad"
    STUDIES["98_bad"] = "m:Bad"
    try:
        with pytest.raises(ValueError, match="papermill cannot parse"):
            params.parameters_cell(Bad)
    finally:
        del STUDIES["98_bad"]


def test_markdown_table():
    lines = params.markdown_table(ExampleParams).splitlines()
    assert lines[2] == "| `n_train` | int | `100` | ≥ 1 | training examples [examples] |"
    assert lines[3] == "| `learning_rate` | float | `0.001` | > 0 | peak learning rate |"
    assert lines[4].endswith(r"| whether embeddings \| heads move |")
    assert '`"random"`, `"longest"`' in lines[5]
    assert lines[6].startswith("| `sizes` | list of int | `[100, 200]` | ≥ 1 |")


@pytest.mark.slow
@pytest.mark.fault(1)
def test_papermill_stops_at_an_unknown_parameter(tmp_path):
    """Under plain papermill the validating cell raises, before any later cell runs."""
    source = tmp_path / "in.ipynb"
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    notebook.metadata["language_info"] = {"name": "python"}
    setup = "from itlib.studies import STUDIES\nSTUDIES['99_example'] = 'example_schema:ExampleParams'\ndel STUDIES\n"
    notebook.cells = [
        nbformat.v4.new_code_cell(params.parameters_cell(ExampleParams), metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(setup + "from itlib import params as p\np.from_notebook(study, globals())"),
        nbformat.v4.new_code_cell("open('reached', 'w').close()"),
    ]
    nbformat.write(notebook, source)
    (tmp_path / "example_schema.py").write_text(
        "from dataclasses import dataclass\nfrom itlib.schema import param\n\n@dataclass(frozen=True)\n"
        "class ExampleParams:\n"
        + "".join(f"    {name}: {kind} = param({value!r}, help='x')\n" for name, kind, value in [
            ("n_train", "int", 1), ("learning_rate", "float", 0.1), ("train_embeddings", "bool", False),
            ("selector", "str", "a"), ("sizes", "tuple[int, ...]", (1,)), ("names", "list[str]", ["a"])])
    )  # fmt: skip
    options = {"cwd": str(tmp_path), "kernel_name": "python3", "progress_bar": False}
    with pytest.raises(papermill.PapermillExecutionError, match=r"did you mean 'learning_rate'\?"):
        papermill.execute_notebook(source, tmp_path / "bad.ipynb", {"lerning_rate": 1.0}, **options)
    assert not (tmp_path / "reached").exists()
    papermill.execute_notebook(source, tmp_path / "good.ipynb", {"learning_rate": "2e-5"}, **options)
    assert (tmp_path / "reached").exists()
