"""Prompt tuning through peft: a few tuned vectors before every row, and a frozen model behind them.

They start as the embeddings of words drawn at random from the vocabulary. The other start without a text, unit normal
noise, lies far from everything that the model ever read: its vectors are several times as long as word embeddings, and
the steps of a short run bring them no nearer.

Source: The Power of Scale for Parameter-Efficient Prompt Tuning (Lester et al., EMNLP 2021, arXiv:2104.08691), whose
section 3.2 compares the two.
"""

from __future__ import annotations

from itlib.methods._peft import VIRTUAL, Adapter
from itlib.registry import methods

methods.register("prompt")(
    Adapter(
        "PromptTuningConfig",
        {"num_virtual_tokens": VIRTUAL},
        {"prompt_tuning_init": "SAMPLE_VOCAB"},
        merges=False,
        faster=32.0,
    )
)
