import json

import pandas as pd
import pytest
import yaml

from itlib import cli
from itlib.files import sha256_file
from itlib.provenance import provenance
from itlib.registry import selectors
from itlib.selectors import by_score
from itlib.sources.local import read_file


def write_rows(path, n=30):
    rows = [{"instruction": f"Say {i} words.", "output": " ".join(["word"] * (1 + i % 7))} for i in range(n)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def command(tmp_path, *more):
    data, out = tmp_path / "rows.jsonl", tmp_path / "out"
    write_rows(data)
    place = ["--results", str(tmp_path / "results"), "--out", str(out)]
    return ["select", "--data", str(data), *more, *place], out


def test_a_subset_is_written_with_a_card_that_tells_where_it_comes_from(tmp_path, capsys):
    arguments, out = command(tmp_path, "--selector", "longest", "--n", "4")
    assert cli.main(arguments) == 0
    rows = [json.loads(line) for line in (out / "data.jsonl").read_text().splitlines()]
    assert [row["rank"] for row in rows] == [0, 1, 2, 3]
    assert all(row["messages"][1]["content"] == " ".join(["word"] * 7) for row in rows)
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    table = pd.read_parquet(out / "data.parquet")
    assert table["id"].tolist() == [row["id"] for row in rows]
    card = (out / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["configs"][0]["data_files"] == "data.parquet"
    assert sha256_file(out / "data.parquet") in card and "longest" in card and str(tmp_path) not in card


def test_a_row_without_a_score_has_null_and_not_a_word_that_json_does_not_know(tmp_path, monkeypatch):
    def some(pool, context):
        return [float("nan") if row % 3 else float(row) for row in range(len(pool))]

    monkeypatch.setitem(selectors._entries, "some", by_score(some))
    monkeypatch.setitem(selectors._versions, "some", 1)
    arguments, out = command(tmp_path, "--selector", "some", "--n", "12")
    assert cli.main(arguments) == 0

    def refuse(word):
        raise AssertionError(f"{word} is not JSON")

    lines = (out / "data.jsonl").read_text().splitlines()
    scores = [json.loads(line, parse_constant=refuse)["score"] for line in lines]
    assert scores == [21.0, 18.0, 15.0, 12.0, 9.0, 6.0, 3.0, 0.0, None, None, None, None]
    assert pd.read_parquet(out / "data.parquet")["score"].isna().tolist() == [False] * 8 + [True] * 4
    assert "n_backfilled: 4" in (out / "README.md").read_text()


def test_the_card_names_data_commit_selector_and_model(tmp_path):
    arguments, out = command(tmp_path, "--selector", "longest", "--n", "4", "--model", "micro-0.2m")
    assert cli.main(arguments) == 0
    card = (out / "README.md").read_text()
    told = {}
    for block in card.split("```yaml\n")[1:]:
        told |= yaml.safe_load(block.split("```")[0])
    assert told["data_fingerprint"] == sha256_file(tmp_path / "rows.jsonl")
    assert told["commit"] == provenance(0.0)["commit"]
    assert (told["selector"], told["n_train"], told["source"]) == ("longest", 4, "local")
    assert told["model"] and told["model_fingerprint"]
    assert told["data.jsonl"] == sha256_file(out / "data.jsonl")


def test_what_was_written_can_be_read_again_as_data(tmp_path):
    arguments, out = command(tmp_path, "--selector", "perplexity_response", "--n", "20")
    assert cli.main(arguments) == 0
    written = [json.loads(line)["messages"] for line in (out / "data.jsonl").read_text().splitlines()]
    rows = read_file(out / "data.jsonl")
    assert not rows.parsed.bad and len(rows.parsed.examples) == 20
    assert [(e.instruction, e.response) for e in rows.parsed.examples] == [
        (said["content"], answered["content"]) for said, answered in written
    ]
    asked = {(row.instruction, row.response) for row in read_file(tmp_path / "rows.jsonl").parsed.examples}
    assert {(e.instruction, e.response) for e in rows.parsed.examples} < asked


def test_a_second_selection_is_the_same_and_never_overwrites(tmp_path, capsys):
    arguments, out = command(tmp_path, "--selector", "perplexity_response", "--n", "5", "--band", "bottom")
    assert cli.main(arguments) == 0
    first = (out / "data.jsonl").read_bytes()
    assert cli.main(arguments) == 2
    assert "exists already" in capsys.readouterr().err
    other = [*arguments[:-1], str(tmp_path / "again")]
    assert cli.main(other) == 0
    assert (tmp_path / "again" / "data.jsonl").read_bytes() == first


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--selector", "longst", "--n", "4"), "did you mean 'longest'"),
        (("--selector", "longest", "--n", "0"), "--n: must be greater than 0"),
        (("--selector", "longest", "--n", "400"), "n_train is 400, but"),
        (("--selector", "longest", "--n", "4", "-o", "k=3"), "has no option 'k'"),
        (("--selector", "k_center", "--n", "4", "--band", "bottom"), "gives no scores"),
    ],
)
def test_what_cannot_be_selected_is_one_line(tmp_path, capsys, more, message):
    arguments, out = command(tmp_path, *more)
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not out.exists()
