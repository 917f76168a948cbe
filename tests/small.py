"""Runs that take a fraction of a second on the shipped base model."""

from itlib.resolve import resolve
from itlib.spec import RunSpec, with_fields


def spec(**fields):
    quick = {"budget": 3, "batch_size": 8, "n_train": 8, "pool_size": 60, "n_eval": 2, "n_reference": 5}
    return with_fields(RunSpec(), **(quick | fields))


def resolved(**fields):
    return resolve(spec(**fields))


def scores(result):
    """Everything of a result that must be bit-identical."""
    return result.spec, result.status, result.items, result.curve, result.totals
