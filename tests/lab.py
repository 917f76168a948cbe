"""JupyterLab in a headless browser, driven by the protocol of its developer tools."""

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import websocket

from itlib.workspace import project_root

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--remote-allow-origins=*", "--window-size=1400,1000",
)  # fmt: skip
TOKEN = "lab-test"


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def answer(url, seconds=60):
    """Wait for a server to answer, and return what it says."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as reply:
                return reply.read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


class Page:
    """One page of the browser."""

    def __init__(self, url):
        self._numbers = itertools.count(1)
        self._socket = websocket.create_connection(url, timeout=600)

    def call(self, method, **parameters):
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            reply = json.loads(self._socket.recv())
            if reply.get("id") == number:
                assert "error" not in reply, reply["error"]
                return reply["result"]

    def evaluate(self, expression):
        """Return the value of an expression, of a promise when it is kept."""
        found = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, expression, seconds):
        deadline = time.monotonic() + seconds
        while not (value := self.evaluate(expression)):
            assert time.monotonic() < deadline, f"never came true: {expression}"
            time.sleep(0.3)
        return value


@contextlib.contextmanager
def opened(folder: Path):
    """Yield a page on JupyterLab over a copy of the notebooks, so that nothing is saved into the project."""
    shutil.copytree(project_root() / "notebooks", folder / "notebooks")
    port, debugging = free_port(), free_port()
    environment = {**os.environ, "ITLIB_RESULTS": str(folder / "results"), "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    environment.pop("MPLBACKEND", None)  # a user's shell names none; the kernel brings its own
    lab = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}",
           f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={folder}",
           "--expose-app-in-browser"]  # fmt: skip
    browser = [CHROMIUM, *FLAGS, f"--remote-debugging-port={debugging}", f"--user-data-dir={folder / 'profile'}"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen(command, env=environment, **quiet) for command in (lab, browser)]
    try:
        answer(f"http://127.0.0.1:{port}/api?token={TOKEN}")
        pages = json.loads(answer(f"http://127.0.0.1:{debugging}/json"))
        page = Page(next(found["webSocketDebuggerUrl"] for found in pages if found["type"] == "page"))
        page.call("Page.navigate", url=f"http://127.0.0.1:{port}/lab?token={TOKEN}&reset")
        page.wait("!!(window.jupyterapp && document.querySelector('#jp-main-dock-panel'))", 90)
        page.evaluate("window.jupyterapp.restored")
        yield page
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


OPEN = """(async () => {
  const panel = await jupyterapp.commands.execute("docmanager:open", {path: PATH, factory: "Notebook"});
  await panel.context.ready;
  await panel.sessionContext.ready;
  window.panel = panel;
  return panel.content.widgets.length;
})()"""

STATE = """(() => {
  const cells = panel.content.widgets.filter(cell => cell.model.type === "code");
  const outputs = cells.flatMap(cell => cell.model.outputs.toJSON());
  return {
    cells: cells.length,
    run: cells.filter(cell => cell.model.executionCount !== null).length,
    waiting: cells.filter(cell => cell.model.executionState === "running").length,
    errors: outputs.filter(output => output.output_type === "error").map(output => output.ename + ": " + output.evalue),
    pictures: panel.node.querySelectorAll("img[src^='data:image/png']").length,
    text: outputs.map(output => output.text || "").join(""),
    status: panel.sessionContext.session && panel.sessionContext.session.kernel.status,
  };
})()"""


def open_notebook(page, name):
    """Open a notebook and wait for its kernel: what is sent to one that is still starting can be lost."""
    page.evaluate(OPEN.replace("PATH", json.dumps(f"notebooks/{name}.ipynb")))
    page.wait(f"{STATE}.status === 'idle'", 60)


def close_notebook(page):
    page.evaluate("panel.sessionContext.shutdown()")
    page.evaluate("panel.dispose()")


def run_all(page):
    """Start *Run All* and return when the cells wait for the kernel."""
    page.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
    page.wait(f"{STATE}.waiting > 0", 10)


def finished(page, seconds):
    """Wait until the kernel is idle and no cell waits for it, and return the state.

    After an error the kernel drops what is still in its queue, and for a moment whatever arrives.
    """
    deadline = time.monotonic() + seconds
    while (state := page.evaluate(STATE))["status"] != "idle" or state["waiting"]:
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    return state
