"""What the README shows of the ledger, made from the committed reference results, so that it can be checked."""

from __future__ import annotations

from pathlib import Path

from itlib.claims_ledger import disagreements, oriented, read_disagreements, reference_ledger, summary
from itlib.claims_ledger_figures import forest, sides
from itlib.errors import InputError
from itlib.files import write_atomic
from itlib.tables import to_markdown
from itlib.theme import save_images

BEGIN, END = "<!-- ledger: made by `itlib report --readme` -->", "<!-- end of ledger -->"
PROFILE = "cpu"
FIGURES = Path("docs") / "figures"


def block(project: Path) -> str:
    """Return the summary of the reference ledger as Markdown, with the figures that stand below it."""
    table = reference_ledger(project, PROFILE)
    judged = table[table["report"] != ""]
    if judged.empty:
        return f"{len(table)} claims are declared; no reference results of the `{PROFILE}` profile are committed yet."
    lines = [
        f"Of {len(table)} declared claims {len(judged)} have reference results of the `{PROFILE}` profile "
        "([what they say](params/claims), `itlib report` shows each):",
        "",
        to_markdown(summary(judged), 0).strip(),
        "",
        _image("Every judged claim: distance from its margin towards what is claimed", "forest"),
        "",
        "To the right of the line is what the paper says; the unit is the smallest effect that its seeds could find. "
        "Where no two seeds differ there is no such unit, and no row.",
        "",
        _image("Both sides where papers disagree", "disagreements"),
    ]
    return "\n".join(lines)


def _image(text: str, name: str) -> str:
    return f"![{text}]({(FIGURES / f'{name}.png').as_posix()})"


def write(project: Path) -> list[Path]:
    """Bring the README's block and its figures up to date and return what was written.

    Raises:
        InputError: The README has no marks to write between.
    """
    readme = project / "README.md"
    text = readme.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise InputError(f"{readme}: needs the lines {BEGIN} and {END} once each")
    before, rest = text.split(BEGIN)
    write_atomic(readme, f"{before}{BEGIN}\n{block(project)}\n{END}{rest.split(END)[1]}".encode())
    table = reference_ledger(project, PROFILE)
    if (table["report"] == "").all():
        return [readme]
    scaled = oriented(table)
    questions = disagreements(table, read_disagreements(project / "params" / "disagreements.yaml"))
    metadata = {"command": "itlib report --readme", "profile": PROFILE}
    written = [readme]
    for name, drawn in (("forest", forest(scaled)), ("disagreements", sides(questions, scaled))):
        images = save_images(drawn, project / FIGURES, name, metadata=metadata)
        written.append(images[0])
        for other in images[1:]:
            other.unlink()  # the page shows the PNG
    return written
