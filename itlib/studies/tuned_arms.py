"""What studies share that compare tuning methods: arms by name, and a learning rate for each, chosen on dev.

An arm is a line of words: the method, its rank or number of virtual tokens, and options.

    full                        all weights but embeddings; "full embeddings" trains these too
    lora 16                     low rank, alpha twice the rank, all linear layers
    lora 16 attention           the four matrices of attention; also feedforward, or qv
    lora 16 alpha=8             another scale
    lora 16 inner=orthonormal   an option of the method
    half level=layer
    prompt 20

Everything else is the same for all arms: data, order, steps, schedule, base. The learning rate is not: each arm has its
own, chosen on dev items among as many candidates as every other arm, ``learning_rates`` times the method's own factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from itlib.errors import InputError
from itlib.grid import grid
from itlib.methods import method_of
from itlib.methods._peft import ATTENTION, FEEDFORWARD
from itlib.models._quantized import NO_QUANTIZATION, QUANTIZATIONS
from itlib.packing import TRIMMED
from itlib.parallel import ONE, PARALLEL
from itlib.registry import methods
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import MethodSpec, RunSpec, with_fields
from itlib.studies.chosen import Designs, check_apart
from itlib.studies.common import StudyParams, base_spec, best_on_dev, check_unique, on_dev, replicates
from itlib.train import SCHEDULES

TARGETS = {"attention": ",".join(ATTENTION), "feedforward": ",".join(FEEDFORWARD), "qv": "q_proj,v_proj"}
EDGE = "edge of the grid"
MOST_DIGITS = 6
Rates = Mapping[str, float]


@dataclass(frozen=True)
class TunedArmsParams(StudyParams):
    """Parameters of studies that compare tuning methods."""

    cpu_kernel: ClassVar[str] = TRIMMED

    seeds: tuple[int, ...] = param((0, 1), help="replicates: base, pool, subset, order, initialisation", minimum=0)
    n_train: int = param(40, help="training examples", minimum=1)
    learning_rates: tuple[float, ...] = param(
        (1e-3, 2e-3), help="peak rates, times the factor of each method; dev decides per arm", exclusive_minimum=0
    )
    choice_eval: int = param(4, help="dev items per family; of a file, in all", minimum=1)
    choice_seeds: tuple[int, ...] = param((1000,), help="seeds of the dev runs, apart from seeds", minimum=0)
    budget: int = param(8, help="training length", unit="steps", minimum=1)
    batch_size: int = param(16, help="examples per optimiser step", minimum=1)
    schedule: str = param("linear", help="learning rate after the warm-up", choices=SCHEDULES)
    warmup_fraction: float = param(0.03, help="share of the steps", minimum=0, maximum=1)
    weight_decay: float = param(0.0, help="decoupled weight decay", minimum=0)
    quantization: str = param(
        NO_QUANTIZATION, help="4bit holds the frozen weights in four bits, on an NVIDIA GPU", choices=QUANTIZATIONS
    )
    activation_checkpointing: bool = param(
        False, help="computes activations again in the backward pass: less memory, same numbers"
    )
    parallel: str = param(
        ONE,
        help="ddp or fsdp train one run in several processes; fsdp shards full fine-tuning, others are ddp",
        choices=PARALLEL,
    )
    processes: int = param(1, help="training processes of one run, each with a device of its own", minimum=1)
    nodes: int = param(1, help="machines they are spread over, in a Slurm job or a Ray cluster", minimum=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "seeds", "learning_rates", "choice_seeds")
        check_apart(self, "choice_seeds")


def arm_fields(arm: str) -> dict[str, Any]:
    """Return the spec fields of an arm.

    Raises:
        InputError: An unknown method or word, a missing or superfluous number, an option that there is not.
    """
    if not arm.split():
        raise InputError("an arm is empty")
    name, *words = arm.split()
    method = methods.get(name)
    fields: dict[str, Any] = {"method": name}
    numbers = [word for word in words if word.isdigit()]
    if any(len(number) > MOST_DIGITS for number in numbers):
        raise InputError(f"arm '{arm}': a number has at most {MOST_DIGITS} digits")
    counted = next((key for key in ("rank", "n_virtual_tokens") if key in method.reads), None)
    if len(numbers) != (counted is not None):
        wanted = f"one number, its {counted}" if counted else "no number"
        raise InputError(f"arm '{arm}': '{name}' takes {wanted}")
    if counted:
        fields[counted] = int(numbers[0])
    if "alpha" in method.reads:
        fields["alpha"] = 2.0 * int(numbers[0])
    chosen: list[str] = []
    for word in words:
        if word.isdigit():
            continue
        key, sign, value = word.partition("=")
        if word in TARGETS and "targets" in method.reads:
            fields["targets"] = TARGETS[word]
        elif word == "embeddings" and "train_embeddings" in method.reads:
            fields["train_embeddings"] = True
        elif sign and key == "alpha" and "alpha" in method.reads:
            fields["alpha"] = _number(value, arm)
        elif sign:
            chosen.append(word)
        else:
            raise InputError(f"arm '{arm}': '{word}' is no word that '{name}' knows")
    fields["method_options"] = tuple(chosen)
    try:
        method_of(MethodSpec(**fields))
    except InputError as error:
        raise InputError(f"arm '{arm}': {error}") from None
    return fields


def _number(text: str, arm: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"arm '{arm}': alpha must be a number, got '{text}'") from None


def check_arms(arms: Sequence[str], key: str = "arms") -> None:
    """Refuse arms that cannot be, or that are named twice, naming their key."""
    for arm in arms:
        try:
            arm_fields(arm)
        except InputError as error:
            raise InputError(f"{key}: {error}") from None


def tuned_base(params: TunedArmsParams) -> RunSpec:
    """Return the spec of seed 0 that all arms share."""
    return with_fields(
        base_spec(params),
        n_train=params.n_train,
        budget=params.budget,
        batch_size=params.batch_size,
        schedule=params.schedule,
        warmup_fraction=params.warmup_fraction,
        weight_decay=params.weight_decay,
        quantization=params.quantization,
        activation_checkpointing=params.activation_checkpointing,
        parallel=params.parallel,
        processes=params.processes,
        nodes=params.nodes,
    )


def rates_of(params: TunedArmsParams, arm: str) -> tuple[float, ...]:
    """Return the candidate rates of an arm, ascending, rounded to three digits."""
    factor = methods.get(arm.split()[0]).rate_factor
    return tuple(float(f"{rate * factor:.3g}") for rate in sorted(params.learning_rates))


def rate_grid(params: TunedArmsParams, arms: Sequence[str], base: RunSpec | None = None) -> list[RunSpec]:
    """Return the dev runs of arms: each with each of its rates on the choice seeds; empty where there is one rate.

    Args:
        params: The study's parameters.
        arms: Names of arms.
        base: What all arms share; the study's own base unless another is given.
    """
    if len(params.learning_rates) == 1:
        return []
    shared = on_dev(base or tuned_base(params), n_eval=params.choice_eval)
    found: list[RunSpec] = []
    for arm in arms:
        cells = grid(with_fields(shared, **arm_fields(arm)), learning_rate=rates_of(params, arm))
        found += replicates(cells, params.choice_seeds, params.base_seed)
    return found


def best_rates(params: TunedArmsParams, arms: Sequence[str], dev_results: Sequence[RunResult]) -> dict[str, float]:
    """Return the rate of every arm from ``rate_grid``: the first within one standard error of the best of its own."""
    if len(params.learning_rates) == 1:
        return {arm: rates_of(params, arm)[0] for arm in arms}
    each = len(params.learning_rates) * len(params.choice_seeds)
    return {
        arm: best_on_dev(dev_results[i * each : (i + 1) * each], ["learning_rate"])["learning_rate"]
        for i, arm in enumerate(arms)
    }


def first_rates(params: TunedArmsParams, arms: Sequence[str]) -> dict[str, float]:
    """Return some rate for every arm: what a plan looks at before dev has chosen."""
    return {arm: rates_of(params, arm)[0] for arm in arms}


def trials(params: TunedArmsParams, arms: Sequence[str]) -> dict[str, int]:
    """Return how many rates were tried for each arm."""
    return {arm: len(params.learning_rates) for arm in arms}


def at_edge(params: TunedArmsParams, rates: Rates) -> dict[str, bool]:
    """Return which arms were given the smallest or largest of their rates: the best one may lie beyond."""
    if len(params.learning_rates) < 3:
        return {arm: False for arm in rates}
    return {arm: rate in (rates_of(params, arm)[0], rates_of(params, arm)[-1]) for arm, rate in rates.items()}


def arm_runs(
    params: TunedArmsParams, arms: Sequence[str], rates: Rates, *, base: RunSpec | None = None, **fields: Any
) -> Designs:
    """Return the test runs of arms, each at its rate on all seeds; further fields are the same for all of them."""
    shared = with_fields(base or tuned_base(params), **fields)
    cells = {arm: with_fields(shared, **arm_fields(arm), learning_rate=rates[arm]) for arm in arms}
    return {arm: replicates([cell], params.seeds, params.base_seed) for arm, cell in cells.items()}
