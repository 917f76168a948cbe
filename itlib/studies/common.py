"""What every study shares: the runtime parameters, the base spec they describe, and choices made on dev."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from itlib.engines import ENGINES
from itlib.errors import InputError, RunError
from itlib.frame import measure, run_frame
from itlib.models import resolve_name as resolve_model
from itlib.registry import methods, models, selectors
from itlib.resolve import DTYPES, SPLITS
from itlib.result import RunResult
from itlib.schema import coerce_fields, param
from itlib.sources import resolve_name as resolve_source
from itlib.spec import RunSpec, with_fields

PROFILES = ("smoke", "cpu", "gpu-micro", "gpu", "paper")
DEVICES = ("auto", "cpu", "cuda")
MICRO_BATCH_TOKENS = {"cpu": 1024, "cuda": 65536}  # small pieces waste less padding; a GPU wants large ones
Run = Callable[[Sequence[RunSpec]], list[RunResult]]


@dataclass(frozen=True)
class StudyParams:
    """Parameters that mean the same in every study."""

    profile: str = param("smoke", help="names the results folder", choices=PROFILES)
    model: str = param("micro-1m", help="a shipped model, a local Hugging Face folder, or org/name@revision")
    data: str = param("microworld", help="microworld, a local file, or org/name@revision")
    max_length: int = param(64, help="longer examples are dropped and counted", unit="tokens", minimum=4)
    on_bad_rows: str = param("refuse", help="what a broken row of a file does", choices=("refuse", "quarantine"))
    pool_size: int = param(400, help="examples in the micro-world pool; a file is always taken whole", minimum=1)
    n_eval: int = param(6, help="evaluation items per family; of a file, in all", minimum=1)
    n_reference: int = param(30, help="held-out pretraining documents that measure drift", minimum=0)
    device: str = param("cpu", help="auto takes a GPU when there is one", choices=DEVICES)
    dtype: str = param("float32", help="bfloat16 runs under autocast", choices=DTYPES)
    trust_remote_code: bool = param(False, help="let a hub model run its own code")
    engine: str = param("serial", help="never changes a number", choices=ENGINES)
    workers: int = param(0, help="worker processes of engine process; 0 takes one per core", minimum=0)
    retry_failed: bool = param(False, help="compute runs again that failed earlier")
    results: str = param("", help="results folder; empty takes results/ of the project")

    def __post_init__(self) -> None:
        coerce_fields(self, where=type(self).__name__)


def base_spec(params: StudyParams) -> RunSpec:
    """Return the spec that the shared parameters describe; a study replaces the fields it varies.

    Raises:
        InputError: The model or the data cannot be found.
    """
    device = _device(params.device)
    return with_fields(
        RunSpec(),
        **resolve_model(params.model),
        **resolve_source(params.data),
        max_length=params.max_length,
        on_bad_rows=params.on_bad_rows,
        pool_size=params.pool_size,
        n_eval=params.n_eval,
        n_reference=params.n_reference,
        device=device,
        micro_batch_tokens=MICRO_BATCH_TOKENS[device],
        dtype=params.dtype,
        trust_remote_code=params.trust_remote_code,
    )


def _device(name: str) -> str:
    if name == "cpu":
        return name
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise InputError("device: 'cuda' was asked for and no NVIDIA GPU is visible; use device: auto or cpu")
    print("device: auto found no GPU; running on the CPU")
    return "cpu"


def variant(params: StudyParams) -> str:
    """Return what sets a report on the user's own data or model apart; empty for the embedded world.

    So a report on other data never overwrites the one of the embedded world.
    """
    own = [name for name, default in ((params.data, "microworld"), (params.model, "")) if name != default]
    own = [name for name in own if name not in models]
    return "-".join(re.sub(r"[^A-Za-z0-9_]+", "_", Path(name.partition("@")[0]).stem).strip("_") for name in own)


def check_unique(params: StudyParams, *names: str) -> None:
    """Refuse an axis that is empty or repeats a value, naming its key."""
    for name in names:
        values = getattr(params, name)
        if not values:
            raise InputError(f"{name}: the list is empty")
        if len(set(values)) < len(values):
            raise InputError(f"{name}: the list repeats a value: {list(values)}")


def check_registered(params: Any, *, method: str = "", selector: str = "") -> None:
    """Refuse the name of a tuning method or selector that does not exist."""
    if method:
        methods.get(method)
    if selector:
        selectors.get(selector)


def on_dev(spec: RunSpec) -> RunSpec:
    """Return the same run evaluated on the development split."""
    return replace(spec, evaluate=replace(spec.evaluate, split=SPLITS[0], n_reference=0))


def best_on_dev(results: Sequence[RunResult], fields: Sequence[str]) -> dict[str, Any]:
    """Return the setting of ``fields`` with the best mean score over families and seeds, on dev items only.

    Exact match is maximised, response NLL minimised. A setting with a diverged or failed run is never chosen; ties
    go to the setting that comes first.

    Raises:
        RunError: Every setting has a failed run, or a result was not measured on dev.
    """
    if any(result.spec.evaluate.split != "dev" for result in results):
        raise RunError("a choice may look at dev items only, and a result of another split was given")
    frame = run_frame(results)
    by = measure(frame)
    sign = -1.0 if by.falling else 1.0
    best: tuple[float, dict[str, Any]] | None = None
    for setting, group in frame.groupby(list(fields), sort=False):
        values = group.loc[group["metric"] == by.metric].groupby("family")["value"].mean()
        if (group["status"] != "done").any() or values.empty:
            continue
        score = sign * float(values.mean())
        if best is None or score > best[0]:
            best = (score, dict(zip(fields, setting, strict=True)))
    if best is None:
        raise RunError("no setting finished all its dev runs; see `itlib status` for what failed")
    return best[1]
