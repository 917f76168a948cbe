"""Tuning methods: which weights move, and how.

A registered method is a frozen dataclass. Its keyword-only fields are its options, given as "name=value" texts
(``MethodSpec.method_options``), and it refuses values out of range when it is made. It answers three things:

    attach(model, spec, setting)  -> the model to train; exactly the tuned weights require gradients
    save(model, folder, base)     -> writes what the method changed, as safetensors; ``base`` is the base model's spec
    load(model, spec, folder)     -> the base model with a saved change applied, ready for evaluation

and says of itself, see ``Method``, which fields of the spec it reads and how it wants to be trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from itlib.errors import InputError, did_you_mean
from itlib.registry import methods
from itlib.schema import options
from itlib.spec import MethodSpec, TrainSpec
from itlib.template import Encoded

if TYPE_CHECKING:
    import torch

KEY = "method_options"
N_CALIBRATION = 256  # texts that a calibrated method reads before training


def _no_documents() -> Sequence[Encoded]:
    return ()


@dataclass(frozen=True, eq=False)
class Setting:
    """What a method may look at before training starts.

    Attributes:
        examples: The encoded training examples of the run.
        documents: Gives encoded pretraining documents that no evaluation uses, for methods that calibrate on what the
            base knows; called only by those.
        train: How the run trains.
        seed: Seed of the run; a method draws from a stream of its own.
        pad_id: Token id for padding.
        dtype: Precision of a forward pass.
        round: Which round of continual learning begins, from 0; see ``itlib.continual``.
        notes: Counts that the method adds to the totals of the run, such as tokens of a search before training.
    """

    examples: Sequence[Encoded] = ()
    documents: Callable[[], Sequence[Encoded]] = _no_documents
    train: TrainSpec = field(default_factory=TrainSpec)
    seed: int = 0
    pad_id: int = 0
    dtype: str = "float32"
    round: int = 0
    notes: dict[str, int] = field(default_factory=dict)

    def note(self, name: str, n: int) -> None:
        """Add to a count; rounds of continual learning share them, as they share the totals of a run."""
        self.notes[name] = self.notes.get(name, 0) + n


class Method:
    """What a method says of itself; the defaults are those of most.

    Attributes:
        reads: Fields of ``MethodSpec`` that move its numbers; all others take their defaults.
        own_optimizer: ``optimizer(model, train, n_steps, seed)`` gives the optimizer of a run; our loop only.
        causal_only: A sequence-to-sequence model is refused.
        mergeable: Its change can be written into the weights of the base, see ``itlib.dense``.
        documents: Whether it asks for ``Setting.documents``.
        on_quantized: It trains beside a base whose weights are held in few bits.
        rate_factor: How much larger its learning rates are than those of full fine-tuning, roughly: where a search for
            its rate begins. The search decides.
    """

    reads: ClassVar[tuple[str, ...]] = ()
    own_optimizer: ClassVar[bool] = False
    causal_only: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    documents: ClassVar[bool] = False
    rate_factor: ClassVar[float] = 1.0
    on_quantized: ClassVar[bool] = False

    def optimizer(self, model: Any, train: TrainSpec, n_steps: int, seed: int) -> torch.optim.Optimizer:
        """Return the optimizer of a run of ``n_steps``: AdamW on all weights that require gradients."""
        from itlib.train import adamw

        return adamw(model, train)

    def finished(self, model: Any) -> Any:
        """Return the tuned model as a saved change gives it back, so that scores are those of the stored weights."""
        return model

    def n_trained(self, model: Any) -> int:
        """Return how many numbers training may move."""
        return sum(p.numel() for p in model.parameters() if p.requires_grad)


def check_option(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse an option that is none of its choices."""
    if value not in choices:
        known = f"one of {', '.join(choices)}{did_you_mean(value, choices)}"
        raise InputError(f"{KEY}: {name} '{value}' is not {known}")


def method_of(spec: MethodSpec) -> Any:
    """Return the method of a run with its options.

    Raises:
        InputError: There is none of that name, an option is unknown or out of range.
    """
    method = methods.get(spec.method)
    return replace(method, **options(type(method), spec.method_options, spec.method, KEY))


def written_options(spec: MethodSpec) -> tuple[str, ...]:
    """Return the options of a run in one spelling: those that differ from their defaults, in their own order."""
    method, default = method_of(spec), methods.get(spec.method)
    values = [(item.name, getattr(method, item.name), getattr(default, item.name)) for item in fields(method)]
    return tuple(f"{name}={value}" for name, value, usual in values if value != usual)
