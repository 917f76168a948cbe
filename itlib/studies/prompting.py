"""Study 3f: prompting with demonstrations against tuning, on what was tuned on and on what was not.

An untuned base is asked after k solved examples, in the form of lists, which it has read, and in that of a chat, which
it has not; a tuned model is asked in a chat, as it is and after demonstrations too. All get
the same items: of families that tuning showed and of families that it never did, in wrappers that it showed and in new
ones. Demonstrations are of the item's own family, in wrappers that tuning shows, and the same in every arm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from itlib.errors import InputError
from itlib.frame import item_frame
from itlib.microworld import world
from itlib.microworld.phrasings import phrasings
from itlib.packing import TRIMMED
from itlib.registry import families as registry
from itlib.result import RunResult
from itlib.schema import param
from itlib.spec import RunSpec, with_fields
from itlib.studies import chosen
from itlib.studies.chosen import ChosenParams, Designs, check_designs, choose, distinct, run_designs, tuned_base
from itlib.studies.common import Run, check_unique, replicates, variant

__all__ = [
    "CLAIMS",
    "UNEQUAL",
    "PromptingParams",
    "candidates",
    "choose",
    "collect",
    "compared",
    "designs",
    "distinct",
    "evidence",
    "pending",
    "run_designs",
    "variant",
]

CLAIMS = ("S031",)
UNEQUAL = {
    "tokens": "families differ in length",
    "supervised": "families differ in length",
}  # budgets that differ between arms, and why
BASE, CHAT = "base", "base in chat"
TUNED, HELD_OUT = "tuned", "held out"
OBSERVED, WRAPPER = "observed", "unobserved_wrapper"
SETS = (OBSERVED, WRAPPER)
ACCURACY, SIMILARITY = "accuracy", "similarity"


@dataclass(frozen=True)
class PromptingParams(ChosenParams):
    """Parameters of ``03f_prompting``."""

    cpu_kernel: ClassVar[str] = TRIMMED

    shots: tuple[int, ...] = param((0, 2), help="demonstrations given to the untuned base, two arms each", minimum=0)
    sizes: tuple[int, ...] = param((16, 64), help="training examples of the tuned models, one arm each", minimum=1)
    compared_shots: int = param(2, help="demonstrations that tuned models get as well; one of shots", minimum=1)
    asked: tuple[str, ...] = param(("colour", "swap"), help="families that are tuned on and asked")
    held_out: tuple[str, ...] = param(("plural", "longer"), help="families that are asked and never tuned on")
    items: int = param(3, help="items of a family, the same in every arm and wrapper", minimum=1)
    asked_phrasings: int = param(1, help="phrasings per set of wrappers that every item is asked in", minimum=1)
    compare_layers: bool = param(True, help="compare layers of models; keeps the weights of the largest size")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "shots", "sizes", "asked", "held_out")
        if self.data != "microworld":
            raise InputError(f"data: '{self.data}' has no families to demonstrate; this study needs microworld")
        if self.compared_shots not in self.shots or 0 not in self.shots:
            raise InputError(f"shots: {list(self.shots)} must hold 0 and the {self.compared_shots} of compared_shots")
        _check_families(self)


def _check_families(params: PromptingParams) -> None:
    for key in ("asked", "held_out"):
        for name in getattr(params, key):
            if registry.get(name).constraints:
                raise InputError(f"{key}: '{name}' is open-ended; accuracy needs one right response")
            most = min(len(phrasings(name, which)) for which in SETS)
            if params.asked_phrasings > most:
                raise InputError(f"asked_phrasings: '{name}' has {most} in each set, not {params.asked_phrasings}")
    if both := sorted(set(params.asked) & set(params.held_out)):
        raise InputError(f"held_out: '{both[0]}' is in asked too; a family is tuned on or it is not")
    if strangers := sorted(set(params.asked) - set(world.default_families())):
        raise InputError(f"asked: '{strangers[0]}' is not part of the pool; name a standard family")


def candidates(params: PromptingParams) -> list[RunSpec]:
    """Return the choice runs of ``01_data_scaling``; empty when there is nothing to choose.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    check_designs(designs(params, {}))
    return chosen.candidates(params)


def designs(params: PromptingParams, setting: Mapping[str, Any]) -> Designs:
    """Return the test runs by arm.

    * "base, <k> shots": the untuned base after k demonstrations, as entries of a list.
    * "base in chat, <k> shots": the same as turns of a chat.
    * "<n> examples, 0 shots" and "<n> examples, <k> shots": tuned on the standard families without those held out; the
      two share one training. Weights of the largest size are kept, for the comparison of layers.
    """
    base = with_fields(
        tuned_base(params, setting),
        families=tuple(name for name in world.default_families() if name not in params.held_out),
        eval_families=(*params.asked, *params.held_out),
        eval_phrasing_set="+".join(SETS),
        n_eval=params.items,
        n_eval_phrasings=params.asked_phrasings,
    )
    bases = {BASE: "list", CHAT: "turns"}
    cells = {
        arm_name(name, k): with_fields(base, n_train=0, n_shots=k, shot_form=form)
        for name, form in bases.items()
        for k in params.shots
    }
    for n in params.sizes:
        kept = params.compare_layers and n == max(params.sizes)
        for k in (0, params.compared_shots):
            cells[arm_name(tuned(n), k)] = with_fields(base, n_train=n, n_shots=k, keep_weights=kept)
    return {name: replicates([spec], params.seeds, params.base_seed) for name, spec in cells.items()}


def tuned(n_train: int) -> str:
    """Return the name of the model tuned on so many examples."""
    return f"{n_train} examples"


def arm_name(model: str, n_shots: int) -> str:
    """Return the name of the arm of a model (``BASE``, ``CHAT`` or ``tuned``) that is asked after demonstrations."""
    return f"{model}, {n_shots} shots"


def compared(params: PromptingParams) -> tuple[str, ...]:
    """Return the arms whose layers are compared: base and largest size, without and with demonstrations."""
    models = (BASE, tuned(max(params.sizes)))
    return tuple(arm_name(model, k) for model in models for k in (0, params.compared_shots))


def evidence(results: Mapping[str, Sequence[RunResult]], similar: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return one row per run, family and set of wrappers, and below them how similar layers are.

    Columns: ``kind`` ("accuracy"), ``arm``, ``seed``, ``digest``, ``status``, ``model``, ``n_train`` (0 for the base),
    ``n_shots``, ``family``, ``familiarity``, ``role`` ("tuned" or "held out"), ``set``, ``value`` (share of items whose
    answer is right word by word, whatever follows it: a base ends an entry of a list in more than one way), ``strict``
    (exact match, the end of the answer included) and ``loss`` (nats per supervised token). A run that did not finish is
    one row without a value. Rows of kind "similarity" are those of ``prompting_layers.similarities``.
    """
    parts = [_rows(name, result) for name, arm in results.items() for result in arm]
    parts += [similar.assign(kind=SIMILARITY, status="done")] if similar is not None and len(similar) else []
    return pd.concat(parts, ignore_index=True)


def _rows(arm: str, result: RunResult) -> pd.DataFrame:
    spec = result.spec
    about = {"kind": ACCURACY, "arm": arm, "seed": spec.seed, "status": result.status, "model": spec.base.model}
    about |= {"n_train": spec.data.n_train, "n_shots": spec.evaluate.n_shots}
    items = item_frame([result])
    items = items[items["phrasing"].str.contains("/")] if len(items) else items
    if not len(items):
        return pd.DataFrame([about])
    grouped = items.assign(set=items["phrasing"].str.split("/").str[0]).groupby(
        ["digest", "family", "familiarity", "set"], sort=False
    )
    sums = grouped[["nll", "n_tokens"]].sum()
    found = grouped[["exact_match_lenient", "exact_match"]].mean()
    rows = found.set_axis(["value", "strict"], axis=1).assign(loss=sums["nll"] / sums["n_tokens"])
    # the spec of a base names the pool of its seed, unused: roles mean the same families in every arm
    role = {name: TUNED if name in spec.data.families else HELD_OUT for name in spec.evaluate.eval_families}
    return rows.reset_index().assign(**about, role=lambda found: found["family"].map(role))


def collect(params: PromptingParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    return distinct(run_designs(designs(params, choose(params, run(candidates(params)))), run))


def pending(params: PromptingParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    n_test = len({spec for arm in designs(params, {}).values() for spec in arm})
    return f"{n_test} test runs follow once dev has chosen among {len(params.learning_rates)} rates"
