"""How a shipped base model is made, and what it knows: rebuild it, pass it through its gates, compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from itlib.microworld import gates, pretrain
from itlib.microworld.recipes import BASES
from itlib.schema import coerce_fields, param
from itlib.studies import world_bases
from itlib.workspace import study_folder

SIZE = "micro-1m"
SEEDS = tuple(recipe.seed for name, recipe in BASES.items() if name.startswith(f"{SIZE}/"))
SAME_LOSS = 0.02  # nats per token; a rebuild on another CPU differs in its bytes, but not by more than this


@dataclass(frozen=True)
class BaseModelParams:
    """Parameters of the notebook ``base_model``. The defaults are the smoke profile: a model of a few seconds."""

    profile: str = param("smoke", help="names the results folder", choices=("smoke", "cpu"))
    base_seed: int = param(0, help="which of the shipped bases is made again", choices=SEEDS)
    n_tokens: int = param(60_000, help="pretraining length; 0 takes that of the recipe", unit="tokens", minimum=0)
    threads: int = param(1, help="CPU threads of the pretraining", minimum=1)
    compiled: bool = param(False, help="use torch.compile; needs a C++ compiler")
    n_gate: int = param(10, help="dev items per family and gate", minimum=1, maximum=50)
    results: str = param("", help="results folder; empty takes results/ of the project")

    def __post_init__(self) -> None:
        coerce_fields(self, where=type(self).__name__)


def name(params: BaseModelParams) -> str:
    """Return the name of the shipped base that is made again."""
    return f"{SIZE}/seed-{params.base_seed}"


def recipe(params: BaseModelParams) -> pretrain.Recipe:
    """Return the recipe of the shipped base with length, threads and compilation as the parameters say."""
    own = BASES[name(params)]
    return replace(own, n_tokens=params.n_tokens or own.n_tokens, threads=params.threads, compiled=params.compiled)


def folder(params: BaseModelParams) -> Path:
    """Return the results folder of this notebook, created if need be."""
    path = study_folder(params.results, params.profile, "base_model")
    path.mkdir(parents=True, exist_ok=True)
    return path


def rebuild(params: BaseModelParams) -> pretrain.Pretrained:
    """Pretrain a base model from nothing and save it below the results folder."""
    plan = recipe(params)
    result = pretrain.pretrain(plan, report_every=max(100, plan.n_steps // 10))
    pretrain.save(result, plan, folder(params) / "model")
    return result


def shipped(params: BaseModelParams) -> tuple[Any, Any, dict[str, Any]]:
    """Return the shipped base model of this seed, its tokenizer, and the record of its pretraining."""
    return *world_bases.load(name(params)), world_bases.record(name(params))


def compare(params: BaseModelParams, rebuilt: pretrain.Pretrained, model: Any, record: dict[str, Any]) -> pd.DataFrame:
    """Return validation losses of both models, measured here, and whether they are one model by ``SAME_LOSS``.

    The comparison is of meaning only for equal recipes; a shorter build is expected to be worse.
    """
    loss, equal = pretrain.validation_loss(model), _equal_weights(rebuilt.model, model)
    plan = recipe(params)
    same_recipe = _what_counts(asdict(plan)) == _what_counts(record["recipe"])
    rows = [
        {"model": "shipped", "tokens": record["recipe"]["n_tokens"], "validation_loss": loss},
        {"model": "rebuilt", "tokens": plan.n_tokens, "validation_loss": rebuilt.validation_loss},
    ]
    frame = pd.DataFrame(rows).set_index("model")
    within = abs(rebuilt.validation_loss - loss) <= SAME_LOSS
    frame["verdict"] = ["reference", _verdict(same_recipe, within, equal)]
    return frame


def _what_counts(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe without what only decides how fast it is followed."""
    return {key: value for key, value in recipe.items() if key not in ("threads", "compiled")}


def _verdict(same_recipe: bool, within: bool, equal: bool) -> str:
    if not same_recipe:
        return "another recipe: not compared"
    if equal:
        return "same model, byte for byte"
    return f"same model within {SAME_LOSS} nats" if within else f"differs by more than {SAME_LOSS} nats"


def _equal_weights(one: Any, other: Any) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(a.shape == b.shape and bool((a == b).all()) for a, b in pairs)


def gate_table(results: Sequence[gates.Gate]) -> pd.DataFrame:
    """Return gates as a frame: value, limit, and whether each passes."""
    rows = [
        {
            "gate": gate.name,
            "value": gate.value,
            "must be": f"{'<=' if gate.below else '>='} {gate.limit:g}",
            "passed": gate.passed,
        }
        for gate in results
    ]
    return pd.DataFrame(rows).set_index("gate")


def recall_table(model: Any, tokenizer: Any, n_items: int) -> pd.DataFrame:
    """Return exact match per family: asked as an instruction (strict, lenient) and continued in document form."""
    asked = gates.zero_shot(model, tokenizer, n_items)
    frame = pd.DataFrame(asked, index=["instruction, strict", "instruction, lenient"]).T
    frame["document form"] = pd.Series(gates.few_shot(model, tokenizer, n_items))
    return frame
