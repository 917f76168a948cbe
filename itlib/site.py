"""The report people read: static HTML of a profile's ledger, figures and executed notebooks.

Everything is one folder that opens from the file system, without network: styles and the few lines of script are
inside the page, images and notebooks lie beside it. All text from results is escaped.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from itlib.claims_ledger import ORDER, disagreements, ledger, open_questions, oriented, read_disagreements, summary
from itlib.claims_ledger_figures import forest, sides
from itlib.errors import InputError
from itlib.files import write_atomic
from itlib.redraw import reports
from itlib.tables import format_value
from itlib.theme import save_images
from itlib.verify import read_report
from itlib.workspace import project_root

TEMPLATES = Path(__file__).parent / "templates"
IMAGES = (".png", ".svg", ".pdf", ".csv")
FOLDER = "report"
SHOWS = frozenset(
    "br dd del details div dl dt h1 h2 h3 h4 h5 h6 hr p pre s span sub summary sup table tbody td th thead tr".split()
)


@dataclass(frozen=True)
class Picture:
    """A figure of a report: where its files lie beside the page, and what made it."""

    study: str
    name: str
    caption: str
    files: dict[str, str]
    command: str
    runs: tuple[str, ...]
    data_sha256: str
    commits: tuple[str, ...]


def build(root: Path, profile: str) -> Path:
    """Write the report of a profile to ``<root>/<profile>/report/`` and return its first page.

    What lies there from before is replaced once the new one is whole.

    Raises:
        InputError: The profile has no finished report, or one cannot be read.
    """
    folders = [folder for folder in reports(root, profile) if folder.name != FOLDER]
    if not folders:
        raise InputError(f"{root / profile}: no finished report here; run a study first")
    target, partial = root / profile / FOLDER, root / profile / f".{FOLDER}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    table = ledger(root, profile)
    pictures = [picture for folder in folders for picture in _pictures(folder, partial)]
    notebooks = [_notebook(folder, partial) for folder in folders]
    scaled = oriented(table)
    questions = disagreements(table, read_disagreements(project_root() / "params" / "disagreements.yaml"))
    metadata = {"profile": profile, "command": f"itlib report --profile {profile}"}
    save_images(forest(scaled), partial, "forest", metadata=metadata)
    save_images(sides(questions, scaled), partial, "disagreements", metadata=metadata)
    page = _rendered(
        "report.html",
        profile=profile,
        order=ORDER,
        rows=[_shown(row) for row in table.to_dict("records")],
        studies=list(dict.fromkeys(table["study"])),
        summary=_cells(summary(table)),
        open=_cells(open_questions(table)),
        questions=_grouped(questions),
        calibration=_calibration(root / profile / "90b_verdict_rates"),
        pictures=pictures,
        notebooks=[name for name in notebooks if name],
    )
    write_atomic(partial / "index.html", page.encode())
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return target / "index.html"


def _rendered(template: str, **content: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    how = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    return Environment(loader=FileSystemLoader(TEMPLATES), **how).get_template(template).render(**content)


def _pictures(folder: Path, out: Path) -> list[Picture]:
    manifest, _ = read_report(folder)
    found = []
    for place, caption in manifest.get("captions", {}).items():
        kind, _, name = place.partition("/")
        if kind != "figures" or Path(name).name != name:
            continue
        files = {}
        (out / "figures" / folder.name).mkdir(parents=True, exist_ok=True)
        for suffix in IMAGES:
            source = folder / "figures" / f"{name}{suffix}"
            if source.is_file():
                copy = Path("figures") / folder.name / source.name
                shutil.copyfile(source, out / copy)
                files[suffix[1:]] = copy.as_posix()
        if "png" in files:
            drawn = folder / "drawings" / name / "drawing.json"
            about = json.loads(drawn.read_text())["metadata"] if drawn.is_file() else {}
            found.append(
                Picture(
                    folder.name,
                    name,
                    caption,
                    files,
                    manifest.get("command", ""),
                    tuple(about.get("runs", manifest.get("runs", []))),
                    about.get("data_sha256", ""),
                    tuple(manifest.get("provenance", {}).get("commits", [])),
                )
            )
    return found


def _notebook(folder: Path, out: Path) -> str:
    """Write the executed notebook as a page of its own and return its name; empty if there is none."""
    source = folder / "notebook.ipynb"
    if not source.is_file():
        return ""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True, sanitize_html=True
    )
    exporter.register_filter("clean_html", _cleaned)  # the library's own lets no paragraph, heading or table through
    body, _ = exporter.from_filename(str(source))
    (out / "notebooks").mkdir(exist_ok=True)
    page = _rendered("notebook.html", title=folder.name, body=body)
    write_atomic(out / "notebooks" / f"{folder.name}.html", page.encode())
    return folder.name


def _cleaned(html: Any) -> str:
    """Return HTML in which what only shows is kept, style sheets are left out and all else is written as text."""
    from bleach import ALLOWED_TAGS, clean
    from bleach.css_sanitizer import CSSSanitizer

    return clean(
        re.sub(r"<style\b.*?</style\s*>", "", str(html), flags=re.DOTALL | re.IGNORECASE),
        tags=ALLOWED_TAGS | SHOWS,
        attributes={"*": ["class", "id", "style", "title", "colspan", "rowspan", "scope"], "a": ["href"]},
        css_sanitizer=CSSSanitizer(allowed_css_properties=["background", "border-radius", "font-family", "text-align"]),
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """Return a ledger row with its numbers as text, for the page."""
    numbers = {name: format_value(row[name]) for name in ("effect", "margin", "detectable", "p_value")}
    settle = "" if pd.isna(row["seeds_needed"]) else format_value(float(row["seeds_needed"]), 0)
    return row | numbers | {"interval": format_value((row["low"], row["high"])), "seeds_needed": settle}


def _cells(table: pd.DataFrame) -> dict[str, Any]:
    header = [str(name).replace("_", " ") for name in table.columns]
    return {"header": header, "rows": [[format_value(value) for value in row] for row in table.to_numpy().tolist()]}


def _grouped(rows: pd.DataFrame) -> list[dict[str, Any]]:
    return [
        {
            "question": question,
            "sides": [
                {
                    "who": side["who"].iloc[0],
                    "says": side["says"].iloc[0],
                    "claims": [_shown(r) for r in side.to_dict("records")],
                }
                for _, side in part.groupby("side", sort=False)
            ],
        }
        for question, part in rows.groupby("question", sort=False)
    ]


def _calibration(folder: Path) -> dict[str, Any] | None:
    path = folder / "tables" / "summary.csv"
    return _cells(pd.read_csv(path)) if path.is_file() else None
