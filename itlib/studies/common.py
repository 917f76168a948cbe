"""What every study shares: the runtime parameters, the base spec they describe, and choices made on dev."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from itlib import external_scores
from itlib.engines import ENGINES
from itlib.errors import InputError, RunError
from itlib.frame import measure, run_frame
from itlib.models import architecture
from itlib.models import resolve_name as resolve_model
from itlib.packing import PADDED, kernel_for
from itlib.registry import models, sources
from itlib.resolve import DTYPES, LOOP_LIMIT, resolve
from itlib.result import RunResult
from itlib.schema import coerce_fields, param
from itlib.sources import resolve_name as resolve_source
from itlib.spec import ModelSpec, RunSpec, with_fields
from itlib.tracking import NONE, TRACKERS

PROFILES = ("smoke", "cpu", "gpu-micro", "gpu", "paper")
# test phrasings -> those that choices are made on
PHRASINGS = {"observed": "dev_wrapper", "unobserved_wrapper": "dev_wrapper", "unobserved": "dev"}
DEVICES = ("auto", "cpu", "cuda")
MICRO_BATCH_TOKENS = {"cpu": 1024, "cuda": 65536}  # small pieces waste less padding; a GPU wants large ones
LONG_ROWS = 2048  # the same of a small model of the user on a CPU: its rows are long, and packed ones have no padding
COMPILE_AFTER = 1000  # steps of a run on a GPU from which on compiling should pay; not measured
Run = Callable[[Sequence[RunSpec]], list[RunResult]]


@dataclass(frozen=True)
class StudyParams:
    """Parameters that mean the same in every study.

    ``cpu_kernel`` is the attention kernel of shipped models on a CPU. It moves the last digits of every number, so a
    study keeps the one that its published numbers were measured with.
    """

    cpu_kernel: ClassVar[str] = "sdpa"

    profile: str = param("smoke", help="names the results folder", choices=PROFILES)
    model: str = param("micro-1m", help="a shipped model, a local Hugging Face folder, or org/name@revision")
    data: str = param("microworld", help="microworld, a local file, or org/name@revision")
    base_seed: int = param(-1, help="-1: seed i tunes shipped base i; else this base for all seeds", minimum=-1)
    max_length: int = param(128, help="longer examples are dropped and counted", unit="tokens", minimum=4)
    on_bad_rows: str = param("refuse", help="what a broken row of a file does", choices=("refuse", "quarantine"))
    pool_size: int = param(400, help="examples in the micro-world pool; a file is always taken whole", minimum=1)
    n_eval: int = param(6, help="evaluation items per family; of a file, in all", minimum=1)
    eval_phrasing_set: str = param(
        "unobserved_wrapper",
        help="test phrasings of the micro-world; no pool has the unobserved ones",
        choices=tuple(PHRASINGS),
    )
    n_reference: int = param(30, help="held-out pretraining documents that measure drift", minimum=0)
    device: str = param("cpu", help="auto takes a GPU when there is one", choices=DEVICES)
    dtype: str = param("float32", help="bfloat16 runs under autocast", choices=DTYPES)
    trust_remote_code: bool = param(False, help="let a hub model run its own code")
    engine: str = param("serial", help="never changes a number", choices=ENGINES)
    workers: int = param(0, help="worker processes of engine process; 0 takes one per core", minimum=0)
    retry_failed: bool = param(False, help="compute runs again that failed earlier")
    report_to: str = param(NONE, help="an experiment tracker that finished runs are sent to", choices=TRACKERS)
    scores: str = param("", help="a CSV of benchmark or judge scores: run, family, metric, value")
    results: str = param("", help="results folder; empty takes results/ of the project")

    def __post_init__(self) -> None:
        coerce_fields(self, where=type(self).__name__)


def base_spec(params: StudyParams) -> RunSpec:
    """Return the spec of seed 0 that the shared parameters describe; a study replaces the fields it varies.

    Raises:
        InputError: The model, the data or the scores cannot be used, or ``base_seed`` numbers a base of a model that is
            one.
    """
    external_scores.check(params.scores)
    device = _device(params.device)
    spec = with_fields(
        RunSpec(),
        **resolve_model(params.model),
        **resolve_source(params.data),
        max_length=params.max_length,
        on_bad_rows=params.on_bad_rows,
        pool_size=params.pool_size,
        n_eval=params.n_eval,
        eval_phrasing_set=params.eval_phrasing_set,
        n_reference=params.n_reference,
        device=device,
        micro_batch_tokens=MICRO_BATCH_TOKENS[device],
        dtype=params.dtype,
        trust_remote_code=params.trust_remote_code,
    )
    if device == "cuda":
        spec = with_fields(spec, attention=kernel_for(architecture(spec.base)), compile_after=COMPILE_AFTER)
    elif hasattr(models.get(spec.base.model), "base_seeds"):
        spec = with_fields(spec, attention=params.cpu_kernel)
    else:
        spec = with_fields(spec, **_own_on_cpu(spec.base))
    return replicate(spec, 0, params.base_seed)


def _own_on_cpu(base: ModelSpec) -> dict[str, Any]:
    """Return the kernel and the size of micro-batches of a user's model on a CPU, as spec fields."""
    kernel = kernel_for(architecture(base))
    if kernel == PADDED or models.get(base.model).parameters(base) > LOOP_LIMIT["cpu"]:
        return {"attention": kernel}
    return {"attention": kernel, "micro_batch_tokens": LONG_ROWS}


def replicate(spec: RunSpec, seed: int, base_seed: int = -1) -> RunSpec:
    """Return the run of one replicate: the seed, and the base model that this seed tunes.

    Seed i tunes the i-th shipped base of the model, counted round: of eight bases, seeds 0 and 8 tune the first. Up to
    the number of bases, replicates therefore differ in pretraining, data, order and initialisation, and a test over
    seeds speaks about new base models too. Beyond it bases repeat with other data: such replicates are not
    independent in the base, and what is peculiar to a base counts more than once. Two arms of a comparison share the
    base of their seed, so their difference is paired in it.

    Args:
        spec: The run to repeat.
        seed: Feeds every random stream of the run.
        base_seed: A shipped base that all seeds tune; -1 for seed i tunes base i. A local or hub model is one base.

    Raises:
        InputError: A base is asked for by number, and the model has one only. (``resolve`` refuses one not shipped.)
    """
    model = models.get(spec.base.model)
    if not hasattr(model, "base_seeds"):
        if base_seed > 0:
            raise InputError(f"base_seed: {base_seed} numbers a shipped base, and model '{spec.base.model}' has none")
        return with_fields(spec, seed=seed)
    if base_seed < 0:
        shipped = model.base_seeds()
        base_seed = shipped[seed % len(shipped)]
    return with_fields(spec, seed=seed, base_seed=base_seed)


def replicates(specs: Sequence[RunSpec], seeds: Sequence[int], base_seed: int = -1) -> list[RunSpec]:
    """Return every spec on every seed, seeds fastest; see ``replicate``."""
    return [replicate(spec, seed, base_seed) for spec in specs for seed in seeds]


def one_per_base(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """Return the first spec of every base: what does not depend on the rest of a replicate is measured once."""
    first: dict[int, RunSpec] = {}
    for spec in specs:
        first.setdefault(spec.base.base_seed, spec)
    return list(first.values())


def _device(name: str) -> str:
    if name == "cpu":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise InputError("device: 'cuda' was asked for and no NVIDIA GPU is visible; use device: auto or cpu")
    print("device: auto found no GPU; running on the CPU", file=sys.stderr)
    return "cpu"


def variant(params: StudyParams) -> str:
    """Return what sets a report on the user's own data or model apart; empty for the embedded world.

    Made of names and content fingerprints, so that no report overwrites one on other data.

    Raises:
        InputError: The data or the model cannot be used.
    """
    spec = resolve(with_fields(base_spec(params), n_train=0))
    parts = []
    if spec.data.source != "microworld":
        parts.append((params.data, spec.data.data_fingerprint))
    if params.model not in models or params.model in ("local", "hub"):
        parts.append((params.model, spec.base.model_fingerprint))
    stems = [Path(text if Path(text).exists() else text.partition("@")[0]).stem for text, _ in parts]
    words = [re.sub(r"[^A-Za-z0-9_]+", "_", stem) for stem in stems]
    return "-".join(
        f"{word}-{fingerprint[:6]}".strip("_-") for word, (_, fingerprint) in zip(words, parts, strict=True)
    )


def data_summary(params: StudyParams) -> pd.DataFrame:
    """Return what the data holds; of a file its format and its rows read, usable, set aside (and why) and held out."""
    spec = resolve(with_fields(base_spec(params), n_train=0))
    source = sources.get(spec.data.source)
    if not hasattr(source, "rows"):
        rows = [("source", spec.data.source), ("pool", spec.data.pool_size)]
    else:
        summary = source.rows(spec.data).summary()
        rows = [(name, value) for name, value in summary.items() if not isinstance(value, dict)]
        rows += [(f"set aside, {reason}", n) for reason, n in summary["dropped"].items()]
        rows += [(f"noted, {note}", n) for note, n in summary["notes"].items()]
    return pd.DataFrame(rows, columns=["what", "value"])


def check_unique(params: StudyParams, *names: str) -> None:
    """Refuse an axis that is empty or repeats a value, naming its key."""
    for name in names:
        values = getattr(params, name)
        if not values:
            raise InputError(f"{name}: the list is empty")
        if len(set(values)) < len(values):
            raise InputError(f"{name}: the list repeats a value: {list(values)}")


def on_dev(spec: RunSpec, *, n_eval: int) -> RunSpec:
    """Return the same run evaluated on development items and phrasings, which no test ever uses.

    Development phrasings are as new as the test phrasings: other wrappers, and other noun phrases only where the test
    has other ones too.
    """
    phrasing_set = PHRASINGS[spec.evaluate.eval_phrasing_set]
    return with_fields(spec, split="dev", eval_phrasing_set=phrasing_set, n_eval=n_eval, n_reference=0)


def best_on_dev(results: Sequence[RunResult], fields: Sequence[str]) -> dict[str, Any]:
    """Return the first setting of ``fields`` that is within one standard error of the best, on dev items only.

    The score is the mean over families and seeds of exact match, or of response NLL with its sign turned; the standard
    error is that of the best setting over its seeds (0 with one seed). A setting with a diverged or failed run is never
    chosen. Settings come in the order of the results, so that a grid lists first what is preferred among equals.

    Raises:
        RunError: Every setting has a failed run, or a result was not measured on dev.
    """
    if any(result.spec.evaluate.split != "dev" for result in results):
        raise RunError("a choice may look at dev items only, and a result of another split was given")
    frame = run_frame(results)
    by = measure(frame)
    sign = -1.0 if by.falling else 1.0
    scored: list[tuple[pd.Series, dict[str, Any]]] = []
    for setting, group in frame.groupby(list(fields), sort=False):
        values = sign * group.loc[group["metric"] == by.metric].groupby(["seed", "family"])["value"].mean()
        per_seed = values.groupby("seed").mean()
        if (group["status"] == "done").all() and math.isfinite(per_seed.mean()):
            scored.append((per_seed, dict(zip(fields, setting, strict=True))))
    if not scored:
        reasons = [result.error or result.status for result in results if result.status != "done"]
        raise RunError(f"no setting finished all its dev runs; the first that stopped: {next(iter(reasons), 'none')}")
    best = max((per_seed for per_seed, _ in scored), key=lambda per_seed: per_seed.mean())
    enough = best.mean() - (best.std() / math.sqrt(len(best)) if len(best) > 1 else 0.0)
    return next(setting for per_seed, setting in scored if per_seed.mean() >= enough)
