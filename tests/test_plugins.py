"""A component from a folder of the user: one of each kind, as the guide writes them, without touching the package."""

import json
import os
import re
import subprocess
import sys

import pytest

from itlib import plugins
from itlib.errors import InputError
from itlib.workspace import project_root

GUIDE = (project_root() / "docs" / "extend.md").read_text()
BLOCKS = dict(re.findall(r"<!-- plugin: (\w+\.py) -->\n```python\n(.*?)```", GUIDE, re.S))

# One run per component, in a fresh process: the registries of this one have been filled already.
PROGRAM = """
import json
from itlib.engines import run_all
from itlib.registry import perturbations, selectors
from itlib.resolve import resolve
from itlib.spec import RunSpec, digest, with_fields
from itlib.store import Store

how = dict(pool_size=60, n_train=8, budget=2, n_eval=2, n_reference=2, batch_size=4)
parts = {
    "selector": dict(selector="fewest_words"),
    "perturbation": dict(perturbation="shouted", severity=1.0),
    "method": dict(method="first_layer"),
    "objective": dict(objective="smoothed", objective_options=("share=0.2",)),
    "source": dict(source="sums", n_reference=0),
}
specs = [with_fields(RunSpec(), **how | fields) for fields in parts.values()]
results = run_all(specs, Store("STORE"), engine="process", workers=1, progress=False)
print(json.dumps({
    "status": {name: (r.status, r.error) for name, r in zip(parts, results)},
    "digests": len({digest(resolve(spec)) for spec in specs}),
    "known": "fewest_words" in selectors.names() and "shouted" in perturbations.names(),
    "chosen": results[0].totals["n_trainable_parameters"] > results[2].totals["n_trainable_parameters"],
}))
"""


def python(code, folder, **environment):
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_guide_adds_one_of_each_kind(tmp_path):
    assert len(BLOCKS) == 5
    folder = tmp_path / "components"
    folder.mkdir()
    for name, text in BLOCKS.items():
        (folder / name).write_text(text)
    done = python(PROGRAM.replace("STORE", str(tmp_path / "store")), tmp_path, ITLIB_PLUGINS=str(folder))
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert {name: status for name, (status, _) in found["status"].items()} == dict.fromkeys(
        ("selector", "perturbation", "method", "objective", "source"), "done"
    ), found["status"]
    assert found["digests"] == 5 and found["known"] and found["chosen"]


def test_without_the_folder_the_names_are_unknown(tmp_path):
    done = python("from itlib.registry import selectors; selectors.get('fewest_words')", tmp_path, ITLIB_PLUGINS="")
    assert "unknown selector 'fewest_words'" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"), ("x = (", "SyntaxError"),
     ("raise RuntimeError('a\\nb')", "RuntimeError: a b")],
)  # fmt: skip
def test_a_plugin_that_cannot_be_imported_is_named_in_one_line(tmp_path, monkeypatch, text, said):
    (tmp_path / "broken.py").write_text(text)
    monkeypatch.setenv("ITLIB_PLUGINS", str(tmp_path))
    with pytest.raises(InputError, match="ITLIB_PLUGINS: .*broken.py: ") as found:
        plugins.load()
    assert said in str(found.value) and "\n" not in str(found.value)
    with pytest.raises(InputError, match="broken.py"):
        plugins.load()


def test_a_folder_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("ITLIB_PLUGINS", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="is no folder"):
        plugins.load()


def test_modules_of_installed_packages_are_found_by_their_entry_point(monkeypatch):
    class Point:
        name, value, loaded = "mine", "mine.components", 0

        def load(self):
            Point.loaded += 1

    monkeypatch.setattr(
        plugins.importlib.metadata, "entry_points", lambda group: [Point()] * (group == "itlib.plugins")
    )
    monkeypatch.setattr(plugins, "_loaded", set())
    plugins.load()
    plugins.load()
    assert Point.loaded == 1
