"""A report is checked against itself, against git, and against another one; tampering is found."""

import json
import subprocess

import pandas as pd
import planted
import pytest

from itlib import claims_ledger, declared, verify
from itlib.claims import load_claim
from itlib.cli import main
from itlib.errors import InputError
from itlib.redraw import reports
from itlib.report import Report

COMMIT = "0" * 40


def write(root, data=None, *, study="01_data_scaling", blocked="", device="cpu"):
    data = planted.frame(sizes=[25, 100, 400, 1600]) if data is None else data
    origins = {"commits": [COMMIT], "packages": [{"torch": "2.0"}], "devices": [device]}
    report = Report(study, "cpu", root, provenance=origins)
    report.frames(data)
    report.judge(("SC1", "SC7"), data, blocked=blocked)
    report.finish()
    return report.folder


def outcomes(findings):
    return {(finding.about, finding.outcome) for finding in findings}


def test_an_honest_report_agrees_with_itself(tmp_path):
    found = verify.check_report(write(tmp_path))
    assert {"ok", "unknown"} == {finding.outcome for finding in found}
    assert {("cpu/01_data_scaling", "ok"), ("SC1", "ok"), ("SC7", "ok")} <= outcomes(found)


def test_blocked_verdicts_are_judged_anew_as_blocked(tmp_path):
    folder = write(tmp_path, blocked="steps differ")
    assert {c["verdict"] for c in json.loads((folder / "claims.json").read_text())} == {"not_run"}
    assert not [finding for finding in verify.check_report(folder) if finding.outcome == "failed"]


@pytest.mark.parametrize("name", ["frame.csv", "evidence.parquet", "claims.json", "tables/claims.md"])
def test_a_changed_file_is_found(tmp_path, name):
    folder = write(tmp_path)
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1] + b" ")
    found = [finding.text for finding in _checked_or_refused(folder) if finding.outcome == "failed"]
    assert any(name in text for text in found)


def _checked_or_refused(folder):
    try:
        return verify.check_report(folder)
    except InputError as error:
        return [verify.Finding("report", "failed", str(error))]


def test_a_missing_file_is_found(tmp_path):
    folder = write(tmp_path)
    (folder / "frame.csv").unlink()
    assert any("frame.csv is missing" in finding.text for finding in verify.check_report(folder))


def test_a_manifest_cannot_point_outside(tmp_path):
    folder = write(tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../../secret"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert any("outside the report" in finding.text for finding in verify.check_report(folder))


def test_a_forged_verdict_is_found_even_with_a_right_hash(tmp_path):
    folder = write(tmp_path)
    stored = json.loads((folder / "claims.json").read_text())
    stored[0]["verdict"] = "contradicted" if stored[0]["verdict"] == "reproduced" else "reproduced"
    (folder / "claims.json").write_text(json.dumps(stored))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["claims.json"] = verify.sha256_file(folder / "claims.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    failed = [finding for finding in verify.check_report(folder) if finding.outcome == "failed"]
    assert [finding.about for finding in failed] == [stored[0]["id"]] and "verdict" in failed[0].text


def test_a_verdict_moves_with_the_frame_and_only_with_it(tmp_path):
    data = planted.frame(sizes=[25, 100, 400, 1600])
    first = verify.condensed(write(tmp_path / "a", data))
    shuffled = verify.condensed(write(tmp_path / "b", data.sample(frac=1, random_state=3)))
    for name, claim in first["claims"].items():
        assert shuffled["claims"][name]["verdict"] == claim["verdict"]
        assert shuffled["claims"][name]["effect"] == pytest.approx(claim["effect"], abs=1e-12)
    flat = verify.condensed(write(tmp_path / "c", data.assign(value=0.5)))
    found = verify.compare(flat, first)
    assert ("SC1", "failed") in outcomes(found)
    assert any("moved from reproduced" in finding.text for finding in found)


def test_another_machine_may_differ_inside_the_interval(tmp_path):
    data = planted.frame(sizes=[25, 100, 400, 1600])
    near = data.assign(value=data["value"] * (1 + 1e-6))
    here = verify.condensed(write(tmp_path / "a", data))
    there = verify.condensed(write(tmp_path / "b", near, device="another"))
    same = verify.condensed(write(tmp_path / "c", near))
    assert {finding.outcome for finding in verify.compare(there, here)} == {"ok"}
    assert "failed" in {finding.outcome for finding in verify.compare(same, here)}
    assert {finding.text for finding in verify.compare(here, here)} == {"frame equal to the bit"} | {
        f"{claim['verdict']} in both, equal to the bit" for claim in here["claims"].values()
    }


def test_another_frame_is_told_on_every_machine(tmp_path):
    """A row less, an empty value and a moved mean; a tenth of a deviation is what another processor may do."""
    data = planted.frame(sizes=[25, 100, 400, 1600])
    here = verify.condensed(write(tmp_path / "a", data))
    off = data["value"].std(ddof=0)
    changes = {
        "rows and not": data.iloc[:-1],
        "numbers in value and not": data.assign(value=data["value"].where(data.index > 0)),
        "mean of value": data.assign(value=data["value"] + 0.11 * off),
    }
    for number, (text, changed) in enumerate(changes.items()):
        folder = write(tmp_path / f"there{number}", changed, device="another")
        found = verify.compare(verify.condensed(folder), here)
        assert any(text in finding.text for finding in found if finding.outcome == "failed"), text
    for name, value, outcome in (("same", 1e-9, "failed"), ("other", 0.09 * off, "ok")):
        moved = data.assign(value=data["value"] + value)
        device = "cpu" if name == "same" else "another"
        found = verify.compare(verify.condensed(write(tmp_path / name, moved, device=device)), here)
        assert found[0].outcome == outcome and "frame" in found[0].text


def test_claims_that_are_missing_or_new_are_told(tmp_path):
    both = verify.condensed(write(tmp_path))
    one = {**both, "claims": {"SC1": both["claims"]["SC1"]}}
    assert ("SC7", "failed") in outcomes(verify.compare(one, both))
    assert ("SC7", "unknown") in outcomes(verify.compare(both, one))


def test_the_command_says_what_moved_and_exits_with_3(tmp_path, capsys):
    data = planted.frame(sizes=[25, 100, 400, 1600])
    write(tmp_path / "a", data)
    write(tmp_path / "b", data.assign(value=0.5))
    here, there = str(tmp_path / "a"), str(tmp_path / "b")
    assert main(["verify", "--results", here, "--against", here]) == 0
    assert main(["verify", "--results", here, "--against", there]) == 3
    assert "SC1: moved from" in capsys.readouterr().out
    assert main(["verify", "--results", str(tmp_path / "none")]) == 2


def test_a_reference_is_kept_and_read_back(tmp_path):
    folder = write(tmp_path)
    path = verify.reference_path(tmp_path / "project", "cpu", "01_data_scaling")
    verify.write_reference(folder, path)
    assert verify.read_reference(path) == json.loads(json.dumps(verify.condensed(folder)))
    path.write_text("[]")
    with pytest.raises(InputError, match="is no reference"):
        verify.read_reference(path)


# ---- dates of claims ----------------------------------------------------------------------------------------


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(folder, name, text):
    (folder / name).write_text(text)
    git(folder, "add", ".")
    git(folder, "commit", "-qm", name)
    return git(folder, "rev-parse", "HEAD")


def test_a_claim_is_older_than_its_runs_or_it_is_not(tmp_path):
    git(tmp_path, "init", "-q")
    before = commit(tmp_path, "code.py", "1")
    declares = commit(tmp_path, "X1.yaml", "id: X1")
    first_run = commit(tmp_path, "code.py", "2")
    edits = commit(tmp_path, "X1.yaml", "id: X1, amended")
    later_run = commit(tmp_path, "code.py", "3")
    assert declared.declaration("X1", tmp_path) == declared.Declaration(declares, (edits,))
    expected = {
        (later_run,): "declared",
        (first_run,): "amended",
        (first_run, later_run): "amended",
        (declares,): "amended",
        (before,): "undeclared",
        (before, later_run): "undeclared",
        ("",): "unknown",
        (): "unknown",
        ("f" * 40,): "unknown",
    }
    assert {commits: declared.state("X1", commits, tmp_path) for commits in expected} == expected
    assert declared.state("X2", [later_run], tmp_path) == "unknown"


def test_without_git_nothing_can_be_dated(tmp_path):
    (tmp_path / "X3.yaml").write_text("id: X3")
    assert declared.declaration("X3", tmp_path).commit == ""
    assert declared.state("X3", [COMMIT], tmp_path) == "unknown"


# ---- the ledger ---------------------------------------------------------------------------------------------


def test_the_ledger_holds_every_declared_claim_once(tmp_path):
    write(tmp_path)
    table = claims_ledger.ledger(tmp_path, "cpu")
    assert sorted(table["claim"]) == claims_ledger.claim_ids() and list(table.columns) == list(claims_ledger.COLUMNS)
    rows = table.set_index("claim")
    assert rows.loc["SC1", "verdict"] == "reproduced" and rows.loc["SC1", "study"] == "01_data_scaling"
    assert (
        rows.loc["SC1", "seeds"] == 8 and rows.loc["SC1", "low"] < rows.loc["SC1", "effect"] < rows.loc["SC1", "high"]
    )
    assert rows.loc["SE1", "verdict"] == "not_run" and "no finished report cpu/" in rows.loc["SE1", "reason"]
    assert (table["study"] != "").all()
    assert list(table.loc[table["study"] == "01_data_scaling", "claim"]) == ["SC1", "SC2", "SC7"]
    counts = claims_ledger.summary(table).set_index("study")
    assert counts.loc["all"].sum() == len(table) and counts.loc["all", "reproduced"] == 2
    json.loads(claims_ledger.to_json(table))


def rows(**columns):
    base = {
        "claim": "X",
        "study": "s",
        "verdict": "inconclusive",
        "low": -1.0,
        "high": 1.0,
        "detectable": 0.5,
        "seeds": 8,
    }
    return pd.DataFrame([base | columns])


@pytest.mark.parametrize(
    ("about", "expected"),
    [
        ({"direction": "greater", "margin": 0.5, "effect": 1.0, "low": 0.0, "high": 2.0}, (1.0, -1.0, 3.0)),
        ({"direction": "less", "margin": 0.5, "effect": 1.0, "low": 0.0, "high": 2.0}, (-1.0, -3.0, 1.0)),
        ({"direction": "equivalent", "margin": 1.0, "effect": 0.5, "low": 0.25, "high": 2.0}, (1.0, -2.0, 1.5)),
        ({"direction": "equivalent", "margin": 1.0, "effect": 0.5, "low": -0.25, "high": 1.25}, (1.0, -0.5, 2.0)),
        ({"direction": "different", "margin": 1.0, "effect": -2.0, "low": -3.0, "high": -1.5}, (2.0, 1.0, 4.0)),
        ({"direction": "different", "margin": 1.0, "effect": 0.5, "low": -0.5, "high": 2.0}, (-1.0, -2.0, 2.0)),
    ],
)
def test_effects_on_one_scale_by_hand(about, expected):
    (row,) = claims_ledger.oriented(rows(**about)).itertuples()
    assert (row.value, row.low, row.high) == pytest.approx(expected)


def test_open_questions_name_their_command():
    table = pd.concat(
        [
            rows(effect=0.1, margin=0.0, seeds_needed=23.0),
            rows(claim="Y", effect=0.0, margin=0.0, seeds_needed=float("inf")),
        ]
    )
    found = claims_ledger.open_questions(table).set_index("claim")
    assert found.loc["X", "command"] == "itlib run --claim X --seeds 23" and found.loc["Y", "command"] == ""


def test_disagreements_have_two_sides_of_declared_claims(tmp_path):
    from itlib.workspace import project_root

    questions = claims_ledger.read_disagreements(project_root() / "params" / "disagreements.yaml")
    table = claims_ledger.disagreements(claims_ledger.ledger(tmp_path, "cpu"), questions)
    assert (table.groupby("question")["side"].nunique() >= 2).all() and len(questions) >= 6
    broken = tmp_path / "x.yaml"
    for text, message in (
        ("questions: []", "expected a list"),
        ("questions: [{question: q, sides: [{who: a, says: b, claims: [SC1]}]}]", "at least two sides"),
        ("questions: [{question: q, sides: [{who: a, says: b, claims: [XX]}, {who: a, says: b, claims: []}]}]", "XX"),
    ):
        broken.write_text(text)
        with pytest.raises(InputError, match=message):
            claims_ledger.read_disagreements(broken)


def test_moved_claims():
    table = rows(claim="A", verdict="reproduced")
    assert claims_ledger.moved(table, rows(claim="A")).to_dict("records") == [
        {"claim": "A", "before": "inconclusive", "now": "reproduced"}
    ]


def test_reports_are_found_by_profile(tmp_path):
    write(tmp_path)
    assert [path.name for path in reports(tmp_path, "cpu")] == ["01_data_scaling"] and reports(tmp_path, "gpu") == []
    assert load_claim("SC1").id == "SC1"
