"""Prompt tuning through peft: a few tuned vectors before every row, and a frozen model behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from itlib.registry import methods
from itlib.spec import MethodSpec, ModelSpec


class PromptTuning:
    """Train ``n_virtual_tokens`` vectors that stand before the embeddings of every row; everything else is frozen.

    They start as the embeddings of words drawn at random from the vocabulary. The other start without a text, unit
    normal noise, lies far from everything that the model ever read: its vectors are several times as long as word
    embeddings, and the steps of a short run bring them no nearer.

    Source: The Power of Scale for Parameter-Efficient Prompt Tuning (Lester et al., EMNLP 2021, arXiv:2104.08691),
    whose section 3.2 compares the two.
    """

    def attach(self, model: Any, spec: MethodSpec) -> Any:
        """Wrap the model with a fresh prompt; its words come from torch's generator."""
        from peft import PromptTuningConfig, get_peft_model

        settings = {"num_virtual_tokens": spec.n_virtual_tokens, "prompt_tuning_init": "SAMPLE_VOCAB"}
        return get_peft_model(model, PromptTuningConfig(task_type="CAUSAL_LM", **settings))

    def save(self, model: Any, folder: Path, base: ModelSpec) -> None:
        """Write the prompt as safetensors, with the fingerprint of the base it belongs to."""
        from itlib.models._adapter import write_adapter_base

        model.save_pretrained(folder)
        write_adapter_base(folder, base.model_fingerprint)

    def load(self, model: Any, spec: MethodSpec, folder: Path) -> Any:
        """Return the base model behind the saved prompt."""
        from peft import PeftModel

        return PeftModel.from_pretrained(model, folder).eval()


methods.register("prompt")(PromptTuning())
