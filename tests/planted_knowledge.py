"""The frame that ``04e_knowledge`` would store if its runs did what we say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd

FAMILIES = ("home", "job", "colour", "new_home", "new_job")
NEVER = ("never_home", "never_job")
LEVELS = (0.0, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1.0)
BINS = (2, 7, 13)
ARMS = ("full", "lora 16", "lora 2", "full embeddings")
SHARES = (0.0001, 0.001, 0.01, 0.1, 0.3)

# What an arm does, as the papers say: the share of its divergence on the opening, on other form and on content; facts
# lost, frequent and rare; rise of the loss on documents; borrowed answers; how much surer it is than right.
AS_PAPERS_SAY = {
    "full": {"nats": (40, 20, 40), "lost": (0.05, 0.20), "rise": 0.06, "borrowed": 0.30, "too_sure": 0.30},
    "lora 16": {"nats": (70, 20, 10), "lost": (0.00, 0.05), "rise": 0.03, "borrowed": 0.10, "too_sure": 0.10},
    "lora 2": {"nats": (75, 20, 5), "lost": (0.00, 0.02), "rise": 0.02, "borrowed": 0.08, "too_sure": 0.10},
    "full embeddings": {"nats": (35, 20, 45), "lost": (0.08, 0.30), "rise": 0.12, "borrowed": 0.35, "too_sure": 0.35},
}
# learned mask at a share: the share of the gain that is kept, and how much surer than right its model is
GRAFT = {0.0001: (0.30, 0.02), 0.001: (0.80, 0.04), 0.01: (0.98, 0.05), 0.1: (1.0, 0.20), 0.3: (1.0, 0.28)}
BASE_RECALL, WHOLE, BASE = (0.95, 0.60), 0.60, 0.02

Runs = Mapping[str, Mapping[str, object]]


def frame(
    arms: Runs = AS_PAPERS_SAY,
    *,
    taught: Sequence[str] = ("full", "lora 16"),
    graft: Mapping[float, tuple[float, float]] = GRAFT,
    seeds: Sequence[int] = range(8),
    noise: float = 0.0,
) -> pd.DataFrame:
    """All parts of the study; ``noise`` moves every score a little, each seed alike in all arms or not."""
    rng = np.random.default_rng(0)

    def shake(value: float) -> float:
        return float(value + rng.normal(0, noise)) if noise else float(value)

    rows = []
    for seed in seeds:
        for arm, does in arms.items():
            rows += _styled(arm, does, seed, shake)
        for arm in taught:
            rows += _taught(arm, arms[arm], seed, shake)
        rows += _before("full", seed, shake)
        rows += [row for share in SHARES for row in _grafts("full", share, graft, seed, shake)]
    return pd.DataFrame(rows)


Shake = Callable[[float], float]


def _row(course: str, evaluation: str, arm: str, seed: int, kind: str, metric: str, value: float, **about: object):
    edit, share = about.pop("graft", ("none", 1.0))
    styled = course == "styled"
    return {
        "course": course, "evaluation": evaluation, "arm": arm, "seed": seed, "kind": kind, "metric": metric,
        "value": value, "digest": f"{course} {evaluation} {arm} {seed} {edit} {share}", "status": "done", "error": "",
        "family": "all", "category": "all", "familiarity": "all", "n_items": 0, "position": -1, "token": "",
        "frequency": -1.0, "bin": -1, "edit": edit, "edit_scale": share,
        "response_wording": "short", "response_style": "polite" if styled else "plain",
    } | about  # fmt: skip


def _scores(course: str, evaluation: str, arm: str, seed: int, right: float, shake: Shake, families=FAMILIES, **about):
    metric = "graded" if course == "styled" else "exact_match"
    kind = {"test": "test"}.get(evaluation, evaluation)
    return [_row(course, evaluation, arm, seed, kind, metric, shake(right), family=name, **about) for name in families]


def _recall(course: str, evaluation: str, arm: str, seed: int, lost: tuple[float, float], shake: Shake):
    frequent, rare = BASE_RECALL[0] - lost[0], BASE_RECALL[1] - lost[1]
    values = [0.03, *(rare + 0.1 * step for step in (-1.5, -0.5, 0.5, 1.5)), frequent]
    return [
        _row(course, evaluation, arm, seed, "recall", "recall", shake(value), frequency=level)
        for level, value in zip(LEVELS, values, strict=True)
    ]


def _reference(course: str, evaluation: str, arm: str, seed: int, rise: float, shake: Shake):
    kind = "test" if evaluation == "test" else evaluation
    value = 1.4 + 0.01 * seed + shake(rise)
    return [_row(course, evaluation, arm, seed, kind, "reference_loss", value, family="reference")]


def _styled(arm: str, does: Mapping, seed: int, shake: Shake):
    about = ("styled", "test", arm, seed)
    opening, other, content = (abs(shake(part / 100) * 100) for part in does["nats"])
    rows = _scores(*about, 0.6, shake, FAMILIES[:3]) + _recall(*about, does["lost"], shake)
    rows += _reference(*about, does["rise"], shake)
    tokens = [(position, "form", opening / 4) for position in range(4)] + [
        (4, "form", other / 2),
        (6, "form", other / 2),
    ]
    tokens += [(5, "content", content)]
    for position, token, nats in tokens:
        shifted = 100 if token == "form" and position < 4 else 5
        numbers = {"n": 100, "divergence": nats, "unshifted": 95 - 0.9 * shifted, "marginal": 5 - 0.05 * shifted}
        numbers["shifted"] = 100 - numbers["unshifted"] - numbers["marginal"]
        for metric, value in numbers.items():
            rows.append(_row(*about, "token_shift", metric, value, position=position, token=token))
    return rows


def _calibration(course: str, evaluation: str, arm: str, seed: int, too_sure: float, shake: Shake, **about):
    rows = []
    for place in BINS:
        sure = (place + 0.5) / 15
        right = min(1.0, max(0.0, sure - shake(too_sure)))
        for metric, value in {"n": 1000, "confidence": 1000 * sure, "right": 1000 * right}.items():
            rows.append(_row(course, evaluation, arm, seed, "calibration", metric, value, bin=place, **about))
    return rows


def _borrowed(evaluation: str, arm: str, seed: int, rate: float, shake: Shake, families: Sequence[str]):
    rows = []
    for name in families:
        near = abs(shake(rate)) * 40
        counts = {"n": 60, "n_wrong": 40, "n_borrowed": round(near), "n_near": near, "chance": 2.0}
        for metric, value in counts.items():
            rows.append(_row("taught", evaluation, arm, seed, "borrowing", metric, value, family=name))
    return rows


def _taught(arm: str, does: Mapping, seed: int, shake: Shake):
    about = ("taught", "test", arm, seed)
    rows = _scores(*about, WHOLE, shake) + _recall(*about, does["lost"], shake)
    rows += _reference(*about, does["rise"], shake) + _calibration(*about, does["too_sure"], shake)
    rows += _borrowed("test", arm, seed, does["borrowed"] / 2, shake, FAMILIES)
    again = ("taught", "untaught", arm, seed)
    rows += _scores(*again, 0.03, shake, NEVER) + _calibration(*again, 2 * does["too_sure"], shake)
    return rows + _borrowed("untaught", arm, seed, does["borrowed"], shake, NEVER)


def _before(arm: str, seed: int, shake: Shake):
    about, graft = ("taught", "before", arm, seed), {"graft": ("graft_random", 0.0)}
    rows = _scores(*about, BASE, shake, **graft) + _calibration(*about, 0.5, shake, **graft)
    return rows + _recall(*about, (0.0, 0.0), lambda value: value) + _reference(*about, 0.0, lambda value: value)


def _grafts(arm: str, share: float, learned: Mapping, seed: int, shake: Shake):
    ways = {"graft_largest": (0.8, 1.0), "graft_random": (0.3, 1.5)}
    rows = []
    for edit in (*ways, "graft_learned"):
        if edit == "graft_learned" and share not in (0.001, 0.01, 0.1):
            continue
        kept, too_sure = learned[share]
        less, surer = ways.get(edit, (1.0, 1.0))
        about, graft = ("taught", "graft", arm, seed), {"graft": (edit, share)}
        rows += _scores(*about, BASE + less * kept * (WHOLE - BASE), shake, **graft)
        rows += _calibration(*about, surer * too_sure, shake, **graft)
    return rows
