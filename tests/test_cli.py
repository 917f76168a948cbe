"""The command line: bad input ends in one line and exit code 2 before any work; good input runs and continues."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import itlib
from itlib.cli import main
from itlib.workspace import project_root

SMOKE = (project_root() / "params" / "smoke" / "01_data_scaling.yaml").read_text()


@pytest.fixture(autouse=True)
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("ITLIB_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def params_file(folder, *replacements, extra=""):
    text = SMOKE
    for key, value in replacements:
        lines = [f"{key}: {value}" if line.startswith(f"{key}:") else line for line in text.splitlines()]
        assert lines != text.splitlines(), key
        text = "\n".join(lines) + "\n"
    path = folder / "params.yaml"
    path.write_text(text + extra)
    return str(path)


def write(folder, name, text):
    (folder / name).write_text(text)
    return str(folder / name)


BAD = {
    "unknown parameter": (lambda t: [params_file(t, extra="n_evall: 3\n")], "did you mean 'n_eval'"),
    "duplicate key": (lambda t: [params_file(t, extra="n_eval: 3\n")], "params.yaml:"),
    "text for a number": (lambda t: [params_file(t, ("n_eval", "many"))], "n_eval: expected int"),
    "lossy number": (lambda t: [params_file(t, ("n_eval", "2.5"))], "n_eval: expected int"),
    "boolean for a number": (lambda t: [params_file(t, ("n_eval", "true"))], "n_eval: expected int"),
    "word for a boolean": (lambda t: [params_file(t, ("full_pool", "maybe"))], "full_pool: expected bool"),
    "negative size": (lambda t: [params_file(t, ("sizes", "[-4]"))], "sizes"),
    "zero size": (lambda t: [params_file(t, ("sizes", "[0]"))], "sizes"),
    "empty sizes": (lambda t: [params_file(t, ("sizes", "[]"))], "sizes: the list is empty"),
    "scalar for a list": (lambda t: [params_file(t, ("sizes", "16"))], "sizes"),
    "size above the pool": (lambda t: [params_file(t, ("sizes", "[5000]"))], "5000"),
    "unknown method": (lambda t: [params_file(t, ("method", "lroa"))], "did you mean 'lora'"),
    "unknown model": (lambda t: [params_file(t, ("model", "micro-2m"))], "did you mean"),
    "unknown family": (lambda t: [params_file(t, ("families", "[oposite]"))], "did you mean 'opposite'"),
    "missing model folder": (lambda t: [params_file(t, ("model", "./nowhere"))], "model folder not found"),
    "missing data file": (lambda t: [params_file(t, ("data", "nowhere.jsonl"))], "data: file not found: nowhere.jsonl"),
    "empty data file": (
        lambda t: [params_file(t, ("data", write(t, "empty.jsonl", "")))],
        "empty.jsonl: the file is empty",
    ),
    "truncated data file": (
        lambda t: [params_file(t, ("data", write(t, "cut.jsonl", '{"instruction": "a", "output": "b"}\n{"instr')))],
        "cut.jsonl:2",
    ),
    "missing params file": (lambda t: [str(t / "no.yaml")], "no.yaml"),
    "params of no study": (lambda t: [write(t, "x.yaml", "sizes: [1]\n")], "missing key 'study'"),
    "unknown study": (lambda t: [write(t, "x.yaml", "study: 01_data_scalling\n")], "did you mean '01_data_scaling'"),
    "missing file of scores": (
        lambda t: [params_file(t, ("scores", str(t / "no.csv")))],
        "scores: file not found",
    ),
    "scores in percent": (
        lambda t: [
            params_file(t),
            "-p",
            "scores",
            write(t, "s.csv", "run,family,metric,value\n0123456789ab,gsm8k,exact_match,45\n"),
        ],
        "s.csv:2: value: 45 is no share",
    ),
    "unknown grid field": (
        lambda t: [write(t, "g.yaml", "grid:\n  cross: {n_trian: [1]}\n")],
        "did you mean 'n_train'",
    ),
    "unknown key beside a grid": (lambda t: [write(t, "g.yaml", "grid: {}\nseeds: [1]\n")], "beside 'grid'"),
    "override of nothing": (lambda t: [params_file(t), "-p", "nosuch", "1"], "nosuch"),
    "override of a wrong type": (lambda t: [params_file(t), "-p", "n_eval", "x"], "n_eval"),
    "code as a parameter": (lambda t: [params_file(t), "-p", "import os;x", "1"], "not a parameter name"),
    "negative workers": (lambda t: [params_file(t), "--workers", "-1"], "workers"),
    "workers that are no number": (
        lambda t: [params_file(t), "--workers", "x"],
        "argument --workers: invalid int value",
    ),
    "part of a worker": (lambda t: [params_file(t), "--workers", "1.5"], "argument --workers: invalid int value"),
    "unknown engine": (lambda t: [params_file(t), "--engine", "fast"], "invalid choice: 'fast'"),
    "empty model": (lambda t: [params_file(t), "-p", "model", ""], "model: empty; give a shipped model"),
    "empty data": (lambda t: [params_file(t), "-p", "data", ""], "data: empty; give microworld"),
    "line break in a name": (lambda t: [params_file(t), "-p", "model", "a\nb"], "unknown model 'a b'"),
    "NUL byte in results": (lambda t: [params_file(t, ("results", '"a\\0b"'))], "cannot hold a NUL byte"),
    "a grid's value, with its file": (
        lambda t: [write(t, "g.yaml", "grid:\n  cross: {n_eval: [0]}\n")],
        "g.yaml: n_eval: must be greater than 0",
    ),
    "a grid's axis, with its file": (
        lambda t: [write(t, "g.yaml", "grid: {zip: [1]}\n")],
        "g.yaml: grid: zip: expected",
    ),
    "a bad grid after a good one": (
        lambda t: [
            write(t, "good.yaml", "grid:\n  base: {budget: 1, n_eval: 1}\n"),
            write(t, "bad.yaml", "grid:\n  base: {n_eval: 99999}\n"),
        ],
        "bad.yaml: n_eval is 99999",
    ),
    "a bad study after a good grid": (
        lambda t: [write(t, "good.yaml", "grid:\n  base: {budget: 1}\n"), params_file(t, ("n_eval", "9999"))],
        "n_eval is 9999",
    ),
    "a good grid before a wrong override": (
        lambda t: [write(t, "good.yaml", "grid:\n  base: {budget: 1}\n"), "-p", "n_eval", "1"],
        "a grid file has no study parameters",
    ),
    "length above the model's context": (lambda t: [params_file(t, ("max_length", "4096"))], "max_length"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.fault(5)
def test_bad_input_is_refused_in_one_line_before_any_work(name, tmp_path, results, capsys):
    arguments, message = BAD[name]
    assert main(["run", *arguments(tmp_path)]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and "\n" not in error and message in error
    assert not list(results.rglob("manifest.json")) and not list(results.rglob("*.ipynb"))


def test_an_adapter_of_another_base_is_refused(tmp_path, capsys):
    import tiny

    from itlib.models.local import write_adapter_base
    from itlib.registry import methods
    from itlib.spec import MethodSpec

    model = methods.get("lora").attach(tiny.llama(), MethodSpec(rank=2))
    base = tmp_path / "base"
    tiny.llama().save_pretrained(base)
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(tmp_path / "adapter")
    write_adapter_base(tmp_path / "adapter", "0" * 64)
    assert main(["run", params_file(tmp_path, ("model", str(tmp_path / "adapter")))]) == 2
    assert "belongs to the base" in capsys.readouterr().err


def test_a_results_folder_that_cannot_be_written_is_refused(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ITLIB_RESULTS", str(tmp_path / "file"))
    assert main(["run", params_file(tmp_path)]) == 2
    assert "not writable" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
@pytest.mark.fault(28)
def test_a_read_only_folder_is_refused(tmp_path, capsys, monkeypatch):
    (tmp_path / "locked").mkdir(mode=0o555)
    monkeypatch.setenv("ITLIB_RESULTS", str(tmp_path / "locked" / "results"))
    assert main(["run", params_file(tmp_path)]) == 2
    assert "not writable" in capsys.readouterr().err


def test_plan_run_status_explain_and_list_agree(tmp_path, capsys):
    path = params_file(tmp_path, ("learning_rates", "[1e-3]"), ("sizes", "[16]"), ("budget", "2"))

    def ask(*arguments):
        assert main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert ask("plan", path)[0] | {"note": ""} == {
        "name": "01_data_scaling", "runs": 4, "stored": 0, "failed": 0, "note": "",
    }  # fmt: skip
    assert {row["state"] for row in ask("explain", path)} == {"missing"}
    assert main(["run", path, "--no-notebook"]) == 0
    capsys.readouterr()
    assert ask("plan", path)[0]["stored"] == 4 and ask("status")["runs"] == 4 and len(ask("list", "runs")) == 4
    (row,) = [r for r in ask("explain", path, "-p", "seeds", "[0, 8]") if r["state"] == "missing"]
    assert set(row["differs"]) == {"seed"}
    assert "opposite" in ask("list", "families") and "lora" in ask("list", "methods")
    assert {"SC1", "SC2", "SC7"} <= set(ask("list", "claims"))


def test_a_plan_says_what_it_cannot_know_yet(tmp_path, capsys):
    assert main(["plan", params_file(tmp_path)]) == 0
    assert "6 test runs follow once dev has chosen among 2 settings" in capsys.readouterr().out


def test_a_failed_run_gives_exit_code_1_and_retry_clears_it(tmp_path, capsys, monkeypatch):
    from itlib import execute as module

    path = params_file(tmp_path, ("learning_rates", "[1e-3]"), ("sizes", "[16]"), ("budget", "2"))
    real = module.execute

    def fail_once(spec, store):
        if spec.seed == 1:
            raise MemoryError("no room")
        return real(spec, store)

    monkeypatch.setattr(module, "execute", fail_once)
    assert main(["run", path, "--no-notebook"]) == 1
    assert "MemoryError: no room" in capsys.readouterr().out
    monkeypatch.setattr(module, "execute", real)
    assert main(["run", path, "--no-notebook"]) == 1
    assert main(["run", path, "--no-notebook", "--retry-failed"]) == 0


def test_a_grid_file_runs_without_a_notebook(tmp_path, results, capsys):
    path = write(
        tmp_path, "sweep.yaml",
        "grid:\n  base: {budget: 2, n_eval: 2, pool_size: 60, n_reference: 0}\n"
        "  cross: {n_train: [8, 16]}\n  zip: [{method: [full, lora], learning_rate: [1e-3, 5e-3]}]\n"
        "  exclude: [{method: lora, n_train: 8}]\n",
    )  # fmt: skip
    assert main(["run", path, "--engine", "serial"]) == 0
    frame = (results / "grids" / "sweep" / "frame.csv").read_text()
    assert "exact_match" in frame and "3 runs: 3 done" in capsys.readouterr().out


def test_the_module_is_the_command_and_usage_errors_exit_2():
    done = subprocess.run([sys.executable, "-m", "itlib", "nosuch"], capture_output=True, text=True, cwd=Path.cwd())
    assert done.returncode == 2 and "invalid choice" in done.stderr


def test_a_usage_error_is_one_line(capsys):
    for arguments in (["nosuch"], ["run"], ["reproduce", "--profile", "claims"], ["reproduce", "--profile", ""]):
        assert main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_notes_are_printed_once_and_a_grid_and_a_study_share_the_engine(tmp_path, capsys):
    study = params_file(tmp_path, ("learning_rates", "[1e-3]"), ("sizes", "[16]"), ("budget", "2"), ("n_eval", '"2"'))
    grid = write(
        tmp_path, "g.yaml", "grid:\n  base: {budget: 1, n_eval: 1, pool_size: 60, n_reference: 0, n_train: 8}\n"
    )
    assert main(["run", study, grid, "--engine", "serial", "--workers", "1", "--no-notebook"]) == 0
    captured = capsys.readouterr()
    assert captured.err.count("n_eval: text '2' read as 2") == 1
    assert "01_data_scaling: 4 runs: 4 done" in captured.out and "g: 1 runs: 1 done" in captured.out


def test_without_a_command_the_commands_are_listed(capsys):
    assert main([]) != 0
    shown = capsys.readouterr().out
    assert "reproduce" in shown and "verify" in shown


def test_a_kind_that_is_missing_is_named_with_its_choices(capsys):
    assert main(["list"]) != 0
    assert "families|models" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("01_data_scaling", "params/cpu/01_data_scaling.yaml"),
        ("params/cpu/04_lora.yaml", "params/cpu/04_lora_vs_full.yaml"),
        ("params/smoke/02_data_selektion.yaml", "params/smoke/02_data_selection.yaml"),
    ],
)
def test_a_file_that_is_not_there_is_named_with_the_one_that_was_meant(given, meant, capsys, monkeypatch):
    monkeypatch.chdir(project_root())
    assert main(["run", given]) != 0
    assert capsys.readouterr().err.strip() == f"error: {given}: no such file (did you mean '{meant}'?)"


def test_version(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0 and capsys.readouterr().out == f"itlib {itlib.__version__}\n"
