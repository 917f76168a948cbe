"""Strict YAML: what the YAML 1.1 traps read as, and that every fault is one line with its place."""

from __future__ import annotations

import json
import math
import os

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from itlib.errors import InputError
from itlib.yamlio import MAX_BYTES, MAX_DEPTH, load_strict, load_with_lines, parse_text_list


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "x.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


READS = [
    ("no", "no"),
    ("on", "on"),
    ("yes", "yes"),
    ("Off", "Off"),
    ("true", True),
    ("False", False),
    ("017", "017"),
    ("0o17", "0o17"),
    ("0x1F", "0x1F"),
    ("0b11", "0b11"),
    ("1_000", "1_000"),
    ("12:30:45", "12:30:45"),
    ("1:30.5", "1:30.5"),
    ("2026-01-02", "2026-01-02"),
    ("2e-5", 2e-5),
    ("1e3", 1000.0),
    ("1.5", 1.5),
    ("-.5", -0.5),
    ("1.", 1.0),
    ("7", 7),
    ("-7", -7),
    ("+7", 7),
    ("0", 0),
    ("'7'", "7"),
    ("'true'", "true"),
    (".nan", ".nan"),
    (".inf", ".inf"),
    ("null", None),
    ("~", None),
    ("", None),
    ("[1, 2e-5, no]", [1, 2e-5, "no"]),
    ("{b: 1}", {"b": 1}),
    ("a#b", "a#b"),
    ("=", "="),
]


@pytest.mark.parametrize(("text", "expected"), READS, ids=[text or "empty" for text, _ in READS])
def test_scalars(write, text, expected):
    value = load_strict(write(f"a: {text}\n"))["a"]
    assert value == expected
    assert type(value) is type(expected)


BOMB = "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n"
FAULTS = [
    ("duplicate", "a: 1\nb: 2\na: 3\n", ":3: key 'a' is given twice, first on line 1"),
    ("nested duplicate", "a:\n  b: 1\n  'b': 2\n", ":3: key 'b' is given twice"),
    ("alias bomb", BOMB, ":2: alias '*a' is refused"),
    ("merge", "a: &a {b: 1}\nc:\n  <<: *a\n", ":3: alias '*a' is refused"),
    ("python tag", "a: !!python/object/apply:os.system ['true']\n", ":1: tag 'tag:yaml.org,2002:python/"),
    ("int tag", 'a: !!int "017"\n', ":1: tag 'tag:yaml.org,2002:int' is refused"),
    ("own tag", "a: !x 1\n", ":1: tag '!x' is refused"),
    ("depth", "a: " + "[" * MAX_DEPTH + "]" * MAX_DEPTH, ":1: nested deeper than 20 levels"),
    ("deep bomb", "a: " + "[" * 200_000, ":1: nested deeper"),
    ("list", "- a\n", ":1: expected 'key: value' lines at the top level, got a sequence"),
    ("scalar", "hello\n", ":1: expected 'key: value' lines at the top level, got a scalar"),
    ("empty", "", ": the file is empty"),
    ("only comments", "# nothing\n\n", ": the file is empty"),
    ("two documents", "a: 1\n---\nb: 2\n", ":2: "),
    ("number key", "1: a\n", ":1: key 1 must be text"),
    ("boolean key", "a: 1\ntrue: a\n", ":2: key True must be text"),
    ("list key", "[a]: 1\n", ":1: "),
    ("tab", "a: 1\n\tb: 2\n", ":2: "),
    ("broken", "a: [1, 2\nb: 3\n", ":2: "),
    ("latin-1", "a: 1\nb: caf\u00e9\n".encode("latin-1"), ":2: not UTF-8 at byte 11"),
    ("control", b"a: 1\nb: \x07\n", ":2: character U+0007"),
    ("nul", b"\0\0\0\0", ":1: character U+0000"),
    ("large", b"a: " + b"x" * MAX_BYTES, ": larger than 1048576 bytes"),
]


@pytest.mark.parametrize(("text", "message"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS])
@pytest.mark.fault(2)
def test_faults_are_one_line_with_place(write, text, message):
    path = write(text)
    with pytest.raises(InputError) as caught:
        load_strict(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert len(str(caught.value).splitlines()) == 1


def test_missing_file_folder_and_pipe(tmp_path):
    (tmp_path / "01_data_scaling.yaml").write_text("a: 1\n")
    with pytest.raises(InputError, match=r"01_data_scalin\.yaml: no such file .did you mean '.*01_data_scaling.yaml'"):
        load_strict(tmp_path / "01_data_scalin.yaml")
    with pytest.raises(InputError, match="no such file"):
        load_strict(tmp_path / "no" / "such.yaml")
    with pytest.raises(InputError, match="is a folder"):
        load_strict(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="not a regular file"):
        load_strict(tmp_path / "pipe")


def test_byte_order_mark_crlf_and_blank_lines_are_tolerated(write):
    data, lines = load_with_lines(write(b"\xef\xbb\xbf\r\na: 1\r\n\r\n# why\r\nb: x\r\n"))
    assert data == {"a": 1, "b": "x"}
    assert lines == {"a": 2, "b": 5}


def test_lines_of_top_level_keys(write):
    data, lines = load_with_lines(write("a: 1\nb:\n  - x\n  - y\n'c': |\n  text\n\nd: 2\n"))
    assert data == {"a": 1, "b": ["x", "y"], "c": "text\n", "d": 2}
    assert lines == {"a": 1, "b": 2, "c": 5, "d": 8}


def test_elements_of_a_text_list_stay_text():
    assert parse_text_list("[1, 2e-5, 007, no, 'a, b']", where="-p x") == ["1", "2e-5", "007", "no", "a, b"]
    assert parse_text_list("[]", where="-p x") == []
    for wrong in ("[1", "1", "{a: 1}", "[*a]", "[!!python/name:os.system x]"):
        with pytest.raises(InputError, match=r"^-p x: .*is not a list such as \[1, 2\]"):
            parse_text_list(wrong, where="-p x")


plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=8),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc_", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abcdef_", min_size=1), plain, min_size=1, max_size=5))
def test_what_json_writes_reads_back(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    assert load_strict(path) == data


@given(st.binary(max_size=60))
def test_any_bytes_give_a_mapping_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_bytes(content)
    try:
        assert isinstance(load_strict(path), dict)
    except InputError as error:
        assert len(str(error).splitlines()) == 1


@given(st.text("-[]{}:,&*!|>'\"%@` \n#?ab0.e~", max_size=40))
def test_any_text_gives_a_mapping_or_one_line(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("yaml") / "x.yaml"
    path.write_text(text)
    try:
        assert isinstance(load_strict(path), dict)
    except InputError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.fault(2)
def test_the_traps_are_real():
    """If PyYAML itself ever reads these as YAML 1.2, this module can shrink."""
    trapped = yaml.safe_load("a: no\nb: 017\nc: 12:30:45\nd: 2e-5\na: 3\n")
    assert trapped == {"a": 3, "b": 15, "c": 45045, "d": "2e-5"}
    assert math.isclose(float(trapped["d"]), 2e-5)
