"""More seeds for one claim: exactly the runs that its estimator reads, on exactly the new seeds."""

import dataclasses
import json

import pandas as pd
import pytest

from itlib import more_seeds
from itlib.claims import Claim, Part
from itlib.claims_ledger import claim_folder, ledger
from itlib.cli import main
from itlib.errors import InputError
from itlib.registry import claims
from itlib.spec import digest
from itlib.studies import transfer
from itlib.studies.transfer import TransferParams
from itlib.workspace import open_store


def frame():
    arms = [("a", "latent"), ("b", "latent"), ("c", "flat")]
    rows = [(f"{arm}{seed}", seed, arm, family, seed / 7) for arm, family in arms for seed in range(3)]
    return pd.DataFrame(rows, columns=["digest", "seed", "arm", "family", "value"])


@pytest.fixture
def claim():
    @claims.register("difference of a and b")
    def estimate(evidence):
        table = evidence.pivot_table(index="seed", columns="arm", values="value")
        for arm in ("a", "b"):
            if arm not in table:
                raise LookupError(f"no arm {arm}")
        return {"part": (table["a"] - table["b"]).to_numpy()}

    yield Claim("difference of a and b", {}, "", "cpu", 2, "", "", "", (Part("part", "", "greater", 0.0, "sign_flip"),))
    claims._entries.pop("difference of a and b", None)


def test_the_runs_that_an_estimator_reads_are_found(claim):
    assert more_seeds.runs_read(claim, frame(), 1) == {"a1", "b1"}
    with pytest.raises(InputError, match="reads no run of seed 9"):
        more_seeds.runs_read(claim, frame(), 9)


def test_lists_of_all_seeds_follow_and_lists_of_some_stay():
    p = TransferParams(seeds=(0, 1), large_seeds=(0, 1))
    assert more_seeds._with_seeds(p, (0, 1, 2), (0, 1)).large_seeds == (0, 1, 2)
    p = TransferParams(seeds=(0, 1), large_seeds=(0,))
    assert more_seeds._with_seeds(p, (0, 1, 2), (0, 1)).large_seeds == (0,)
    assert more_seeds._with_seeds(p, (5,), None).large_seeds == (5,) and p.choice_seeds == (1000,)


def test_only_what_is_read_is_computed_on_new_seeds(tmp_path, monkeypatch):
    """The design of the transfer study; nothing is trained: runs are counted where they would be computed."""
    p = TransferParams(seeds=(0, 1), large="", learning_rates=(1e-3,), choice_seeds=(1000,), results=str(tmp_path))
    setting = {"learning_rate": 1e-3, "train_embeddings": False}
    first = more_seeds._with_seeds(p, (0,), None)
    cells = transfer.designs(first, setting)
    read = {"redundant/random", "redundant/less_sgd by micro-0.2m"}
    digests = frozenset(digest(more_seeds.resolve(cells[name][0]))[:12] for name in read)
    more = more_seeds.MoreSeeds("SE11", "02e_transfer", p, first, (2, 3), digests)
    asked = []

    def run_all(specs, store, *, engine, workers=0, progress=True):
        if engine == "stored":
            return [planted(spec) for spec in specs]
        asked.extend(specs)
        known.update(digest(spec) for spec in specs)
        return [planted(spec) for spec in specs]

    known = set()
    planted = lambda spec: more_seeds.RunResult(spec, "done")  # noqa: E731 - a stand-in
    store = open_store(str(tmp_path))
    monkeypatch.setattr(more_seeds, "run_all", run_all)
    monkeypatch.setattr(type(store), "has", lambda self, spec: digest(spec) in known)
    done = more_seeds.compute(more, store, engine="process")
    expected = {
        digest(more_seeds.resolve(transfer.designs(more_seeds._with_seeds(p, (seed,), None), setting)[name][0]))
        for seed in (2, 3)
        for name in read
    }
    assert {digest(spec) for spec in asked} == expected == {digest(run.spec) for run in done} and len(asked) == 4


def test_the_notebook_reads_the_store_of_the_study(tmp_path, monkeypatch):
    monkeypatch.delenv("ITLIB_STORE", raising=False)
    p = dataclasses.replace(TransferParams(), results=str(tmp_path))
    more = more_seeds.MoreSeeds("SE11", "02e_transfer", p, p, (2,), frozenset())
    with more_seeds.apart(more) as params:
        assert params.results == str(claim_folder(tmp_path, "SE11", 2))
        assert open_store(params.results).root == tmp_path / "store"
    assert open_store(str(tmp_path / "x")).root == tmp_path / "x" / "store"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--claim", "SE12"], "--seeds N says how many"),
        (["--claim", "SE12", "--seeds", "20"], "has no finished report yet"),
        (["--claim", "SE99", "--seeds", "20"], "no claim 'SE99'"),
        (["--claim", "SE12", "--seeds", "20", "-p", "budget", "3"], "leave out files and -p"),
        (["--seeds", "20", "params/smoke/02e_transfer.yaml"], "belong to --claim"),
        ([], "name params files"),
    ],
)
def test_mistakes_are_refused_in_one_line(arguments, message, tmp_path, capsys):
    where = ["--results", str(tmp_path)] if "--claim" in arguments else []
    assert main(["run", *arguments, *where]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error and "\n" not in error


def test_the_ledger_takes_the_report_with_the_most_seeds(tmp_path):
    for n, verdict in ((8, "inconclusive"), (20, "contradicted"), (12, "reproduced")):
        root = tmp_path if n == 8 else claim_folder(tmp_path, "SE12", n)
        folder = root / "cpu" / "02b_selectors"
        folder.mkdir(parents=True)
        part = {"name": "p", "estimand": "e", "direction": "less", "margin": 0.0}
        claim = {
            "id": "SE12",
            "verdict": verdict,
            "deciding_part": "p",
            "parts": [part],
            "effect": 0.1,
            "interval": [0, 1],
        }
        claim |= {"p_value": 0.1, "smallest_detectable_effect": 0.2, "n_seeds": n, "seeds_needed": None, "reason": "r"}
        (folder / "manifest.json").write_text(json.dumps({"files": {}, "study": "02b_selectors"}))
        (folder / "claims.json").write_text(json.dumps([claim]))
    row = ledger(tmp_path, "cpu").set_index("claim").loc["SE12"]
    assert (
        row["verdict"] == "contradicted" and row["seeds"] == 20 and row["report"] == "claims/SE12-20/cpu/02b_selectors"
    )
