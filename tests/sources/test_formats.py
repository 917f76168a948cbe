import json

import pytest

from itlib.sources._containers import read_records
from itlib.sources._formats import parse_records


def messages(*pairs):
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


def turns_of(row):
    records = read_records("rows.jsonl", json.dumps(row).encode())[1]
    parsed = parse_records("rows.jsonl", "jsonl", records)
    return [[(turn.role, turn.content) for turn in example.turns] for example in parsed.examples], parsed


# Formats: one row of each, with the turns written by hand.
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "Add.", "input": "1 2", "output": " 3 "}, [("user", "Add.\n\n1 2"), ("assistant", "3")]),
        ({"instruction": "Add.", "input": None, "output": "3"}, [("user", "Add."), ("assistant", "3")]),
        (
            {"system": "S", "history": [["a", "b"]], "instruction": "c", "output": "d"},
            [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
        ),
        (
            {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]},
            [("user", "a"), ("assistant", "b")],
        ),
        (
            {
                "tools": "[1]",
                "system": "S",
                "conversations": [
                    {"from": "human", "value": "a"},
                    {"from": "function_call", "value": "{}"},
                    {"from": "observation", "value": "o"},
                    {"from": "gpt", "value": "b"},
                ],
            },
            [("system", "S\n\nTools:\n[1]"), ("user", "a"), ("assistant", "{}"), ("tool", "o"), ("assistant", "b")],
        ),
        (
            {
                "messages": [
                    {"role": "system", "content": ""},
                    {"role": "user", "content": "a"},
                    {"role": "assistant", "content": None, "tool_calls": [{"name": "f"}]},
                ]
            },
            [("user", "a"), ("assistant", '[{"name": "f"}]')],
        ),
        ({"prompt": "a", "completion": "b"}, [("user", "a"), ("assistant", "b")]),
        ({"question": "a", "answer": "b"}, [("user", "a"), ("assistant", "b")]),
        ({"text": "a\n\nb"}, [("assistant", "a\n\nb")]),
    ],
)
def test_each_format_becomes_turns(row, expected):
    assert turns_of(row)[0] == [expected]


def test_self_instruct_gives_one_example_per_instance():
    row = {"instruction": "I", "instances": [{"input": "x", "output": "1"}, {"input": "", "output": "2"}]}
    conversations, parsed = turns_of(row)
    assert conversations == [[("user", "I\n\nx"), ("assistant", "1")], [("user", "I"), ("assistant", "2")]]
    assert [example.id for example in parsed.examples] == ["row-1.1", "row-1.2"]
    assert [example.gold for example in parsed.examples] == ["1", "2"]


@pytest.mark.fault(11)
def test_conversation_policy_is_applied_and_counted():
    row = messages(
        ("assistant", "welcome"), ("user", "a"), ("user", "b"), ("assistant", "c"), ("assistant", "d"), ("user", "bye")
    )
    conversations, parsed = turns_of(row)
    assert conversations == [[("user", "a\n\nb"), ("assistant", "c\n\nd")]]
    assert parsed.notes == {"leading turns dropped": 1, "trailing turns dropped": 1, "turns of one role merged": 2}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "a", "output": ""}, "'output' is empty"),
        ({"instruction": "a", "output": " \n"}, "'output' is empty"),
        ({"instruction": "a", "output": None}, "'output' is null"),
        ({"instruction": "a", "output": float("nan")}, "'output' is NaN"),
        ({"instruction": "a", "output": 5}, "'output' is a number (5), not text"),
        ({"instruction": "a", "output": True}, "'output' is a boolean (true), not text"),
        ({"instruction": "a", "output": ["b"]}, "'output' is a list, not text"),
        ({"instruction": "a", "output": "\ud800"}, "surrogate"),
        ({"tools": "\ud800", **messages(("user", "a"), ("assistant", "b"))}, "'tools' holds half of a surrogate"),
        ({"instruction": "", "output": "b"}, "'instruction' is empty"),
        ({"instruction": "a", "input": 3, "output": "b"}, "'input' is a number"),
        ({"instruction": "a", "history": [["x"]], "output": "b"}, "history entry 1 is not a pair"),
        ({"instruction": "a", "instances": []}, "'instances' is an empty list"),
        (messages(("user", "a"), ("assistant", "")), "turn 2: 'content' is empty"),
        (messages(("user", "a"), ("asistant", "b")), "turn 2: unknown role 'asistant' (did you mean 'assistant'?)"),
        (messages(("assistant", "b")), "no user turn"),
        (messages(("assistant", "b"), ("user", "a")), "no user turn"),
        (messages(("user", "a")), "no user turn that is followed by an assistant turn"),
        (messages(("user", "a"), ("system", "s"), ("assistant", "b")), "system turn after"),
        ({"messages": ["hello"]}, "turn 1: text, not an object"),
    ],
)
@pytest.mark.fault(9)
def test_bad_rows_carry_their_reason(row, reason):
    conversations, parsed = turns_of(row)
    assert conversations == []
    assert parsed.bad[0][0] == 1 and reason in parsed.bad[0][1]
