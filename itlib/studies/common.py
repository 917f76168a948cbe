"""What every study shares: the runtime parameters, the base spec they describe, and choices made on dev."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from itlib.engines import ENGINES
from itlib.errors import InputError, RunError
from itlib.frame import measure, run_frame
from itlib.models import resolve_name as resolve_model
from itlib.registry import models, sources
from itlib.resolve import DTYPES, resolve
from itlib.result import RunResult
from itlib.schema import coerce_fields, param
from itlib.sources import resolve_name as resolve_source
from itlib.spec import RunSpec, with_fields

PROFILES = ("smoke", "cpu", "gpu-micro", "gpu", "paper")
PHRASINGS = ("observed", "unobserved")
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
    eval_phrasing_set: str = param(
        "unobserved", help="test phrasings of the micro-world; unobserved ones are in no pool", choices=PHRASINGS
    )
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
        eval_phrasing_set=params.eval_phrasing_set,
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
    """Return the same run evaluated on development items and phrasings, which no test ever uses."""
    return with_fields(spec, split="dev", eval_phrasing_set="dev", n_eval=n_eval, n_reference=0)


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
        if not math.isfinite(score):
            continue
        if best is None or score > best[0]:
            best = (score, dict(zip(fields, setting, strict=True)))
    if best is None:
        reasons = [result.error or result.status for result in results if result.status != "done"]
        raise RunError(f"no setting finished all its dev runs; the first that stopped: {next(iter(reasons), 'none')}")
    return best[1]
