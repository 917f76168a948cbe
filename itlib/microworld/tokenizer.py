"""The tokenizer of all micro-world models: one token per known word, characters for everything else.

A misspelled word falls to its letters (``oppsite -> o ##p ##p ##s ##i ##t ##e``), so that character noise reaches
the model as characters. Only a beginning that is itself a word stays whole (``walkd -> walk ##d``), since WordPiece
takes the longest known beginning and all continuations are single characters. ``<eos>`` ends an answer and also
separates pretraining documents: it is a trained token.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from itlib.microworld import language, lexicon, responses, writers
from itlib.microworld.phrasings import template_words

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

FOLDER = lexicon.ASSETS / "tokenizer"
PAD, EOS, UNKNOWN = "<pad>", "<eos>", "<unk>"
MAX_LENGTH = 256
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}instruction : {{ message['content'] }} response : "
    "{% elif message['role'] == 'assistant' %}{% generation %}{{ message['content'] }} <eos>{% endgeneration %} "
    "{% elif message['role'] == 'system' %}{{ message['content'] }} "
    "{% else %}{{ raise_exception('the micro-world template knows system, user and assistant turns') }}{% endif %}"
    "{% endfor %}"
)


def vocabulary() -> list[str]:
    """Return the tokens in id order: specials, character pieces, then the words of both languages."""
    characters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    pieces = [*characters, *(f"##{character}" for character in characters)]
    words = {*lexicon.all_words(), *writers.static_words(), *writers.SEPARATORS, *template_words()}
    words |= {"instruction", "response", *responses.style_words(), *responses.wording_words()}
    words |= set(language.counterparts().values())
    return [PAD, EOS, UNKNOWN, *pieces, *sorted(words - set(pieces))]


def build() -> PreTrainedTokenizerFast:
    """Build the tokenizer from the world's words; the shipped one is this, saved."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {token: index for index, token in enumerate(vocabulary())}
    core = Tokenizer(models.WordPiece(vocab, unk_token=UNKNOWN, max_input_chars_per_word=100))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        model_max_length=MAX_LENGTH,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def load() -> PreTrainedTokenizerFast:
    """Load the shipped tokenizer."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(FOLDER, local_files_only=True)
