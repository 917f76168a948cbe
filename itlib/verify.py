"""Is a report what it says: its files, its verdicts, its claims' dates; and does it agree with another one?"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from itlib.claims import judge, load_claim
from itlib.declared import state
from itlib.errors import InputError, ItlibError
from itlib.files import sha256_file, write_atomic

FRAME_TOLERANCE = 0.1  # deviations of a column by which its mean may move on another machine
AGREES, FAILS, OPEN = "ok", "failed", "unknown"


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: of which report or claim, how it came out, and a line that says so."""

    about: str
    outcome: str
    text: str


# ---- one report ---------------------------------------------------------------------------------------------


def read_report(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the manifest and the verdicts of a report, none where it has no claims.

    Raises:
        InputError: There is no readable manifest.
    """
    manifest = _read(folder / "manifest.json")
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise InputError(f"{folder / 'manifest.json'}: is no manifest")
    path = folder / "claims.json"
    return manifest, _read(path) if path.exists() else []


def check_report(folder: Path) -> list[Finding]:
    """Check a report against itself: hashes of its files, verdicts judged anew, claims older than their runs.

    Raises:
        InputError: The manifest or the verdicts cannot be read.
    """
    manifest, verdicts = read_report(folder)
    name = f"{folder.parent.name}/{folder.name}"
    return [
        *_check_files(folder, manifest["files"], name),
        *_check_verdicts(folder, manifest, verdicts, name),
        *_check_dates(manifest, verdicts),
    ]


def _check_files(folder: Path, files: dict[str, str], name: str) -> list[Finding]:
    wrong = []
    for place, expected in files.items():
        path = folder / place
        if not path.resolve().is_relative_to(folder.resolve()):
            wrong.append(f"{place} lies outside the report")
        elif not path.is_file():
            wrong.append(f"{place} is missing")
        elif sha256_file(path) != expected:
            wrong.append(f"{place} was changed after the report")
    if not wrong:
        return [Finding(name, AGREES, f"{len(files)} files have the hashes of the manifest")]
    return [Finding(name, FAILS, text) for text in wrong]


def _check_verdicts(
    folder: Path, manifest: dict[str, Any], verdicts: Sequence[dict[str, Any]], name: str
) -> list[Finding]:
    if not verdicts:
        return []
    try:
        evidence = pd.read_parquet(folder / "evidence.parquet")
    except (OSError, ValueError) as error:
        return [Finding(name, OPEN, f"verdicts cannot be judged anew: evidence.parquet ({type(error).__name__})")]
    findings = []
    for stored in verdicts:
        try:
            claim = load_claim(stored["id"])
            again = judge(claim, evidence, blocked=manifest.get("blocked", {}).get(claim.id, "")).to_json()
        except (ItlibError, KeyError, TypeError) as error:
            findings.append(Finding(str(stored.get("id")), FAILS, f"cannot be judged anew: {error}"))
            continue
        again = json.loads(json.dumps(again))
        if again == stored:
            findings.append(Finding(claim.id, AGREES, f"{stored['verdict']}, judged anew"))
        else:
            keys = [key for key in again if again[key] != stored.get(key)]
            text = f"is {again['verdict']} now and was {stored.get('verdict')}; changed: {', '.join(keys)}"
            findings.append(Finding(claim.id, FAILS, text))
    return findings


def _check_dates(manifest: dict[str, Any], verdicts: Sequence[dict[str, Any]]) -> list[Finding]:
    commits = manifest.get("provenance", {}).get("commits", [])
    outcome = {"declared": AGREES, "amended": AGREES, "undeclared": FAILS, "unknown": OPEN}
    text = {
        "declared": "was declared before its runs",
        "amended": "was declared before its runs and amended after some of them",
        "undeclared": "was declared after some of its runs",
        "unknown": "cannot be dated: a commit is missing or not in this repository",
    }
    states = {verdict["id"]: state(verdict["id"], commits) for verdict in verdicts}
    return [Finding(name, outcome[found], text[found]) for name, found in states.items()]


# ---- two reports --------------------------------------------------------------------------------------------


def condensed(folder: Path) -> dict[str, Any]:
    """Return what is kept of a report as a reference: verdicts with one effect per seed, and where they were measured.

    Of the frame it is the hash, the number of rows and, per column of numbers, how many there are, mean and deviation.

    Raises:
        InputError: The report cannot be read.
    """
    manifest, verdicts = read_report(folder)
    return {
        "study": manifest["study"],
        "profile": manifest["profile"],
        "environment": environment(manifest),
        "commits": manifest.get("provenance", {}).get("commits", []),
        "frame": _outline(folder / "frame.csv"),
        "claims": {verdict["id"]: _without_words(verdict) for verdict in verdicts},
    }


def _outline(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    frame = pd.read_csv(path, low_memory=False)
    numbers = frame.select_dtypes("number")
    table = zip(numbers.count(), numbers.mean().fillna(0.0), numbers.std(ddof=0).fillna(0.0), strict=True)
    columns = {name: [int(n), float(mean), float(std)] for name, (n, mean, std) in zip(numbers, table, strict=True)}
    return {"sha256": sha256_file(path), "rows": len(frame), "columns": columns}


def _without_words(verdict: dict[str, Any]) -> dict[str, Any]:
    """Return a verdict without what stands in the claim's declaration."""
    parts = [{key: value for key, value in part.items() if key != "estimand"} for part in verdict["parts"]]
    return {key: value for key, value in verdict.items() if key not in ("id", "statement")} | {"parts": parts}


def environment(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return what bits of a result depend on beside its specs: torch and the processor. Threads are in the specs."""
    record = manifest.get("provenance", {})
    torch = sorted({str(packages.get("torch", "")) for packages in record.get("packages", [])})
    return {"torch": torch, "devices": sorted(map(str, record.get("devices", [])))}


def compare(mine: dict[str, Any], reference: dict[str, Any]) -> list[Finding]:
    """Compare two condensed reports of one study.

    In the same environment the frame and every effect of every seed have to be equal. Elsewhere the frame has to have
    the same rows and numbers, with means that are off by at most a tenth of a deviation, verdicts have to agree, and
    every effect has to lie in the interval of the reference.
    """
    same = mine["environment"] == reference["environment"]
    findings = _compare_frames(mine["frame"], reference["frame"], str(reference.get("study")), same=same)
    for name, stored in reference["claims"].items():
        if name not in mine["claims"]:
            findings.append(Finding(name, FAILS, f"is not judged; the reference says {stored['verdict']}"))
            continue
        found = mine["claims"][name]
        if found["verdict"] != stored["verdict"]:
            findings.append(Finding(name, FAILS, f"moved from {stored['verdict']} to {found['verdict']}"))
        elif same and found != stored:
            findings.append(Finding(name, FAILS, f"is {found['verdict']} in both, with other effects on this machine"))
        elif outside := [] if same else _outside(found, stored):
            findings.append(Finding(name, FAILS, f"is {found['verdict']} in both; {'; '.join(outside)}"))
        else:
            agrees = "equal to the bit" if same else "effects inside the reference's intervals"
            findings.append(Finding(name, AGREES, f"{found['verdict']} in both, {agrees}"))
    new = sorted(set(mine["claims"]) - set(reference["claims"]))
    return findings + [Finding(name, OPEN, "is not in the reference") for name in new]


def _compare_frames(mine: dict[str, Any], stored: dict[str, Any], name: str, *, same: bool) -> list[Finding]:
    if not mine and not stored:
        return []
    if same:
        equal = mine == stored
        text = "frame equal to the bit" if equal else "the frame has other bytes on this machine"
        return [Finding(name, AGREES if equal else FAILS, text)]
    moved = [] if mine.get("rows") == stored.get("rows") else [f"{mine.get('rows')} rows and not {stored.get('rows')}"]
    found = mine.get("columns", {})
    for column, (count, mean, deviation) in stored.get("columns", {}).items():
        n, other, _ = found.get(column, (0, 0.0, 0.0))
        if n != count:
            moved.append(f"{n} numbers in {column} and not {count}")
        elif abs(other - mean) > FRAME_TOLERANCE * deviation + 1e-6 * abs(mean):
            moved.append(f"mean of {column} {other:.4g} and not {mean:.4g}")
    if moved:
        return [Finding(name, FAILS, f"the frame has {text}") for text in moved]
    return [Finding(name, AGREES, "the frame has the rows and means of the reference")]


def _outside(found: dict[str, Any], stored: dict[str, Any]) -> list[str]:
    parts = {part["name"]: part for part in found["parts"]}
    lines = []
    for part in stored["parts"]:
        effect = parts.get(part["name"], {}).get("effect")
        low, high = (math.nan if bound is None else bound for bound in part["interval"])
        if (effect is None) != (part["effect"] is None):
            lines.append(f"{part['name']} has a value in one of them only")
        elif effect is not None and not low <= effect <= high:
            lines.append(f"{part['name']} {effect:.4f} is outside [{low:.4f}, {high:.4f}]")
    return lines


def reference_path(root: Path, profile: str, study: str) -> Path:
    """Return where the reference of a study is kept below the project's folder."""
    return root / "results" / "reference" / profile / f"{study}.json"


def write_reference(folder: Path, path: Path) -> None:
    """Keep a report as the reference of its study."""
    text = json.dumps(condensed(folder), indent=1, sort_keys=True, allow_nan=False)
    write_atomic(path, (text + "\n").encode())


def read_reference(path: Path) -> dict[str, Any]:
    """Return a reference. Raises ``InputError`` if it cannot be read."""
    found = _read(path)
    if not isinstance(found, dict) or not {"environment", "claims", "frame"} <= set(found):
        raise InputError(f"{path}: is no reference of a study")
    return found


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read ({type(error).__name__})") from None
