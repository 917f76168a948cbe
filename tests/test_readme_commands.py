"""The README commands: blocks tagged "run" are executed here as a user types them, the others are read and checked."""

import os
import re
import subprocess
import sys
from pathlib import Path

from itlib.cli import main
from itlib.workspace import project_root

README = (project_root() / "README.md").read_text()
TAGS = ("run", "parse", "not run here")
TAGGED = re.findall(r"(?:<!-- block: ([a-z ]+) -->\n)?```(bash|yaml)\n(.*?)```", README, re.S)
BLOCKS = [(tag, text) for tag, language, text in TAGGED if language == "bash"]
SWEEPS = [text for _, language, text in TAGGED if language == "yaml"]


def test_every_block_says_whether_it_is_run():
    assert {tag for tag, *_ in TAGGED} == set(TAGS)


def test_blocks_are_bash():
    for _, text in BLOCKS:
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_the_sweep_can_be_planned(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ITLIB_RESULTS", str(tmp_path / "results"))
    (text,) = SWEEPS
    file = tmp_path / "sweep.yaml"
    file.write_text(text)
    assert main(["plan", str(file)]) == 0
    assert "sweep: 5 runs:" in capsys.readouterr().out, "three seeds of two methods, without one"


def test_environment_files_and_targets_that_are_named_exist():
    text = "\n".join(text for _, text in BLOCKS)
    targets = set(re.findall(r"^make (\w+)", text, re.M))
    files = set(re.findall(r"(?:-f|--file) (environment\S+)", text))
    makefile = (project_root() / "Makefile").read_text()
    assert {"reproduce", "test", "setup", "lab", "new", "bench"} <= targets and len(files) == 2
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
    assert all((project_root() / file).is_file() for file in files)


def test_notebooks_keep_the_drawing_backend_of_their_kernel():
    """Another one would hide what a cell draws by hand."""
    for target in ("lab", "reproduce", "smoke"):
        done = subprocess.run(["make", "-n", target], cwd=project_root(), capture_output=True, text=True)
        assert done.returncode == 0 and "HF_HUB" in done.stdout and "MPLBACKEND" not in done.stdout, done


def test_commands_of_the_suite_exist(capsys):
    named = {match for _, text in BLOCKS for match in re.findall(r"bin/itlib (\w+)", text)}
    assert {"run", "plan", "status", "figures", "verify", "report", "explain", "list", "benchmark"} <= named
    for name in sorted(named):
        try:
            main([name, "--help"])
        except SystemExit as end:
            assert end.code == 0, name
        assert f"itlib {name}" in capsys.readouterr().out


def test_blocks_tagged_run_do_what_they_say(tmp_path):
    """One after another in a folder of their own, with the interpreter of the tests in the place of ``.venv``."""
    root = project_root()
    for name in ("notebooks", "params"):
        (tmp_path / name).symlink_to(root / name)
    bin_folder = tmp_path / ".venv" / "bin"
    bin_folder.mkdir(parents=True)
    for name in ("itlib", "papermill"):
        script = bin_folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {name} "$@"\n')
        script.chmod(0o755)
    environment = {**os.environ, "ITLIB_RESULTS": str(tmp_path / "results"), "OMP_NUM_THREADS": "1"}
    for text in (text for tag, text in BLOCKS if tag == "run"):
        done = subprocess.run(["bash", "-e"], input=text, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, (done.stdout[-1000:], done.stderr[-2000:])
    made = Path(tmp_path / "results" / "smoke")
    assert (tmp_path / "OUT.ipynb").is_file() and (made / "00_tour" / "claims.json").is_file()
    assert (made / "report" / "index.html").is_file()
