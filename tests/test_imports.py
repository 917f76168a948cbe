"""The two halves stay apart: importing itlib is cheap, analysis needs no torch, a run needs no plotting."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "itlib"
HEAVY = {"torch", "transformers", "peft", "datasets", "matplotlib", "seaborn", "pandas", "scipy", "statsmodels"}
PLOTTING = {"matplotlib", "seaborn", "scipy", "statsmodels"}
ANALYSIS = (
    "arms", "roles", "early_stopping", "frame", "positions", "stats", "scaling", "curvefit", "signflip",
    "tables", "figures", "claims", "report", "external_scores", "scores_file", "robustness", "instruction_table",
    "drop_rate", "survival", "similarity", "lmentry", "frontier", "calibration",
    "verdict_rates", "declared", "verify", "claims_ledger", "claims_ledger_figures", "drawing", "redraw",
    "figure_checks", "site",
)  # fmt: skip
EXECUTION = (
    "batching", "constraints", "contrast", "decoding", "engines", "evaluate", "execute", "generate", "harness",
    "methods", "microworld", "models", "objectives", "ordering", "perturbations", "probes", "representations",
    "selectors", "sources", "steering", "template", "train", "trainer", "training_set",
)  # fmt: skip
REGISTRY_FOLDERS = (
    "sources",
    "models",
    "methods",
    "objectives",
    "selectors",
    "perturbations",
    "constraints",
    "microworld/families",
)


def modules_of(part):
    """Files of one module or package, none while it does not exist."""
    file, folder = PACKAGE / f"{part}.py", PACKAGE / part
    return [file] if file.is_file() else sorted(folder.rglob("*.py"))


def imported_by(path, *, top_level_only=False):
    """Dotted names a file imports; without what only the type checker sees."""
    found = set()

    def visit(node):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                visit(child)
            return
        if top_level_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = list(path.relative_to(PACKAGE.parent).parts[: -node.level]) if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def roots(names):
    return {name.partition(".")[0] for name in names}


def local_parts(names):
    return {name.split(".")[1] for name in names if name.startswith("itlib.")}


def loaded_after(statement):
    code = f"import json, sys\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return {name.partition(".")[0] for name in json.loads(run.stdout.splitlines()[-1])}


def test_the_checks_see_what_they_should(monkeypatch):
    """The checker itself: a lazy import, a relative one, and one for the type checker."""
    source = "import a.b\nfrom .c import d\nif TYPE_CHECKING:\n    import e\ndef f():\n    from g import h\n"
    path = PACKAGE / "virtual.py"
    monkeypatch.setattr(Path, "read_text", lambda self: source)
    assert imported_by(path) == {"a.b", "itlib.c", "itlib.c.d", "g", "g.h"}
    assert imported_by(path, top_level_only=True) == {"a.b", "itlib.c", "itlib.c.d"}


@pytest.mark.parametrize("statement", ["import itlib", "import itlib.spec, itlib.params, itlib.yamlio, itlib.registry"])
def test_importing_is_cheap(statement):
    assert not loaded_after(statement) & HEAVY


def analysis_files():
    return [path for part in ANALYSIS for path in modules_of(part)]


@pytest.mark.parametrize("path", analysis_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_analysis_imports_nothing_from_the_execution_half(path):
    names = imported_by(path)
    assert not local_parts(names) & set(EXECUTION)
    assert not roots(names) & {"torch", "transformers", "peft", "datasets"}


def test_analysis_runs_without_torch():
    parts = [part for part in ANALYSIS if modules_of(part)]
    assert not loaded_after("\n".join(f"import itlib.{part}" for part in parts)) & {"torch", "transformers", "peft"}


def execution_files():
    return [path for part in (*EXECUTION, "store", "spec", "grid", "registry") for path in modules_of(part)]


@pytest.mark.parametrize("path", execution_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_run_needs_no_plotting_or_statistics(path):
    names = imported_by(path)
    assert not roots(names) & PLOTTING
    assert not local_parts(names) & set(ANALYSIS)


def registry_files():
    return [path for folder in REGISTRY_FOLDERS for path in sorted((PACKAGE / folder).glob("*.py"))]


@pytest.mark.parametrize("path", registry_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_listing_components_stays_cheap(path):
    names = imported_by(path, top_level_only=True)
    assert not roots(names) & {"torch", "transformers", "peft", "datasets", *PLOTTING}


def test_every_half_has_been_found():
    assert analysis_files()
    assert execution_files()
    assert {path.parent.name for path in registry_files()} >= {"sources", "models"}
