"""Grids of runs: crossed axes, axes that move together, and cells left out."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from itlib.errors import InputError, did_you_mean
from itlib.spec import LEAVES, RunSpec, flatten, with_fields

YAML_KEYS = ("base", "cross", "zip", "exclude")
FILLED = ("components", "model_fingerprint", "data_fingerprint")  # by resolve, from what is really there
MOST_CELLS = 100_000


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
        InputError: Unknown field, empty axis or group, repeated value, unequal zipped lengths, a field on two
            axes, more than ``MOST_CELLS`` cells, an exclusion that matches nothing, or exclusions that leave nothing.
    """
    return _grid(base, crossed, list(zipped), list(exclude))


def from_yaml_mapping(mapping: Mapping[str, Any], base: RunSpec | None = None) -> list[RunSpec]:
    """Return the grid written as ``{base: {field: value}, cross: {field: [..]}, zip: [{..}], exclude: [{..}]}``.

    Raises:
        InputError: As ``grid``; an unknown key, an entry of the wrong kind, or a field that ``resolve`` fills in.
    """
    for name in mapping:
        if name not in YAML_KEYS:
            hint = did_you_mean(name, YAML_KEYS)
            raise InputError(f"grid: unknown key '{name}'{hint}; known: {', '.join(YAML_KEYS)}")
    for name, kind in (("base", Mapping), ("cross", Mapping), ("zip", list), ("exclude", list)):
        if not isinstance(mapping.get(name, kind() if kind is list else {}), kind):
            raise InputError(f"grid: {name}: expected a {'list' if kind is list else 'mapping'}")
    fixed, crossed = mapping.get("base", {}), mapping.get("cross", {})
    zipped, exclude = mapping.get("zip", []), mapping.get("exclude", [])
    for name in fixed:
        _check_field(name, "base: ")
    for part in (fixed, crossed, *(group for group in (*zipped, *exclude) if isinstance(group, Mapping))):
        for name in part:
            if name in FILLED:
                raise InputError(f"grid: '{name}' is filled in from what a run uses; leave it out")
    return _grid(with_fields(base or RunSpec(), **fixed), crossed, zipped, exclude)


def _grid(base: RunSpec, crossed: Mapping[str, Any], zipped: Sequence[Any], exclude: Sequence[Any]) -> list[RunSpec]:
    axes = _axes(crossed, zipped)
    if (size := math.prod(map(len, axes))) > MOST_CELLS:
        raise InputError(f"grid: {size} cells; at most {MOST_CELLS} are allowed")
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
    if not specs:
        raise InputError(f"grid: exclude leaves none of the {size} cells")
    if len(set(specs)) < len(specs):
        raise InputError("grid: two cells are the same run")
    return specs


def _axes(crossed: Mapping[str, Any], zipped: Sequence[Any]) -> list[list[dict[str, Any]]]:
    """Return every axis as its cells, a cell being the fields that it sets."""
    for group in zipped:
        if not isinstance(group, Mapping) or not group:
            raise InputError(f"grid: zip: expected {{field: [values], field: [values]}}, got {group!r}")
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
    return axes


def _check_field(name: str, where: str = "") -> None:
    if name not in LEAVES:
        raise InputError(f"grid: {where}unknown field '{name}'{did_you_mean(name, LEAVES)}")


def _check_axis(name: str, values: Any, seen: set[str]) -> None:
    _check_field(name)
    if name in seen:
        raise InputError(f"grid: field '{name}' is on two axes")
    seen.add(name)
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise InputError(f"grid: {name}: an axis is a list of values, got {values!r}; write [{values!r}]")
    if not values:
        raise InputError(f"grid: {name}: the axis is empty")


def _check_exclusion(cell: Any) -> Mapping[str, Any]:
    if not isinstance(cell, Mapping) or not cell:
        raise InputError(f"grid: exclude: expected {{field: value}}, got {cell!r}")
    for name in cell:
        _check_field(name, "exclude: ")
    return cell


def _matches(spec: RunSpec, cell: Mapping[str, Any]) -> bool:
    fields = flatten(with_fields(spec, **cell))
    return all(flatten(spec)[name] == fields[name] for name in cell)
