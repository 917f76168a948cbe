"""Tables of ``04b_spectra``: spectra of the bases, counts with their controls, correlations, and edited weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from itlib import spectra
from itlib.claims.spectra_study import (
    CHANGE,
    DRIFT,
    EDITED,
    ENERGY,
    INTRUDERS,
    NOISE,
    OTHER,
    RANK,
    SPAN,
    TEST,
    TUNED,
    TURNED,
    VARIANTS,
    correlations,
    run_table,
)
from itlib.frame import measure
from itlib.measures.spectra import K
from itlib.stats import sign_flip, sign_flip_interval
from itlib.studies.spectra_study_scores import EPSILONS

EPSILON = 0.5
WHAT = {
    TUNED: "new directions",
    NOISE: "those of noise of the same size",
    TURNED: "those of the same spectrum turned at random",
    SPAN: "new directions, exchanges forgiven",
    CHANGE: "size of the change",
}
GIVEN = {"": "nothing", CHANGE: "size of the change", "learning_rate": "learning rate"}
N_DRAWS = 2000


def rates(chosen: Mapping[str, float], edges: Mapping[str, bool]) -> pd.DataFrame:
    """Return the learning rate of every arm, and whether it was the smallest or largest of those tried."""
    rows = [(arm, rate, bool(edges.get(arm, False))) for arm, rate in chosen.items()]
    return pd.DataFrame(rows, columns=["arm", "learning_rate", "at_the_edge"])


def bases(matrices: pd.DataFrame) -> pd.DataFrame:
    """Return one row per base family: its networks, matrices of each, their sizes, and how steep their spectra are.

    Args:
        matrices: From ``spectra_study_scores.base_matrices``.

    Returns:
        Columns ``base``, ``networks``, ``matrices``, ``sizes``, ``exponent`` (median over matrices) and ``flat`` (share
        of the matrices whose exponent is below ``spectra.FLAT``).
    """
    rows = []
    for base, group in matrices.groupby("base", sort=False):
        sizes = ", ".join(f"{m} x {n}" for m, n in dict.fromkeys(zip(group["rows"], group["columns"], strict=True)))
        flat = float((group["exponent"] < spectra.FLAT).mean())
        networks = group["base_seed"].nunique()
        rows.append((base, networks, group["matrix"].nunique(), sizes, float(group["exponent"].median()), flat))
    return pd.DataFrame(rows, columns=["base", "networks", "matrices", "sizes", "exponent", "flat"])


def warning(table: pd.DataFrame) -> str:
    """Return what the spectra of the bases mean for counts, one sentence per base.

    Args:
        table: From ``bases``.
    """
    lines = []
    for row in table.itertuples():
        about = f"base '{row.base}': median exponent {row.exponent:.2f}, {row.flat:.0%} of the matrices below"
        if row.exponent < spectra.FLAT or row.flat > 0:
            lines.append(
                f"WARNING: {about} {spectra.FLAT:g}. Where singular values hardly fall, a small change of any kind "
                "exchanges neighbouring vectors and counts as new directions: read the controls, and the count that "
                "forgives exchanges."
            )
        else:
            lines.append(f"{about} {spectra.FLAT:g}, so neighbouring vectors can be told apart.")
    return "\n".join(lines) or "No base has a finished run, so nothing is known of its spectrum."


def null_band(
    matrices: pd.DataFrame, epsilons: Sequence[float] = EPSILONS, *, n_networks: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Return how many of the first vectors of a matrix would count as new if they pointed anywhere at all.

    A random direction also lies close to some vector of the base, the closer the narrower the matrix: above the band
    no threshold tells a new direction from any other, and a count inside it says that nothing of the base is left.

    Args:
        matrices: From ``spectra_study_scores.base_matrices``; only their sizes are read.
        epsilons: Thresholds.
        n_networks: Networks of random directions that are drawn.
        seed: Of the draws.

    Returns:
        Columns ``base``, ``epsilon``, ``mean``, ``low`` and ``high``: per matrix, with the middle 95 % of networks.
    """
    rows = []
    for base, group in matrices.groupby("base", sort=False):
        network = group[group["base_seed"] == group["base_seed"].iloc[0]]
        below = np.zeros((n_networks, len(epsilons)))
        rng = np.random.default_rng(seed)
        for (m, n), same in network.groupby(["rows", "columns"]):
            draws = spectra.null_similarities(m, min(m, n), n_draws=N_DRAWS, seed=seed)
            drawn = rng.choice(draws, size=(n_networks, len(same) * min(K, m, n)))
            below += np.stack([(drawn < epsilon).sum(axis=1) for epsilon in epsilons], axis=1)
        per_matrix = below / len(network)
        low, high = np.quantile(per_matrix, [0.025, 0.975], axis=0)
        rows += list(zip([base] * len(epsilons), epsilons, per_matrix.mean(axis=0), low, high, strict=True))
    return pd.DataFrame(rows, columns=["base", "epsilon", "mean", "low", "high"])


def curves(frame: pd.DataFrame, band: pd.DataFrame) -> pd.DataFrame:
    """Return counts per matrix by threshold, means over seeds, for every arm on each base, and those of ``null_band``.

    Columns: ``base``, ``arm``, ``variant``, ``epsilon``, ``mean``, ``seeds``, ``random``, ``random_low``,
    ``random_high``.
    """
    rows = frame[(frame["metric"] == INTRUDERS) & frame["kind"].isin([TEST, OTHER])]
    groups = rows.groupby(["base", "arm", "variant", "epsilon"], sort=False)["value"]
    table = groups.agg(mean="mean", seeds="size").reset_index()
    random = band.rename(columns={"mean": "random", "low": "random_low", "high": "random_high"})
    return table.merge(random, on=["base", "epsilon"], how="left")


def tested(frame: pd.DataFrame, epsilon: float = EPSILON) -> pd.DataFrame:
    """Return ``claims.spectra_study.run_table`` of the arms at their own rates, on both bases."""
    table = _table(frame, epsilon)
    return table[table["kind"].isin([TEST, OTHER])]


def arms(frame: pd.DataFrame, band: pd.DataFrame, epsilon: float = EPSILON) -> pd.DataFrame:
    """Return one row per arm and base: means over seeds of its score, what it forgot, how far it moved, its counts.

    Args:
        frame: The frame.
        band: From ``null_band``.
        epsilon: The threshold, one of the band's.

    Returns:
        Columns ``base``, ``arm``, ``score``, ``forgetting`` [nats per token], ``change``, ``effective_rank``, the
        counts per matrix ``new``, ``noise``, ``turned``, ``span`` and ``random`` (if all directions were), ``energy``
        (share of squared singular values in new directions) and ``runs``.
    """
    table = tested(frame, epsilon)
    columns = ["score", "forgetting", CHANGE, RANK, *VARIANTS, ENERGY]
    groups = table.groupby(["base", "arm"], sort=False)
    found = groups[columns].mean().assign(runs=groups[TUNED].count()).reset_index()
    random = band[np.isclose(band["epsilon"], epsilon)].set_index("base")["mean"]
    found = found.assign(random=random.reindex(found["base"]).to_numpy())
    order = ["base", "arm", "score", "forgetting", CHANGE, RANK, *VARIANTS, "random", ENERGY, "runs"]
    return found[order].rename(columns={TUNED: "new", ENERGY: "energy"})


def by_rank(frame: pd.DataFrame, rules: pd.DataFrame, epsilon: float = EPSILON) -> pd.DataFrame:
    """Return the runs behind every rule of scale and rank.

    Args:
        frame: The frame.
        rules: From ``spectra_study.rules``.
        epsilon: The threshold.

    Returns:
        Columns ``base``, ``rule``, ``rank``, ``arm``, ``seed``, ``intruders``, ``noise``, ``effective_rank``.
    """
    table = tested(frame, epsilon).rename(columns={TUNED: INTRUDERS})[["base", "arm", "seed", INTRUDERS, NOISE, RANK]]
    found = rules.merge(table, on="arm", how="inner")
    return found[["base", "rule", "rank", "arm", "seed", INTRUDERS, NOISE, RANK]]


def sweep(frame: pd.DataFrame, epsilon: float = EPSILON) -> pd.DataFrame:
    """Return every run of the sweep over rates: its arm, rate, seed, score, forgetting, change and counts."""
    table = _table(frame, epsilon)
    columns = ["arm", "learning_rate", "seed", "score", "forgetting", CHANGE, *VARIANTS]
    return table.loc[table["kind"] == "sweep", columns].reset_index(drop=True)


def correlation_table(frame: pd.DataFrame, low_rank: Sequence[str], epsilon: float = EPSILON) -> pd.DataFrame:
    """Return rank correlations over the runs of a seed: their mean over seeds, sign-flip interval, p and the seeds.

    Args:
        frame: The frame.
        low_rank: Arms whose runs at all rates are the points.
        epsilon: The threshold.

    Returns:
        Columns ``what`` (a count, or the size of the change), ``goes_with``, ``given``, ``mean``, ``interval``, ``p``,
        ``seeds``.
    """
    table = _table(frame, epsilon)
    asked = [(x, y, given) for y in ("forgetting", "score") for x in VARIANTS for given in ("", CHANGE)]
    asked += [(TUNED, "forgetting", "learning_rate"), (CHANGE, "forgetting", ""), (CHANGE, "score", "")]
    rows = []
    for x, y, given in asked:
        try:
            values = correlations(frame, table, low_rank, x, y, given=given)
        except LookupError:
            values = np.array([np.nan])
        rows.append((WHAT[x], y, GIVEN[given], *_summary(values)))
    return pd.DataFrame(rows, columns=["what", "goes_with", "given", "mean", "interval", "p", "seeds"])


def dose(frame: pd.DataFrame, epsilon: float = EPSILON) -> pd.DataFrame:
    """Return what scaling a direction does to every run whose weights were edited.

    Returns:
        Columns ``edit``, ``scale``, ``seed``, ``loss`` (on pretraining documents, minus that of unchanged weights),
        ``score`` (minus that of unchanged weights) and ``forgetting`` (of the unchanged weights).
    """
    table = _table(frame, epsilon)
    rows = table[table["kind"] == EDITED].rename(columns={"edit_scale": "scale"})
    before = rows[rows["scale"] == 1].set_index(["edit", "seed"])
    keys = pd.MultiIndex.from_frame(rows[["edit", "seed"]])
    found = rows[["edit", "scale", "seed"]].assign(
        loss=rows[DRIFT].to_numpy() - before[DRIFT].reindex(keys).to_numpy(),
        score=rows["score"].to_numpy() - before["score"].reindex(keys).to_numpy(),
        forgetting=before["forgetting"].reindex(keys).to_numpy(),
    )
    return found.reset_index(drop=True)


def dose_means(table: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds of ``dose``.

    Returns:
        Columns ``edit``, ``scale``, ``loss``, ``loss_interval``, ``percent`` (of the mean forgetting of unchanged
        weights; NaN where they forgot nothing), ``score``, ``score_interval`` and ``seeds``.
    """
    rows = []
    for (edit, scale), group in table.groupby(["edit", "scale"], sort=False):
        loss, loss_interval, _, n_seeds = _summary(group["loss"].to_numpy(dtype=float))
        score, score_interval, _, _ = _summary(group["score"].to_numpy(dtype=float))
        forgot = group["forgetting"].mean()
        percent = 100 * loss / forgot if forgot > 0 else np.nan
        rows.append((edit, scale, loss, loss_interval, percent, score, score_interval, n_seeds))
    columns = ["edit", "scale", "loss", "loss_interval", "percent", "score", "score_interval", "seeds"]
    return pd.DataFrame(rows, columns=columns)


def _summary(values: np.ndarray) -> tuple[float, tuple[float, float], float, int]:
    """Return mean, sign-flip interval, p and number of the values that there are."""
    found = values[np.isfinite(values)]
    if not len(found):
        return np.nan, (np.nan, np.nan), np.nan, 0
    return float(found.mean()), sign_flip_interval(found), sign_flip(found).p_value, len(found)


def _table(frame: pd.DataFrame, epsilon: float) -> pd.DataFrame:
    return run_table(frame, epsilon=epsilon, k=K, metric=measure(frame).metric)
