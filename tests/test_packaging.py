"""pyproject.toml, the lock, the torch pin and environment.yml say the same; the Makefile stops at a failing step."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
PIN = re.compile(r"([a-z0-9][a-z0-9.-]*)==([^ ]+)((?: --hash=sha256:[0-9a-f]{64})*)")
# Needed by others at run time, imported by none of our modules.
NOT_IMPORTED = {"accelerate", "seaborn", "jupyterlab", "ipykernel", "safetensors", "statsmodels", "nbformat"}
IMPORT_NAMES = {"pyyaml": "yaml", "pillow": "PIL"}
CUDA = ("nvidia-", "cuda-", "triton")


def pins(text):
    """Name -> (version, number of hashes), with continued lines joined; every other line must be a comment."""
    found = {}
    for line in re.sub(r" *\\\n *", " ", text).splitlines():
        if line and not line.startswith("#"):
            match = PIN.fullmatch(line.strip())
            assert match, f"not a pin: {line[:80]}"
            name = canonicalize_name(match[1])
            assert name not in found, f"pinned twice: {name}"
            found[name] = (match[2], match[3].count("--hash"))
    return found


def is_installed(name):
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


LOCKED = pins(LOCK)
TORCH = pins((ROOT / "requirements-torch.txt").read_text())
DIRECT = [Requirement(line) for line in PROJECT["dependencies"]]
DEV = [Requirement(line) for line in PROJECT["optional-dependencies"]["dev"]]
EXTRAS = {
    "benchmarks": {"lm_eval"},
    "ray": {"ray"},
    "slurm": {"submitit"},
    "widgets": {"ipywidgets"},
}  # imported only by what the extra is for
EXTRA = set().union(*EXTRAS.values())


@pytest.mark.parametrize("requirement", DIRECT + DEV, ids=lambda requirement: requirement.name)
def test_every_dependency_is_pinned_within_its_range(requirement):
    name = canonicalize_name(requirement.name)
    version, _ = (TORCH if name == "torch" else LOCKED)[name]
    assert requirement.specifier.contains(version), f"{name}: {version} is outside {requirement.specifier}"


def test_torch_is_pinned_in_its_own_file_only():
    assert list(TORCH) == ["torch"]
    assert "torch" not in LOCKED
    assert "+" not in TORCH["torch"][0], "a local version would tie the pin to one index"


def test_every_pin_has_hashes_and_no_machine_is_named():
    assert len(LOCKED) > 100
    assert [name for name, (_, hashes) in LOCKED.items() if not hashes] == []
    for word in ("://", "--find-links", "--index-url", "--extra-index-url", "--trusted-host", "file:", " /", "@"):
        assert word not in LOCK, f"{word!r} in requirements.lock"


def test_no_cuda_library_is_locked():
    assert [name for name in LOCKED if name.startswith(CUDA)] == []


def needs(python):
    """Names the direct dependencies need on a Python version, walked through what is installed."""
    environment = {**default_environment(), "python_version": python, "python_full_version": f"{python}.0"}
    seen, queue = set(), [(canonicalize_name(item.name), frozenset(item.extras)) for item in DIRECT + DEV]
    while queue:
        name, extras = queue.pop()
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        lines = importlib.metadata.requires(name) if is_installed(name) else None
        for requirement in map(Requirement, lines or ()):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({**environment, "extra": extra}) for extra in {"", *extras}):
                queue.append((canonicalize_name(requirement.name), frozenset(requirement.extras)))
    return {name for name, _ in seen if name != "torch" and not name.startswith(CUDA)}


def test_the_lock_is_exactly_the_transitive_needs():
    """On each supported version nothing is missing, and nothing is locked that no version needs."""
    absent = [name for name in LOCKED if not is_installed(name)]
    if absent:
        pytest.skip(f"not the locked environment: {', '.join(absent[:5])} not installed")
    by_version = {python: needs(python) for python in ("3.11", "3.12", "3.13")}
    assert {python: names - set(LOCKED) for python, names in by_version.items()} == dict.fromkeys(by_version, set())
    assert set(LOCKED) - set().union(*by_version.values()) == set()


@pytest.mark.parametrize("name", [name for name in LOCKED if is_installed(name)])
def test_every_pin_admits_the_oldest_python(name):
    """Of 3.11 that is 3.11.0: distributions still ship early patch releases."""
    wanted = importlib.metadata.metadata(name)["Requires-Python"]
    if importlib.metadata.version(name) != LOCKED[name][0]:
        pytest.skip(f"{name} is installed in another version")
    assert SpecifierSet(wanted or "").contains("3.11.0"), f"{name}: Requires-Python {wanted}"


def test_conda_gets_the_same_pins():
    assert pins((ROOT / "requirements-conda.txt").read_text()) == {name: (v, 0) for name, (v, _) in LOCKED.items()}
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["name"]
    assert environment["channels"] == ["conda-forge", "nodefaults"]
    assert "prefix" not in environment
    python = next(item for item in environment["dependencies"] if str(item).startswith("python"))
    assert python.removeprefix("python").startswith(PROJECT["requires-python"])
    lines = next(item["pip"] for item in environment["dependencies"] if isinstance(item, dict))
    assert lines == ["-r requirements-torch.txt", "-r requirements-conda.txt", "-e ."]
    for line in lines[:2]:
        assert (ROOT / line.removeprefix("-r ")).is_file()


def test_imports_and_dependencies_agree():
    imported = set()
    for path in (ROOT / "itlib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.partition(".")[0])
    for extra, names in EXTRAS.items():
        stated = {Requirement(line).name for line in PROJECT["optional-dependencies"][extra]}
        assert stated == {name.replace("_", "-") for name in names}
    foreign = imported - set(sys.stdlib_module_names) - {"itlib"} - EXTRA
    declared = {IMPORT_NAMES.get(item.name, item.name.replace("-", "_")) for item in DIRECT}
    assert foreign <= declared, "imported but not declared"
    assert declared - foreign <= NOT_IMPORTED, "declared but not imported"


def test_metadata():
    assert PROJECT["license"] == "MIT"
    assert PROJECT["authors"] == [{"name": "itlib developers"}]
    licence = (ROOT / "LICENSE").read_text()
    assert licence.startswith("MIT License\n\nCopyright (c) 2026 itlib developers\n")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])
    assert f"## {PROJECT['version']}\n" in (ROOT / "CHANGELOG.md").read_text()
    assert (ROOT / "itlib" / "py.typed").is_file()
    assert PROJECT["scripts"] == {"itlib": "itlib.cli:main"}


def test_pre_commit_uses_the_locked_tools():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    revisions = {repo["repo"].rsplit("/", 1)[-1].removesuffix("-pre-commit"): repo["rev"] for repo in hooks}
    assert revisions == {"nbstripout": LOCKED["nbstripout"][0], "ruff": f"v{LOCKED['ruff'][0]}"}


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def tree(tmp_path):
    """The Makefile with a stand-in for Python that records its calls and fails on demand."""
    for name in ("Makefile", "requirements.lock", "requirements-torch.txt", "requirements-conda.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / ".ci", tmp_path / ".ci")
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        'echo "$@" >> calls\n'
        'if [ "$*" = "-m venv .venv" ]; then mkdir -p .venv/bin; cp python .venv/bin; cp python .venv/bin/itlib; fi\n'
        'if [ -n "$FAIL" ]; then case "$*" in *"$FAIL"*) exit 7;; esac; fi\n'
    )
    python.chmod(0o755)
    return tmp_path


def call(tree, *command, fail="", **variables):
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}
    result = subprocess.run(
        command, cwd=tree, env={**environment, "FAIL": fail, **variables}, capture_output=True, text=True, timeout=60
    )
    calls = tree / "calls"
    lines = calls.read_text().splitlines() if calls.exists() else []
    calls.unlink(missing_ok=True)
    return result, lines


@needs_make
def test_setup_installs_once_in_this_order(tree):
    result, calls = call(tree, "make", "setup", "PYTHON=./python", "TORCH_ARGS=--extra-index-url x")
    assert result.returncode == 0, result.stderr
    installs = [line.split("install --quiet ")[1] for line in calls if " install " in line]
    assert installs == [
        "--require-hashes --no-deps -r requirements.lock",
        "--extra-index-url x -r requirements-torch.txt",
        "--no-deps --no-build-isolation --editable .",
    ]
    result, calls = call(tree, "make", "setup", "PYTHON=./python")
    assert (result.returncode, calls) == (0, [])
    os.utime(tree / "requirements.lock", (2**31, 2**31))
    result, calls = call(tree, "make", "setup", "PYTHON=./python")
    assert calls


@needs_make
@pytest.mark.parametrize("step", ["-m venv", "requirements.lock", "requirements-torch.txt", "--editable"])
def test_a_failing_step_stops_make_and_is_done_again(tree, step):
    result, _ = call(tree, "make", "test", "PYTHON=./python", fail=step)
    assert result.returncode != 0
    result, calls = call(tree, "make", "test", "PYTHON=./python")
    assert result.returncode == 0
    assert any(step in line for line in calls)
    assert calls[-1] == "-m pytest -q -m not slow -n 2 --dist worksteal"


@needs_make
def test_continuous_integration_fails_with_the_tests(tree):
    assert call(tree, ".ci/run", "PYTHON=./python")[0].returncode == 0
    assert call(tree, ".ci/run", "PYTHON=./python", fail="pytest")[0].returncode != 0
    assert call(tree.parent, str(tree / ".ci" / "run"), "PYTHON=./python")[0].returncode == 0, "from any folder"


@needs_make
def test_reproduce_takes_study_and_profile(tree):
    call(tree, "make", "setup", "PYTHON=./python")
    assert call(tree, "make", "reproduce")[1] == ["reproduce --profile cpu"]
    arguments = ("make", "reproduce", "STUDY=01_data_scaling", "PROFILE=gpu")
    assert call(tree, *arguments)[1] == ["reproduce --profile gpu 01_data_scaling"]
    assert call(tree, *arguments, fail="reproduce")[0].returncode != 0


@needs_make
def test_an_old_or_absent_python_is_one_line(tree):
    pretend = f"exec '{sys.executable}' -c \"import sys; sys.version_info = (3, 9); $2\""
    (tree / "python").write_text(f"#!/bin/sh\n{pretend}\n")
    result, _ = call(tree, "make", "setup", "PYTHON=./python")
    assert result.returncode != 0
    assert "Python 3.11 or newer is needed, ./python is 3." in result.stderr.splitlines()[0]
    result, _ = call(tree, "make", "setup", "PYTHON=python-absent")
    assert result.returncode != 0
    assert result.stderr.splitlines()[0].startswith("python-absent not found")
