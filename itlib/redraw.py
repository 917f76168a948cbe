"""Figures again, from what reports have kept: no run, no model, no torch. And what a single image says about itself."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from itlib.drawing import FILE, draw, read_drawing
from itlib.errors import InputError
from itlib.files import sha256_file, write_atomic
from itlib.theme import save_images

IMAGES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Redrawn:
    """One figure that was drawn again: its report's folder, its name, and which of its images changed."""

    report: Path
    name: str
    changed: tuple[str, ...]


def reports(root: Path, profile: str = "") -> list[Path]:
    """Return the folders of finished reports below a results folder, sorted; ``profile`` "" takes all profiles."""
    return sorted(path.parent for path in root.glob(f"{profile or '*'}/*/manifest.json"))


def redraw(report: Path) -> list[Redrawn]:
    """Draw every figure of a report again and write its images; the manifest then names the new hashes.

    Raises:
        InputError: A drawing or the manifest cannot be read.
    """
    manifest_path = report / "manifest.json"
    try:
        manifest = json.loads(manifest_path.read_text())
        files = manifest["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{manifest_path}: is no manifest ({type(error).__name__})") from None
    found = []
    for place in sorted((report / "drawings").glob(f"*/{FILE}")):
        name = place.parent.name
        call, metadata = read_drawing(place.parent)
        paths = save_images(draw(call), report / "figures", name, metadata=metadata)
        hashes = {path.relative_to(report).as_posix(): sha256_file(path) for path in paths}
        changed = tuple(path for path, value in hashes.items() if files.get(path) != value)
        files |= hashes
        found.append(Redrawn(report, name, changed))
    content = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
    write_atomic(manifest_path, (content + "\n").encode())
    return found


def trace(path: Path) -> dict[str, Any]:
    """Return what is embedded in an image: study, profile, canonical command, runs and the hash of its data.

    Raises:
        InputError: The file cannot be read, is no PNG, SVG or PDF, or was not written by this suite.
    """
    readers = {".png": _png_text, ".svg": _svg_text, ".pdf": _pdf_text}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: a figure is a .png, .svg or .pdf file")
    try:
        found = json.loads(readers[path.suffix.lower()](path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or 'no image'})") from None
    except (ValueError, LookupError, ElementTree.ParseError, RecursionError):
        raise InputError(f"{path}: holds no trace of its runs; it was not written by this suite") from None
    if not isinstance(found, dict) or "command" not in found:
        raise InputError(f"{path}: holds no trace of its runs; it was not written by this suite")
    return found


def _png_text(path: Path) -> str:
    from PIL import Image

    with Image.open(path) as image:
        return image.info["Description"]


def _svg_text(path: Path) -> str:
    description = "{http://purl.org/dc/elements/1.1/}description"
    found = [element.text or "" for element in ElementTree.parse(path).iter(description)]
    return found[0]


def _pdf_text(path: Path) -> str:
    """Return the subject of the document's information: a literal string, brackets and backslashes escaped."""
    found = re.search(rb"/Subject \(((?:[^()\\]|\\.)*)\)", path.read_bytes(), re.S)
    if found is None:
        raise ValueError("no subject")
    return re.sub(rb"\\(.)", rb"\1", found[1], flags=re.S).decode("latin-1")
