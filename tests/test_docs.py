"""Documents that are generated say what the code says."""

from itlib.params import markdown_table, schema
from itlib.studies import STUDIES
from itlib.workspace import project_root


def parameters_page():
    parts = ["# Parameters", "Generated from the schemas; `itlib params STUDY` prints one table."]
    for study in sorted(STUDIES):
        parts += [f"## {study}", markdown_table(schema(study))]
    return "\n\n".join(parts) + "\n"


def test_the_parameters_page_is_current():
    page = project_root() / "docs" / "parameters.md"
    assert page.read_text() == parameters_page(), "write parameters_page() of this test to docs/parameters.md"


def test_documents_name_files_that_exist():
    root = project_root()
    for word in (root / "README.md").read_text().replace("`", " ").replace("(", " ").replace(")", " ").split():
        if word.startswith(("notebooks/", "docs/", "params/", "itlib/")) and "<" not in word:
            assert (root / word.rstrip(".,;")).exists(), word
