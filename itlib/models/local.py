"""Base models from a folder on this machine: a full model, or a peft adapter merged into its base."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from itlib.errors import InputError
from itlib.models._adapter import (
    adapter_fingerprint,
    base_fingerprint,
    base_folder,
    check_adapter_base,
    check_adapter_shapes,
    is_adapter,
    write_adapter_base,
)
from itlib.models._folder import (
    architecture,
    check_folder,
    context_length,
    count_parameters,
    fingerprint,
    is_encoder_decoder,
    load_folder,
)
from itlib.models._quantized import NO_QUANTIZATION
from itlib.registry import models
from itlib.spec import ModelSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["LocalModel", "check_adapter_base", "write_adapter_base"]


class LocalModel:
    """The model in the folder ``model_path``: config.json with safetensors, or a peft adapter that names its base.

    The fingerprint is the SHA-256 over config, weights and tokenizer files; for an adapter it is followed by that
    of the base. Nothing is loaded before the folder is checked.
    """

    def resolve(self, model: ModelSpec) -> ModelSpec:
        """Check the folder and return ``model`` with its fingerprint filled in.

        Raises:
            InputError: Pickle weights, remote code without consent, missing or damaged files, an adapter whose base
                cannot be found or is not the recorded one, or a folder that changed since ``model`` was resolved.
        """
        folder = self.folder(model)
        if is_adapter(folder):
            found = self._adapter_fingerprint(folder, model.trust_remote_code)
        else:
            check_folder(folder, trust_remote_code=model.trust_remote_code)
            found = fingerprint(folder)
        if model.model_fingerprint not in ("", found):
            raise InputError(
                f"{folder} has changed: its fingerprint is {found}, the spec recorded {model.model_fingerprint}"
            )
        if model.quantization != NO_QUANTIZATION and is_adapter(folder):
            raise InputError(f"quantization: {folder} is an adapter, which is merged into weights of full precision")
        return dataclasses.replace(model, model_fingerprint=found)

    def load(self, model: ModelSpec) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Return model and tokenizer in evaluation mode; an adapter is merged into its base."""
        folder = self.folder(self.resolve(model))
        how = {"attention": model.attention, "trust_remote_code": model.trust_remote_code}
        if not is_adapter(folder):
            return load_folder(folder, **how, quantization=model.quantization)
        from peft import PeftModel

        base = base_folder(folder)
        network, tokenizer = load_folder(base, **how)
        check_adapter_shapes(folder, network)
        merged = PeftModel.from_pretrained(network, str(folder)).merge_and_unload()
        return merged.eval(), tokenizer

    def parameters(self, model: ModelSpec) -> int:
        """Return the number of parameters, read from the headers of the weight files."""
        folder = self.folder(model)
        return count_parameters(base_folder(folder) if is_adapter(folder) else folder)

    def context_length(self, model: ModelSpec) -> int:
        """Return how many positions the model was built for; 0 where its config does not say."""
        folder = self.folder(model)
        return context_length(base_folder(folder) if is_adapter(folder) else folder)

    def architecture(self, model: ModelSpec) -> str:
        """Return the type of the model, as its config names it."""
        folder = self.folder(model)
        return architecture(base_folder(folder) if is_adapter(folder) else folder)

    def encoder_decoder(self, model: ModelSpec) -> bool:
        """Return whether the model is a sequence-to-sequence model."""
        folder = self.folder(model)
        return is_encoder_decoder(base_folder(folder) if is_adapter(folder) else folder)

    def folder(self, model: ModelSpec) -> Path:
        """Return the folder that ``model`` names."""
        if not model.model_path:
            raise InputError("model 'local' needs model_path: the folder with config.json and model.safetensors")
        folder = Path(model.model_path).expanduser()
        if not folder.is_dir():
            raise InputError(f"model folder not found: {folder}")
        return folder

    def _adapter_fingerprint(self, folder: Path, trust_remote_code: bool) -> str:
        base = base_folder(folder)
        found = base_fingerprint(folder, fingerprint(base), base)
        check_folder(base, trust_remote_code=trust_remote_code)
        return adapter_fingerprint(folder, found)


models.register("local", version=4)(LocalModel())
