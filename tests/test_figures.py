"""Figures: nothing clipped, nothing tiny, honest about gaps and single seeds, and equal bytes each time."""

import json
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import planted
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from itlib import figures, scaling, stats, theme

GROUPS = ("familiarity", "family")
META = {"profile": "cpu", "runs": ["abc"], "command": "papermill …"}


def _many_families():
    extra = {f"first_letter_{i}": ("weak", planted.power(0.9, 2.0, 0.5)) for i in range(11)}
    return planted.frame(planted.FAMILIES | extra)


def _scaling(data):
    curve, points = stats.mean_curve(data, "exact_match"), stats.run_points(data, "exact_match")
    return figures.scaling_curves(curve, points=points)


def _with_fits():
    data = planted.frame()
    curve, points = stats.mean_curve(data, "exact_match"), stats.run_points(data, "exact_match")
    fits = scaling.predictions(scaling.describe(points, draws=50), planted.SIZES)
    return figures.scaling_curves(curve, points=points, fits=fits)


def _gaps():
    data = planted.frame()
    for seed in range(8):
        data = planted.fail(data, seed, 400)
    return _scaling(planted.fail(data, 1, 50))


def _grid():
    data = _many_families()
    points = stats.run_points(data, "exact_match", by=GROUPS)
    described = scaling.describe(points, by=GROUPS, draws=20)
    labels = dict(zip(described["family"], described["label"], strict=True))
    return figures.family_grid(stats.mean_curve(data, "exact_match", by=GROUPS), labels, points=points)


def _drift():
    arms = [
        planted.frame({"reference": ("reference", lambda n, k=k: 2.2 + k * n)}, metric="reference_loss", method=method)
        for method, k in (("full", 2e-4), ("lora", 1e-4))
    ]
    data = pd.concat([arm.assign(digest=arm["method"] + arm["digest"]) for arm in arms])
    return figures.reference_drift(stats.mean_curve(data, "reference_loss", by=("method",)), base=1.946)


def _power_law():
    data = planted.frame({"all": ("all", lambda n: 1.2 + 3 * n**-0.3)}, metric="response_nll", source="local")
    points = stats.run_points(data, "response_nll", by=("source",))
    described = scaling.describe(points, by=("source",), falling=True, draws=50)
    fits = scaling.predictions(described, planted.SIZES, by=("source",))
    return figures.power_law(
        stats.mean_curve(data, "response_nll", by=("source",)), described, fits=fits, points=points
    )


DRAWINGS = [_with_fits, _gaps, _grid, _drift, _power_law]


def _texts(figure):
    FigureCanvasAgg(figure).draw()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    # Ticks of shared axes exist without being drawn; what is drawn has a visible tick label.
    return [text for text in texts if text.get_window_extent().width > 0]


@pytest.mark.parametrize("draw", DRAWINGS)
def test_no_text_is_clipped_or_too_small_and_widths_fit_a_page(draw):
    figure = theme.figure_of(draw())
    assert figure.get_figwidth() in (theme.ONE_COLUMN, theme.TWO_COLUMN)
    texts = _texts(figure)
    assert len(texts) > 5
    assert min(text.get_fontsize() for text in texts) >= 6
    tight, page = figure.get_tightbbox(), figure.bbox_inches
    assert tight.x0 >= 0 and tight.y0 >= 0 and tight.x1 <= page.x1 and tight.y1 <= page.y1


@pytest.mark.parametrize("draw", [_with_fits, _gaps, _drift, _power_law])
def test_the_legend_hides_no_data_and_no_label(draw):
    ax = draw()
    FigureCanvasAgg(ax.figure).draw()
    legend = ax.get_legend().get_window_extent()
    assert not legend.overlaps(ax.get_window_extent().padded(-1))
    others = [text for text in _texts(ax.figure) if text not in ax.get_legend().get_texts()]
    assert not [text for text in others if legend.overlaps(text.get_window_extent())]


@pytest.mark.fault(29)
def test_gaps_break_the_line_and_are_marked():
    ax = _gaps()
    gaps = [line for line in ax.lines if line.get_gid() == "gap"]
    assert [line.get_xdata()[0] for line in gaps] == [400, 400, 400]
    open_marks = [line for line in ax.lines if line.get_gid() == "few"]
    assert [list(line.get_xdata()) for line in open_marks] == [[50], [50], [50]]
    entries = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "no complete run" in entries and "fewer seeds" in entries
    latent = next(line for line in ax.lines if line.get_label() == "latent")
    assert np.isnan(latent.get_ydata()[4]) and np.isfinite(np.delete(latent.get_ydata(), 4)).all()


@pytest.mark.fault(30)
def test_one_seed_prints_n_and_draws_no_band():
    ax = _scaling(planted.frame(seeds=[0]))
    assert "n=1" in ax.get_xlabel()
    assert all(len(collection.get_paths()) == 0 for collection in ax.collections)
    assert "n=1" not in _scaling(planted.frame(seeds=[0, 1])).get_xlabel()


def test_the_untuned_run_is_a_line_and_not_lost_on_the_log_axis():
    base = planted.frame({"opposite": ("latent", lambda n: 0.31)}, sizes=[0], noise=1e-9)
    data = pd.concat([planted.frame({"opposite": planted.FAMILIES["opposite"]}), base])
    ax = _scaling(data)
    flat = [line for line in ax.lines if len(line.get_ydata()) == 2 and np.allclose(line.get_ydata(), 0.31)]
    assert len(flat) == 1


def test_roles_keep_their_colour_and_no_two_names_share_one():
    assert theme.colours(["latent", "composed"])["latent"] == theme.colours(["zeta", "latent"])["latent"]
    for names in (["latent", "composed", "weak", "flat"], ["x", "latent", "y", "composed", "z"]):
        assert len(set(theme.colours(names).values())) == len(set(theme.markers(names).values())) == len(names)


def test_every_panel_prints_its_label():
    axes = _grid()
    assert len(axes) == 18
    notes = {ax.get_title(): [child.get_text() for child in ax.texts] for ax in axes}
    assert notes["opposite"] == ["saturated"] and notes["reverse"] == ["flat"] and notes["two hop"] == ["rising"]


def test_the_exponent_and_its_interval_are_printed():
    entry = _power_law().get_legend().get_texts()[0].get_text()
    assert entry.startswith("local: exponent 0.3") and "[" in entry


@pytest.mark.fault(31)
def test_files_have_equal_bytes_and_carry_their_origin(tmp_path):
    data = pd.DataFrame({"x": [1]})
    first = figures.save_figure(_with_fits(), tmp_path / "a", "curve", data=data, metadata=META)
    second = figures.save_figure(_with_fits(), tmp_path / "b", "curve", data=data, metadata=META)
    assert [path.suffix for path in first] == [".png", ".svg", ".pdf", ".csv"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    png, svg, pdf, twin = first
    with Image.open(png) as image:
        assert json.loads(image.text["Description"]) == META
        assert image.size[0] == 990 and round(image.info["dpi"][0]) == 300
    assert "abc" in svg.read_text() and b"abc" in pdf.read_bytes() and b"CreationDate" not in pdf.read_bytes()
    assert twin.read_text() == "x\n1\n"


def test_saving_twice_the_same_figure_object_gives_equal_bytes(tmp_path):
    ax = _with_fits()
    first = figures.save_figure(ax, tmp_path, "a", data=pd.DataFrame(), metadata=META)
    before = [path.read_bytes() for path in first]
    assert [
        path.read_bytes() for path in figures.save_figure(ax, tmp_path, "a", data=pd.DataFrame(), metadata=META)
    ] == before


def test_a_figure_is_laid_out_once_for_all_its_images_and_left_as_it_was(tmp_path, monkeypatch):
    ax = _with_fits()
    figure = ax.get_figure()
    engine, dpi = figure.get_layout_engine(), figure.dpi
    calls = []
    execute = type(engine).execute
    monkeypatch.setattr(type(engine), "execute", lambda self, fig: calls.append(fig.dpi) or execute(self, fig))
    figures.save_figure(ax, tmp_path, "a", data=pd.DataFrame(), metadata=META)
    assert calls == [300]
    assert figure.get_layout_engine() is engine and figure.dpi == dpi


def test_the_users_settings_do_not_leak_in_or_out(tmp_path):
    plain = figures.save_figure(_with_fits(), tmp_path / "a", "f", data=pd.DataFrame(), metadata=META)
    with matplotlib.rc_context({"font.size": 20, "axes.grid": True, "savefig.bbox": "tight", "lines.linewidth": 7}):
        styled = figures.save_figure(_with_fits(), tmp_path / "b", "f", data=pd.DataFrame(), metadata=META)
        assert matplotlib.rcParams["font.size"] == 20
    assert plain[0].read_bytes() == styled[0].read_bytes()


@pytest.mark.fault(31)
def test_drawing_needs_no_display_and_no_torch():
    code = "import sys, itlib.figures, itlib.report; print('torch' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[1])}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.split()[0] == "False"


def test_few_families_leave_no_empty_column():
    two = planted.frame({name: planted.FAMILIES[name] for name in ("opposite", "swap")})
    axes = figures.family_grid(stats.mean_curve(two, "exact_match", by=GROUPS))
    assert len(axes) == 2 and axes[0].get_gridspec().ncols == 2
