"""A base model of the world that any change of its tokenizer leaves usable: tiny, untrained, in a folder of its own."""

import small
import tiny

from itlib.microworld import tokenizer
from itlib.resolve import resolve


def folder(path):
    """Save a tiny model with the world's tokenizer below ``path`` and return its folder."""
    words = tokenizer.build()
    words.save_pretrained(path / "base")
    network = tiny.llama(vocab_size=len(words), max_position_embeddings=256, initializer_range=0.05, eos_token_id=1)
    network.save_pretrained(path / "base")
    return str(path / "base")


def resolved(base, **fields):
    return resolve(small.spec(model="local", model_path=base, **fields))
