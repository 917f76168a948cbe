"""Full fine-tuning: every weight moves, with or without the embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from itlib.methods import Method, Setting
from itlib.packing import is_trimmed, trim
from itlib.registry import methods
from itlib.spec import MethodSpec, ModelSpec


@dataclass(frozen=True)
class FullFineTuning(Method):
    """Train all weights. With ``train_embeddings`` off, input embeddings and a tied output layer stay frozen.

    Tied trainable embeddings overwrite the rows of words that never occur as answers, which hurts held-out
    entities of a small vocabulary; hence the choice is a field of the spec.
    """

    reads: ClassVar[tuple[str, ...]] = ("train_embeddings",)
    causal_only: ClassVar[bool] = False

    def attach(self, model: Any, spec: MethodSpec, setting: Setting | None = None) -> Any:
        """Return the model with gradients switched on for the tuned weights."""
        model.requires_grad_(True)
        if not spec.train_embeddings:
            model.get_input_embeddings().requires_grad_(False)
        return model

    def save(self, model: Any, folder: Path, base: ModelSpec) -> None:
        """Write the whole model as safetensors."""
        from transformers.utils import logging

        logging.disable_progress_bar()
        model.save_pretrained(folder)

    def load(self, model: Any, spec: MethodSpec, folder: Path) -> Any:
        """Return a model of the same class with the saved weights."""
        from transformers.utils import logging

        logging.disable_progress_bar()
        how = {"dtype": model.dtype, "attn_implementation": model.config._attn_implementation}
        how |= {"use_safetensors": True, "local_files_only": True}
        loaded = type(model).from_pretrained(folder, **how)
        if is_trimmed(model):
            trim(loaded)
        return loaded.to(model.device).eval()


methods.register("full")(FullFineTuning())
