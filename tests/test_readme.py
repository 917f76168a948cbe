"""The README's summary of the ledger is made from the committed reference, and is current."""

import shutil

import pytest

from itlib import readme
from itlib.errors import InputError
from itlib.workspace import project_root


def test_the_summary_is_current():
    text = (project_root() / "README.md").read_text()
    assert f"{readme.BEGIN}\n{readme.block(project_root())}\n{readme.END}" in text, "run `itlib report --readme`"


def test_its_figures_are_there():
    shown = [name for name in ("forest", "disagreements") if f"{name}.png" in readme.block(project_root())]
    for name in shown:
        assert (project_root() / readme.FIGURES / f"{name}.png").is_file()


def test_writing_again_changes_nothing_and_keeps_the_rest(tmp_path):
    for name in ("params", "results/reference"):
        if (project_root() / name).is_dir():
            shutil.copytree(project_root() / name, tmp_path / name)
    (tmp_path / "README.md").write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    readme.write(tmp_path)
    first = (tmp_path / "README.md").read_text()
    assert first.startswith("before\n") and first.endswith("\nafter\n") and "old" not in first
    figures = {path.name for path in (tmp_path / readme.FIGURES).glob("*")}
    assert figures == ({"forest.png", "disagreements.png"} if "forest.png" in first else set())
    readme.write(tmp_path)
    assert (tmp_path / "README.md").read_text() == first


def test_a_readme_without_marks_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("nothing")
    with pytest.raises(InputError, match="needs the lines"):
        readme.write(tmp_path)
