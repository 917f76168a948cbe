"""One number format in three files, with every special character escaped."""

import csv
import io
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from itlib import tables


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (-0.0001, "-1.0e-04"),
        (-0.0, "0.000"),
        (2e-5, "2.0e-05"),
        (1234567.0, "1.2e+06"),
        (3, "3"),
        (np.int64(7), "7"),
        (np.float64(0.5), "0.500"),
        (float("nan"), "n/a"),
        (None, "n/a"),
        (float("-inf"), "-inf"),
        ((0.1, float("inf")), "[0.100, inf]"),
        (True, "yes"),
        ("two\nlines", "two lines"),
    ],
)
def test_number_format(value, text):
    assert tables.format_value(value) == text


FRAME = pd.DataFrame({"family_name": ["a|b_c", "50 % & $x"], "value": [0.5, np.nan], "n": [1, 20]})


def test_markdown_by_hand():
    assert tables.to_markdown(FRAME) == (
        "| family name | value | n |\n| :--- | ---: | ---: |\n| a\\|b\\_c | 0.500 | 1 |\n| 50 % & \\$x | n/a | 20 |\n"
    )


def test_latex_by_hand():
    assert tables.to_latex(FRAME) == (
        "\\begin{tabular}{lrr}\n\\toprule\nfamily name & value & n \\\\\n\\midrule\n"
        "a\\textbar{}b\\_c & 0.500 & 1 \\\\\n50 \\% \\& \\$x & n/a & 20 \\\\\n"
        "\\bottomrule\n\\end{tabular}\n"
    )


@given(st.text(max_size=30))
def test_no_text_breaks_out_of_its_cell(text):
    frame = pd.DataFrame({"a": [text], "b": [1.0]})
    body = tables.to_markdown(frame).split("\n")[2]
    assert body.replace("\\\\", "").replace("\\|", "").count("|") == 3
    rows = list(csv.reader(io.StringIO(tables.to_csv(frame))))
    assert rows[1] == [" ".join(text.split()), "1.000"]
    latex = tables.to_latex(frame).split("\n")[4].removesuffix(" \\\\")
    assert latex.replace("\\&", "").count("&") == 1
    assert "%" not in latex.replace("\\%", "") and "$" not in latex.replace("\\$", "")


def test_three_files_with_equal_bytes_the_second_time(tmp_path):
    paths = tables.write_table(FRAME, tmp_path, "results", caption="Gain in 50 % of runs")
    assert sorted(path.name for path in paths) == ["results.csv", "results.md", "results.tex"]
    before = [path.read_bytes() for path in paths]
    assert [
        path.read_bytes() for path in tables.write_table(FRAME, tmp_path, "results", caption="Gain in 50 % of runs")
    ] == before
    assert "\\caption{Gain in 50 \\% of runs}" in (tmp_path / "results.tex").read_text()
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_an_empty_table_and_equal_names():
    assert tables.to_markdown(FRAME.iloc[:0]).count("\n") == 2
    with pytest.raises(ValueError, match="same name"):
        tables.to_markdown(pd.DataFrame({"a_b": [1], "a b": [2]}))


LATEX = next((path for name in ("tectonic", "pdflatex", "lualatex", "xelatex") if (path := shutil.which(name))), "")
DOCUMENT = r"""\documentclass{article}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""


@pytest.mark.skipif(not LATEX, reason="no LaTeX here")
def test_latex_compiles_in_a_minimal_document(tmp_path):
    """With every character that LaTeX reads as its own, in cells, names of columns and the caption."""
    hostile = r"a_b % c & d # e $ f { g } h ~ i ^ j \ k < l > m | n"
    frame = pd.DataFrame({"plain": [hostile, "x"], hostile: [0.5, None], "interval": [(0.1, -0.2), (1e-9, 2.0)]})
    tables.write_table(frame, tmp_path, "wide", caption=hostile)
    table = (tmp_path / "wide.tex").read_text()
    body = f"\\begin{{table}}\n{table}\\end{{table}}\n"
    (tmp_path / "paper.tex").write_text(DOCUMENT % body)
    quiet = [] if LATEX.endswith("tectonic") else ["-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
    done = subprocess.run([LATEX, *quiet, "paper.tex"], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").read_bytes()[:5] == b"%PDF-"
