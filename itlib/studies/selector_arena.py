"""Study 2b: every selector of the library in one arena, and what single papers claim about theirs.

All arms take the same share of the same pools and train for equally many steps from the same bases, so that they differ
in the selector alone. Arms that answer for one paper only are run in redundant pools, the kind that papers have; a few
are run again at the share their paper speaks of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from itlib.errors import InputError, did_you_mean
from itlib.result import RunResult
from itlib.schema import param
from itlib.selected import with_notes
from itlib.spec import RunSpec, with_fields
from itlib.studies import selecting
from itlib.studies.chosen import Designs, arm_frame, check_designs, distinct, run_designs
from itlib.studies.common import Run, check_unique, variant
from itlib.studies.selecting import SelectingParams, arm, check_selectors, choose, settings
from itlib.workbench import WARM

__all__ = [
    "ARMS",
    "CLAIMS",
    "UNEQUAL",
    "SelectorArenaParams",
    "candidates",
    "choose",
    "collect",
    "designs",
    "distinct",
    "evidence",
    "pending",
    "run_designs",
    "variant",
]

CLAIMS = (
    "SE3", "SE5", "SE6", "SE6-noisy", "SE8", "SE10", "SE12", "SE15", "SE15-noisy", "SE17", "SE18", "SE18-noisy",
    "SE21", "SE21-noisy", "SE22", "SE22-full", "SE23", "SE24", "SE28", "SE29", "SE30", "SE31", "SE31-noisy",
)  # fmt: skip
UNEQUAL = {
    "tokens": "selectors prefer longer or shorter examples; steps are equal",
    "supervised": "selectors prefer longer or shorter examples; steps are equal",
}  # budgets that differ between arms, and why
RANDOM, FULL, REDUNDANT = "random", "full", "redundant"
QUARTER = (RANDOM, "ifd top", "ic_ifd")
FIFTH = ("iter_select_tune",)
NOTES = ("leave_one_out_r2",)  # what selectors tell about themselves and a claim reads


@dataclass(frozen=True)
class Arm:
    """One way to select.

    Attributes:
        selector: "name" or "name option=value ...".
        group: What the selector goes by, a colour in figures: scores of the model itself, coverage of the pool, dev
            items of the seed's target families, or what the others are not told, such as labels ("informed").
        fields: Further spec fields, such as a band or quotas. Without ``target_families`` a selector sees those of the
            seed; none means all standard families.
    """

    selector: str
    group: str
    fields: Mapping[str, Any] = field(default_factory=dict)


MIDDLE, BOTTOM = {"selection_band": "middle"}, {"selection_band": "bottom"}
EVERYTHING = {"target_families": ()}
# to an untuned base every instruction is misleading and every answer wrong, and every category helps every other to the
# form of an answer; tuned on 100 examples it tells instructions apart, and on 400 it has some answers right
WARM_SCORER, ANSWERING_SCORER = {"scorer": "warm-100"}, {"scorer": "warm-400"}
ARMS: dict[str, Arm] = {
    RANDOM: Arm("random", "baseline"),
    FULL: Arm("random", "baseline"),
    "stratified": Arm("stratified", "baseline"),
    "longest": Arm("longest", "baseline"),
    "shortest": Arm("shortest", "baseline"),
    "perplexity top": Arm("perplexity_response", "self-scoring"),
    "perplexity middle": Arm("perplexity_response", "self-scoring", MIDDLE),
    "perplexity bottom": Arm("perplexity_response", "self-scoring", BOTTOM),
    "ifd top": Arm("ifd_loss", "self-scoring", WARM_SCORER),
    "ifd bottom": Arm("ifd_loss", "self-scoring", {**BOTTOM, **WARM_SCORER}),
    "ifd per family": Arm("ifd_loss", "self-scoring", {"stratified": True, **WARM_SCORER}),
    "ifd_ppl": Arm("ifd_ppl", "self-scoring", WARM_SCORER),
    "ifd_ppl bottom": Arm("ifd_ppl", "self-scoring", {**BOTTOM, **WARM_SCORER}),
    "ic_ifd": Arm("ic_ifd", "self-scoring", WARM_SCORER),
    "ic_ifd bottom": Arm("ic_ifd", "self-scoring", {**BOTTOM, **WARM_SCORER}),
    "superfiltering_diverse": Arm("superfiltering_diverse", "self-scoring", WARM_SCORER),
    "lp hard": Arm("lp", "self-scoring"),
    "lp easy": Arm("lp hardest=false", "self-scoring"),
    "lp_app": Arm("lp_app", "self-scoring"),
    "lp_app easy": Arm("lp_app hardest=false", "self-scoring"),
    "nuggets top": Arm("nuggets", "self-scoring"),
    "nuggets bottom": Arm("nuggets", "self-scoring", BOTTOM),
    "codec_gap": Arm("codec_gap warm=400", "informed"),
    "codec_gap bottom": Arm("codec_gap warm=400", "informed", BOTTOM),
    "k_means_random": Arm("k_means_random", "coverage"),
    "kmq": Arm("kmq", "coverage"),
    "iterative_kmq": Arm("iterative_kmq", "coverage"),
    "k_center": Arm("k_center", "coverage"),
    "facility_location": Arm("facility_location", "coverage"),
    "deita": Arm("deita", "informed"),
    "deita unfiltered": Arm("deita tau=1.0", "informed"),
    "instruct_mining": Arm("instruct_mining", "informed", EVERYTHING),
    "iter_select_tune": Arm("iter_select_tune", "informed", ANSWERING_SCORER),
    "category_interaction": Arm("category_interaction", "informed", {**EVERYTHING, **WARM_SCORER}),
    "less_adam": Arm("less_adam", "targets"),
    "less_sgd": Arm("less_sgd", "targets"),
    "less_sgd untuned": Arm("less_sgd no_warmup=true", "targets"),
    "bm25": Arm("bm25", "targets"),
    "rds": Arm("rds", "targets"),
    "got_d": Arm("got_d", "targets"),
    "mona": Arm("mona", "targets"),
    "mona raw": Arm("mona representation=raw similarity=cosine", "targets"),
    "oracle_clean": Arm("oracle_clean", "informed"),
    "oracle_loo": Arm("oracle_loo warm=100", "targets"),
}


@dataclass(frozen=True)
class SelectorArenaParams(SelectingParams):
    """Parameters of ``02b_selectors``."""

    pool_size: int = param(160, help="examples in the micro-world pool", minimum=2)
    arms: tuple[str, ...] = param(
        (RANDOM, FULL, "ifd top", "ifd bottom", "rds"),
        help="arms in every kind of pool: names of the table in the study",
    )
    redundant_arms: tuple[str, ...] = param(("k_means_random",), help="further arms, in redundant pools alone")
    quarter: int = param(40, help="examples of a second size of random, IFD and IC-IFD; 0 leaves it out", minimum=0)
    fifth: int = param(32, help="examples of a second size of iter_select_tune; 0 leaves it out", minimum=0)
    scorers: tuple[str, ...] = param(("base",), help="base or warm-N: whose IFD scores are told by kind of corruption")
    gradient_rows: int = param(20, help="pool examples whose gradient norms are measured; 0 leaves it out", minimum=0)
    in_context_items: int = param(10, help="instructions the base is asked after one demonstration; 0: none", minimum=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_unique(self, "arms", "scorers")
        if self.redundant_arms:
            check_unique(self, "redundant_arms")
        _check_arms(self)
        _check_sizes(self)
        for name in self.scorers:
            if name != "base" and not WARM.fullmatch(name):
                raise InputError(f"scorers: '{name}' is neither base nor warm-N, such as warm-100")


def _check_arms(params: SelectorArenaParams) -> None:
    for key in ("arms", "redundant_arms"):
        for name in getattr(params, key):
            if name not in ARMS:
                raise InputError(f"{key}: '{name}' is no arm of this study{did_you_mean(name, ARMS)}")
            check_selectors(key, [ARMS[name].selector])
    if RANDOM not in params.arms:
        raise InputError("arms: 'random' is missing, and everything is compared with it")
    if twice := [name for name in params.redundant_arms if name in params.arms]:
        raise InputError(f"redundant_arms: {twice} are also in arms, which are run in every kind of pool")
    for key in ("redundant_arms", "quarter", "fifth"):
        if getattr(params, key) and REDUNDANT not in params.kinds:
            raise InputError(f"{key}: is about redundant pools, and kinds has none; leave it empty or 0")


def _check_sizes(params: SelectorArenaParams) -> None:
    for key in ("n_train", "quarter", "fifth"):
        if getattr(params, key) >= params.pool_size:
            size = getattr(params, key)
            raise InputError(f"{key}: {size} leaves nothing to select; it must be below pool_size {params.pool_size}")
    for key in ("quarter", "fifth"):
        if getattr(params, key) == params.n_train:
            raise InputError(f"{key}: {params.n_train} is n_train, at which these selectors have arms already")


def names(params: SelectorArenaParams, kind: str) -> list[str]:
    """Return the arms of one kind of pool at ``n_train``, and the whole pool, in the order of the table."""
    asked = {*params.arms, *(params.redundant_arms if kind == REDUNDANT else ())}
    return [name for name in ARMS if name in asked]


def designs(params: SelectorArenaParams, setting: Mapping[str, Any]) -> Designs:
    """Return the test runs by arm: "<kind>/<name>" at ``n_train``, "redundant/<name> (<examples>)" at other sizes."""
    cells = {
        f"{kind}/{name}": _runs(params, setting, kind, name, params.pool_size if name == FULL else params.n_train)
        for kind in params.kinds
        for name in names(params, kind)
    }
    for size, group in ((params.quarter, QUARTER), (params.fifth, FIFTH)):
        for name in group if size else ():
            cells[f"{REDUNDANT}/{name} ({size})"] = _runs(params, setting, REDUNDANT, name, size)
    return cells


def _runs(params: SelectorArenaParams, setting: Mapping[str, Any], kind: str, name: str, n_train: int) -> list[RunSpec]:
    selector, *options = ARMS[name].selector.split()
    runs = arm(params, setting, kind, selector, n_train=n_train, selector_options=tuple(options))
    return [with_fields(run, **ARMS[name].fields) for run in runs]


def candidates(params: SelectorArenaParams) -> list[RunSpec]:
    """Return the dev runs that choose a rate, the same for every study of selection with these parameters.

    Raises:
        InputError: Something in the whole study cannot run.
    """
    check_designs(designs(params, settings(params)[0]))
    return selecting.candidates(params)


def evidence(results: Mapping[str, Sequence[RunResult]]) -> pd.DataFrame:
    """Return ``run_frame`` by arm and below it, with ``kind`` "note", what selectors told about themselves."""
    return with_notes(arm_frame(results), results, NOTES)


def collect(params: SelectorArenaParams, run: Run) -> list[RunResult]:
    """Run the whole study through ``run`` (specs -> results) and return the results of the test runs."""
    setting = choose(params, run(candidates(params)))
    return distinct(run_designs(designs(params, setting), run))


def pending(params: SelectorArenaParams, known: Sequence[RunSpec]) -> str:
    """Return what a plan cannot know yet, in words."""
    n_test = len({spec for runs in designs(params, settings(params)[0]).values() for spec in runs})
    return f"{n_test} test runs follow once dev has chosen among {len(settings(params))} settings"
