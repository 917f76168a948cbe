import json
import os
import random
from pathlib import Path

import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from itlib.errors import InputError
from itlib.example import Example, Turn
from itlib.registry import sources
from itlib.sources import resolve_name
from itlib.sources._containers import MAX_DEPTH, read_records
from itlib.sources._formats import parse_records
from itlib.sources._rows import n_held_out, opening_text, prompt_text, split_rows
from itlib.sources.local import describe, read_file
from itlib.spec import DataSpec, EvalSpec

REAL = Path(os.environ.get("ITLIB_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
LOCAL = sources.get("local")


def alpaca(n):
    return [{"instruction": f"Double {i}.", "input": "", "output": str(2 * i)} for i in range(n)]


def messages(*pairs):
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


def write(path, rows, *, lines=True, newline="\n"):
    text = newline.join(json.dumps(row) for row in rows) + newline if lines else json.dumps(rows)
    path.write_bytes(text.encode())
    return path


def spec(path, **fields):
    return DataSpec(**({"source": "local", "data_path": str(path), "n_train": 5} | fields))


@pytest.mark.fault(9)
def test_empty_outputs_refuse_with_line_and_way_on_or_are_kept_aside(tmp_path):
    rows = alpaca(40)
    rows[6]["output"] = ""
    rows[9]["output"] = 5
    path = write(tmp_path / "data.jsonl", rows)
    with pytest.raises(InputError, match=r"data.jsonl:7: 'output' is empty and 1 more bad row; .*quarantine") as caught:
        LOCAL.resolve(spec(path))
    assert "\n" not in str(caught.value)
    kept = spec(path, on_bad_rows="quarantine")
    assert LOCAL.bad_rows(kept) == [(7, "'output' is empty"), (10, "'output' is a number (5), not text")]
    assert LOCAL.resolve(kept).pool_size == 38 - 2 * 4
    assert describe(path)["dropped"] == {"'output' is empty": 1, "'output' is a number (5), not text": 1}


# Containers.
def test_the_same_rows_come_from_every_container(tmp_path):
    rows = alpaca(30)
    rows[3]["output"] = 'two\nlines, "quoted"'
    paths = [write(tmp_path / "a.json", rows, lines=False), write(tmp_path / "a.jsonl", rows)]
    paths.append(write(tmp_path / "lines.json", rows))
    pandas.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    pandas.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    paths += [tmp_path / "a.csv", tmp_path / "a.parquet"]
    examples = [read_file(path).parsed.examples for path in paths]
    assert all(other == examples[0] for other in examples)
    assert [describe(path)["container"] for path in paths] == ["json", "jsonl", "jsonl", "csv", "parquet"]


def test_nested_parquet_is_read(tmp_path):
    rows = [messages(("user", f"a{i}"), ("assistant", "b")) for i in range(20)]
    pandas.DataFrame(rows).to_parquet(tmp_path / "a.parquet")
    assert read_file(tmp_path / "a.parquet").parsed.examples[3].instruction == "a3"


def test_csv_keeps_text_and_counts_lines(tmp_path):
    text = 'instruction,output\nBond number?,007\n\nSymbol of sodium?,NA\n"two\nlines",x\nlast,\n'
    parsed = parse_records("a.csv", *read_records("a.csv", text.encode()))
    assert [example.response for example in parsed.examples] == ["007", "NA", "x"]
    assert parsed.bad == ((7, "'output' is empty"),)


def test_ragged_csv_and_false_parquet_are_refused():
    with pytest.raises(InputError, match=r"a.csv: not a readable table .*line 3"):
        read_records("a.csv", b"instruction,output\na,b\na,b,c\n")
    with pytest.raises(InputError, match="a.parquet: not a readable parquet file"):
        read_records("a.parquet", b"PAR1 but no more")


def test_text_file_is_cut_at_blank_lines():
    records = read_records("a.txt", b"\r\none\r\ntwo\r\n \r\nthree")[1]
    assert [(record.line, record.value) for record in records] == [(2, "one\ntwo"), (5, "three")]


@pytest.mark.fault(7)
def test_bom_crlf_and_blank_lines_are_tolerated(tmp_path):
    plain = write(tmp_path / "plain.jsonl", alpaca(20))
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes().replace(b"\n", b"\r\n\r\n"))
    assert read_file(other).parsed.examples[5].turns == read_file(plain).parsed.examples[5].turns
    assert describe(other)["rows"] == 20


def test_line_separator_inside_a_string_does_not_cut_the_line():
    content = '{"prompt": "a\u2028b", "completion": "c\x85d"}\n'.encode()
    assert parse_records("a.jsonl", *read_records("a.jsonl", content)).examples[0].instruction == "a\u2028b"


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.fault(7)
def test_wrong_encoding_names_the_byte_offset(bom):
    content = bom + '{"prompt": "a", "completion": "b"}\n{"prompt": "café"}\n'.encode("latin-1")
    offset = content.index(b"\xe9")
    with pytest.raises(InputError, match=rf"a.jsonl:2: not UTF-8 at byte offset {offset} \(0xe9\)"):
        read_records("a.jsonl", content)


@pytest.mark.fault(6)
def test_truncated_and_garbage_lines_are_located(tmp_path):
    path = write(tmp_path / "data.jsonl", alpaca(30))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match=r"data.jsonl:30: not valid JSON at column"):
        LOCAL.resolve(spec(path))
    assert LOCAL.resolve(spec(path, on_bad_rows="quarantine")).pool_size == 29 - 2 * 3
    records = read_records("a.jsonl", b'{"text": "a"}\nnot json\n{"text": "b"} 1\n')[1]
    problems = [record.problem.split(" (")[0] for record in records]
    assert problems == ["", "not valid JSON at column 1", "not valid JSON at column 15"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"text": "a"},\n{"text": "b"}', "a.json:2: .*after row 2: the file is truncated"),
        ('[{"text": "a"},\n{"text": "b', "a.json:2: not valid JSON"),
        ('[{"text": "a"}\n{"text": "b"}]', "a.json:2: .*after row 1: expected ',' or ']'"),
        ('[{"text": "a"},\n]', "a.json:2: not valid JSON"),
        ('[{"text": "a"}]\n\nx', "a.json:3: more text after the end"),
        ("[] x", "a.json:1: more text after the end"),
    ],
)
def test_broken_lists_are_located(text, message):
    with pytest.raises(InputError, match=message):
        read_records("a.json", text.encode())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(json_values, max_size=5), st.sampled_from([None, 1, "\t"]))
def test_list_reader_agrees_with_the_json_module(rows, indent):
    text = json.dumps(rows, indent=indent)
    assert [record.value for record in read_records("a.json", text.encode())[1]] == json.loads(text)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.text(alphabet='[]{},:"a1 \n', max_size=30))
def test_list_reader_accepts_nothing_that_the_json_module_refuses(text):
    text = "[" + text
    try:
        expected = json.loads(text)
    except json.JSONDecodeError:
        with pytest.raises(InputError):
            read_records("a.json", text.encode())
    else:
        records = read_records("a.json", text.encode())[1]
        assert [r.value for r in records if not r.problem] == expected or any(r.problem for r in records)


@pytest.mark.parametrize("depth", [MAX_DEPTH + 1, 200_000])
def test_deep_nesting_is_a_bad_row_not_a_crash(depth):
    deep = "[" * depth + "]" * depth
    record = read_records("a.jsonl", f'{{"text": "a"}}\n{deep}'.encode())[1][1]
    assert f"nested deeper than {MAX_DEPTH}" in record.problem
    fits = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert not read_records("a.jsonl", fits.encode())[1][0].problem


def test_repeated_key_and_long_record_are_bad_rows(monkeypatch):
    assert read_records("a.jsonl", b'{"text": "a", "text": "b"}')[1][0].problem == "key 'text' appears twice"
    monkeypatch.setattr("itlib.sources._containers.MAX_RECORD", 50)
    long = json.dumps({"text": "a" * 60})
    assert "above the limit of 50" in read_records("a.jsonl", long.encode())[1][0].problem
    assert "above the limit of 50" in read_records("a.json", f"[{long}]".encode())[1][0].problem


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "", "a.jsonl: the file is empty"),
        ("a.jsonl", " \n", "a.jsonl: the file is empty"),
        ("a.json", "[]", "a.json: the file holds no rows"),
        ("a.csv", "instruction,output\n", "a.csv: the file holds no rows"),
        ("a.jsonl", '{"instruction": "a", "output": ""}\n', "a.jsonl:1: 'output' is empty; none of the 1 rows"),
        ("a.jsonl", "garbage\n", "a.jsonl:1: not valid JSON .*no usable row"),
        ("a.jsonl", '{"instructions": "a", "outputs": "b"}', "did you mean 'instruction'"),
        ("a.jsonl", "5\n", "no known format"),
        ("a.json", '{\n"data": []\n}', "a.json: one object, not a list of rows"),
        ("a.xml", "<a/>", "cannot read '.xml' files"),
        ("a.jsonl", '{"text": "a"}\n{"text": "b"}', "2 usable rows with 2 distinct prompts are too few"),
    ],
)
@pytest.mark.fault(8)
def test_unusable_files_are_refused_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        LOCAL.resolve(spec(tmp_path / name, on_bad_rows="quarantine"))
    assert "\n" not in str(caught.value)


# The split.
def conversation(*texts):
    roles = ("user", "assistant") * len(texts)
    return tuple(Turn(role, text) for role, text in zip(roles, texts, strict=False))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=40, max_size=120))
@pytest.mark.fault(10)
def test_no_opening_straddles_the_split(pairs):
    examples = tuple(
        Example(id=str(i), turns=conversation(f"Q {a}" if b else f" q  {a} ", "r", *(["more", "s"] if b == 2 else [])))
        for i, (a, b) in enumerate(pairs)
    )
    try:
        split = split_rows("x", examples)
    except InputError:
        return
    parts = [{opening_text(example) for example in part} for part in (split.pool, split.dev, split.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]
    for part in (split.dev, split.test):
        assert len({prompt_text(example) for example in part}) == len(part)
    order = {example.id: index for index, example in enumerate(examples)}
    assert [order[e.id] for e in split.pool] == sorted(order[e.id] for e in split.pool)


SHARES = [(10, 1), (100, 10), (199, 20), (200, 20), (400, 20), (1000, 50), (18000, 200)]


@pytest.mark.parametrize(("n", "expected"), SHARES)
def test_held_out_share(n, expected):
    assert n_held_out(n) == expected


def test_split_depends_on_content_not_on_order_or_names(tmp_path):
    rows = alpaca(300)
    shuffled = rows.copy()
    random.Random(0).shuffle(shuffled)
    one, two = write(tmp_path / "one.jsonl", rows), write(tmp_path / "two.json", shuffled, lines=False)
    evaluation = EvalSpec(split="test", n_eval=50)
    first, second = ([e.instruction for e in LOCAL.held_out(spec(p), evaluation)] for p in (one, two))
    assert first == second and len(first) == 20


def test_held_out_nests_and_pool_ignores_the_seed(tmp_path):
    data = spec(write(tmp_path / "a.jsonl", alpaca(300)))
    whole = LOCAL.held_out(data, EvalSpec(split="dev", n_eval=20))
    assert LOCAL.held_out(data, EvalSpec(split="dev", n_eval=7)) == whole[:7]
    assert LOCAL.pool(data, seed=0) == LOCAL.pool(data, seed=1)
    assert len(LOCAL.pool(data, seed=0)) == 260
    assert LOCAL.reference(data, 5) == [] and LOCAL.exact_match is False
    with pytest.raises(InputError, match="split is 'train'"):
        LOCAL.held_out(data, EvalSpec(split="train"))


# Resolution.
def test_resolve_fills_fingerprint_and_pool_size(tmp_path):
    import hashlib

    path = write(tmp_path / "a.jsonl", alpaca(300))
    resolved = LOCAL.resolve(spec(path))
    assert resolved.data_fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()
    assert resolved.pool_size == 260
    assert LOCAL.resolve(resolved) == resolved


def test_resolve_refuses_what_a_run_would_trip_over(tmp_path):
    path = write(tmp_path / "a.jsonl", alpaca(300))
    with pytest.raises(InputError, match="n_train is 261, but .*a.jsonl has a pool of 260 rows"):
        LOCAL.resolve(spec(path, n_train=261))
    with pytest.raises(InputError, match="on_bad_rows is 'skip'"):
        LOCAL.resolve(spec(path, on_bad_rows="skip"))
    with pytest.raises(InputError, match="takes its rows as they are; leave noise_rate out"):
        LOCAL.resolve(spec(path, noise_rate=0.1))
    with pytest.raises(InputError, match="no task families"):
        LOCAL.resolve(spec(path, families=("opposite",)))
    with pytest.raises(InputError, match="file not found"):
        LOCAL.resolve(spec(tmp_path / "b.jsonl"))
    with pytest.raises(InputError, match="is a folder"):
        LOCAL.resolve(spec(tmp_path))
    resolved = LOCAL.resolve(spec(path))
    write(path, alpaca(301))
    with pytest.raises(InputError, match="has changed: its fingerprint is .*recorded"):
        LOCAL.pool(resolved, seed=0)


@pytest.mark.fault(10)
def test_duplicates_are_counted(tmp_path):
    assert describe(write(tmp_path / "a.jsonl", alpaca(40) + alpaca(3)))["notes"] == {"duplicated rows": 3}


def test_resolve_name(tmp_path):
    path = write(tmp_path / "my data.jsonl", alpaca(3))
    assert resolve_name("local") == {"source": "local"}
    assert resolve_name(str(path)) == {"source": "local", "data_path": str(path)}
    assert resolve_name("org/name@v1") == {"source": "hub", "data_path": "org/name", "data_revision": "v1"}
    assert resolve_name("org/name:main") == {"source": "hub", "data_path": "org/name:main", "data_revision": ""}
    for missing in ("data/none.json", "./none", "/none/at/all", str(tmp_path / "none")):
        with pytest.raises(InputError, match="file not found"):
            resolve_name(missing)
    with pytest.raises(InputError, match="is a folder"):
        resolve_name(str(tmp_path))
    with pytest.raises(InputError, match="unknown source 'microwolrd' .did you mean 'microworld'"):
        resolve_name("microwolrd")


# Real files: counts taken with an independent reading of each file.
@pytest.mark.skipif(not REAL.is_dir(), reason="no folder of real data (ITLIB_TEST_DATA)")
@pytest.mark.parametrize(
    ("name", "layout", "rows", "usable"),
    [
        ("alpaca/alpaca_5000.json", "alpaca", 5000, 4998),
        ("alpaca/alpaca_union_18669.json", "alpaca", 18669, 18659),
        ("gsm8k/test.jsonl", "question-answer", 1319, 1319),
        ("self_instruct/seed_tasks.jsonl", "self-instruct", 175, 175),
        ("self_instruct/user_oriented_instructions.jsonl", "self-instruct", 252, 252),
        ("sharegpt/fastchat_dummy_conversation.json", "sharegpt", 500, 500),
        ("sharegpt/glaive_toolcall_en_demo.json", "sharegpt", 300, 300),
        ("text/tinystories_1000.json", "text", 1000, 1000),
    ],
)
def test_real_files(name, layout, rows, usable):
    seen = describe(REAL / name)
    assert (seen["format"], seen["rows"], seen["usable"]) == (layout, rows, usable)
    assert min(seen["dev"], seen["test"]) >= n_held_out(usable)
    assert seen["pool"] + seen["dev"] + seen["test"] <= usable


@pytest.mark.skipif(not REAL.is_dir(), reason="no folder of real data (ITLIB_TEST_DATA)")
def test_real_file_without_answers_is_refused():
    with pytest.raises(InputError, match="no known format .*prompt"):
        describe(REAL / "ifeval" / "input_data.jsonl")
