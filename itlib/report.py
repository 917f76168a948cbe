"""A study's report: the one place that knows where figures, tables, verdicts and the manifest are written."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from itlib.claims import Verdict, judge, load_claim
from itlib.drawing import drawing_of, write_drawing
from itlib.errors import InputError
from itlib.files import sha256_file, write_atomic
from itlib.tables import to_markdown, write_table
from itlib.theme import save_figure

PACKAGES = ("itlib", "numpy", "pandas", "scipy", "statsmodels", "matplotlib", "seaborn", "pyarrow")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Shown:
    """What a notebook cell shows for a written figure or table."""

    paths: tuple[Path, ...]
    caption: str
    markdown: str = ""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        image = next((path for path in self.paths if path.suffix == ".png"), None)
        if image is None:
            return {"text/plain": str(self), "text/markdown": f"{self.markdown}\n{self.caption}"}, {}
        content = image.read_bytes()
        width = int.from_bytes(content[16:20], "big") // 3  # written at 300 dpi, shown at 100
        return {"text/plain": str(self), "image/png": content}, {"image/png": {"width": width}}

    def __str__(self) -> str:
        return f"{self.caption} ({', '.join(path.name for path in self.paths)})"


@dataclass(frozen=True)
class Summary:
    """Where everything is and what the verdicts are; a notebook shows it as a table."""

    folder: Path
    files: tuple[str, ...]
    verdicts: tuple[Verdict, ...]

    def __str__(self) -> str:
        lines = [f"{len(self.files)} files in {self.folder}"]
        lines += [f"{item.id}: {item.verdict} ({item.reason})" for item in self.verdicts]
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        text = f"{len(self.files)} files in `{self.folder}`\n\n"
        return text + (to_markdown(verdict_table(self.verdicts)) if self.verdicts else "No claim was judged.\n")


class Report:
    """Write one study's results under ``<folder>/<profile>/<study>/``.

    Files appear whole or not at all, hold no dates, and are equal byte for byte when the frame is equal.

    Args:
        study: Name of the study and of its notebook, such as "01_data_scaling".
        profile: Name of the profile, such as "cpu".
        folder: Root of all results.
        variant: Sets apart a report on other data or another model: the folder is ``<study>-<variant>``.
        own: The parameters that make a variant, as a command line would set them.
        provenance: Facts about the runs for the manifest, such as versions and device; plain data without dates.

    Raises:
        InputError: A name that is not a plain file name, or a folder that cannot be written to.
    """

    def __init__(
        self,
        study: str,
        profile: str = "cpu",
        folder: str | Path = "results",
        *,
        variant: str = "",
        own: str = "-p data DATA -p model MODEL",
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        self.study = _checked_name(study, "study")
        self.profile = _checked_name(profile, "profile")
        self.variant = variant and _checked_name(variant, "variant")
        self.own = own
        self.folder = Path(folder) / profile / (f"{study}-{variant}" if variant else study)
        self.provenance = dict(provenance or {})
        self._files: dict[str, Path] = {}
        self._captions: dict[str, str] = {}
        self._verdicts: tuple[Verdict, ...] = ()
        self._runs: list[str] = []
        self._blocked: dict[str, str] = {}
        _require_writable(self.folder)

    @property
    def command(self) -> str:
        """The canonical command that makes this report again."""
        place = f"{self.profile}/{self.study}"
        out = f"results/{self.profile}/{self.folder.name}/notebook.ipynb"
        own = f" {self.own}  # {self.variant}" if self.variant else ""
        return f"papermill notebooks/{self.study}.ipynb {out} -f params/{place}.yaml{own}"

    def frames(self, frame: pd.DataFrame, items: pd.DataFrame | None = None) -> None:
        """Write ``frame.csv`` (rows sorted, floats in full) and ``items.parquet``; later figures name these runs."""
        self._runs = sorted(frame["digest"].astype(str).unique())
        self._write("frame.csv", _csv(_sorted_rows(frame, ("digest", "seed", "family", "metric"))))
        if items is not None:
            buffer = io.BytesIO()
            rows = _sorted_rows(items, ("digest", "seed", "family", "metric", "item"))
            rows.to_parquet(buffer, index=False)
            self._write("items.parquet", buffer.getvalue())

    def figure(self, name: str, fig: Figure | Axes | np.ndarray, data: pd.DataFrame, caption: str) -> Shown:
        """Write ``figures/<name>.{png,svg,pdf,csv}``; images carry study, profile, command, runs and frame hash.

        What a drawing function was given goes to ``drawings/<name>/``, so that it can be drawn again; a change made to
        the figure after that function returned is not in there.
        """
        _checked_name(name, "figure")
        metadata = {
            "study": self.study,
            "profile": self.profile,
            "command": self.command,
            "runs": self._runs,
            "data_sha256": hashlib.sha256(_csv(data)).hexdigest(),
        }
        paths = save_figure(fig, self.folder / "figures", name, data=data, metadata=metadata)
        if call := drawing_of(fig):
            kept = write_drawing(call, self.folder / "drawings" / name, metadata)
            self._files |= {path.relative_to(self.folder).as_posix(): path for path in kept}
        return self._shown(f"figures/{name}", paths, caption)

    def table(self, name: str, frame: pd.DataFrame, caption: str, *, digits: int = 3) -> Shown:
        """Write ``tables/<name>.{md,tex,csv}``."""
        _checked_name(name, "table")
        paths = write_table(frame, self.folder / "tables", name, caption=caption, digits=digits)
        return self._shown(f"tables/{name}", paths, caption, to_markdown(frame, digits))

    def judge(self, names: Sequence[str], evidence: pd.DataFrame, *, blocked: str | Mapping[str, str] = "") -> Shown:
        """Judge claims on a frame; write that frame (``evidence.parquet``), ``claims.json`` and ``tables/claims.*``.

        Args:
            names: Ids of the claims.
            evidence: The tidy frame that they read.
            blocked: Why no comparison of these runs is fair, for all claims or by id; empty where it is.
        """
        self._blocked = {name: blocked if isinstance(blocked, str) else blocked.get(name, "") for name in names}
        buffer = io.BytesIO()
        evidence.to_parquet(buffer, index=False)
        self._write("evidence.parquet", buffer.getvalue())
        return self.claims([judge(load_claim(name), evidence, blocked=self._blocked[name]) for name in names])

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """The verdicts of this study, once they were given."""
        return self._verdicts

    def claims(self, verdicts: Sequence[Verdict]) -> Shown:
        """Write ``claims.json`` and ``tables/claims.*``."""
        self._verdicts = tuple(verdicts)
        content = json.dumps([item.to_json() for item in self._verdicts], indent=2, allow_nan=False, ensure_ascii=False)
        self._write("claims.json", (content + "\n").encode())
        return self.table("claims", verdict_table(self._verdicts), "Verdicts on the claims of this study.")

    def finish(self) -> Summary:
        """Write ``manifest.json`` (hash of every file, runs, versions) and return the summary."""
        manifest = {
            "study": self.study,
            "profile": self.profile,
            "command": self.command,
            "files": {name: sha256_file(path) for name, path in sorted(self._files.items())},
            "captions": dict(sorted(self._captions.items())),
            "runs": self._runs,
            "blocked": self._blocked,
            "versions": _versions(),
            "provenance": self.provenance,
        }
        try:
            content = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InputError(f"provenance must be plain data without NaN: {error}") from error
        self._write("manifest.json", (content + "\n").encode())
        return Summary(self.folder, tuple(sorted(self._files)), self._verdicts)

    def _write(self, name: str, content: bytes) -> None:
        write_atomic(self.folder / name, content)
        self._files[name] = self.folder / name

    def _shown(self, place: str, paths: list[Path], caption: str, markdown: str = "") -> Shown:
        self._captions[place] = " ".join(caption.split())
        self._files |= {path.relative_to(self.folder).as_posix(): path for path in paths}
        return Shown(tuple(paths), self._captions[place], markdown)


def verdict_table(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """Return one row per claim for display."""
    return pd.DataFrame(
        [
            {
                "claim": item.id,
                "statement": item.statement,
                "verdict": item.verdict,
                "effect": item.effect,
                "interval": item.interval,
                "p": item.p_value,
                "detectable": item.smallest_detectable_effect,
                "seeds": item.n_seeds,
                "why": item.reason,
            }
            for item in verdicts
        ],
        columns=["claim", "statement", "verdict", "effect", "interval", "p", "detectable", "seeds", "why"],
    )


def _checked_name(name: str, what: str) -> str:
    if not _NAME.fullmatch(name) or ".." in name:
        raise InputError(f"{what} '{name}' must be a plain file name: letters, digits, '_', '-' and '.'")
    return name


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"results folder {folder} cannot be written to ({error.strerror}); choose another") from error


def _sorted_rows(frame: pd.DataFrame, first: Sequence[str]) -> pd.DataFrame:
    """Rows in an order that does not depend on how the runs were scheduled."""
    keys = [column for column in first if column in frame.columns]
    return frame.sort_values(keys, kind="stable").reset_index(drop=True)


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.to_csv(index=False, lineterminator="\n").encode()


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "not installed"
    return versions
