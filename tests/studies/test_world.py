"""The notebook ``world``: what it counts is counted right, and its figures draw whatever bases there are."""

import subprocess
import sys
from collections import Counter

import pandas as pd
import pytest
from matplotlib.figure import Figure

from itlib.errors import InputError
from itlib.microworld import corpus, facts, language, lexicon, pretrain, splits, tokenizer, world
from itlib.microworld.families import CATEGORIES, FAMILIARITIES
from itlib.models import micro
from itlib.studies import world as study
from itlib.studies import world_base_figures, world_bases, world_figures
from itlib.tables import to_markdown
from itlib.workspace import project_root

PARAMS = study.WorldParams(n_documents=400, pool_size=300, n_items=2)
TINY = pretrain.Recipe(n_tokens=4096, hidden_size=32, n_layers=1, n_heads=2, intermediate_size=64, compiled=False)
SIZES = {"micro-1m/seed-0": 1_000_000, "micro-1m/seed-1": 1_000_000, "micro-1m-adamw/seed-0": 1_000_000}
SIZES["micro-4m/seed-0"] = 4_000_000


@pytest.fixture(scope="module")
def measured():
    """Every measurement of one untrained model, under the names of four bases."""
    model = pretrain.create_model(TINY).eval()
    patch = pytest.MonkeyPatch()
    patch.setattr(world_bases, "shipped", lambda: list(SIZES))
    patch.setattr(world_bases, "load", lambda name: (model, tokenizer.load()))
    found = world_bases.measure([], 2)
    patch.undo()
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_only_families_that_say_so_share_entities_between_splits(seed):
    shared = study.overlaps(study.WorldParams(pool_size=2500, n_items=20, seed=seed))
    apart = shared[shared["split"] != shared["other"]].groupby("what")["shared"]
    assert apart.max()[["entities", "instructions"]].tolist() == [0, 0]
    assert apart.min()["new and never people"] > 0, "the count that is set apart would otherwise prove nothing"
    own = shared[shared["split"] == shared["other"]]
    assert (own["shared"] > 0).all()


def test_overlap_is_found_where_there_is_one(monkeypatch):
    """A counter that could only ever say zero would count nothing."""
    held_out = world.held_out
    monkeypatch.setattr(world, "held_out", lambda split, n, **how: held_out("test", n, **how))
    shared = study.overlaps(PARAMS)
    found = shared[(shared["split"] == "dev") & (shared["other"] == "test")].set_index("what")["shared"]
    assert (found > 0).all()


def test_facts_told_are_counted_in_both_languages_and_never_where_none_is_told(monkeypatch):
    frequent, rare, new = lexicon.PEOPLE[0], lexicon.RARE_PEOPLE[0], lexicon.NEW_PEOPLE[0]
    home, job = facts.HOME[frequent], facts.JOB[frequent]
    wrong = next(town for town in lexicon.TOWNS if town != home)
    texts = (
        f"the home of {frequent} , said {new} , is {home} . {frequent} works as {job} .",
        f"homes : {frequent} - {home} , {rare} - {facts.HOME[rare]}",
        language.translate(f"{frequent} , as we all know , lives in {home} ."),
        language.translate(f"job {frequent} = {job}"),
        f"the home of {frequent} is {wrong} . they said {new} {home} ; again {new} {home}",
    )
    monkeypatch.setattr(study, "documents", lambda n, seed: texts)
    told = study.exposures(PARAMS).set_index("person")
    assert told.loc[[frequent, rare, new], "facts_told"].tolist() == [5, 1, 0]
    assert told.loc[[frequent, rare, new], "documents_naming"].tolist() == [5, 1, 2]


def test_documents_tell_of_people_in_the_declared_proportions():
    told = study.exposures(study.WorldParams(n_documents=20_000))
    means = told.groupby("frequency")["facts_told"].mean()
    assert means[0.0] == 0 and (told.groupby("group")["documents_naming"].mean() > 1).all()
    rare = told[told["group"] == "rare"]
    expected = rare["frequency"].mean() * means[1.0]
    assert rare["facts_told"].mean() == pytest.approx(expected, rel=0.25)


def test_tokens_of_a_response_are_content_wording_or_style():
    tokens = study.voices("cold")
    assert set(tokens["part"]) == {"content", "wording", "style"}
    lines = tokens.groupby(["style", "wording"], sort=False)
    assert all(line["part"].tolist().count("content") == 1 for _, line in lines)
    assert set(tokens.loc[tokens["style"] == "plain", "part"]) == {"content", "wording"}
    words = {part: set(group["token"]) for part, group in tokens.groupby("part")}
    assert not words["content"] & words["wording"] and not words["wording"] & words["style"]


def test_pools_hold_what_was_asked_for():
    parts = study.compositions(PARAMS)
    sizes = parts.groupby("pool")["examples"].sum()
    assert sizes.to_dict() == dict.fromkeys(study.POOLS, PARAMS.pool_size)
    counted = parts.groupby(["pool", "part"])["examples"].sum()
    assert counted["30 % noise", "corrupted"] == 0.3 * PARAMS.pool_size
    assert counted["5 operands each", "asked once"] == 5 * len(world.default_families())
    assert "corrupted" not in counted["balanced"]


def test_every_kind_of_noise_is_shown_at_one_place():
    shown = study.noise_examples(PARAMS).set_index("noise")
    assert shown.loc["none", "response trained on"] == shown.loc["none", "right response"]
    assert shown.loc["wrong", "response trained on"] != shown.loc["wrong", "right response"]
    assert len(shown.loc["truncated", "instruction"].split()) < len(shown.loc["none", "instruction"].split())


def test_a_slip_is_one_false_step_and_the_graded_share_is_the_constraints_met():
    steps = study.checked_steps().set_index("solution is")
    assert steps.loc["right", ["step 1 true", "step 2 true"]].all(axis=None)
    assert not steps.loc["one slip", "step 1 true"].any() and steps.loc["one slip", "step 2 true"].all()
    graded = study.graded_responses()
    met = graded.drop(columns=["instruction", "attempt", "response", "graded"]) == "yes"
    assert graded["graded"].tolist() == met.mean(axis=1).tolist() and graded["graded"].iloc[0] == 1


def test_templates_of_new_sets_are_observed_nowhere():
    counts = study.phrasing_counts().set_index("set")["observed_for_their_family"]
    assert counts["observed"] > 0 and (counts.drop("observed") == 0).all()


def test_tables_cover_the_world():
    families = study.family_table()
    assert families["family"].tolist() == list(world.every_family())
    assert Counter(study.operand_counts()["split"]) == dict.fromkeys(splits.SPLITS, len(families))
    assert {study.spoken(text) for which in ("first", "second") for text in study.sample_documents(PARAMS, which)} == {
        "first",
        "second",
    }
    assert study.language_shares(PARAMS)["share_of_documents"].sum() == pytest.approx(1)
    first, second = study.word_by_word().to_numpy().tolist()
    assert language.translate(" ".join(first)) == " ".join(second)
    assert study.levels()["level"].is_unique and len(study.phrasing_examples()) == len(study.phrasing_counts())


def overlapping_texts(figure):
    """Pairs of texts of one axes whose boxes overlap by more than rounding."""
    renderer = figure.canvas.get_renderer()
    found = []
    for ax in figure.axes:
        texts = [
            t for t in [*ax.texts, *ax.get_xticklabels(), *ax.get_yticklabels()] if t.get_text() and t.get_visible()
        ]
        boxes = [(t.get_text(), t.get_window_extent(renderer).shrunk(0.9, 0.8)) for t in texts]
        found += [(a, b) for i, (a, one) in enumerate(boxes) for b, other in boxes[i + 1 :] if one.overlaps(other)]
    return found


def drawn(measured):
    bases = pd.DataFrame([(name, size, 7_000_000, 1.6) for name, size in SIZES.items()])
    bases.columns = ["base", "parameters", "tokens", "validation_loss"]
    curves = pd.DataFrame(
        [(name, t, 3.0) for name in SIZES for t in (10**6, 7 * 10**6)], columns=["base", "tokens", "loss"]
    )
    return {
        "world": world_figures.world_picture(study.facts_of(), ("4", "5", "8")),
        "families": world_figures.family_map(study.family_table()),
        "splits": world_figures.split_counts(study.operand_counts()),
        "overlap": world_figures.overlap_matrices(study.overlaps(PARAMS)),
        "pools": world_figures.pool_compositions(study.compositions(PARAMS)),
        "voices": world_figures.voices(study.voices()),
        "people": world_base_figures.people(
            study.exposures(PARAMS), world_bases.of_kind(measured, world_bases.FREQUENCY)
        ),
        "languages": world_base_figures.languages(
            world_bases.of_kind(measured, world_bases.DOCUMENT, world_bases.SECOND)
        ),
        "known": world_base_figures.base_heatmap(measured),
        "pretraining": world_base_figures.pretraining(curves, bases),
        "spectra": world_base_figures.spectra(world_bases.of_kind(measured, world_bases.SPECTRUM)),
    }


def test_every_figure_draws_without_text_over_text(measured):
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for name, figure in drawn(measured).items():
        assert isinstance(figure, Figure)
        FigureCanvasAgg(figure).draw()
        assert overlapping_texts(figure) == [], name


def test_an_untrained_base_fails_gates_and_knows_nothing(measured):
    gates = world_bases.gate_table(measured).set_index("gate")
    recalled = [name for name in gates.index if name.startswith("document form")]
    assert (gates.loc[recalled, "bases_passing"] == 0).all() and (gates["bases"] == len(SIZES)).all()
    assert gates.loc[recalled[0], "failed_by"] == ", ".join(SIZES)
    assert (world_bases.of_kind(measured, world_bases.DOCUMENT)["value"] < 0.6).all()
    weak = world_bases.known_but_not_elicited(measured)
    assert set(weak["family"]) == {"addition", "copy"} and (weak["bases"] == len(SIZES)).all()


def test_bases_are_the_shipped_ones_and_others_are_refused():
    every = [f"{size}/seed-{seed}" for size, seeds in micro.shipped().items() for seed in seeds]
    assert world_bases.chosen([]) == every and world_bases.chosen(every[:1]) == every[:1]
    with pytest.raises(InputError, match="did you mean 'micro-1m/seed-0'"):
        world_bases.chosen(["micro-1m/seed0"])


def test_the_notebook_runs_at_smoke(tmp_path, monkeypatch):
    monkeypatch.setenv("ITLIB_RESULTS", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = [sys.executable, "-m", "itlib", "run", "params/smoke/world.yaml"]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = {path.name for path in (tmp_path / "smoke" / "world" / "figures").iterdir()}
    names = ("world", "families", "splits", "overlap", "people", "languages", "pools", "voices", "known")
    assert figures >= {f"{name}.{suffix}" for name in names for suffix in ("png", "svg", "pdf", "csv")}


def test_the_data_card_counts_what_the_world_holds():
    card = (project_root() / "docs" / "data_card.md").read_text(encoding="utf-8")
    assert to_markdown(study.contents()).strip() in card
    assert f"{len(CATEGORIES)} categories" in card and all(name in card for name in FAMILIARITIES)
    assert f"{corpus.SECOND_LANGUAGE:.0%}".replace("%", " %") in card
    assert all(study.fraction(level) in card for level in facts.RARE_LEVELS)
