"""What is installed is locked by hash, above the versions with known holes, and under licences that are listed."""

import re
import tomllib
from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from itlib.workspace import project_root

PAGE = project_root() / "docs" / "supply_chain.md"
LOCK = (project_root() / "requirements.lock").read_text()
MADE = re.compile(r"(<!-- licences: [^\n]*-->\n)(.*?)(<!-- end of licences -->)", re.S)
LOCKED = dict(re.findall(r"^([a-z0-9][^ =]*)==([^ ;]+)", LOCK, re.M))
TORCH = re.fullmatch(r"torch==(\S+)\s*", (project_root() / "requirements-torch.txt").read_text())[1]
KNOWN = (
    "MIT",
    "BSD",
    "Apache",
    "PSF",
    "Python Software Foundation",
    "MPL",
    "Mozilla",
    "ISC",
    "MIT-0",
    "CC0",
    "Zlib",
    "0BSD",
)


def licence(name):
    """Return the licence that an installed package states, in a few words."""
    found = metadata.metadata(name)
    classified = [line.split(" :: ")[-1] for line in found.get_all("Classifier") or [] if line.startswith("License ::")]
    stated = (found.get("License") or "").strip()
    short = stated.split("\n")[0] if len(stated) < 60 else ""
    return found.get("License-Expression") or ", ".join(classified) or short


def installed():
    for name in sorted([*LOCKED, "torch"]):
        try:
            yield name, licence(name)
        except metadata.PackageNotFoundError:
            continue  # locked for another Python


def licences_page(text):
    """Return the page with its table made anew."""
    lines = ["| package | licence |", "|---|---|", *(f"| {name} | {stated} |" for name, stated in installed())]
    return MADE.sub(lambda match: match[1] + "\n".join(lines) + "\n" + match[3], text)


def test_licences_are_listed_and_free():
    rows = dict(re.findall(r"^\| (\S+) \| (.*) \|$", MADE.search(PAGE.read_text())[2], re.M))
    for name, stated in installed():
        assert any(word in stated for word in KNOWN), f"{name}: '{stated}' is not a licence that was looked at"
        assert "GPL" not in stated, name
        assert rows.get(name) == stated, "make the table anew: licences_page()"
    assert rows.keys() - {"package", "---"} <= {*LOCKED, "torch"}


def floors():
    table = re.findall(r"^\| (\S+) \| (\d[\d.]*) \| CVE-", PAGE.read_text(), re.M)
    assert len(table) > 10
    return table


@pytest.mark.parametrize(("name", "least"), floors())
def test_nothing_below_a_known_hole_is_locked_or_allowed(name, least):
    assert Version(TORCH if name == "torch" else LOCKED.get(name, least)) >= Version(least)
    project = tomllib.loads((project_root() / "pyproject.toml").read_text())
    named = project["project"]["dependencies"] + project["build-system"]["requires"]
    for wanted in map(Requirement, named):
        if wanted.name == name:
            below = [text for text in ("0", "1.0", "2.0", least + ".dev0") if wanted.specifier.contains(text)]
            assert not below, f"pyproject.toml allows {name} below {least}"


def test_every_locked_line_has_hashes_and_torch_has_a_line_of_its_own():
    blocks = re.split(r"\n(?=[a-z0-9][^ =]*==)", LOCK)[1:]
    assert len(blocks) == len(LOCKED) and all("--hash=sha256:" in block for block in blocks)
    assert "torch" not in LOCKED
    recipe = (project_root() / "Makefile").read_text().splitlines()
    locked, torch, own = [line for line in recipe if line.startswith("\t$(PIP) install ")][:3]  # those of setup
    assert "--require-hashes --no-deps -r requirements.lock" in locked
    assert "-r requirements-torch.txt" in torch and "--no-deps" in own
