"""Study 4c: what the many parameter-efficient methods buy, in accuracy, in knowledge kept, and at what cost.

One list of arms from all weights down to a prompt of a few vectors, each at a learning rate of its own: parts of the
model, scales and norms, prompts, low-rank adapters with plain and with data-driven starts, in attention and in
feed-forward layers, and sparse changes. Arms that are compared at equal parameters are counted before any run. A second
question is how much data low-rank adapters need: some arms are tuned on parts of the data, and beside them a smaller
model with all weights on all data.

After PiSSA, OLoRA and CorDA the base inside the adapter is a changed one: what was forgotten is always taken against
the untuned base, evaluated on its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from itlib.errors import InputError
from itlib.fairness import EQUAL
from itlib.methods import method_of
from itlib.models import resolve_name
from itlib.packing import TRIMMED
from itlib.registry import methods, models, sources
from itlib.result import RunResult
from itlib.schema import coerce, param
from itlib.sources import resolve_name as resolve_source
from itlib.spec import MethodSpec, RunSpec, digest, with_fields
from itlib.studies.chosen import Designs, check_designs, distinct, run_designs
from itlib.studies.common import Run, check_unique, one_per_base, replicates, variant
from itlib.studies.tuned_arms import (
    Rates,
    TunedArmsParams,
    arm_fields,
    best_rates,
    check_arms,
    rate_grid,
    rates_of,
    tuned_base,
)
from itlib.trainable import n_trainable, shapes_of

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "TuningMethodsParams",
    "candidate_rates",
    "candidates",
    "choose",
    "collect",
    "designs",
    "distinct",
    "pairs",
    "pending",
    "placements",
    "run_designs",
    "starts",
    "trials",
    "tuned",
    "variant",
]

CLAIMS = ("S139", "L13", "L15", "L16", "L19", "L20")
UNTUNED, SMALL, UNTUNED_SMALL = "untuned", "full of small model", "untuned small model"
DATA_DRIVEN = ("pissa", "olora", "eva", "corda")  # low-rank adapters that start from the weights, or from what is read
RECALL = "recall"
WORLD = "microworld"
AS, TIMES = " as ", " times "
UNEQUAL = {
    "trials": "an arm that shares the rate of a close relative had no choice of its own",
    "tokens": "an arm on a part of the data repeats fewer examples, whose lengths differ, for equally many steps",
    "supervised": "an arm on a part of the data repeats fewer responses, whose lengths differ",
}  # budgets that differ between arms, and why


@dataclass(frozen=True)
class TuningMethodsParams(TunedArmsParams):
    """Parameters of ``04c_methods``."""

    arms: tuple[str, ...] = param(
        (
            "full",
            "prefix 2",
            "lora 2",
            "corda 2",
            "lora 4 qv",
            "lora 7 attention",
            "lora 5 feedforward",
            "grow_and_drop",
        ),  # without an equals sign, which papermill cannot read in a parameters cell
        help="tuning methods with their rank or number of virtual tokens, and options",
    )
    equal_parameters: tuple[str, ...] = param(
        ("lora 7 attention as lora 5 feedforward", "grow_and_drop as lora 4 qv"),
        help="pairs of arms that train equally many numbers, within 3 %; refused if not",
    )
    shared_rates: tuple[str, ...] = param(
        ("corda 2 as lora 2",), help="arms that take the learning rate of a close relative"
    )
    rate_factors: tuple[str, ...] = param(
        ("prefix 2 times 32", "grow_and_drop times 16"), help="arms whose candidate rates lie elsewhere than is usual"
    )
    fractions: tuple[float, ...] = param(
        (0.25,), help="parts of the training data, beside all of it", exclusive_minimum=0
    )
    fraction_arms: tuple[str, ...] = param(("lora 2",), help="arms that are also tuned on parts of the data")
    small_model: str = param("micro-0.2m", help="a smaller model, all weights tuned on all data; empty for none")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "arms")
        check_arms(self.arms)
        if len(set(self.fractions)) < len(self.fractions):
            raise InputError(f"fractions: the list repeats a value: {list(self.fractions)}")
        if self.fractions:
            if max(self.fractions) >= 1:
                raise InputError(f"fractions: {max(self.fractions):g} is not below 1; all data is there without it")
            check_unique(self, "fraction_arms")
            for arm in self.fraction_arms:
                _check_known(self, "fraction_arms", arm)
        if self.small_model:
            _check_small(self)
        pairs(self, "equal_parameters")
        factors(self)
        _check_shared(self)


def pairs(params: TuningMethodsParams, key: str = "equal_parameters") -> list[tuple[str, str]]:
    """Return the pairs of arms of a parameter, whose entries are written "one arm as another arm".

    Raises:
        InputError: An entry has another form, or names an arm that is not among ``arms``.
    """
    found = []
    for text in getattr(params, key):
        left, separator, right = text.partition(AS)
        if not separator:
            raise InputError(f"{key}: '{text}' must be written 'arm{AS}arm'")
        for arm in (left, right):
            _check_known(params, key, arm)
        if left == right:
            raise InputError(f"{key}: '{text}' names one arm twice")
        found.append((left, right))
    return found


def factors(params: TuningMethodsParams) -> dict[str, float]:
    """Return what the candidate rates of an arm are multiplied by, beside the factor of its method; 1 for most.

    Raises:
        InputError: An entry is not written "arm times number", or names an arm that is not among ``arms``.
    """
    found: dict[str, float] = {}
    for text in params.rate_factors:
        arm, separator, number = text.rpartition(TIMES)
        if not separator:
            raise InputError(f"rate_factors: '{text}' must be written 'arm{TIMES}number'")
        _check_known(params, "rate_factors", arm)
        if arm in found:
            raise InputError(f"rate_factors: '{arm}' is given twice")
        found[arm] = coerce(number, float, key=f"rate_factors: {arm}", where="the factor")
        if not 0 < found[arm] < math.inf:
            raise InputError(f"rate_factors: the factor of '{arm}' must be greater than 0, got {number}")
    return found


def with_rates(params: TuningMethodsParams, arm: str) -> TuningMethodsParams:
    """Return the parameters with the candidate rates of an arm, before the factor of its method."""
    factor = factors(params).get(arm, 1.0)
    return replace(params, learning_rates=tuple(rate * factor for rate in params.learning_rates), rate_factors=())


def candidate_rates(params: TuningMethodsParams, arm: str) -> tuple[float, ...]:
    """Return the candidate rates of an arm, ascending."""
    return rates_of(with_rates(params, arm), arm)


def _check_known(params: TuningMethodsParams, key: str, arm: str) -> None:
    if arm not in params.arms:
        raise InputError(f"{key}: '{arm}' is not among arms")


def _check_small(params: TuningMethodsParams) -> None:
    if params.small_model == params.model:
        raise InputError(f"small_model: '{params.small_model}' is the model itself")
    try:
        resolve_name(params.small_model)
    except InputError as error:
        raise InputError(f"small_model: {error}") from None


def _check_shared(params: TuningMethodsParams) -> None:
    shared = pairs(params, "shared_rates")
    takers = [taker for taker, _ in shared]
    for taker, giver in shared:
        if takers.count(taker) > 1:
            raise InputError(f"shared_rates: '{taker}' takes a rate twice")
        if giver in takers:
            raise InputError(f"shared_rates: '{taker}' takes the rate of '{giver}', which has none of its own")
        if math.prod(_scale(params, taker)) != math.prod(_scale(params, giver)):
            raise InputError(f"shared_rates: '{taker}' and '{giver}' are no relatives: their candidate rates differ")


def _scale(params: TuningMethodsParams, arm: str) -> tuple[float, float]:
    return methods.get(arm.split()[0]).rate_factor, factors(params).get(arm, 1.0)


class Cell(NamedTuple):
    """What is tuned at a rate of its own: its name in the frame, its arm, and the spec that it starts from."""

    name: str
    arm: str
    base: RunSpec


def shared_base(params: TuningMethodsParams) -> RunSpec:
    """Return the spec of seed 0 that all cells share. Sparse methods have an optimizer that our own loop alone runs."""
    return with_fields(tuned_base(params), trainer="loop")


def fraction_name(arm: str, fraction: float) -> str:
    """Return the name of an arm on a part of the data."""
    return f"{arm} at {fraction:g}"


def tuned(params: TuningMethodsParams) -> list[Cell]:
    """Return everything that is tuned: the arms, arms on parts of the data, and the smaller model."""
    base = shared_base(params)
    cells = [Cell(arm, arm, base) for arm in params.arms]
    for arm in params.fraction_arms if params.fractions else ():
        for fraction in sorted(params.fractions):
            part = with_fields(base, n_train=max(1, round(fraction * params.n_train)))
            cells.append(Cell(fraction_name(arm, fraction), arm, part))
    if params.small_model:
        cells.append(Cell(SMALL, "full", _of_model(params, base, params.small_model)))
    return cells


def _of_model(params: TuningMethodsParams, base: RunSpec, name: str) -> RunSpec:
    """Return a spec with another base model, with the kernel that our own models have on a CPU and others do not."""
    spec = with_fields(base, model_path="", model_revision="", **resolve_name(name))
    shipped = hasattr(models.get(spec.base.model), "base_seeds") and spec.device == "cpu"
    return with_fields(spec, attention=TRIMMED if shipped else RunSpec().base.attention)


def candidates(params: TuningMethodsParams) -> list[RunSpec]:
    """Return the dev runs: every cell with a rate of its own, each of its rates on the choice seeds.

    Raises:
        InputError: Something in the whole study cannot run, or arms that are to be equal train unequally many numbers.
    """
    _check_documents(params)
    check_designs(designs(params, first_rates(params)))
    check_equal(params)
    cells = _choosing(params)
    return [spec for cell in cells for spec in rate_grid(with_rates(params, cell.arm), [cell.arm], cell.base)]


def _choosing(params: TuningMethodsParams) -> list[Cell]:
    takers = {taker for taker, _ in pairs(params, "shared_rates")}
    return [cell for cell in tuned(params) if cell.name not in takers]


def choose(params: TuningMethodsParams, dev_results: Sequence[RunResult]) -> dict[str, float]:
    """Return the rate of every cell: its own from ``candidates``, or that of the relative it shares one with."""
    found: dict[str, float] = {}
    each = len(dev_results) // max(1, len(_choosing(params)))
    for place, cell in enumerate(_choosing(params)):
        part = dev_results[place * each : (place + 1) * each]
        found[cell.name] = best_rates(with_rates(params, cell.arm), [cell.arm], part)[cell.arm]
    found |= {taker: found[giver] for taker, giver in pairs(params, "shared_rates")}
    return {cell.name: found[cell.name] for cell in tuned(params)}


def first_rates(params: TuningMethodsParams) -> dict[str, float]:
    """Return some rate for every cell: what a plan looks at before dev has chosen."""
    return {cell.name: candidate_rates(params, cell.arm)[0] for cell in tuned(params)}


def trials(params: TuningMethodsParams) -> dict[str, int]:
    """Return how many rates were tried for each cell; 0 for those that share one."""
    takers = {taker for taker, _ in pairs(params, "shared_rates")}
    return {cell.name: 0 if cell.name in takers else len(params.learning_rates) for cell in tuned(params)}


def designs(params: TuningMethodsParams, rates: Rates) -> Designs:
    """Return the test runs by name: every cell at its rate on all seeds, and every base as it is, once."""
    measured = {"measures": (RECALL,)} if params.data == WORLD else {}
    found = {}
    for cell in tuned(params):
        spec = with_fields(cell.base, **arm_fields(cell.arm), learning_rate=rates[cell.name], **measured)
        found[cell.name] = replicates([spec], params.seeds, params.base_seed)
    bases = {UNTUNED: shared_base(params)}
    if params.small_model:
        bases[UNTUNED_SMALL] = _of_model(params, shared_base(params), params.small_model)
    for name, base in bases.items():
        found[name] = one_per_base(replicates([with_fields(base, n_train=0)], params.seeds, params.base_seed))
    return found


def check_equal(params: TuningMethodsParams) -> dict[str, int]:
    """Return the numbers that arms of ``equal_parameters`` train, or refuse a pair whose numbers differ by 3 % or more.

    Raises:
        InputError: Such a pair, or an arm whose numbers do not follow from shapes.
    """
    if not params.equal_parameters:
        return {}
    shapes = shapes_of(shared_base(params))
    counts: dict[str, int] = {}
    for pair in pairs(params):
        for arm in pair:
            try:
                counts[arm] = n_trainable(MethodSpec(**arm_fields(arm)), shapes)
            except InputError as error:
                raise InputError(f"equal_parameters: '{arm}': {error}") from None
        low, high = sorted(counts[arm] for arm in pair)
        if high >= low * (1 + EQUAL):
            told = " and ".join(f"'{arm}' {counts[arm]:,}" for arm in pair)
            raise InputError(f"equal_parameters: {told} numbers differ by {high / low - 1:.1%}, not by less than 3 %")
    return counts


def _check_documents(params: TuningMethodsParams) -> None:
    """Refuse a start from documents where the data have none, which only a run would find out."""
    source = sources.get(resolve_source(params.data)["source"])
    for arm in params.arms:
        method = method_of(MethodSpec(**arm_fields(arm)))
        if (
            method.documents
            and getattr(method, "keep", "knowledge") == "knowledge"
            and not hasattr(source, "documents")
        ):
            raise InputError(f"arms: '{arm}' reads pretraining documents, and data '{params.data}' has none")


def placements(params: TuningMethodsParams) -> list[tuple[str, str]]:
    """Return the pairs of equal parameters that differ in the layers they change, attention first."""
    found = []
    for pair in pairs(params):
        ordered = sorted(pair, key=lambda arm: "attention" not in arm.split())
        if [word in arm.split() for word, arm in zip(("attention", "feedforward"), ordered, strict=True)] == [True] * 2:
            found.append((ordered[0], ordered[1]))
    return found


def starts(params: TuningMethodsParams) -> dict[str, list[str]]:
    """Return, per plain low-rank arm, the arms of its rank and its layers that start from weights or from data."""
    found: dict[str, list[str]] = {}
    for arm in params.arms:
        name, *words = arm.split()
        plain = " ".join(["lora", *(word for word in words if "=" not in word)])
        if name in DATA_DRIVEN and plain in params.arms:
            found.setdefault(plain, []).append(arm)
    return found


def collect(params: TuningMethodsParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    rates = choose(params, run(candidates(params)))
    return distinct(run_designs(designs(params, rates), run))


def pending(params: TuningMethodsParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    test_runs = designs(params, first_rates(params))
    n_test = len({digest(spec) for runs in test_runs.values() for spec in runs})
    return f"{n_test} test runs follow once dev has chosen rates"
