"""A tokenizer taken apart: trusted template text with control tokens, untrusted contents without.

The tokenizer's own chat template is rendered once per pattern of roles, with placeholders for the contents. Control
tokens in the text between placeholders become their ids; contents are encoded apart from it and never give a control
token, whatever they spell.
"""

from __future__ import annotations

import itertools
import json
import re
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase

# For tokenizers without a chat template.
DEFAULT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message.role == 'system' %}{{ message.content }}\n\n"
    "{% elif message.role == 'user' %}Instruction:\n{{ message.content }}\n\n"
    "{% elif message.role == 'tool' %}Tool result:\n{{ message.content }}\n\n"
    "{% else %}Response:\n{{ message.content }}{{ eos_token }}\n\n{% endif %}"
    "{% endfor %}"
)

# For sequence-to-sequence models: what stands before the first end of sequence is for the encoder. Turns before the
# last answer are joined by blank lines, without names of roles: a single instruction reaches the encoder as it is.
ENCODER_DECODER_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.last %}{{ eos_token }}{{ message.content }}{{ eos_token }}"
    "{% else %}{% if not loop.first %}{{ '\\n\\n' }}{% endif %}{{ message.content }}{% endif %}"
    "{% endfor %}"
)

# For models that have read lists and no chat: each question with its answer is an entry, and what ends an entry ends an
# answer.
LIST_TEMPLATE = (
    "{% for message in messages %}{{ message.content }}"
    "{% if message.role != 'assistant' %} = {% else %} ;{% if not loop.last %} {% endif %}{% endif %}"
    "{% endfor %}"
)

_FIXED_DATE = "{% macro strftime_now(format) %}01 Jan 2025{% endmacro %}"
_PLACEHOLDER = "itlib-{}-content"
_PLACEHOLDER_PATTERN = re.compile(r"itlib-(\d+)-content")


@dataclass(frozen=True)
class Segment:
    """A stretch of a row: fixed tokens, of which the first ``n_supervised`` are targets, or the content of a turn."""

    ids: tuple[int, ...] = ()
    n_supervised: int = 0
    turn: int = -1
    lead: str = ""
    first: bool = False
    supervised: bool = False


class Renderer:
    """A tokenizer taken apart: plain-text encoders, control tokens, and one skeleton per pattern of roles."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise InputError(f"tokenizer {tokenizer.name_or_path or type(tokenizer).__name__} has no fast version")
        self.template = tokenizer.get_chat_template() if tokenizer.chat_template else DEFAULT_TEMPLATE
        self.encoder_decoder = self.template == ENCODER_DECODER_TEMPLATE
        self.listing = self.template == LIST_TEMPLATE
        if "strftime_now" in self.template:
            self.template = _FIXED_DATE + self.template
        state = json.loads(backend.to_str())
        added = [token for token in state["added_tokens"] if token["special"] or token["content"] in self.template]
        self.control = {token["content"]: token for token in added}
        names = sorted(self.control, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, names)) if names else r"(?!)")
        ids = [token["id"] for token in added if token["id"] != tokenizer.unk_token_id]
        self.control_ids = np.array(ids, dtype=np.int32)
        self.first = _plain_encoder(state, self.control, dummy_prefix=True)
        self.later = _plain_encoder(state, self.control, dummy_prefix=False)
        opening = tokenizer("")["input_ids"]
        adds_bos = tokenizer.bos_token_id is not None and opening[:1] == [tokenizer.bos_token_id]
        self.bos = (tokenizer.bos_token_id,) if adds_bos else ()
        self.eos = tokenizer.eos_token_id
        self._skeletons: dict[tuple[str, ...], tuple[Segment, ...]] = {}

    def skeleton(self, tokenizer: PreTrainedTokenizerBase, roles: tuple[str, ...]) -> tuple[Segment, ...]:
        """Return the segments of a row with these roles; the last ends in the stop token."""
        if roles not in self._skeletons:
            if "assistant" not in roles or roles[-1] != "assistant":
                raise InputError(f"a conversation must end in an assistant turn, got {' '.join(roles) or 'no turns'}")
            plain = roles == ("assistant",)
            if plain and self.encoder_decoder:
                raise InputError("a plain document leaves an encoder nothing to read; give prompts with answers")
            literals = ["", ""] if plain else self._literals(tokenizer, roles)
            add_bos = plain or self.listing or not tokenizer.chat_template
            self._skeletons[roles] = self._segments(roles, literals, add_bos=add_bos)
        return self._skeletons[roles]

    def _literals(self, tokenizer: PreTrainedTokenizerBase, roles: tuple[str, ...]) -> list[str]:
        import jinja2

        messages = [{"role": role, "content": _PLACEHOLDER.format(index)} for index, role in enumerate(roles)]
        try:
            text = tokenizer.apply_chat_template(messages, chat_template=self.template, tokenize=False)
        except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise InputError(f"the chat template cannot render the turns {' '.join(roles)} ({reason})") from None
        literals = _PLACEHOLDER_PATTERN.split(text)
        if [int(index) for index in literals[1::2]] != list(range(len(roles))):
            raise InputError(f"the chat template drops or repeats a turn of {' '.join(roles)}")
        return literals[::2]

    def _segments(self, roles: tuple[str, ...], literals: list[str], *, add_bos: bool) -> tuple[Segment, ...]:
        leads = [" " if literal.endswith(" ") else "" for literal in literals[:-1]] + [""]
        texts = [literal.removesuffix(lead) for literal, lead in zip(literals, leads, strict=True)]
        ids = [self._literal_ids(text, first=index == 0) for index, text in enumerate(texts)]
        stop = next((token for token in ids[-1] if token in self.control_ids), self.eos)
        if self.listing and ids[-1]:
            stop = ids[-1][-1]
        if stop is None:
            raise InputError("the chat template ends no answer with a control token and the tokenizer has no eos token")
        segments = [Segment(ids=(self.bos if add_bos else ()) + ids[0])]
        for turn, role in enumerate(roles):
            # A decoder has one answer to give. Either side reads its text as one of its own, so that each turn begins
            # as a text does: with the dummy space where the tokenizer puts one.
            answer = role == "assistant" and (not self.encoder_decoder or turn + 1 == len(roles))
            first = self.encoder_decoder or (turn == 0 and not texts[0])
            segments.append(Segment(turn=turn, lead=leads[turn], first=first, supervised=answer))
            following = ids[turn + 1]
            if not answer:
                segments.append(Segment(ids=following))
                continue
            if stop not in following:
                following = (stop, *following)
            end = following.index(stop) + 1
            segments.append(Segment(ids=following[:end] if turn + 1 == len(roles) else following, n_supervised=end))
        return tuple(segments)

    def _literal_ids(self, text: str, *, first: bool) -> tuple[int, ...]:
        """Encode template text, with its control tokens as ids."""
        ids: list[int] = []
        position = 0
        for match in self.pattern.finditer(text):
            token = self.control[match.group()]
            between = text[position : match.start()]
            between = between.rstrip() if token["lstrip"] else between
            ids += self._encoder(first and not ids).encode(between, add_special_tokens=False).ids if between else []
            ids.append(token["id"])
            position = match.end()
            if token["rstrip"]:
                position += len(text[position:]) - len(text[position:].lstrip())
        rest = text[position:]
        ids += self._encoder(first and not ids).encode(rest, add_special_tokens=False).ids if rest else []
        return tuple(ids)

    def _encoder(self, first: bool) -> Tokenizer:
        return self.first if first else self.later

    def content_ids(self, keys: Sequence[tuple[str, bool]]) -> dict[tuple[str, bool], list[int]]:
        """Encode distinct (text, is first segment) pairs in one batch, free of control tokens."""
        result: dict[tuple[str, bool], list[int]] = {}
        for first in (True, False):
            texts = list(dict.fromkeys(text for text, is_first in keys if is_first == first))
            if not texts:
                continue
            encodings = self._encoder(first).encode_batch_fast(texts, add_special_tokens=False)
            ids = [encoding.ids for encoding in encodings]
            for index in self._holding_control(ids):
                ids[index] = [token for token, _, _ in self._spelled_out(texts[index], first)]
            result.update(zip(((text, first) for text in texts), ids, strict=True))
        return result

    def _holding_control(self, rows: list[list[int]]) -> np.ndarray:
        """Return the indices of rows in which a control token occurs."""
        owner = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        flat = np.fromiter((token for row in rows for token in row), dtype=np.int32, count=len(owner))
        return np.unique(owner[np.isin(flat, self.control_ids)])

    def content_offsets(self, text: str, first: bool) -> np.ndarray:
        """Return where each token of a content lies in its text, shape (n_tokens, 2): first character, end."""
        return np.array([span for _, *span in self._spelled_out(text, first)], dtype=int).reshape(-1, 2)

    def _spelled_out(self, text: str, first: bool) -> list[tuple[int, int, int]]:
        """Encode text as (token, first character, end), free of control tokens.

        Words that the vocabulary knows as control tokens are cut in two until none is left.
        """
        encoding = self._encoder(first).encode(text, add_special_tokens=False)
        found = [(token, *span) for token, span in zip(encoding.ids, encoding.offsets, strict=True)]
        cuts = [(start + end + 1) // 2 for token, start, end in found if token in self.control_ids]
        if not cuts:
            return found
        if not all(0 < cut < len(text) for cut in cuts):
            raise InputError(f"the tokenizer reads plain text as a control token in {text[:60]!r}")
        edges = [0, *dict.fromkeys(cuts), len(text)]
        return [
            (token, start + begin, end + begin)
            for begin, close in itertools.pairwise(edges)
            for token, start, end in self._spelled_out(text[begin:close], first and begin == 0)
        ]


def _plain_encoder(state: dict[str, Any], control: dict[str, Any], *, dummy_prefix: bool) -> Tokenizer:
    """Build a tokenizer from its JSON state that takes control tokens for text, with or without a space in front."""
    from tokenizers import Tokenizer

    added = [{**token, "special": token["special"] or token["content"] in control} for token in state["added_tokens"]]
    state = {**state, "truncation": None, "padding": None, "added_tokens": added}
    if not dummy_prefix:
        state["normalizer"] = _without_prefix(state["normalizer"], "normalizers")
        state["pre_tokenizer"] = _without_prefix(state["pre_tokenizer"], "pretokenizers")
    encoder = Tokenizer.from_str(json.dumps(state))
    encoder.encode_special_tokens = True
    return encoder


def _without_prefix(part: dict[str, Any] | None, children: str) -> dict[str, Any] | None:
    if part is None or part["type"] == "Prepend":
        return None
    if part["type"] == "Sequence":
        kept = [child for child in (_without_prefix(child, children) for child in part[children]) if child]
        return {**part, children: kept} if kept else None
    if part["type"] == "Metaspace":
        return {**part, "prepend_scheme": "never"}
    return {**part, "add_prefix_space": False} if part["type"] == "ByteLevel" else part


_renderers: weakref.WeakKeyDictionary[Any, tuple[tuple, Renderer]] = weakref.WeakKeyDictionary()


def renderer_of(tokenizer: PreTrainedTokenizerBase) -> Renderer:
    """Return the renderer of a tokenizer, built once and again when its template or its tokens change."""
    state = (str(tokenizer.chat_template), tokenizer.eos_token_id, tokenizer.bos_token_id, len(tokenizer))
    known = _renderers.get(tokenizer)
    if known is None or known[0] != state:
        known = _renderers[tokenizer] = (state, Renderer(tokenizer))
    return known[1]
