"""Low-rank adaptation through peft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from itlib.encoder_decoder import is_encoder_decoder
from itlib.registry import methods
from itlib.spec import MethodSpec, ModelSpec


class LoRA:
    """Train a low-rank update ``(alpha / rank) B A`` of the target linear layers; everything else is frozen.

    Source: LoRA: Low-Rank Adaptation of Large Language Models, section 4.1.
    """

    def attach(self, model: Any, spec: MethodSpec) -> Any:
        """Wrap the model with fresh adapters: A random, B zero, so the model starts unchanged."""
        from peft import LoraConfig, get_peft_model

        return get_peft_model(model, self._config(LoraConfig, spec, model))

    def save(self, model: Any, folder: Path, base: ModelSpec) -> None:
        """Write the adapter as safetensors, with the fingerprint of the base it belongs to."""
        from itlib.models._adapter import write_adapter_base

        model.save_pretrained(folder)
        write_adapter_base(folder, base.model_fingerprint)

    def load(self, model: Any, spec: MethodSpec, folder: Path) -> Any:
        """Return the base model with the saved adapter."""
        from peft import PeftModel

        return PeftModel.from_pretrained(model, folder).eval()

    def _config(self, config: Any, spec: MethodSpec, model: Any) -> Any:
        targets = spec.targets if spec.targets == "all-linear" else spec.targets.split(",")
        task = "SEQ_2_SEQ_LM" if is_encoder_decoder(model) else "CAUSAL_LM"
        return config(r=spec.rank, lora_alpha=spec.alpha, lora_dropout=0.0, target_modules=targets, task_type=task)


methods.register("lora")(LoRA())
