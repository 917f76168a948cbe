"""A new study is a copy that runs: in a copy of the project, so that nothing here changes."""

import os
import shutil
import subprocess
import sys

import pytest

from itlib import new_study
from itlib.errors import InputError
from itlib.workspace import project_root


@pytest.fixture
def project(tmp_path):
    root = project_root()
    for name in ("itlib", "params", "notebooks", "tests"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    return tmp_path


def run(project, *arguments):
    environment = {
        **os.environ,
        "PYTHONPATH": str(project),
        "ITLIB_RESULTS": str(project / "out"),
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=project, env=environment, capture_output=True, text=True
    )


def test_a_new_study_runs_at_once_and_its_tests_pass(project):
    written = new_study.create("05_own_words", project)
    assert {path.relative_to(project).as_posix() for path in written} >= {
        "itlib/studies/own_words.py", "params/smoke/05_own_words.yaml", "notebooks/05_own_words.ipynb",
        "params/claims/OWN_WORDS.yaml", "tests/studies/test_own_words.py", "itlib/studies/__init__.py",
    }  # fmt: skip
    assert not any("tour" in path.read_text().lower() for path in written if path.name != "__init__.py")
    done = run(project, "itlib", "run", "params/smoke/05_own_words.yaml")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "OWN_WORDS" in done.stdout and (project / "out/smoke/05_own_words/claims.json").is_file()
    done = run(project, "pytest", "-q", "-p", "no:cacheprovider", "tests/studies/test_own_words.py")
    assert done.returncode == 0, done.stdout[-2000:]


def test_nothing_is_overwritten(project):
    new_study.create("05_own_words", project)
    before = (project / "itlib/studies/own_words.py").read_text()
    with pytest.raises(InputError, match="itlib/studies/own_words.py exists"):
        new_study.create("06_own_words", project)
    assert (project / "itlib/studies/own_words.py").read_text() == before


@pytest.mark.parametrize("name", ["", "own", "5_own", "05-own", "05_Own", "05_../x", "05_own_", "05_own words"])
def test_names_of_another_form_are_refused(project, name):
    with pytest.raises(InputError, match="is no name of a study"):
        new_study.create(name, project)
