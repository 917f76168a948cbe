"""JupyterLab as a researcher uses it: open, *Run All*, look, interrupt, run again."""

import re
import time

import lab
import pytest

from itlib.workspace import project_root

NOTEBOOKS = sorted(path.stem for path in (project_root() / "notebooks").glob("*.ipynb"))
WITHOUT_RUNS = ("03g_own_scores", "90_claims", "base_model", "world")  # they read what is there, or train no run
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not lab.CHROMIUM, reason="no Chromium here")]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with lab.opened(tmp_path_factory.mktemp("lab")) as found:
        yield found


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_run_all(page, name):
    """Without an error, with its figures on the page, and with a line that says how far runs are."""
    lab.open_notebook(page, name)
    lab.run_all(page)
    state = lab.finished(page, 400)
    assert state["errors"] == [] and state["run"] == state["cells"]
    assert state["pictures"] > 0, "no figure is shown"
    assert bool(re.search(r"\d+/\d+ runs, [\d:]+ elapsed", state["text"])) == (name not in WITHOUT_RUNS)
    lab.close_notebook(page)


def test_an_interrupt_keeps_what_is_finished_and_running_again_goes_on(page):
    lab.open_notebook(page, "01c_composition")
    source = "panel.content.widgets.filter(c => c.model.type === 'code')[0].model.sharedModel"
    page.evaluate(f"{source}.setSource({source}.getSource().replace('base_seed = -1', 'base_seed = 5'))")
    lab.run_all(page)
    page.wait("panel.content.widgets.some(c => c.model.type === 'code' && "
              "/[1-9][0-9]+ runs to compute/.test(JSON.stringify(c.model.outputs.toJSON())))", 120)  # fmt: skip
    time.sleep(6)
    page.evaluate("panel.sessionContext.session.kernel.interrupt()")
    state = lab.finished(page, 60)
    assert any("KeyboardInterrupt" in error for error in state["errors"])
    lab.run_all(page)
    state = lab.finished(page, 400)
    assert state["errors"] == [] and state["run"] == state["cells"] and "already stored" in state["text"]
    lab.close_notebook(page)
