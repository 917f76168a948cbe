"""Grids of runs: crossed axes, axes that move together, and cells left out."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from itlib.errors import InputError, did_you_mean
from itlib.spec import LEAVES, RunSpec, flatten, with_fields

YAML_KEYS = ("base", "cross", "zip", "exclude")


def grid(
    base: RunSpec,
    *,
    zipped: Iterable[Mapping[str, Sequence[Any]]] = (),
    exclude: Iterable[Mapping[str, Any]] = (),
    **crossed: Sequence[Any],
) -> list[RunSpec]:
    """Return one spec per cell, in the order of the axes, last axis fastest.

    Args:
        base: Values of every field that is not an axis.
        zipped: Groups of axes that move together; all axes of a group have equal length.
        exclude: Partial cells; a cell that matches every entry of one of them is left out.
        **crossed: Axes by spec field name, each a non-empty sequence without repeats.

    Raises:
        InputError: Unknown field, empty axis, repeated value, unequal zipped lengths, a field on two
            axes, or an exclusion that matches nothing.
    """
    axes: list[list[dict[str, Any]]] = []
    seen: set[str] = set()
    for group in [*({name: values} for name, values in crossed.items()), *zipped]:
        for name, values in group.items():
            _check_axis(name, values, seen)
        if len({len(values) for values in group.values()}) > 1:
            lengths = ", ".join(f"{name} has {len(values)}" for name, values in group.items())
            raise InputError(f"grid: zipped axes must have equal length: {lengths}")
        cells = list(zip(*group.values(), strict=True))
        if len({repr(cell) for cell in cells}) < len(cells):
            raise InputError(f"grid: {', '.join(group)}: the axis repeats a value: {[*group.values()]}")
        axes.append([dict(zip(group, cell, strict=True)) for cell in cells])
    exclusions = [_check_exclusion(cell) for cell in exclude]
    used = [False] * len(exclusions)
    specs = []
    for combination in itertools.product(*axes):
        spec = with_fields(base, **{name: value for cell in combination for name, value in cell.items()})
        hits = [_matches(spec, cell) for cell in exclusions]
        used = [u or h for u, h in zip(used, hits, strict=True)]
        if not any(hits):
            specs.append(spec)
    for cell, was_used in zip(exclusions, used, strict=True):
        if not was_used:
            raise InputError(f"grid: exclude {cell} matches no cell")
    if len(set(specs)) < len(specs):
        raise InputError("grid: two cells are the same run")
    return specs


def from_yaml_mapping(mapping: Mapping[str, Any], base: RunSpec | None = None) -> list[RunSpec]:
    """Return the grid written as ``{base: {field: value}, cross: {field: [..]}, zip: [{..}], exclude: [{..}]}``."""
    for name in mapping:
        if name not in YAML_KEYS:
            hint = did_you_mean(name, YAML_KEYS)
            raise InputError(f"grid: unknown key '{name}'{hint}; known: {', '.join(YAML_KEYS)}")
    for name, kind in (("base", Mapping), ("cross", Mapping), ("zip", list), ("exclude", list)):
        if not isinstance(mapping.get(name, kind() if kind is list else {}), kind):
            raise InputError(f"grid: {name}: expected a {'list' if kind is list else 'mapping'}")
    start = with_fields(base or RunSpec(), **mapping.get("base", {}))
    return grid(start, zipped=mapping.get("zip", ()), exclude=mapping.get("exclude", ()), **mapping.get("cross", {}))


def _check_axis(name: str, values: Any, seen: set[str]) -> None:
    if name not in LEAVES:
        raise InputError(f"grid: unknown field '{name}'{did_you_mean(name, LEAVES)}")
    if name in seen:
        raise InputError(f"grid: field '{name}' is on two axes")
    seen.add(name)
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(f"grid: {name}: an axis is a list of values, got {values!r}; write [{values!r}]")
    if not values:
        raise InputError(f"grid: {name}: the axis is empty")


def _check_exclusion(cell: Mapping[str, Any]) -> Mapping[str, Any]:
    for name in cell:
        if name not in LEAVES:
            raise InputError(f"grid: exclude: unknown field '{name}'{did_you_mean(name, LEAVES)}")
    return cell


def _matches(spec: RunSpec, cell: Mapping[str, Any]) -> bool:
    fields = flatten(with_fields(spec, **cell))
    return all(flatten(spec)[name] == fields[name] for name in cell)
