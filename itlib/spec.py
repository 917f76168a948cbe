"""What a run is: frozen, fully resolved, pure data with a content digest.

A spec holds plain strings, numbers, booleans and tuples. Leaf names are unique across its parts, so a
grid, a data frame and a params file all speak the same flat words (``n_train``, ``learning_rate``).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from itlib.errors import InputError, did_you_mean
from itlib.schema import coerce_fields

WORLD_VERSION = 2


def _runtime(default: Any) -> Any:
    """A field that cannot move a number and so stays out of the digest."""
    return field(default=default, metadata={"identity": False})


def _added(default: Any) -> Any:
    """A field that joined after results were published. At its default it stays out of the digest.

    A spec written before the field existed keeps its address, and what was computed is found. In return the default
    must always mean what runs did before there was the field, and can never change.
    """
    return field(default=default, metadata={"added": True})


class _Part:
    def __post_init__(self) -> None:
        coerce_fields(self, where=type(self).__name__)


@dataclass(frozen=True)
class ModelSpec(_Part):
    """The base model. ``model`` is a registered name; ``model_path`` is a folder or hub id for "local" and "hub".

    ``initialisation`` "random" keeps the architecture and draws all weights anew from a stream of the run's seed.
    ``quantization`` "4bit" holds the frozen weights in four bits (QLoRA), for adapters on an NVIDIA GPU.
    """

    model: str = "micro-1m"
    base_seed: int = 0
    initialisation: str = "pretrained"
    model_revision: str = ""
    model_fingerprint: str = ""
    dtype: str = "float32"
    attention: str = "sdpa"
    trust_remote_code: bool = False
    quantization: str = _added("none")
    model_path: str = _runtime("")


@dataclass(frozen=True)
class DataSpec(_Part):
    """The instruction data a run trains on: a pool, and the selector that takes ``n_train`` examples from it.

    ``n_train`` 0 evaluates the base model without tuning. Beside the selected examples a run may train on a second
    part, the first ``n_mix`` examples of ``mix_families``, and on pretraining documents, ``pretraining_share`` of all
    sequences. The second part is phrased as the first unless ``mix_phrasing_set`` names another set.
    ``per_family_cap`` leaves a pool at most that many examples of a family (0: no limit).

    How the selector chooses: ``selector_options`` are "name=value"; ``selection_band`` and ``stratified`` (equal
    numbers per family) belong to selectors that score; ``scorer`` is "base", "warm-N" (tuned on N random examples of
    the pool) or another model's name; ``target_families`` and ``n_targets`` (per family) are what target-aware
    selectors aim at. ``augmentation`` changes the selected examples. ``describe_selection`` takes down what was
    selected, in the totals of the run.
    """

    source: str = "microworld"
    data_revision: str = ""
    data_fingerprint: str = ""
    families: tuple[str, ...] = ()
    phrasing_set: str = "observed"
    n_phrasings: int = 0
    n_operands: int = 0
    imbalance: float = 0.0
    second_language: float = 0.0
    response_wording: str = "short"
    response_style: str = "plain"
    noise_kinds: tuple[str, ...] = ()
    noise_rate: float = 0.0
    pool_size: int = 3200
    selector: str = "random"
    n_train: int = 100
    per_family_cap: int = 0
    mix_families: tuple[str, ...] = ()
    n_mix: int = 0
    pretraining_share: float = 0.0
    max_length: int = 128
    on_bad_rows: str = "refuse"
    selector_options: tuple[str, ...] = _added(())
    selection_band: str = _added("top")
    stratified: bool = _added(False)
    scorer: str = _added("base")
    target_families: tuple[str, ...] = _added(())
    n_targets: int = _added(8)
    augmentation: str = _added("none")
    augmentation_options: tuple[str, ...] = _added(())
    mix_phrasing_set: str = _added("")
    describe_selection: bool = _added(False)
    data_path: str = _runtime("")


@dataclass(frozen=True)
class MethodSpec(_Part):
    """Which weights move and how. ``rank``, ``alpha`` and ``targets`` are used by low-rank methods only.

    ``method_options`` are "name=value" options of the method. ``n_virtual_tokens`` is the length of the soft prompt of
    methods "prompt" and "prefix". ``first_steps`` > 0 tunes all weights on
    responses for so many steps at ``first_rate`` before the method starts; see ``itlib.stages``.
    """

    method: str = "full"
    train_embeddings: bool = False
    rank: int = 16
    alpha: float = 32.0
    targets: str = "all-linear"
    n_virtual_tokens: int = _added(20)
    first_steps: int = _added(0)
    first_rate: float = _added(1e-3)
    method_options: tuple[str, ...] = _added(())


@dataclass(frozen=True)
class TrainSpec(_Part):
    """Optimisation. ``budget`` counts ``budget_unit``; the schedule spans the steps that follow from it.

    ``order`` is a name of ``ordering.ORDERS``; ``kept_fraction`` belongs to "dual_stage". ``objective`` is what is
    minimised, a registered name; its options are "name=value". ``rounds`` other than "one" train on one family after
    another, each with an equal part of the budget; see ``itlib.continual``. ``activation_checkpointing`` computes the
    activations of a block again in the backward pass: less memory, more time, and the same numbers. ``parallel`` other
    than "one" trains in ``processes`` processes, spread evenly over ``nodes``; see ``itlib.parallel``. Sums are then
    taken in another order, so numbers move in their last digits with the processes, and not with the nodes. Runs of our
    loop with at least ``compile_after`` steps have the model compiled first, 0: none; that moves last digits, too.
    """

    learning_rate: float = 1e-3
    schedule: str = "linear"
    warmup_fraction: float = 0.03
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    batch_size: int = 32
    micro_batch_tokens: int = 1024
    budget: float = 150.0
    budget_unit: str = "steps"
    order: str = "mixed"
    kept_fraction: float = 0.0625
    curve_points: int = 10
    trainer: str = "auto"
    objective: str = _added("response")
    objective_options: tuple[str, ...] = _added(())
    rounds: str = _added("one")
    activation_checkpointing: bool = _runtime(False)
    parallel: str = _added("one")
    processes: int = _added(1)
    nodes: int = _runtime(1)
    compile_after: int = _added(0)


@dataclass(frozen=True)
class EvalSpec(_Part):
    """What is measured after training, and on which split. ``n_eval`` is items per family.

    The default phrasings are those that no pool holds, so test items are new in entities, operands and templates.
    ``n_eval_phrasings`` > 0 asks every item in that many phrasings of every set, sets joined by "+"
    ("observed+negated"); those that the run was tuned on come first. 0 asks every item once. ``n_probes`` > 0 also
    measures during training, on ``probe_items`` dev items per family, at steps that ``probe_spacing`` places; see
    ``itlib.probes``.

    How answers are decoded: ``contrast`` is a kind of noisy instruction, of whose logits ``contrast_weight`` times are
    added (``itlib.contrast``); ``steering`` is the share of attention that the words of the instruction are to get
    (``itlib.steering``). ``noisy_prompt`` asks every item with a noisy instruction in place of its own. Noisy
    instructions are made of the clean one, whatever the perturbation.

    ``free_answers`` lets the model answer items of one right response as it does open-ended ones: what it says, in at
    most ``max_new_tokens`` tokens, is kept, and ``graded`` is 1 where it is right. ``injection`` puts another task's
    instruction into every item, at each of several places joined by "+" ("absent+start+end"; "absent" asks the item as
    it is); see ``itlib.injections``. Such items are answered freely.

    ``option_score`` is what an item with options compares, "sum" or "mean" log-likelihood; see ``itlib.options``.
    ``answers`` is "generated" where the text that the model generates is to match in every other closed item, and not
    its most likely token after each of the right ones ("teacher_forced"); see ``itlib.evaluate``.

    ``measures`` are read off the tuned model beside its scores; see ``itlib.measures``. ``edit`` changes the tuned
    weights before any of this, by ``edit_scale``; see ``itlib.edits``.

    ``n_shots`` puts that many solved examples of the family before every item; the last answer alone is scored.
    ``shot_form`` is "turns" where they are earlier turns of a conversation, and "list" where they and the question are
    entries of a list, without a chat template; see ``itlib.template``.
    """

    split: str = "test"
    n_eval: int = 50
    eval_families: tuple[str, ...] = ()
    eval_phrasing_set: str = "unobserved"
    eval_language: str = "first"
    perturbation: str = "none"
    severity: float = 0.0
    n_reference: int = 200
    n_probes: int = 0
    probe_items: int = 5
    n_eval_phrasings: int = _added(0)
    contrast: str = _added("none")
    contrast_weight: float = _added(0.0)
    noisy_prompt: str = _added("none")
    steering: float = _added(0.0)
    probe_spacing: str = _added("log")
    free_answers: bool = _added(False)
    max_new_tokens: int = _added(32)
    injection: str = _added("none")
    option_score: str = _added("sum")
    answers: str = _added("teacher_forced")
    n_shots: int = _added(0)
    shot_form: str = _added("turns")
    measures: tuple[str, ...] = _added(())
    edit: str = _added("none")
    edit_scale: float = _added(1.0)


@dataclass(frozen=True)
class RunSpec(_Part):
    """One run: train one model once, evaluate it once.

    ``seed`` feeds every random stream; ``device`` is a device class ("cpu", "cuda"). ``components`` holds the
    versions of the registered components in use and is filled by ``resolve``.
    """

    base: ModelSpec = field(default_factory=ModelSpec)
    data: DataSpec = field(default_factory=DataSpec)
    tuning: MethodSpec = field(default_factory=MethodSpec)
    train: TrainSpec = field(default_factory=TrainSpec)
    evaluate: EvalSpec = field(default_factory=EvalSpec)
    seed: int = 0
    device: str = "cpu"
    threads: int = 1
    components: tuple[str, ...] = ()
    keep_weights: bool = _runtime(False)


PARTS = ("base", "data", "tuning", "train", "evaluate")


def _leaves() -> dict[str, str]:
    """Map every leaf field name to the part that owns it ("" for RunSpec itself)."""
    owner = {f.name: "" for f in dataclasses.fields(RunSpec) if f.name not in PARTS}
    for part in PARTS:
        for f in dataclasses.fields(RunSpec.__dataclass_fields__[part].default_factory):
            if f.name in owner:
                raise TypeError(f"spec field '{f.name}' appears in two parts")
            owner[f.name] = part
    return owner


LEAVES: dict[str, str] = _leaves()


def with_fields(spec: RunSpec, **fields: Any) -> RunSpec:
    """Return a copy with the named leaf fields replaced.

    Raises:
        InputError: A name is not a field of the spec, or a value is not of its type.
    """
    by_part: dict[str, dict[str, Any]] = {}
    for name, value in fields.items():
        if name not in LEAVES:
            raise InputError(f"RunSpec has no field '{name}'{did_you_mean(name, LEAVES)}")
        by_part.setdefault(LEAVES[name], {})[name] = value
    own = by_part.pop("", {})
    parts = {part: dataclasses.replace(getattr(spec, part), **values) for part, values in by_part.items()}
    return dataclasses.replace(spec, **own, **parts)


def flatten(spec: RunSpec) -> dict[str, Any]:
    """Return all leaf fields by name, in declaration order."""
    return {name: getattr(getattr(spec, part) if part else spec, name) for name, part in LEAVES.items()}


def from_mapping(mapping: dict[str, Any]) -> RunSpec:
    """Rebuild a spec from the flat mapping that ``flatten`` gives (lists are taken for tuples)."""
    return with_fields(RunSpec(), **mapping)


def _identity(spec: RunSpec, *, training_only: bool) -> dict[str, Any]:
    identity: dict[str, Any] = {}
    for name, part in LEAVES.items():
        owner = getattr(spec, part) if part else spec
        if not owner.__dataclass_fields__[name].metadata.get("identity", True):
            continue
        if training_only and part == "evaluate":
            continue
        value = getattr(owner, name)
        if owner.__dataclass_fields__[name].metadata.get("added") and value == owner.__dataclass_fields__[name].default:
            continue
        if training_only and name == "components":
            value = tuple(item for item in value if not item.startswith(("perturbation ", "measure ", "edit ")))
        identity[name] = value
    return identity


def canonical_json(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True)


@functools.lru_cache(maxsize=4096)
def digest(spec: RunSpec) -> str:
    """Return the SHA-256 that addresses the scores of a run.

    Every default is written out before hashing, but those of fields that joined later (see ``_added``).
    """
    return hashlib.sha256(canonical_json(_identity(spec, training_only=False)).encode()).hexdigest()


def train_digest(spec: RunSpec) -> str:
    """Return the SHA-256 that addresses the trained weights: everything but the evaluation."""
    return hashlib.sha256(canonical_json(_identity(spec, training_only=True)).encode()).hexdigest()


def slug(spec: RunSpec) -> str:
    """Return a readable, file-safe name of a run; the digest, not the slug, is its identity."""
    words = (spec.base.model, spec.data.source, spec.tuning.method, spec.data.selector)
    text = "-".join(words) + f"-n{spec.data.n_train}-s{spec.seed}"
    return re.sub(r"[^A-Za-z0-9.-]+", "_", text)


def key(spec: RunSpec) -> str:
    """Return ``slug-digest12``, the folder name of a run."""
    return f"{slug(spec)}-{digest(spec)[:12]}"


def diff(left: RunSpec, right: RunSpec) -> dict[str, tuple[Any, Any]]:
    """Return the leaf fields in which two specs differ, as ``{name: (left, right)}``."""
    a, b = flatten(left), flatten(right)
    return {name: (a[name], b[name]) for name in LEAVES if a[name] != b[name]}


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Return the random stream of one purpose ("selection", "order", "initialisation") of one seed.

    Streams depend on the seed and the purpose alone, so every arm of a comparison shares them and
    adding a purpose never shifts another.
    """
    words = np.frombuffer(hashlib.sha256(purpose.encode()).digest()[:16], dtype=np.uint32)
    return np.random.default_rng(np.random.SeedSequence([seed, *map(int, words)]))
