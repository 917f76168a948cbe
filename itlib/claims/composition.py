"""Estimators of the composition claims: one effect per seed, NaN where a seed is incomplete or has no answer.

``special`` families (part B) are slowly learned, ``general`` ones (part A) are latent in the base; both lists stand in
the claims. Scores are exact match, means over families with equal weight.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from itlib.arms import arm_table, chosen_on_other_half, select, slope_per_fourfold
from itlib.registry import claims

METRIC = "exact_match"
PLAIN = {"imbalance": 0.0, "per_family_cap": 0, "pretraining_share": 0.0, "n_mix": 0, "order": "mixed"}


def arm(families: Sequence[str] = (), mix_families: Sequence[str] = (), **fields: Any) -> dict[str, Any]:
    """Return the fields that select an arm of this study; what is not named is as in the plain arm."""
    return {"families": families, "mix_families": mix_families, **PLAIN, **fields}


def beside(special: Sequence[str], general: Sequence[str], n: int, n_mix: int, order: str = "mixed") -> dict[str, Any]:
    """Return the fields of ``n`` examples of ``special`` trained with ``n_mix`` of ``general``."""
    return arm(special, general, n_train=n, n_mix=n_mix, order=order)


def sizes_alone(frame: pd.DataFrame, special: Sequence[str]) -> list[int]:
    """Return the sizes at which the special families were tuned alone, ascending."""
    return sorted(int(n) for n in select(frame, arm(special))["n_train"].unique() if n > 0)


def amounts_beside(
    frame: pd.DataFrame, special: Sequence[str], general: Sequence[str], varying: str, **fixed: int
) -> list[int]:
    """Return the values of ``varying`` ("n_mix" or "n_train") beside a fixed amount of the other part, ascending."""
    fields = {name: value for name, value in arm(special, general, **fixed).items() if name != varying}
    return sorted(int(n) for n in select(frame, fields)[varying].unique() if n > 0)


@claims.register("SC4")
def gain_of_mixing(frame: pd.DataFrame, *, general: Sequence[str], special: Sequence[str]) -> dict[str, np.ndarray]:
    """SC4: special families mixed with as many general examples minus alone, at the smallest and the largest size."""
    sizes = sizes_alone(frame, special)
    if len(sizes) < 2:
        raise LookupError(f"mixing needs at least two sizes, there is {sizes}")
    gains = {n: _mixing_gain(frame, general, special, n) for n in (sizes[0], sizes[-1])}
    return {"gain_at_smallest": gains[sizes[0]], "gain_at_largest": gains[sizes[-1]]}


@claims.register("SC5")
def ratio_slopes(
    frame: pd.DataFrame, *, general: Sequence[str], special: Sequence[str], fixed: int
) -> dict[str, np.ndarray]:
    """SC5: slope of the accuracy of a part of ``fixed`` examples per fourfold of the other part."""
    return {
        "special_slope": slope_per_fourfold(ratio_table(frame, general, special, "n_mix", fixed)),
        "general_slope": slope_per_fourfold(ratio_table(frame, general, special, "n_train", fixed)),
    }


def ratio_table(
    frame: pd.DataFrame, general: Sequence[str], special: Sequence[str], varying: str, fixed: int
) -> pd.DataFrame:
    """Return the accuracy of the fixed part as seeds by amounts of the other ("n_mix": general, "n_train": special).

    Raises:
        LookupError: Fewer than three amounts.
    """
    other = {"n_mix": "n_train", "n_train": "n_mix"}[varying]
    amounts = amounts_beside(frame, special, general, varying, **{other: fixed})
    if len(amounts) < 3:
        raise LookupError(f"a slope needs at least three amounts, {varying} has {amounts} beside {other} {fixed}")
    arms = {str(n): arm(special, general, **{other: fixed, varying: n}) for n in amounts}
    table = arm_table(frame, arms, metric=METRIC, families=special if varying == "n_mix" else general)
    return table.set_axis([float(n) for n in amounts], axis=1)


@claims.register("SC6")
def restored_share(
    frame: pd.DataFrame, *, general: Sequence[str], special: Sequence[str], n: int
) -> dict[str, np.ndarray]:
    """SC6: what sequential training forgets, the share of it that dual stage restores, and what that costs."""
    own = strategy_table(frame, general, special, n, special)
    other = strategy_table(frame, general, special, n, general)
    forgotten = (own["mixed"] - own["sequential"]).to_numpy()
    restored = (own["dual_stage"] - own["sequential"]).to_numpy()
    share = np.where(forgotten > 0, restored / np.where(forgotten > 0, forgotten, 1.0), np.nan)
    kept = (other["dual_stage"] - other["sequential"]).to_numpy()
    return {"forgotten": forgotten, "restored_share": share, "general_kept": kept}


def strategy_table(
    frame: pd.DataFrame,
    general: Sequence[str],
    special: Sequence[str],
    n: int,
    families: Sequence[str],
    *,
    orders: Sequence[str] = ("mixed", "sequential", "dual_stage"),
) -> pd.DataFrame:
    """Return the accuracy of ``families`` as seeds by order, of ``n`` examples of each part."""
    arms = {order: beside(special, general, n, n, order) for order in orders}
    return arm_table(frame, arms, metric=METRIC, families=families)


@claims.register("SC30")
def sequential_gain(
    frame: pd.DataFrame, *, general: Sequence[str], special: Sequence[str], n: int
) -> dict[str, np.ndarray]:
    """SC30: general families, trained last, in sequential minus mixed training."""
    table = strategy_table(frame, general, special, n, general, orders=("mixed", "sequential"))
    return {"sequential_gain": (table["sequential"] - table["mixed"]).to_numpy()}


@claims.register("SC11")
def cap_effects(frame: pd.DataFrame, *, imbalance: float, n_train: int, caps: Sequence[int]) -> dict[str, np.ndarray]:
    """SC11: mean over caps minus no cap, and the range over caps."""
    table = cap_table(frame, imbalance=imbalance, n_train=n_train, caps=caps)
    capped = table.drop(columns="none").to_numpy()
    whole = np.isfinite(table.to_numpy()).all(axis=1)
    gain = capped.mean(axis=1) - table["none"].to_numpy()
    return {"gain_of_a_cap": gain, "spread_over_caps": np.where(whole, np.ptp(capped, axis=1), np.nan)}


def cap_table(frame: pd.DataFrame, *, imbalance: float, n_train: int, caps: Sequence[int]) -> pd.DataFrame:
    """Return the accuracy over all families as seeds by cap, "none" first."""
    arms = {"none": 0, **{str(cap): cap for cap in caps}}
    fields = {name: arm(imbalance=imbalance, n_train=n_train, per_family_cap=cap) for name, cap in arms.items()}
    return arm_table(frame, fields, metric=METRIC)


@claims.register("SC12")
def interior_maximum(
    frame: pd.DataFrame, *, n_train: int, inside: Sequence[float], outside: float
) -> dict[str, np.ndarray]:
    """SC12: the better inner share, chosen on the other half of the seeds, minus no documents and minus the largest."""
    table = share_table(frame, n_train=n_train, shares=[0.0, *inside, outside])
    best = _pick(table, chosen_on_other_half(_whole(table)[[f"{share:g}" for share in inside]]))
    none, most = (_whole(table)[f"{share:g}"].to_numpy() for share in (0.0, outside))
    return {"over_none": best - none, "over_most": best - most}


def share_table(frame: pd.DataFrame, *, n_train: int, shares: Sequence[float], metric: str = METRIC) -> pd.DataFrame:
    """Return a metric over all families as seeds by share of pretraining documents."""
    arms = {f"{share:g}": arm(n_train=n_train, pretraining_share=float(share)) for share in shares}
    return arm_table(frame, arms, metric=metric)


@claims.register("SC22")
def phased_difference(frame: pd.DataFrame, *, n_train: int) -> dict[str, np.ndarray]:
    """SC22: phased minus stacked (mixed) training."""
    return {"phased_minus_stacked": order_gains(frame, n_train=n_train, orders=["phased"])["phased"].to_numpy()}


@claims.register("O11")
def curriculum_gain(frame: pd.DataFrame, *, n_train: int) -> dict[str, np.ndarray]:
    """O11: interleaved curriculum minus random order."""
    gains = order_gains(frame, n_train=n_train, orders=["interleaved"])
    return {"interleaved_gain": gains["interleaved"].to_numpy()}


@claims.register("O12")
def largest_gain_of_an_order(frame: pd.DataFrame, *, n_train: int, orders: Sequence[str]) -> dict[str, np.ndarray]:
    """O12: gain over random order of the order that gained most on the other half of the seeds."""
    gains = order_gains(frame, n_train=n_train, orders=orders)
    return {"largest_gain": _pick(gains, chosen_on_other_half(gains))}


def order_table(frame: pd.DataFrame, *, n_train: int, orders: Sequence[str]) -> pd.DataFrame:
    """Return the accuracy over all families as seeds by order."""
    return arm_table(frame, {order: arm(n_train=n_train, order=order) for order in orders}, metric=METRIC)


def order_gains(frame: pd.DataFrame, *, n_train: int, orders: Sequence[str]) -> pd.DataFrame:
    """Return what each order gains over random order, seeds by order."""
    table = order_table(frame, n_train=n_train, orders=["mixed", *orders])
    return table[list(orders)].sub(table["mixed"], axis=0)


def mixing_tables(frame: pd.DataFrame, general: Sequence[str], special: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Return the accuracy of the special families "alone" and "mixed", each as seeds by size."""
    sizes = sizes_alone(frame, special)
    tables = {}
    for name, share in (("alone", 0), ("mixed", 1)):
        arms = {str(n): _mixing_arm(general, special, n, share * n) for n in sizes}
        tables[name] = arm_table(frame, arms, metric=METRIC, families=special).set_axis(sizes, axis=1)
    return tables


def _mixing_arm(general: Sequence[str], special: Sequence[str], n: int, n_mix: int) -> Mapping[str, Any]:
    return beside(special, general if n_mix else (), n, n_mix)


def _mixing_gain(frame: pd.DataFrame, general: Sequence[str], special: Sequence[str], n: int) -> np.ndarray:
    arms = {"alone": _mixing_arm(general, special, n, 0), "mixed": _mixing_arm(general, special, n, n)}
    table = arm_table(frame, arms, metric=METRIC, families=special)
    return (table["mixed"] - table["alone"]).to_numpy()


def _whole(table: pd.DataFrame) -> pd.DataFrame:
    """Incomplete seeds become all NaN."""
    return table.where(table.notna().all(axis=1))


def _pick(table: pd.DataFrame, chosen: pd.Series) -> np.ndarray:
    """Return the value of every seed in its chosen column, NaN where none was chosen."""
    return np.array([np.nan if name is None else table.at[seed, name] for seed, name in chosen.items()], dtype=float)
