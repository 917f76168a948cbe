"""Text that overlaps, is cut off or too small is found; a clean figure has no problem."""

import pytest

from itlib.figure_checks import contact_sheet, problems, texts
from itlib.theme import new_figure, save_images


def figure():
    fig = new_figure()
    ax = fig.subplots()
    ax.set(xlabel="steps", ylabel="exact match", title="A title", xlim=(0, 1), ylim=(0, 1))
    return fig, ax


def test_a_clean_figure_has_no_problem():
    fig, _ = figure()
    assert problems(fig) == []
    assert {"steps", "exact match", "A title", "0.0"} <= {text.text for text in texts(fig)}


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ({"x": 0.3, "y": 0.5, "s": "tiny", "fontsize": 5}, "'tiny' has 5 pt"),
        ({"x": 0.95, "y": 0.5, "s": "a long text beyond the edge", "in_layout": False}, "is cut off"),
    ],
)
def test_small_and_clipped_text_is_found(text, what):
    fig, ax = figure()
    ax.text(**text)
    assert any(what in problem for problem in problems(fig))


def test_overlapping_text_is_found_and_slanted_text_is_not_mistaken():
    fig, ax = figure()
    ax.text(0.5, 0.5, "one")
    ax.text(0.52, 0.5, "two")
    assert any("'one' and 'two' overlap" in problem for problem in problems(fig))
    fig, ax = figure()
    ax.text(0.2, 0.2, "a slanted label", rotation=45)
    ax.text(0.3, 0.2, "another one", rotation=45)
    assert problems(fig) == []


def test_a_contact_sheet_shows_figures_at_their_size_in_print(tmp_path):
    from PIL import Image

    paths = []
    for number in range(12):
        fig, _ = figure()
        paths += save_images(fig, tmp_path / "study" / "figures", f"f{number}", metadata={})[:1]
    pages = contact_sheet(paths, tmp_path / "sheet.png")
    assert [page.name for page in pages] == ["sheet.png", "sheet-2.png"]
    with Image.open(pages[0]) as image:
        assert image.size == (int(8.27 * 150), int(11.69 * 150))
