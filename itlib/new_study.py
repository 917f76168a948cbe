"""A new study that runs at once: the tour's module, estimator, claim, params, notebook and test under another name."""

from __future__ import annotations

import re
from pathlib import Path

from itlib.errors import InputError
from itlib.files import write_atomic

PATTERN = re.compile(r"\d\d[a-z]?_[a-z][a-z0-9]*(_[a-z0-9]+)*")
STUDIES = Path("itlib/studies/__init__.py")
FILES = (
    "itlib/studies/tour.py",
    "itlib/claims/tour.py",
    "params/claims/TOUR.yaml",
    "notebooks/00_tour.ipynb",
    "tests/studies/test_tour.py",
    *(f"params/{profile}/00_tour.yaml" for profile in ("smoke", "cpu", "gpu-micro", "gpu", "paper")),
)


def create(name: str, root: Path) -> list[Path]:
    """Write the files of a study and announce it in ``itlib/studies/__init__.py``; return what was written.

    Args:
        name: Of its notebook, such as "05_curriculum": two digits, perhaps a letter, and words.
        root: The project's folder.

    Raises:
        InputError: The name is of another form, or taken.
    """
    if not PATTERN.fullmatch(name):
        raise InputError(
            f"'{name}' is no name of a study; two digits, perhaps a letter, and words, as in 05_curriculum"
        )
    short = name.partition("_")[2]
    words = {
        "00_tour": name,
        "TourParams": "".join(word.capitalize() for word in short.split("_")) + "Params",
        "TOUR": short.upper(),
        "tour": short,
    }
    plan = {source: _renamed(source, words) for source in FILES}
    for target in plan.values():
        if (root / target).exists():
            raise InputError(f"{target} exists; name the study otherwise")
    written = []
    for source, target in plan.items():
        write_atomic(root / target, _renamed((root / source).read_text(), words).encode())
        written.append(root / target)
    line = f'    "{name}": "itlib.studies.{short}:{words["TourParams"]}",\n'
    known = (root / STUDIES).read_text()
    write_atomic(root / STUDIES, known.replace("}\n", f"{line}}}\n", 1).encode())
    return [*written, root / STUDIES]


def _renamed(text: str, words: dict[str, str]) -> str:
    """Replace whole names, longest first, so that none is replaced inside another one."""
    pattern = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    return re.sub(pattern, lambda match: words[match.group()], text)
