"""Tables of accuracies: read as they are meant, with every exception told, or refused in one line."""

import csv
import io

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from itlib import instruction_table
from itlib.errors import InputError
from itlib.instruction_table import COLUMNS, TOLD, read, two_sided

HEAD = "model,task,instruction,observed,accuracy\n"
QUICK = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])


def file(folder, content, name="scores.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def table(folder, *lines, head=HEAD):
    return read(file(folder, head + "".join(f"{line}\n" for line in lines)))


def test_a_file_by_hand(tmp_path):
    """Order of columns, byte-order mark, line ends, blank lines, quotes and line breaks inside them."""
    path = file(
        tmp_path,
        b"\xef\xbb\xbftask,model , observed,accuracy,instruction\r\n"
        b'qa,"flan, xl",Yes,0.25,"read this.\nthen answer"\r\n'
        b"\r\n"
        b'qa,"flan, xl",unobserved,1,2\r\n',
    )
    found = read(path)
    assert found.rows.to_dict("records") == [
        {"model": "flan, xl", "task": "qa", "instruction": "read this.\nthen answer", "observed": True,
         "accuracy": 0.25, "line": 2},
        {"model": "flan, xl", "task": "qa", "instruction": "2", "observed": False, "accuracy": 1.0, "line": 5},
    ]  # fmt: skip
    assert (found.name, found.remarks, found.n_left_out, found.percent) == ("scores.csv", (), 0, False)


def test_what_is_no_number_is_told_counted_and_left_out(tmp_path):
    lines = ["m,t,1,1,0.5", "m,t,2,0,PD", "m,t,3,0,", "m,,4,0,0.3", "m,t,5,0,nan", "m,t,6,0,0.3"]
    found = table(tmp_path, *lines)
    assert found.rows["instruction"].to_list() == ["1", "6"] and found.n_left_out == 4
    assert found.remarks == (
        "scores.csv:3: accuracy 'PD' is no number; the line is left out",
        "scores.csv:4: accuracy is empty; the line is left out",
        "scores.csv:5: task is empty; the line is left out",
        "scores.csv:6: accuracy 'nan' is no number; the line is left out",
        "scores.csv: 4 of 6 lines are left out",
    )


def test_remarks_are_bounded_and_all_counted(tmp_path):
    lines = ["m,t,a,1,0.5", *(f"m,t,{i},0,PD" for i in range(50)), *(f"m,u{i},a,1,0.5" for i in range(30))]
    found = table(tmp_path, *lines)
    assert len(found.remarks) == 2 * (TOLD + 1) + 1 and found.n_left_out == 50
    assert "scores.csv: 30 more remarks of this kind" in found.remarks
    assert "scores.csv: 50 of 81 lines are left out" in found.remarks
    assert "scores.csv: 11 more remarks of this kind" in found.remarks


@pytest.mark.parametrize(
    ("values", "shares", "percent"),
    [(("0.5", "1"), [0.5, 1.0], False), (("50", "57.4"), [0.5, 0.574], True), (("0", "100"), [0.0, 1.0], True),
     (("0", "1"), [0.0, 1.0], False), (("57.4%", "0.6 %"), [0.574, 0.006], True), (("1e-1", ".5"), [0.1, 0.5], False)],
)  # fmt: skip
def test_percentages_and_shares_are_told_apart(tmp_path, values, shares, percent):
    found = table(tmp_path, f"m,t,a,1,{values[0]}", f"m,t,b,0,{values[1]}")
    assert found.rows["accuracy"].to_list() == pytest.approx(shares) and found.percent == percent
    assert len(found.remarks) == percent and all("percentages, such as '" in text for text in found.remarks)


def test_a_task_with_one_side_is_told_and_kept_apart(tmp_path):
    found = table(tmp_path, "m,t,a,1,0.5", "m,t,b,0,0.4", "m,u,a,1,0.5", "n,t,b,0,0.4", "n,t,c,1,PD")
    assert found.remarks[-2:] == (
        "scores.csv:4: task 'u' of model 'm' has observed instructions only; it is left out of the gap",
        "scores.csv:5: task 't' of model 'n' has unobserved instructions only; it is left out of the gap",
    )
    assert len(found.rows) == 4 and two_sided(found.rows)["line"].to_list() == [2, 3]


def test_synonyms_are_taken_where_they_mean_one_thing_and_told(tmp_path):
    found = table(tmp_path, "m,t,a,1,0.5,9", "m,t,b,0,0.4,9", head="Model,dataset,template,observed?,acc,n\n")
    assert len(found.rows) == 2 and found.remarks == (
        "scores.csv:1: column 'Model' is read as 'model'",
        "scores.csv:1: column 'dataset' is read as 'task'",
        "scores.csv:1: column 'template' is read as 'instruction'",
        "scores.csv:1: column 'observed?' is read as 'observed'",
        "scores.csv:1: column 'acc' is read as 'accuracy'",
        "scores.csv:1: not used: column 'n'",
    )
    own = table(tmp_path, "m,t,a,x,1,0.5", "m,t,b,x,0,0.4", head="model,task,instruction,template,observed,accuracy\n")
    assert own.remarks == ("scores.csv:1: not used: column 'template'",), "its own name comes first"


BAD = {
    "nothing": ("", "the file is empty; a first line model,task,instruction,observed,accuracy would be right"),
    "blank lines": ("\n \n,,\n", "the file is empty"),
    "names only": (HEAD, "no line has an accuracy"),
    "only words": (f"{HEAD}m,t,a,1,PD\n", "no line has an accuracy; the first of 1 left out: scores.csv:2: accuracy"),
    "not UTF-8": (HEAD.encode() + b"m,t,a,1,0.5\n\xff", ":3: not UTF-8"),
    "UTF-16": (HEAD.encode("utf-16"), ":1: not UTF-8"),
    "missing column": ("model,task,observed,accuracy\n", ":1: column 'instruction' is missing; needed"),
    "mistyped column": ("model,task,instruction,observed,acuracy\n", "is missing (did you mean 'acuracy'?)"),
    "two synonyms": ("model,task,prompt,template,observed,acc\n", ":1: columns 'prompt' and 'template' could both be"),
    "column twice": ("model,task,task,instruction,observed,accuracy\n", ":1: columns 'task' and 'task' could both be"),
    "semicolons": (HEAD.replace(",", ";"), ":1: column 'model' is missing (cells are separated by commas)"),
    "no header": ("m,t,a,1,0.5\n", ":1: column 'model' is missing"),
    "endless header": ("," * 1000 + "\n" + HEAD, ""),
    "wide header": (",".join(f"c{i}" for i in range(300)) + "\n", ":1: 300 columns"),
    "too few cells": (f"{HEAD}m,t,a,1\n", ":2: 4 cells, but the first line names 5 columns"),
    "too many cells": (f"{HEAD}m,t,a,1,57,4\n", ":2: 6 cells"),
    "perhaps": (f"{HEAD}m,t,a,maybe,0.5\n", ":2: observed: 'maybe' is none of true, yes, 1, observed, false"),
    "negative": (f"{HEAD}m,t,a,1,-0.1\n", ":2: accuracy '-0.1' is neither a share nor a percentage"),
    "above all": (f"{HEAD}m,t,a,1,0.1\nm,t,b,0,100.5\n", ":3: accuracy '100.5' is neither"),
    "mixed scales": (
        f"{HEAD}m,t,a,1,57.4\nm,t,b,0,40\nm,t,c,0,0.43\n",
        ":4: accuracy '0.43' is a share or a very low percentage, '57.4' on line 2 (the same model) a percentage",
    ),
    "a model in each": (f"{HEAD}m,t,a,1,57.4\nn,t,a,1,0.6\n", ":3: accuracy '0.6' is a share or a very low percent"),
    "one percent": (f"{HEAD}m,t,a,1,57.4\nm,t,b,1,1\n", "(the same model) a percentage; write all accuracies"),
    "half the signs": (f"{HEAD}m,t,a,1,57.4%\nm,t,b,1,57\n", ":3: accuracy '57' has no percent sign, '57.4%' on"),
    "given twice": (
        f"{HEAD}m,t,a,1,0.5\n\nm,t,a,0,0.4\n",
        ":4: instruction 'a' of task 't' is given twice for model 'm', first on line 2",
    ),
    "given twice, once no number": (f"{HEAD}m,t,a,1,PD\nm,t,a,1,0.4\n", ":3: instruction 'a' of task 't' is given"),
    "open quote": (f'{HEAD}m,"t,a,1,0.5\n', ":2: not a line of CSV"),
    "text after a quote": (f'{HEAD}m,t,a,1,0.5\n"m"x,t,b,1,0.5\n', ":3: not a line of CSV"),
    "line break in a name": (f'{HEAD}m,"t\nu",a,1,0.5\n', ":2: task: 't\\nu' holds a character"),
    "bell in an instruction": (f"{HEAD}m,t,a\ab,1,0.5\n", ":2: instruction: 'a\\x07b' holds a character"),
    "endless name": (f"{HEAD}m,{'x' * 500},a,1,0.5\n", ":2: task: longer than 120 characters"),
    "endless cell": (f"{HEAD}m,{'x' * 200_000},a,1,0.5\n", ":2: not a line of CSV"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_in_one_line(name, tmp_path):
    content, message = BAD[name]
    with pytest.raises(InputError) as caught:
        read(file(tmp_path, content))
    text = str(caught.value)
    assert message in text and "\n" not in text and str(tmp_path / "scores.csv") in text and len(text) < 500


def test_places_without_a_file_are_refused(tmp_path, monkeypatch):
    for path, message in (
        (tmp_path / "no.csv", "table: file not found"),
        (tmp_path, "is a folder"),
        ("a\0b", "cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            read(path)
    monkeypatch.setattr(instruction_table, "MAX_BYTES", 20)
    with pytest.raises(InputError, match="larger than 20 bytes"):
        read(file(tmp_path, HEAD))


def accepted(path):
    """What was read, or None where it was refused as it should be."""
    try:
        found = read(path)
    except InputError as error:
        assert "\n" not in str(error) and len(str(error)) < 700
        return None
    rows = found.rows
    assert len(rows) and rows["accuracy"].between(0, 1).all() and rows["observed"].dtype == bool
    assert not rows.duplicated(["model", "task", "instruction"]).any() and (rows[["model", "task"]] != "").all(
        axis=None
    )
    assert all("\n" not in remark for remark in found.remarks)
    return found


@QUICK
@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(tmp_path, content):
    accepted(file(tmp_path, content))
    accepted(file(tmp_path, HEAD.encode() + content))


WORDS = ["", " ", "m", "t", "1", "0", "yes", "PD", "0.5", "57.4", "57%", "-1", "1e999", "nan"]
CELL = st.one_of(st.sampled_from(WORDS), st.text(max_size=6))
SIDE = st.sampled_from(["1", "no", "Observed", "unobserved", "", "x"])
VALUE = st.one_of(
    st.sampled_from(["", "PD", "0", "1", "1.0", "101", "5%", "inf"]),
    st.floats(0, 1).map(repr),
    st.floats(0, 100).map(repr),
)


@QUICK
@given(lines=st.lists(st.one_of(st.tuples(CELL, CELL, CELL, SIDE, VALUE), st.lists(CELL, max_size=7)), max_size=8))
def test_any_lines_are_read_or_refused(tmp_path, lines):
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS, *lines])
    accepted(file(tmp_path, text.getvalue().encode("utf-8", "replace")))


NAME = st.text("abcdefg ,\"'äß漢", min_size=1, max_size=5).map(str.strip).filter(bool)


@QUICK
@given(
    cells=st.dictionaries(
        st.tuples(NAME, NAME, NAME), st.tuples(st.booleans(), st.floats(0, 1)), min_size=1, max_size=8
    ),
    percent=st.booleans(),
)
def test_what_was_written_is_read(tmp_path, cells, percent):
    """Shares are read back as they are, and percentages with their sign as a hundredth."""
    lines = [
        (*names, int(side), f"{100 * value!r}%" if percent else repr(value)) for names, (side, value) in cells.items()
    ]
    text = io.StringIO()
    csv.writer(text).writerows([COLUMNS, *lines])
    found = accepted(file(tmp_path, text.getvalue()))
    expected = pd.DataFrame([(*names, *rest) for names, rest in cells.items()], columns=COLUMNS)
    pd.testing.assert_frame_equal(found.rows[list(COLUMNS)], expected, check_exact=not percent)
    assert found.n_left_out == 0 and found.percent == percent
