"""A Llama small enough to train in a test, and random rows for it."""

import numpy as np

from itlib.template import Encoded

VOCABULARY = 64


def llama(seed=0, **changes):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    settings = {
        "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "initializer_range": 0.2, "tie_word_embeddings": True,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**(settings | changes))).eval()


def with_kernel(kernel, **changes):
    """The same with an attention of ours or the library's."""
    from itlib.packing import TRIMMED, register_kernel, trim

    register_kernel()
    model = llama(attn_implementation=kernel, **changes)
    if kernel == TRIMMED:
        trim(model)
    return model


def rows(n, seed=0, longest=20):
    """Rows of random tokens; the last few of each are supervised."""
    rng = np.random.default_rng(seed)
    encoded = []
    for i in range(n):
        length = int(rng.integers(4, longest))
        mask = np.zeros(length, dtype=bool)
        mask[-int(rng.integers(1, 4)) :] = True
        encoded.append(Encoded(i, rng.integers(3, VOCABULARY, length).astype(np.int32), mask, 5))
    return encoded
