"""From records to examples: seven row formats, one conversation policy, every bad row with its reason.

Policy for conversations. A system turn stands only at the start; tool definitions beside a conversation join it.
Turns before the first user turn are dropped, neighbouring turns of one role are merged, turns after the last
assistant turn are dropped; all three are counted. A function call is an assistant turn, an observation a tool turn.
An empty turn, an unknown role or a conversation without a user turn and an answer makes a bad row. Outer white space
of every text is removed.

A row with one answer (Alpaca, prompt/completion, question/answer) may bring ``options`` or ``choices``: a list of two
or more different texts, the answer among them. Where cells hold text only, as in CSV, the list is written as JSON.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from itlib.errors import InputError, did_you_mean
from itlib.example import ROLES, Example, Turn
from itlib.sources._containers import Record

# Keys a row must have to be of a format; the first format that fits any row is taken for the whole file.
FORMATS: dict[str, tuple[str, ...]] = {
    "messages": ("messages",),
    "sharegpt": ("conversations",),
    "self-instruct": ("instruction", "instances"),
    "alpaca": ("instruction", "output"),
    "prompt-completion": ("prompt", "completion"),
    "question-answer": ("question", "answer"),
    "text": ("text",),
}

WITH_OPTIONS = ("alpaca", "prompt-completion", "question-answer")
OPTION_KEYS = ("options", "choices")
OPTIONS_NOTE = "rows with options"

_SURROGATE = re.compile("[\ud800-\udfff]")

_ROLE_NAMES = {role: role for role in ROLES} | {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool_call": "assistant",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
    "developer": "system",
}


@dataclass(frozen=True)
class Parsed:
    """What a file holds.

    Attributes:
        container: "json", "jsonl", "csv", "parquet" or "txt"; "hub" for a hub data set.
        format: A key of ``FORMATS``.
        n_rows: Records in the file, blank lines not counted.
        examples: The usable rows in file order. One Self-Instruct row gives one example per instance.
        bad: (line, reason) of every row that cannot be used.
        notes: How often something was put right ("leading turns dropped") or seen ("duplicated rows").
    """

    container: str
    format: str
    n_rows: int
    examples: tuple[Example, ...]
    bad: tuple[tuple[int, str], ...]
    notes: dict[str, int]


class _BadRow(Exception):
    pass


def parse_records(name: str, container: str, records: list[Record]) -> Parsed:
    """Turn records into examples; rows that cannot be used are listed with a reason, never dropped in silence.

    Raises:
        InputError: No rows at all, or no row of a known format.
    """
    if not records:
        raise InputError(f"{name}: the file holds no rows")
    layout = detect_format(name, records)
    examples: list[Example] = []
    bad: list[tuple[int, str]] = []
    notes: Counter[str] = Counter()
    for number, record in enumerate(records, start=1):
        if record.problem:
            bad.append((record.line, record.problem))
            continue
        try:
            row = _row(record, layout)
            conversations = _PARSERS[layout](row)
            options = _options(row, conversations[0][-1].content, notes) if layout in WITH_OPTIONS else ()
        except _BadRow as fault:
            bad.append((record.line, str(fault)))
            continue
        for part, raw in enumerate(conversations, start=1):
            try:
                turns = tuple(raw) if layout == "text" else normalise_turns(raw, notes)
            except _BadRow as fault:
                bad.append((record.line, str(fault)))
                continue
            suffix = f".{part}" if len(conversations) > 1 else ""
            gold = turns[-1].content
            examples.append(Example(id=f"row-{number}{suffix}", turns=turns, gold=gold, options=options))
    repeated = len(examples) - len({example.turns for example in examples})
    if repeated:
        notes["duplicated rows"] = repeated
    return Parsed(container, layout, len(records), tuple(examples), tuple(bad), dict(notes))


def detect_format(name: str, records: Iterable[Record]) -> str:
    """Return the format of the first row that fits one; raise ``InputError`` naming the keys found otherwise."""
    seen: list[str] | None = None
    problem: Record | None = None
    for record in records:
        if isinstance(record.value, str):
            return "text"
        if isinstance(record.value, dict):
            for layout, keys in FORMATS.items():
                if all(key in record.value for key in keys):
                    return layout
            seen = seen or sorted(map(str, record.value))
        elif record.problem:
            problem = problem or record
    if seen is None and problem is not None:
        raise InputError(f"{name}:{problem.line}: {problem.problem}; the file holds no usable row")
    wanted = {key for keys in FORMATS.values() for key in keys}
    hints = [f"'{key}'{hint}" for key in seen or [] if (hint := did_you_mean(key, wanted - {key}))]
    found = f"keys {', '.join(seen[:8])}" if seen else "no objects"
    known = "; ".join(f"{layout}: {' + '.join(keys)}" for layout, keys in FORMATS.items())
    raise InputError(f"{name}: no known format ({found}{'; ' if hints else ''}{', '.join(hints)}); known are {known}")


def normalise_turns(turns: list[Turn], notes: Counter[str]) -> tuple[Turn, ...]:
    """Bring a conversation to [system] user … assistant by the policy above, counting what was changed."""
    system = [turn for turn in turns if turn.role == "system"]
    body = turns[len(system) :]
    if turns[: len(system)] != system:
        raise _BadRow("a system turn after the conversation has started")
    start = next((index for index, turn in enumerate(body) if turn.role == "user"), len(body))
    end = max((index + 1 for index, turn in enumerate(body) if turn.role == "assistant"), default=0)
    if start >= end:
        raise _BadRow("no user turn that is followed by an assistant turn")
    notes.update({"leading turns dropped": start, "trailing turns dropped": len(body) - end})
    merged: list[Turn] = []
    for turn in [*system, *body[start:end]]:
        if merged and merged[-1].role == turn.role:
            merged[-1] = Turn(turn.role, f"{merged[-1].content}\n\n{turn.content}")
            notes["turns of one role merged"] += 1
        else:
            merged.append(turn)
    for key in [key for key, count in notes.items() if not count]:
        del notes[key]
    return tuple(merged)


def _row(record: Record, layout: str) -> dict:
    if layout == "text" and isinstance(record.value, str):
        return {"text": record.value}
    if not isinstance(record.value, dict):
        raise _BadRow(f"a row must be an object with keys, got {_kind(record.value)}")
    return record.value


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, float) and value != value:
        return "NaN"
    if isinstance(value, bool):
        return f"a boolean ({str(value).lower()})"
    if isinstance(value, (int, float)):
        return f"a number ({value})"
    return {str: "text", list: "a list", dict: "an object"}.get(type(value), type(value).__name__)


def _text(row: dict, key: str, *, optional: bool = False, where: str = "") -> str:
    """Return the stripped text under ``key``; an optional one may be missing, null or empty."""
    value = row.get(key)
    if optional and (value is None or value != value):
        return ""
    if key not in row:
        raise _BadRow(f"{where}'{key}' is missing")
    if not isinstance(value, str):
        raise _BadRow(f"{where}'{key}' is {_kind(value)}, not text")
    value = _whole(value.strip(), f"{where}'{key}'")
    if not value and not optional:
        raise _BadRow(f"{where}'{key}' is empty")
    return value


def _whole(text: str, what: str) -> str:
    """Return text that can be written as UTF-8; JSON escapes can spell half of a character."""
    if _SURROGATE.search(text):
        raise _BadRow(f"{what} holds half of a surrogate pair, which is not text")
    return text


def _items(row: dict, key: str, *, optional: bool = False) -> list:
    value = row.get(key)
    if optional and not value:
        return []
    if not isinstance(value, list) or not value:
        raise _BadRow(f"'{key}' is {'an empty list' if value == [] else _kind(value)}, not a list of entries")
    return value


def _options(row: dict, answer: str, notes: Counter[str]) -> tuple[str, ...]:
    """Return the options of a row, none where it brings none; ``_BadRow`` where they cannot be chosen from."""
    keys = [key for key in OPTION_KEYS if not _absent(row.get(key))]
    if not keys:
        return ()
    notes[OPTIONS_NOTE] += 1
    if len(keys) > 1:
        raise _BadRow(f"both '{keys[0]}' and '{keys[1]}'; leave one out")
    key, entries = keys[0], _listed(row[keys[0]])
    if not isinstance(entries, (list, tuple)) or len(entries) < 2:
        found = f"a list of {len(entries)}" if isinstance(entries, (list, tuple)) else _kind(entries)
        raise _BadRow(f"'{key}' is {found}, not a list of two or more texts")
    numbered = {f"entry {number}": entry for number, entry in enumerate(entries, start=1)}
    options = tuple(_text(numbered, name, where=f"'{key}' ") for name in numbered)
    if len(set(options)) < len(options):
        raise _BadRow(f"'{key}' names {next(o for o in options if options.count(o) > 1)!r} twice")
    if answer not in options:
        raise _BadRow(f"the answer {answer[:60]!r} is not among the {len(options)} '{key}'")
    return options


def _absent(value: object) -> bool:
    return value is None or value != value or (isinstance(value, str) and not value.strip())


def _listed(value: object) -> object:
    """Return what a text spells as JSON, for files whose cells hold text only; anything else as it is."""
    try:
        return json.loads(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    except (ValueError, RecursionError):
        return value


def _system(row: dict) -> list[Turn]:
    content = _text(row, "system", optional=True)
    tools = row.get("tools")
    if tools:
        definitions = tools.strip() if isinstance(tools, str) else json.dumps(tools, ensure_ascii=False)
        content = _whole(f"{content}\n\nTools:\n{definitions}".strip(), "'tools'")
    return [Turn("system", content)] if content else []


def _join(instruction: str, context: str) -> str:
    return f"{instruction}\n\n{context}" if context else instruction


def _alpaca(row: dict) -> list[list[Turn]]:
    turns = _system(row)
    for number, pair in enumerate(_items(row, "history", optional=True), start=1):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise _BadRow(f"history entry {number} is not a pair [instruction, output]")
        entry = {"instruction": pair[0], "output": pair[1]}
        turns += [Turn("user", _text(entry, "instruction", where=f"history entry {number}: "))]
        turns += [Turn("assistant", _text(entry, "output", where=f"history entry {number}: "))]
    user = _join(_text(row, "instruction"), _text(row, "input", optional=True))
    return [[*turns, Turn("user", user), Turn("assistant", _text(row, "output"))]]


def _self_instruct(row: dict) -> list[list[Turn]]:
    instruction = _text(row, "instruction")
    conversations = []
    for number, instance in enumerate(_items(row, "instances"), start=1):
        if not isinstance(instance, dict):
            raise _BadRow(f"instance {number} is {_kind(instance)}, not an object")
        where = f"instance {number}: "
        user = _join(instruction, _text(instance, "input", optional=True, where=where))
        conversations.append([Turn("user", user), Turn("assistant", _text(instance, "output", where=where))])
    return conversations


def _conversation(list_key: str, role_key: str, content_key: str) -> Callable[[dict], list[list[Turn]]]:
    def parse(row: dict) -> list[list[Turn]]:
        turns = _system(row)
        for number, message in enumerate(_items(row, list_key), start=1):
            where = f"turn {number}: "
            if not isinstance(message, dict):
                raise _BadRow(f"{where}{_kind(message)}, not an object with '{role_key}' and '{content_key}'")
            name = _text(message, role_key, where=where)
            role = _ROLE_NAMES.get(name.lower())
            if role is None:
                raise _BadRow(f"{where}unknown role '{name}'{did_you_mean(name, _ROLE_NAMES)}")
            calls = message.get("tool_calls") if role == "assistant" else None
            content = _text(message, content_key, optional=bool(calls) or role == "system", where=where)
            if calls:
                content = f"{content}\n\n{json.dumps(calls, ensure_ascii=False)}".strip()
                content = _whole(content, f"{where}'tool_calls'")
            if content:
                turns.append(Turn(role, content))
        return [turns]

    return parse


def _pair(user_key: str, assistant_key: str) -> Callable[[dict], list[list[Turn]]]:
    def parse(row: dict) -> list[list[Turn]]:
        user, assistant = _text(row, user_key), _text(row, assistant_key)
        return [[*_system(row), Turn("user", user), Turn("assistant", assistant)]]

    return parse


def _document(row: dict) -> list[list[Turn]]:
    return [[Turn("assistant", _text(row, "text"))]]


_PARSERS: dict[str, Callable[[dict], list[list[Turn]]]] = {
    "messages": _conversation("messages", "role", "content"),
    "sharegpt": _conversation("conversations", "from", "value"),
    "self-instruct": _self_instruct,
    "alpaca": _alpaca,
    "prompt-completion": _pair("prompt", "completion"),
    "question-answer": _pair("question", "answer"),
    "text": _document,
}
