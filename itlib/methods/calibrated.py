"""Low-rank adapters whose start comes from data: the model reads some text before anything is trained."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from itlib.batching import pad_right
from itlib.dense import matrices, need_matrices
from itlib.errors import InputError
from itlib.methods import N_CALIBRATION, Setting, check_option
from itlib.methods._peft import EVERY_LINEAR, Adapter
from itlib.methods.adapters import LOW_RANK
from itlib.registry import methods
from itlib.spec import MethodSpec, stream
from itlib.template import Encoded

KEEP = ("knowledge", "instruction")
BATCH_TOKENS = 1024  # tokens that a layer's directions are estimated on at a time, at least

# peft takes these two settings with the configuration; here they follow once it is known what the model reads.
warnings.filterwarnings("ignore", message="`init_lora_weights` is '(corda|eva)' but")
warnings.filterwarnings("ignore", message="lora with eva initialization used with low_cpu_mem_usage")


@dataclass(frozen=True)
class ContextOriented(Adapter):
    """Split a matrix by the directions that its inputs use, and train one part of it (CorDA).

    With C the second moment of a layer's inputs, W C = U S V^T and W = U S (V^T C^-1). Option ``keep``:

    * knowledge: the inputs are pretraining documents, and the adapter is made of the last ``rank`` directions, those
      that these inputs use least (knowledge-preserved mode).
    * instruction: the inputs are the training examples, and the adapter is made of the first ``rank`` directions, those
      that the task uses most (instruction-previewed mode).

    The base keeps the rest. Logits stay what they were. The library reads one text at a time and no more.

    Source: CorDA (arXiv:2406.05223), section 3.
    """

    keep: str = field(default="knowledge", kw_only=True)

    def __post_init__(self) -> None:
        check_option("keep", self.keep, KEEP)

    @property
    def documents(self) -> bool:  # type: ignore[override]
        """Whether pretraining documents are needed."""
        return self.keep == "knowledge"

    def attach(self, model: Any, spec: MethodSpec, setting: Setting | None = None) -> Any:
        """Let the model read, split its matrices and wrap them."""
        import peft
        import torch
        from peft.tuners.lora.config import CordaConfig
        from peft.tuners.lora.corda import preprocess_corda

        need_matrices(model, spec.method)
        texts = calibration(setting, spec, setting.documents() if setting and self.keep == "knowledge" else None)
        configuration = self.configuration(model, spec)
        mode = "kpm" if self.keep == "knowledge" else "ipm"
        configuration.corda_config = CordaConfig(corda_method=mode, verbose=False)
        if configuration.target_modules == EVERY_LINEAR:  # the library would read it as a pattern here
            configuration.target_modules = {name.split(".")[-1] for name, _ in matrices(model)}

        @torch.no_grad()
        def read() -> None:
            for text in texts:
                model(input_ids=torch.as_tensor(text.input_ids.astype(np.int64), device=model.device)[None])

        model.eval()
        preprocess_corda(model, configuration, run_model=read)
        return peft.get_peft_model(model, configuration)


@dataclass(frozen=True)
class ExplainedVariance(Adapter):
    """Start A with the directions in which a layer's inputs vary most on the training examples (EVA); B is zero.

    Every layer has the same rank: the library's redistribution of ranks is off, so that parameters are those of LoRA.
    Texts are read many at a time: the library leaves out what has fewer tokens than there are directions, and goes
    round the texts until directions settle, which those of a few short ones never do.

    Source: Parameter Efficient Fine-tuning via Explained Variance Adaptation (arXiv:2410.07170), section 3.
    """

    def attach(self, model: Any, spec: MethodSpec, setting: Setting | None = None) -> Any:
        """Wrap the model, let it read, and set A.

        Raises:
            InputError: There are fewer tokens to read than directions to find.
        """
        import peft
        import torch

        texts = calibration(setting, spec)
        n_tokens = sum(len(text.input_ids) for text in texts)
        if n_tokens < spec.rank:
            raise InputError(f"rank: '{spec.method}' reads {n_tokens} tokens and cannot find {spec.rank} directions")
        configuration = self.configuration(model, spec)
        configuration.eva_config = peft.EvaConfig(rho=1.0)
        wrapped = peft.get_peft_model(model, configuration)
        batches = []
        for group in _together(texts, max(spec.rank, BATCH_TOKENS)):
            ids = pad_right([text.input_ids for text in group], setting.pad_id if setting else 0)
            mask = pad_right([np.ones(len(text.input_ids)) for text in group], 0)
            batch = {"input_ids": ids, "attention_mask": mask}
            batches.append({k: torch.as_tensor(v.astype(np.int64), device=model.device) for k, v in batch.items()})
        peft.initialize_lora_eva_weights(wrapped, batches, show_progress_bar=False)
        return wrapped


def _together(texts: Sequence[Encoded], n_tokens: int) -> list[list[Encoded]]:
    """Return texts in groups of so many tokens and no fewer, one group if there are fewer in all."""
    groups: list[list[Encoded]] = [[]]
    found = 0
    for text in texts:
        if found >= n_tokens:
            groups.append([])
            found = 0
        groups[-1].append(text)
        found += len(text.input_ids)
    if len(groups) > 1 and found < n_tokens:
        rest = groups.pop()
        groups[-1] += rest
    return groups


def calibration(setting: Setting | None, spec: MethodSpec, documents: Sequence[Encoded] | None = None) -> list[Encoded]:
    """Return the texts that a model reads: documents, or training examples; a random part of many.

    Raises:
        InputError: There are none.
    """
    texts = list(documents if documents is not None else setting.examples if setting else ())
    if not texts:
        what = "pretraining documents, and the source has none" if documents is not None else "the examples of a run"
        raise InputError(f"method: '{spec.method}' calibrates on {what}")
    drawn = stream(setting.seed if setting else 0, "calibration").permutation(len(texts))[:N_CALIBRATION]
    if setting is not None:
        setting.note("calibration_n_tokens", sum(len(texts[i].input_ids) for i in drawn))
    return [texts[i] for i in drawn]


methods.register("corda")(ContextOriented("LoraConfig", LOW_RANK, {"init_lora_weights": "corda"}, moves_base=True))
methods.register("eva")(ExplainedVariance("LoraConfig", LOW_RANK, {"init_lora_weights": "eva"}))
