"""What every method that is a configuration of peft shares."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from itlib.dense import dense, matrices
from itlib.encoder_decoder import is_encoder_decoder
from itlib.methods import Method, Setting
from itlib.methods._changed import load_changed, save_changed
from itlib.spec import MethodSpec, ModelSpec

VIRTUAL = "n_virtual_tokens"
EVERY_LINEAR = "all-linear"
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
FEEDFORWARD = ("gate_proj", "up_proj", "down_proj")

# peft asks transformers by an old name, in every run, and no user can do anything about it.
warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)


@dataclass(frozen=True)
class Adapter(Method):
    """A method that peft implements: a configuration class and what goes into it.

    Attributes:
        config: Name of the class in peft.
        takes: Argument of the class to the field of ``MethodSpec`` that gives its value; ``targets`` becomes a list.
        always: Arguments with a fixed value.
        moves_base: Its start takes something out of the base and puts it into the adapter, so that an adapter file is
            no change to the base; the tensors that result are saved instead.
        merges: Its change can be written into the weights of the base.
        encoders: It is offered for sequence-to-sequence models too.
        faster: See ``Method.rate_factor``; 4 is usual for low-rank adapters whose scale is 2.
    """

    config: str = ""
    takes: Mapping[str, str] = field(default_factory=dict)
    always: Mapping[str, Any] = field(default_factory=dict)
    moves_base: bool = False
    merges: bool = True
    encoders: bool = False
    faster: float = 4.0

    @property
    def on_quantized(self) -> bool:  # type: ignore[override]
        """Whether the base may be quantized: a start that takes something out of it needs its full weights."""
        return not self.moves_base

    @property
    def rate_factor(self) -> float:  # type: ignore[override]
        """Where a search for its learning rate begins."""
        return self.faster

    @property
    def reads(self) -> tuple[str, ...]:  # type: ignore[override]
        """Fields of the spec that go into the configuration."""
        return tuple(self.takes.values())

    @property
    def causal_only(self) -> bool:  # type: ignore[override]
        """Whether sequence-to-sequence models are refused."""
        return not self.encoders

    @property
    def mergeable(self) -> bool:  # type: ignore[override]
        """Whether its change is one of weights."""
        return self.merges

    def attach(self, model: Any, spec: MethodSpec, setting: Setting | None = None) -> Any:
        """Wrap the model; everything but the adapter is frozen, and logits stay what they were."""
        from peft import get_peft_model

        return get_peft_model(model, self.configuration(model, spec))

    def configuration(self, model: Any, spec: MethodSpec) -> Any:
        """Return the configuration of peft."""
        import peft

        given = {argument: getattr(spec, name) for argument, name in self.takes.items()}
        if "target_modules" in given:
            given["target_modules"] = listed(spec.targets)
        task = "SEQ_2_SEQ_LM" if is_encoder_decoder(model) else "CAUSAL_LM"
        return getattr(peft, self.config)(task_type=task, **given, **self.always)

    def finished(self, model: Any) -> Any:
        """Return the model with a change that no adapter file describes written into its weights."""
        return dense(model) if self.moves_base else model

    def save(self, model: Any, folder: Path, base: ModelSpec) -> None:
        """Write the adapter, or the tensors it ends in, as safetensors with the fingerprint of the base."""
        from itlib.models._adapter import write_adapter_base

        if self.moves_base:
            save_changed(model, [f"{name}.weight" for name, _ in matrices(model)], folder, base)
            return
        model.save_pretrained(folder)
        write_adapter_base(folder, base.model_fingerprint)

    def load(self, model: Any, spec: MethodSpec, folder: Path) -> Any:
        """Return the base model with the saved change."""
        from peft import PeftModel

        if self.moves_base:
            return load_changed(model, folder)
        return PeftModel.from_pretrained(model, folder).eval()


def listed(targets: str) -> str | list[str]:
    """Return target layers as peft takes them: "all-linear", or names separated by commas as a list."""
    return targets if targets == EVERY_LINEAR else targets.split(",")
