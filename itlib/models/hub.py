"""Base models from the Hugging Face Hub, pinned to a commit: ``org/name`` in ``model_path``."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from itlib.errors import InputError
from itlib.hub import snapshot
from itlib.models._adapter import MODEL_FILES
from itlib.models._folder import (
    architecture,
    check_folder,
    context_length,
    count_parameters,
    fingerprint,
    is_encoder_decoder,
    load_folder,
)
from itlib.registry import models
from itlib.spec import ModelSpec

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class HubModel:
    """A hub model as a snapshot at one commit; from there on it is a folder like any other."""

    def resolve(self, model: ModelSpec) -> ModelSpec:
        """Fetch the snapshot and return ``model`` with commit and fingerprint filled in.

        Raises:
            InputError: The model cannot be had, holds pickle weights only, or runs code without consent.
        """
        folder, commit = self._snapshot(model)
        check_folder(folder, trust_remote_code=model.trust_remote_code)
        found = fingerprint(folder)
        if model.model_fingerprint not in ("", found):
            raise InputError(
                f"{model.model_path}@{commit} has the fingerprint {found}, the spec recorded {model.model_fingerprint}"
            )
        return dataclasses.replace(model, model_revision=commit, model_fingerprint=found)

    def load(self, model: ModelSpec) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        """Return model and tokenizer in evaluation mode."""
        folder, _ = self._snapshot(self.resolve(model))
        how = {"attention": model.attention, "trust_remote_code": model.trust_remote_code}
        return load_folder(folder, **how, quantization=model.quantization)

    def parameters(self, model: ModelSpec) -> int:
        """Return the number of parameters, read from the headers of the weight files."""
        return count_parameters(self._snapshot(model)[0])

    def context_length(self, model: ModelSpec) -> int:
        """Return how many positions the model was built for; 0 where its config does not say."""
        return context_length(self._snapshot(model)[0])

    def architecture(self, model: ModelSpec) -> str:
        """Return the type of the model, as its config names it."""
        return architecture(self._snapshot(model)[0])

    def encoder_decoder(self, model: ModelSpec) -> bool:
        """Return whether the model is a sequence-to-sequence model."""
        return is_encoder_decoder(self._snapshot(model)[0])

    def _snapshot(self, model: ModelSpec) -> tuple[Path, str]:
        if not model.model_path:
            raise InputError("model 'hub' needs model_path: org/name")
        return snapshot(model.model_path, model.model_revision, kind="model", allow=MODEL_FILES, ignore=("*/*",))


models.register("hub", version=4)(HubModel())
