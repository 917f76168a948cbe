"""Study 90: every claim in one place, with what was measured of it. Nothing is run; finished reports are read."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from itlib import claims_ledger as ledgers
from itlib.schema import coerce_fields, param
from itlib.studies.common import PROFILES
from itlib.workspace import project_root, results_root

__all__ = ["CLAIMS", "ClaimsOverviewParams", "disagreements", "load", "moved"]

CLAIMS: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClaimsOverviewParams:
    """Parameters of ``90_claims``."""

    profile: str = param("smoke", help="whose reports are read; also names the results folder", choices=PROFILES)
    compared_with: str = param("", help="another results folder, to see which claims moved; empty compares nothing")
    results: str = param("", help="results folder; empty takes results/ of the project")

    def __post_init__(self) -> None:
        coerce_fields(self, where=type(self).__name__)


def load(params: ClaimsOverviewParams) -> pd.DataFrame:
    """Return the ledger; see ``claims_ledger.ledger``."""
    return ledgers.ledger(results_root(params.results), params.profile)


def disagreements(table: pd.DataFrame) -> pd.DataFrame:
    """Return both sides of every question on which papers disagree, with the ledger's columns."""
    return ledgers.disagreements(table, ledgers.read_disagreements(project_root() / "params" / "disagreements.yaml"))


def moved(params: ClaimsOverviewParams, table: pd.DataFrame) -> pd.DataFrame:
    """Return the claims whose verdict differs in the other results folder; empty when none is named."""
    if not params.compared_with:
        return pd.DataFrame(columns=["claim", "before", "now"])
    return ledgers.moved(table, ledgers.ledger(results_root(params.compared_with), params.profile))
