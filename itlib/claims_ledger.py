"""The ledger: every declared claim beside what was measured of it, from the reports of one profile."""

from __future__ import annotations

import importlib
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from itlib.claims import SEVERITY, Claim, claim_ids, load_claim
from itlib.declared import declaration, state
from itlib.errors import InputError
from itlib.studies import STUDIES
from itlib.verify import read_reference, read_report, reference_path

ORDER = ("reproduced", "contradicted", "inconclusive", "not_run")
COLUMNS = (
    "claim", "study", "verdict", "statement", "part", "estimand", "direction", "margin", "effect", "low", "high",
    "p_value", "detectable", "seeds", "seeds_needed", "reason", "paper", "version", "place", "paper_numbers",
    "null_means", "null_does_not_mean", "declared", "declared_at", "report",
)  # fmt: skip
Found = tuple[dict[str, Any] | None, list[str], str]  # a stored verdict, the commits of its runs, where it stands
assert set(ORDER) == set(SEVERITY)


def studies_of_claims() -> dict[str, str]:
    """Return the notebook that judges each claim."""
    found = {}
    for study, place in STUDIES.items():
        for name in getattr(importlib.import_module(place.partition(":")[0]), "CLAIMS", ()):
            found[name] = study
    return found


def claim_folder(root: Path, claim_id: str, n_seeds: int) -> Path:
    """Return the results folder of a claim that was judged again on more seeds."""
    return root / "claims" / f"{claim_id}-{n_seeds}"


def _report_of(root: Path, profile: str, study: str, claim_id: str) -> Path:
    """Return the folder of the report that says most of a claim: its own with the most seeds, else its study's."""
    own = [
        path
        for path in (root / "claims").glob(f"{claim_id}-*/{profile}/{study}/manifest.json")
        if path.parents[2].name.removeprefix(f"{claim_id}-").isdigit()
    ]
    most = max(own, key=lambda path: int(path.parents[2].name.removeprefix(f"{claim_id}-")), default=None)
    return most.parent if most else root / profile / study


def ledger(root: Path, profile: str) -> pd.DataFrame:
    """Return one row per declared claim, by study and id; see ``COLUMNS``.

    A claim without a finished report of this profile is *not_run*, and its reason says so. A claim that was judged
    again on more seeds counts with those. Reports on the user's own data have folders of their own and do not count.
    Effect, interval and margin are those of the deciding part.

    Args:
        root: Results folder.
        profile: Which profile.

    Raises:
        InputError: A report cannot be read.
    """

    def find(claim_id: str, study: str) -> Found:
        folder = _report_of(root, profile, study, claim_id)
        if not study or not (folder / "manifest.json").is_file():
            return None, [], f"{profile}/{study}"
        manifest, verdicts = read_report(folder)
        stored = next((verdict for verdict in verdicts if verdict["id"] == claim_id), None)
        commits = manifest.get("provenance", {}).get("commits", [])
        return stored, commits, folder.relative_to(root).as_posix()

    return _table(find)


def reference_ledger(project: Path, profile: str) -> pd.DataFrame:
    """Return the same from the reference results that are committed with the project.

    Raises:
        InputError: A reference cannot be read.
    """

    def find(claim_id: str, study: str) -> Found:
        path = reference_path(project, profile, study)
        if not study or not path.is_file():
            return None, [], f"{profile}/{study}"
        known = read_reference(path)
        return known["claims"].get(claim_id), known.get("commits", []), f"reference/{profile}/{study}"

    return _table(find)


def _table(find: Callable[[str, str], Found]) -> pd.DataFrame:
    home = studies_of_claims()
    rows = [_row(load_claim(name), home.get(name, ""), *find(name, home.get(name, ""))) for name in claim_ids()]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.sort_values(["study", "claim"], kind="stable", key=lambda c: c.map(_natural)).reset_index(drop=True)


def _row(claim: Claim, study: str, stored: dict[str, Any] | None, commits: list[str], place: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "claim": claim.id,
        "study": study,
        "statement": " ".join(claim.statement.split()),
        "paper": " ".join(claim.paper["title"].split()),
        "version": claim.paper["version"],
        "place": " ".join(claim.paper["place"].split()),
        "paper_numbers": " ".join(claim.paper_numbers.split()),
        "null_means": " ".join(claim.what_a_null_means.split()),
        "null_does_not_mean": " ".join(claim.what_a_null_does_not_mean.split()),
        "declared_at": declaration(claim.id).commit[:12],
    }
    if stored is None:
        part = claim.parts[0]
        numbers = dict.fromkeys(("effect", "low", "high", "p_value", "detectable", "seeds_needed"), math.nan)
        about = {"part": part.name, "estimand": part.estimand, "direction": part.direction, "margin": part.margin}
        reason = f"no finished report {place}" if study else "no notebook judges it"
        return (
            row | numbers | about | {"verdict": "not_run", "seeds": 0, "reason": reason, "declared": "", "report": ""}
        )
    part = next(part for part in stored["parts"] if part["name"] == stored["deciding_part"])
    words = {item.name: " ".join(item.estimand.split()) for item in claim.parts}
    low, high = map(_number, stored["interval"])
    return row | {
        "verdict": stored["verdict"],
        "part": part["name"],
        "estimand": words.get(part["name"], ""),
        "direction": part["direction"],
        "margin": part["margin"],
        "effect": _number(stored["effect"]),
        "low": low,
        "high": high,
        "p_value": _number(stored["p_value"]),
        "detectable": _number(stored["smallest_detectable_effect"]),
        "seeds": stored["n_seeds"],
        "seeds_needed": _number(stored["seeds_needed"]),
        "reason": stored["reason"],
        "declared": state(claim.id, commits),
        "report": place,
    }


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return how many claims of each study have which verdict, and of all together."""
    counts = table.groupby(["study", "verdict"]).size().unstack(fill_value=0).reindex(columns=list(ORDER), fill_value=0)
    counts.loc["all"] = counts.sum()
    return counts.reset_index().rename_axis(columns=None)


def open_questions(table: pd.DataFrame) -> pd.DataFrame:
    """Return the inconclusive claims with the seeds that would settle them and the command that adds them.

    Seeds are those of a plan with power .8 if the effect is as measured; without a number more than 1000 are needed.
    """
    rows = table[table["verdict"] == "inconclusive"][
        ["claim", "study", "effect", "low", "high", "margin", "detectable", "seeds", "seeds_needed"]
    ].copy()
    rows["command"] = [
        f"itlib run --claim {claim} --seeds {int(seeds)}" if math.isfinite(seeds) else ""
        for claim, seeds in zip(rows["claim"], rows["seeds_needed"], strict=True)
    ]
    return rows.sort_values("seeds_needed", kind="stable").reset_index(drop=True)


def oriented(table: pd.DataFrame) -> pd.DataFrame:
    """Return effects of judged claims on one scale: distance from the margin towards what is claimed.

    The unit is the smallest detectable effect of the claim, so that claims in points, nats and correlations can stand
    in one figure. Columns: ``claim``, ``study``, ``verdict``, ``value``, ``low``, ``high``.
    """
    rows = []
    for item in table.itertuples():
        if not (math.isfinite(item.effect) and math.isfinite(item.detectable) and item.detectable > 0):
            continue
        low, value, high = (_towards(item, bound) for bound in (item.low, item.effect, item.high))
        if item.direction in ("equivalent", "different") and item.low < 0 < item.high:
            # the distance from zero has its extreme inside the interval
            inner = item.margin if item.direction == "equivalent" else -item.margin
            low, high = (min(low, high), inner) if item.direction == "equivalent" else (inner, max(low, high))
        ends = sorted([low, high])
        scaled = [number / item.detectable for number in (value, *ends)]
        rows.append((item.claim, item.study, item.verdict, *scaled))
    return pd.DataFrame(rows, columns=["claim", "study", "verdict", "value", "low", "high"])


def _towards(item: Any, effect: float) -> float:
    if item.direction == "greater":
        return effect - item.margin
    if item.direction == "less":
        return item.margin - effect
    distance = item.margin - abs(effect)
    return distance if item.direction == "equivalent" else -distance


def moved(table: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return the claims whose verdict differs between two ledgers: ``claim``, ``before``, ``now``."""
    both = other[["claim", "verdict"]].merge(table[["claim", "verdict"]], on="claim", suffixes=("_before", "_now"))
    changed = both[both["verdict_before"] != both["verdict_now"]].reset_index(drop=True)
    return changed.rename(columns={"verdict_before": "before", "verdict_now": "now"})


def read_disagreements(path: Path) -> list[dict[str, Any]]:
    """Read the questions on which papers disagree: ``question`` and ``sides``, each with ``says`` and ``claims``.

    Raises:
        InputError: A key is missing or unknown, a question has fewer than two sides, or a claim is not declared.
    """
    from itlib.yamlio import load_strict

    questions = load_strict(path).get("questions")
    if not isinstance(questions, list) or not questions:
        raise InputError(f"{path}: questions: expected a list of questions")
    known = set(claim_ids())
    for number, entry in enumerate(questions):
        where = f"{path}: questions[{number}]"
        if not isinstance(entry, dict) or set(entry) != {"question", "sides"} or len(entry["sides"]) < 2:
            raise InputError(f"{where}: expected question and at least two sides")
        for side in entry["sides"]:
            if set(side) != {"who", "says", "claims"}:
                raise InputError(f"{where}: a side has who, says and claims")
            if strangers := sorted(set(side["claims"]) - known):
                raise InputError(f"{where}: no claim '{strangers[0]}' is declared")
    return questions


def disagreements(table: pd.DataFrame, questions: list[dict[str, Any]]) -> pd.DataFrame:
    """Return one row per question, side and claim: ``question``, ``side``, ``who``, ``says``, the ledger's columns."""
    by_claim = table.set_index("claim")
    rows = []
    for entry in questions:
        for number, side in enumerate(entry["sides"], start=1):
            for name in side["claims"]:
                about = {"question": entry["question"], "side": number, "who": side["who"], "says": side["says"]}
                rows.append(about | {"claim": name} | by_claim.loc[name].to_dict())
    return pd.DataFrame(rows)


def to_json(table: pd.DataFrame) -> str:
    """Return the ledger as strict JSON, NaN and infinities as null."""
    rows = table.astype(object).where(table.notna() & (table != math.inf) & (table != -math.inf), None)
    return json.dumps(rows.to_dict("records"), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _natural(text: str) -> tuple[str, int, str]:
    """Return a key that sorts SC2 before SC10."""
    found = re.fullmatch(r"([A-Z]+)(\d+)(.*)", text)
    return (found[1], int(found[2]), found[3]) if found else (text, -1, "")
