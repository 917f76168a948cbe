"""Chat rendering by segment, the response mask by token index, and the audit of both.

Template text and contents are encoded apart (``itlib.segments``). So user text cannot forge a turn, the mask is exact
by token index and needs no generation markers, and a prompt is a prefix of its training row by construction.

What this settles where whole-string tokenisation would leave it open:

* A single space before a content belongs to the content, as tokenizers with space-prefixed words expect.
* Tokenizers that put a dummy space before every text do so only for the first segment of a row, so that decoding a
  row gives back its text.
* Everything from the first token of an answer to its stop token is supervised. A template that puts no control token
  after the answer gets the end-of-sequence token there. What follows the last stop token is cut off.
* For a sequence-to-sequence model only the last answer is supervised: the encoder reads all that stands before it.
* Templates that print today's date print a fixed one: a run must not depend on the day.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from itlib.errors import InputError
from itlib.example import Example
from itlib.segments import LIST_TEMPLATE, Segment, renderer_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHOT_FORMS = ("turns", "list")  # of demonstrations and the question after them
MAX_DROPPED = 0.5  # share of rows above max_length at which the data set no longer is what was asked for


@dataclass(frozen=True, eq=False)
class Encoded:
    """One training row.

    Attributes:
        example_index: Position of the example in the list given to ``encode``.
        input_ids: Shape (n_tokens,), int32.
        response_mask: Shape (n_tokens,), bool; True where the token is a target of the loss.
        n_response_bytes: UTF-8 bytes of the supervised contents, the denominator of bits per byte.
    """

    example_index: int
    input_ids: np.ndarray
    response_mask: np.ndarray
    n_response_bytes: int


@dataclass(frozen=True)
class MaskAudit:
    """What ``encode`` saw. Counts of tokens are over kept rows, ``longest`` is over all rows.

    Attributes:
        n_rows: Rows kept.
        n_dropped_too_long: Rows left out because they exceed ``max_length``.
        n_tokens: Tokens of kept rows.
        n_response_tokens: Supervised tokens of kept rows.
        n_zero_supervision: Kept rows without a supervised token.
        stop_token_supervised: Whether every kept row ends in a supervised stop token.
        n_forged_control_tokens: Rows whose contents spell a control token; it is encoded as text.
        longest: Tokens of the longest row.
    """

    n_rows: int
    n_dropped_too_long: int
    n_tokens: int
    n_response_tokens: int
    n_zero_supervision: int
    stop_token_supervised: bool
    n_forged_control_tokens: int
    longest: int


def encode(
    examples: Sequence[Example], tokenizer: PreTrainedTokenizerBase, *, max_length: int, last_only: bool = False
) -> tuple[list[Encoded], MaskAudit]:
    """Turn examples into token rows in which every answer and its stop token are supervised.

    A lone assistant turn is a plain document: bos where the tokenizer uses one, the text, eos, all supervised but bos.

    Args:
        examples: Conversations that end in an assistant turn.
        tokenizer: Fast tokenizer; its chat template is used, ``DEFAULT_TEMPLATE`` where it has none.
        max_length: Rows with more tokens are left out and counted, never cut.
        last_only: Supervise the last answer alone; earlier ones are then part of the prompt, as demonstrations are.

    Returns:
        The kept rows in the order of ``examples``, and the audit.

    Raises:
        InputError: More than half of the rows are too long, the template cannot render the turns, or a row would
            leave the stop token without supervision.
    """
    renderer = renderer_of(tokenizer)
    skeletons = [renderer.skeleton(tokenizer, tuple(turn.role for turn in example.turns)) for example in examples]
    contents = renderer.content_ids(
        [key for pair in zip(examples, skeletons, strict=True) for key in _content_keys(*pair)]
    )
    rows: list[Encoded] = []
    longest = forged = 0
    for index, (example, skeleton) in enumerate(zip(examples, skeletons, strict=True)):
        row = _assemble(index, example, skeleton, contents, last_only=last_only)
        longest = max(longest, len(row.input_ids))
        forged += any(renderer.pattern.search(turn.content) for turn in example.turns)
        if len(row.input_ids) > max_length:
            continue
        if not row.response_mask[-1]:
            raise InputError(f"example {example.id}: the stop token would not be supervised")
        rows.append(row)
    dropped = len(examples) - len(rows)
    if dropped > MAX_DROPPED * len(examples):
        raise InputError(
            f"{dropped} of {len(examples)} rows ({dropped / len(examples):.0%}) are longer than max_length "
            f"{max_length}; the longest has {longest} tokens: raise max_length or choose shorter data"
        )
    return rows, MaskAudit(
        n_rows=len(rows),
        n_dropped_too_long=dropped,
        n_tokens=sum(len(row.input_ids) for row in rows),
        n_response_tokens=sum(int(row.response_mask.sum()) for row in rows),
        n_zero_supervision=sum(not row.response_mask.any() for row in rows),
        stop_token_supervised=all(bool(row.response_mask[-1]) for row in rows),
        n_forged_control_tokens=forged,
        longest=longest,
    )


def _content_keys(example: Example, skeleton: tuple[Segment, ...]) -> list[tuple[str, bool]]:
    turns = [segment for segment in skeleton if segment.turn >= 0]
    return [(segment.lead + example.turns[segment.turn].content, segment.first) for segment in turns]


def _assemble(
    index: int, example: Example, skeleton: tuple[Segment, ...], contents: dict, *, last_only: bool = False
) -> Encoded:
    ids: list[int] = []
    mask: list[bool] = []
    n_bytes = 0
    first = len(skeleton) - 2 if last_only else 0  # the last answer and what follows it are the last two segments
    for place, segment in enumerate(skeleton):
        if segment.turn < 0:
            n_supervised = segment.n_supervised if place >= first else 0
            ids += segment.ids
            mask += [True] * n_supervised + [False] * (len(segment.ids) - n_supervised)
            continue
        text = example.turns[segment.turn].content
        tokens = contents[segment.lead + text, segment.first]
        supervised = segment.supervised and place >= first
        ids += tokens
        mask += [supervised] * len(tokens)
        n_bytes += len(text.encode()) if supervised else 0
    return Encoded(index, np.array(ids, dtype=np.int32), np.array(mask, dtype=bool), n_bytes)


def content_offsets(example: Example, tokenizer: PreTrainedTokenizerBase) -> dict[int, tuple[int, np.ndarray]]:
    """Return, per turn, the place of its first token in the row that ``encode`` gives, and where its tokens lie.

    The second is an array (n_tokens, 2): the first character of each token in the content of the turn, and its end. A
    space that the template puts before a content lies before character 0.
    """
    renderer = renderer_of(tokenizer)
    found: dict[int, tuple[int, np.ndarray]] = {}
    place = 0
    for segment in renderer.skeleton(tokenizer, tuple(turn.role for turn in example.turns)):
        if segment.turn < 0:
            place += len(segment.ids)
            continue
        text = segment.lead + example.turns[segment.turn].content
        offsets = renderer.content_offsets(text, segment.first) - len(segment.lead)
        found[segment.turn] = place, offsets
        place += len(offsets)
    return found


def encode_prompt(example: Example, tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """Return the tokens before the last answer, shape (n_tokens,), int32: a prefix of the row that ``encode`` gives.

    An example that does not end in an assistant turn is continued by one.
    """
    renderer = renderer_of(tokenizer)
    roles = tuple(turn.role for turn in example.turns)
    if roles[-1:] != ("assistant",):
        roles += ("assistant",)
    segments = renderer.skeleton(tokenizer, roles)[:-2]
    contents = renderer.content_ids(_content_keys(example, segments))
    return _assemble(0, example, segments, contents).input_ids


def in_form(tokenizer: PreTrainedTokenizerBase, form: str) -> PreTrainedTokenizerBase:
    """Return a tokenizer that renders conversations in a form of ``SHOT_FORMS``: its own turns, or entries of a list.

    An entry is "question = answer ;": what a model may know that has read lists and never a chat.
    """
    if form == "turns":
        return tokenizer
    listing = copy.copy(tokenizer)
    listing.chat_template = LIST_TEMPLATE
    return listing


def stop_token_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the token that ends an answer, at which generation must stop."""
    return renderer_of(tokenizer).skeleton(tokenizer, ("user", "assistant"))[-1].ids[-1]


def pad_id(tokenizer: Any) -> int:
    """Return an id for padding; it is never seen by a real token, so any valid id serves."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id or 0


def show_mask(example: Example, tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the tokens of a row as text, each supervised stretch in brackets."""
    row = encode([example], tokenizer, max_length=2**31)[0][0]
    edges = np.diff(np.concatenate([[0], row.response_mask.astype(np.int8), [0]]))
    tokens = tokenizer.convert_ids_to_tokens(row.input_ids.tolist())
    return " ".join(
        ("[" if edges[index] == 1 else "") + token + ("]" if edges[index + 1] == -1 else "")
        for index, token in enumerate(tokens)
    )
