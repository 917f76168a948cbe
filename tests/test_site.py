"""The static report: complete, escaped, without network, and every link leads somewhere."""

import json
from html.parser import HTMLParser

import nbformat
import pandas as pd
import planted
import pytest

from itlib.claims_ledger import claim_ids
from itlib.cli import main
from itlib.errors import InputError
from itlib.figures import scaling_curves
from itlib.report import Report
from itlib.site import build
from itlib.stats import mean_curve

HOSTILE = "<script>alert(1)</script> & <img src=x onerror=alert(2)>"


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.ids, self.images, self.tags, self.inputs = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.links += [attrs[key] for key in ("href", "src") if key in attrs]
        self.images += [attrs] if tag == "img" else []


@pytest.fixture
def made(tmp_path):
    data = planted.frame(sizes=[25, 100, 400, 1600])
    report = Report("01_data_scaling", "cpu", tmp_path, provenance={"commits": ["a" * 40]})
    report.frames(data)
    curve = mean_curve(data, "exact_match")
    report.figure("curves", scaling_curves(curve), curve, HOSTILE)
    report.judge(("SC1", "SC2", "SC7"), data)
    report.finish()
    cells = [nbformat.v4.new_markdown_cell("# Question?\n\n" + HOSTILE), nbformat.v4.new_code_cell("1")]
    cells[1].outputs = [
        nbformat.v4.new_output("display_data", {"text/html": f"<b>x</b>{HOSTILE}", "text/plain": "x"}),
        nbformat.v4.new_output("stream", name="stdout", text=f"\x1b[31mred {HOSTILE}"),
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), report.folder / "notebook.ipynb")
    return tmp_path


def test_the_report_is_whole_and_every_link_leads_somewhere(made):
    page = build(made, "cpu")
    parsed = Page(page.read_text())
    assert len(parsed.ids) == len(set(parsed.ids)) and set(claim_ids()) <= set(parsed.ids)
    for link in parsed.links:
        assert ":" not in link.split("#")[0], "nothing from elsewhere"
        target, _, anchor = link.partition("#")
        assert (page.parent / target).exists() if target else anchor in parsed.ids
    assert all(image.get("alt") for image in parsed.images) and len(parsed.images) == 3
    text = page.read_text()
    assert "a" * 12 in text and "papermill notebooks/01_data_scaling.ipynb" in text
    for kind in ("png", "svg", "pdf", "csv"):
        assert (page.parent / "figures" / "01_data_scaling" / f"curves.{kind}").is_file()


def test_text_from_results_is_escaped(made):
    page = build(made, "cpu")
    for path in (page, *page.parent.glob("notebooks/*.html")):
        parsed = Page(path.read_text())
        assert parsed.tags.count("script") == (1 if path == page else 0), path
        assert not any("onerror" in image for image in parsed.images)
        assert "Content-Security-Policy" in path.read_text()


def test_a_notebook_keeps_its_headings_paragraphs_tables_and_colours(made):
    """As they are shown: nothing of the markup is left as text, and style sheets of tables are gone."""
    path = made / "cpu" / "01_data_scaling" / "notebook.ipynb"
    notebook = nbformat.read(path, as_version=4)
    table = pd.DataFrame({"verdict": ["not run"]})._repr_html_()
    coloured = '<p style="font-family:monospace"><span style="background:#02977344" title="supervised">yes</span></p>'
    for html in (table, coloured):
        notebook.cells[1].outputs.append(nbformat.v4.new_output("display_data", {"text/html": html}))
    nbformat.write(notebook, path)
    text = (build(made, "cpu").parent / "notebooks" / "01_data_scaling.html").read_text()
    tags, body = Page(text).tags, text.partition("</head>")[2]
    assert {"h1", "p", "table", "thead", "th", "td", "b"} <= set(tags)
    assert body.count("&lt;") == body.count("&lt;script") + body.count("&lt;/script") + body.count("&lt;img") > 0
    assert "vertical-align" not in body and "<style" not in body
    assert '<span style="background:#02977344;" title="supervised">yes</span>' in body


def test_writing_again_replaces_the_whole(made):
    first = build(made, "cpu")
    (first.parent / "stray.txt").write_text("old")
    before = first.read_bytes()
    assert build(made, "cpu").read_bytes() == before and not (first.parent / "stray.txt").exists()


def test_the_calibration_of_verdicts_is_shown(made):
    folder = made / "cpu" / "90b_verdict_rates" / "tables"
    folder.mkdir(parents=True)
    pd.DataFrame({"claim": ["greater"], "most wrong": [0.041]}).to_csv(folder / "summary.csv", index=False)
    assert "0.041" in build(made, "cpu").read_text()


def test_a_profile_without_reports_is_refused(tmp_path, capsys):
    with pytest.raises(InputError, match="no finished report"):
        build(tmp_path, "cpu")
    assert main(["report", "--results", str(tmp_path)]) == 2


def test_the_command_says_where_the_page_is(made, capsys):
    assert main(["report", "--results", str(made), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["page"].endswith("cpu/report/index.html")
