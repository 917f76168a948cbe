"""How many numbers an arm trains, counted from the shapes of the base's matrices before anything runs.

Comparisons at equal parameters choose ranks and densities for it; what they chose is checked here and not trusted.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

from itlib.dense import matrices
from itlib.errors import InputError
from itlib.methods import method_of
from itlib.methods._peft import EVERY_LINEAR, Adapter, listed
from itlib.methods.sparse import GrowAndDrop, LotteryTicket, n_entries
from itlib.models._quantized import NO_QUANTIZATION
from itlib.resolve import resolve
from itlib.spec import MethodSpec, ModelSpec, RunSpec, with_fields
from itlib.tune import load_base

Shapes = Sequence[tuple[str, tuple[int, int]]]
LOW_RANK = "LoraConfig"


def shapes_of(spec: RunSpec) -> Shapes:
    """Return name and shape (out, in) of every matrix inside the blocks of a run's base, which is loaded for it."""
    plain = with_fields(spec, quantization=NO_QUANTIZATION)  # weights in four bits have other shapes than their matrix
    return _shapes(resolve(plain).base)


@functools.lru_cache(maxsize=8)
def _shapes(base: ModelSpec) -> Shapes:
    model, _ = load_base(RunSpec(base=base))
    return tuple((name, (weight.shape[0], weight.shape[1])) for name, weight in matrices(model))


def n_trainable(tuning: MethodSpec, shapes: Shapes) -> int:
    """Return how many numbers a low-rank or sparse method trains in matrices of these shapes.

    A low-rank adapter of rank r trains r (m + n) numbers of an m by n matrix, r m where its inner factor is held, and m
    more where it has magnitudes of its own; a lottery ticket as many entries as an adapter of its rank; grow and drop
    a share of all entries, at least one per matrix.

    Raises:
        InputError: Another method, whose numbers do not follow from these shapes.
    """
    method = method_of(tuning)
    if isinstance(method, GrowAndDrop):
        return sum(n_entries(m * n, method.density) for _, (m, n) in shapes)
    if isinstance(method, LotteryTicket):
        return sum(tuning.rank * (m + n) for _, (m, n) in shapes)
    if not isinstance(method, Adapter) or method.config != LOW_RANK:
        raise InputError(f"method: the numbers that '{tuning.method}' trains do not follow from shapes of matrices")
    held = getattr(method, "inner", "trained") != "trained"
    magnitudes = bool(method.always.get("use_dora"))
    inside = [shape for name, shape in shapes if _is_target(name, tuning.targets)]
    return sum(tuning.rank * (m if held else m + n) + magnitudes * m for m, n in inside)


def _is_target(name: str, targets: str) -> bool:
    return targets == EVERY_LINEAR or name.split(".")[-1] in listed(targets)
