"""The study on real files and a real pretrained model, where they are at hand; nothing of them is in the project."""

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from itlib.cli import main
from itlib.workspace import project_root

DATA = Path(os.environ.get("ITLIB_TEST_DATA", project_root().parent / "shared" / "data"))
FILES = {
    "alpaca/alpaca_5000.json": [16, 64],
    "gsm8k/train.jsonl": [16, 64],
    "self_instruct/seed_tasks.jsonl": [8, 32],
    "sharegpt/fastchat_dummy_conversation.json": [8, 32],
}
PARAMS = str(project_root() / "params" / "cpu" / "01_data_scaling_own_data.yaml")

pytestmark = pytest.mark.skipif(
    not (DATA / "models" / "stories260K").is_dir(), reason=f"no real data in {DATA}; set ITLIB_TEST_DATA"
)


@pytest.mark.parametrize("name", FILES)
def test_the_study_runs_on_real_rows_and_a_real_model(name, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ITLIB_RESULTS", str(tmp_path))
    changes = {
        "data": str(DATA / name), "model": str(DATA / "models" / "stories260K"), "sizes": str(FILES[name]),
        "seeds": "[0, 1]", "full_pool": "false", "n_eval": "10", "engine": "serial",
    }  # fmt: skip
    notebook = [] if name.startswith("alpaca") else ["--no-notebook"]
    arguments = [text for pair in changes.items() for text in ("-p", *pair)]
    assert main(["run", PARAMS, *arguments, *notebook]) == 0
    assert "5 runs: 5 done" in capsys.readouterr().out
    if notebook:
        return
    (folder,) = (tmp_path / "cpu").glob("01_data_scaling-alpaca_5000-*-stories260K-*")
    frame = pd.read_csv(folder / "frame.csv")
    loss = frame[frame["metric"] == "response_nll"].groupby("n_train")["value"].mean()
    assert loss[64] < loss[16] < loss[0], "tuning on more rows must lower the loss on held-out rows"
    assert {"bits_per_byte", "response_nll"} == set(frame["metric"])
    claims = json.loads((folder / "claims.json").read_text())
    assert {claim["verdict"] for claim in claims} == {"not_run"}


def test_no_row_of_the_real_files_is_in_the_project():
    """Sentences of the third-party files must not be found in any tracked text file."""
    rows = json.loads((DATA / "alpaca" / "alpaca_5000.json").read_text())
    needles = {row["instruction"] for row in rows[:400] if len(row["instruction"]) > 60}
    needles |= {json.loads(line)["question"] for line in (DATA / "gsm8k" / "test.jsonl").open()}
    texts = [
        path.read_text(errors="ignore")
        for folder in ("itlib", "tests", "docs", "notebooks", "params")
        for path in (project_root() / folder).rglob("*")
        if path.suffix in {".py", ".md", ".yaml", ".ipynb", ".txt", ".json"} and path.stat().st_size < 2_000_000
    ]
    assert not [needle for needle in needles if any(needle in text for text in texts)]
