"""Notebooks are short essays that run: form, execution at smoke, and the same bytes however they are started."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest

from itlib.drawing import draw, read_drawing
from itlib.figure_checks import problems
from itlib.redraw import redraw
from itlib.verify import AGREES, compare, condensed, read_reference, reference_path
from itlib.workspace import project_root

NOTEBOOKS = sorted((project_root() / "notebooks").glob("*.ipynb"))
STUDIES = [path for path in NOTEBOOKS if path.stem[:2].isdigit()]
COMPUTED_AGAIN = ("01_data_scaling", "02_data_selection", "03g_own_scores", "90_claims")
EVERY_WAY = ("01_data_scaling",)  # the others are slow tests
NO_CLAIMS = ("02f_own_data", "03g_own_scores", "90_claims", "90b_verdict_rates")
TIMED = {"seconds"}  # figures of seconds: where their points and labels lie depends on the machine
DATA = (".csv", ".md", ".tex", ".json", ".parquet")
WRITTEN = (*DATA, ".png", ".svg", ".pdf")
LINES = 15  # a longer code cell is machinery and belongs into the package
FIGURES = {
    "00_tour": {"curve"},
    "01_data_scaling": {"familiarity", "families", "fits", "drift"},
    "01b_variety": {"variety", "positions", "templates", "tasks", "base_and_tuned"},
    "01c_composition": {
        "mixing", "amounts", "ratio", "strategies", "sequence", "caps", "documents", "orders", "curriculum",
    },
    "01d_recipe": {"learning", "batches", "signals"},
    "01e_efficiency": {"models", "lengths", "new", "disagreement"},
    "02_data_selection": {"arena", "budgets", "costs", "overlap", "families", "forgetting"},
    "02b_selectors": {"ranked", "signs", "overlap_noisy", "overlap_redundant", "cost", "ifd"},
    "02c_pools": {"noise", "pool_sizes", "clusters", "regimes"},
    "02d_sources": {"skills", "teachers", "differences"},
    "02e_transfer": {"scores", "agreement", "scorers", "rounds"},
    "02f_own_data": {"scores", "overlap", "outcome"},
    "03_robustness": {"slopes", "strips", "diversity", "adversarial", "compliance", "sizes", "frequency", "lmentry"},
    "03b_remedies": {"wordings", "negation", "perturbations", "cosines"},
    "03c_decoding": {"weights", "degradation", "negation", "steering"},
    "03d_noise": {"phases", "survival", "savings"},
    "03e_following": {"success", "outcomes", "chains"},
    "03f_prompting": {"accuracy", "layers", "stability"},
    "03g_own_scores": {"slopes", "gaps", "strips"},
    "04_lora_vs_full": {"own_rates", "frontiers", "matched", "positions", "recall"},
    "04b_spectra": {"curves", "ranks", "effective_ranks", "forgetting", "intervention"},
    "04c_methods": {"parameters", "seconds", "knowledge", "sparsity", "placement", "fractions"},
    "04d_continual": {"matrix", "outcome", "first_task", "text_over_rounds", "text"},
    "04e_knowledge": {"divergence", "shares", "recall", "contradiction", "borrowing", "grafts", "reliability"},
    "90_claims": {"forest", "disagreements"},
    "90b_verdict_rates": {"errors", "power"},
}  # fmt: skip
TABLES = {
    "00_tour": {"claims"},
    "01_data_scaling": {"data", "audit", "budgets", "bases", "families", "claims"},
    "01b_variety": {"audit", "budgets", "in_context", "claims"},
    "01c_composition": {"audit", "budgets", "documents", "variance", "claims"},
    "01d_recipe": {"audit", "budgets", "milestones", "recipes", "claims"},
    "01e_efficiency": {"audit", "budgets", "models", "needs", "claims"},
    "02_data_selection": {"audit", "budgets", "contrasts", "doubled", "mechanism", "knowledge", "claims"},
    "02b_selectors": {"audit", "budgets", "arena", "sizes", "mechanism", "ifd", "bases", "claims"},
    "02c_pools": {"audit", "budgets", "turns", "taken", "slopes", "clusters", "regimes", "rates", "quotas", "claims"},
    "02d_sources": {"audit", "budgets", "skills", "teachers", "changed", "differences", "claims"},
    "02e_transfer": {"audit", "budgets", "agreement", "contrasts", "rounds", "contents", "overlap", "claims"},
    "02f_own_data": {"data", "audit", "contents", "outcome"},
    "03_robustness": {"audit", "budgets", "summary", "worst", "lmentry", "claims"},
    "03b_remedies": {"rates", "audit", "budgets", "remedies", "differences", "drops", "cosines", "claims"},
    "03c_decoding": {"audit", "budgets", "gains", "tasks", "negation", "steering", "claims"},
    "03d_noise": {"audit", "budgets", "questions", "ends", "speed", "claims"},
    "03e_following": {"audit", "budgets", "success", "chains", "slopes", "claims"},
    "03f_prompting": {"audit", "budgets", "summary", "claims"},
    "03g_own_scores": {"remarks", "data", "gaps", "spread", "worst", "recovered"},
    "04_lora_vs_full": {
        "choice",
        "audit",
        "ledger",
        "summary",
        "differences",
        "recall",
        "weights",
        "parts",
        "claims",
    },
    "04b_spectra": {"rates", "audit", "ledger", "budgets", "bases", "arms", "correlations", "edits", "claims"},
    "04c_methods": {"rates", "audit", "ledger", "budgets", "methods", "bases", "fractions", "claims"},
    "04d_continual": {
        "rates",
        "audit",
        "budgets",
        "ledger",
        "matrix",
        "summary",
        "differences",
        "recall",
        "claims",
        "parts",
    },
    "04e_knowledge": {"audit", "budgets", "ledger", "scores", "form", "losses", "borrowing", "grafts", "claims"},
    "90_claims": {"summary", "disagreements", "ledger", "papers", "open", "moved"},
    "90b_verdict_rates": {"audit", "components", "pairing", "kinds", "summary"},
}


def names(paths):
    return [path.stem for path in paths]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=names(NOTEBOOKS))
def test_form(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.nbformat_minor >= 5 and notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].cell_type == "markdown" and re.match(r"# .+\?", notebook.cells[0].source)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in code), "outputs belong to results/"
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == code[:1]
    assert "params.from_notebook(" in code[1].source, "the cell after `parameters` validates"
    for cell in code:
        assert not re.search(r"^\s*(def|class|%|!)", cell.source, re.M)
        assert cell in tagged or cell.source.count("\n") < LINES
    kinds = [cell.cell_type for cell in notebook.cells]
    assert all(kinds[i - 1] == "markdown" for i, kind in enumerate(kinds) if kind == "code"), "prose before code"


def execute(arguments, results, folder=None):
    """Run a module in a process of its own, from which no other machine can be reached."""
    log = results.parent / "network.log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {"ITLIB_RESULTS": str(results), "OMP_NUM_THREADS": "1"}
    environment.pop("MPLBACKEND", None)  # a user's shell names none; the kernel brings its own
    environment |= {"PYTHONPATH": str(Path(__file__).parent / "no_network"), "NETWORK_LOG": str(log)}
    # `python -m jupyter execute` starts the first jupyter-execute of PATH, which may belong to another environment.
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder or project_root(),
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert not log.exists(), f"the network was tried: {log.read_text()}"
    return done


def tree(folder, *suffixes):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in suffixes and path.name != "manifest.json"
    }


def stored(results):
    """When every stored run was written: what is computed again has another time."""
    return {p: p.stat().st_mtime_ns for p in (results / "store" / "runs").rglob("manifest.json")}


def check_figures(folder):
    """Every figure can be printed, and drawn again from what the report has kept, to the byte."""
    for place in sorted((folder / "drawings").iterdir()):
        fig = draw(read_drawing(place)[0])
        assert place.name in TIMED or problems(fig) == [], place.name
        plt.close(fig)
    assert [(figure.name, figure.changed) for figure in redraw(folder) if figure.changed] == []


def check_reference(folder, study):
    """The frame and the verdicts are the golden ones: equal here, and close on a processor of another kind."""
    golden = reference_path(project_root(), "smoke", study)
    assert golden.is_file(), "no reference; write one with: itlib verify --profile smoke --as-reference"
    found = compare(condensed(folder), read_reference(golden))
    assert [finding for finding in found if finding.outcome != AGREES] == []


def check_report(folder, study):
    """Everything that a study promises is there, can be printed and drawn again, and is the golden result."""
    for name in FIGURES.get(study, ()):
        assert {f"{name}{s}" for s in (".png", ".svg", ".pdf", ".csv")} <= {
            p.name for p in (folder / "figures").iterdir()
        }
    for name in TABLES.get(study, ()):
        assert {f"{name}{s}" for s in (".md", ".tex", ".csv")} <= {p.name for p in (folder / "tables").iterdir()}
    file = folder / "claims.json"
    claims = json.loads(file.read_text()) if file.exists() else []
    assert bool(claims) == (study not in NO_CLAIMS)
    assert all({"id", "statement", "effect", "interval", "n_seeds", "verdict"} <= set(c) for c in claims)
    assert {c["verdict"] for c in claims} <= {"reproduced", "contradicted", "inconclusive", "not_run"}
    written = tree(folder, *WRITTEN).values()
    assert str(project_root()) not in json.dumps([p.decode("utf-8", "ignore") for p in written])
    check_figures(folder)
    check_reference(folder, study)
    return claims


def papermill(path, results, params):
    """Execute a notebook without our command line."""
    out = results.parent / "OUT.ipynb"
    execute(["papermill", str(path.relative_to(project_root())), str(out), "-f", params], results)
    assert "Traceback" not in json.dumps(nbformat.read(out, as_version=4))
    # A bar that is drawn anew with every step fills a log.
    assert [text for text in told(out) if "Warning" in text or "\r" in text] == []


def told(path):
    """Return what the cells of an executed notebook wrote to standard output and standard error."""
    outputs = [o for cell in nbformat.read(path, as_version=4).cells for o in cell.get("outputs", [])]
    return [o.text for o in outputs if o.output_type == "stream"]


ONE_WAY = [path for path in STUDIES if path.stem not in EVERY_WAY]


@pytest.mark.parametrize("path", ONE_WAY, ids=names(ONE_WAY))
def test_plain_papermill(path, tmp_path):
    papermill(path, tmp_path / "a", f"params/smoke/{path.stem}.yaml")
    check_report(tmp_path / "a" / "smoke" / path.stem, path.stem)


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=() if p.stem in EVERY_WAY else pytest.mark.slow, id=p.stem) for p in STUDIES],
)
def test_every_way_gives_the_same_bytes(path, tmp_path):
    """The command line, a second time, as JupyterLab does, and plain papermill elsewhere."""
    study, params = path.stem, f"params/smoke/{path.stem}.yaml"
    first = execute(["itlib", "run", params], tmp_path / "a")
    folder = tmp_path / "a" / "smoke" / study
    claims = check_report(folder, study)
    assert all(c["id"] in first.stdout for c in claims)

    written, before = tree(folder, *WRITTEN), stored(tmp_path / "a")
    second = execute(["itlib", "run", params], tmp_path / "a")
    assert "to compute" not in second.stderr and stored(tmp_path / "a") == before
    assert tree(folder, *WRITTEN) == written
    # As JupyterLab does: the defaults of the parameters cell, from the folder of the notebook.
    execute(["jupyter", "execute", path.name], tmp_path / "a", folder=path.parent)
    assert tree(folder, *WRITTEN) == written

    # Plain papermill in another results folder: some studies compute all runs again, the others find them.
    if study not in COMPUTED_AGAIN:
        shutil.copytree(tmp_path / "a" / "store", tmp_path / "b" / "store")
    before = stored(tmp_path / "b")
    papermill(path, tmp_path / "b", params)
    data = {name: content for name, content in written.items() if Path(name).suffix in DATA}
    assert tree(tmp_path / "b" / "smoke" / study, *DATA) == data
    assert study in COMPUTED_AGAIN or stored(tmp_path / "b") == before


def test_the_base_model_notebook_runs_at_smoke(tmp_path):
    execute(["itlib", "run", "params/smoke/base_model.yaml"], tmp_path)
    cells = nbformat.read(tmp_path / "smoke" / "base_model" / "notebook.ipynb", as_version=4).cells
    assert any("image/png" in output.get("data", {}) for cell in cells for output in cell.get("outputs", []))


def test_plain_papermill_refuses_bad_params_before_any_run(tmp_path):
    notebook = "notebooks/01_data_scaling.ipynb"
    done = subprocess.run(
        [sys.executable, "-m", "papermill", notebook, str(tmp_path / "o.ipynb"), "-p", "n_evall", "3"],
        cwd=project_root(), env={**os.environ, "ITLIB_RESULTS": str(tmp_path / "r")}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1 and "did you mean 'n_eval'" in done.stderr
    assert not (tmp_path / "r").exists()
