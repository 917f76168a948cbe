"""Parts of a training set: independent of each other, nested, capped, and documents in their share."""

import json
from collections import Counter

import pytest
import worldly

from itlib.errors import InputError
from itlib.example import Example, Turn
from itlib.execute import load_base
from itlib.microworld import corpus
from itlib.ordering import DOCUMENT, FIRST, SECOND
from itlib.resolve import resolve
from itlib.spec import digest, train_digest
from itlib.training_set import capped, training_set

MIX = ("chain_1", "worked_sum")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return worldly.folder(tmp_path_factory.mktemp("model"))


def parts(base, **fields):
    spec = worldly.resolved(base, **fields)
    made = training_set(spec, lambda: load_base(spec))
    assert [trait.id for trait in made.traits] == [example.id for example in made.examples]
    return {
        part: [e for e, trait in zip(made.examples, made.traits, strict=True) if trait.part == part]
        for part in (FIRST, SECOND, DOCUMENT)
    }


def test_each_part_is_the_same_whatever_the_other_and_smaller_ones_are_prefixes(base):
    plain = parts(base, n_train=20)
    both = {n: parts(base, n_train=20, mix_families=MIX, n_mix=n) for n in (6, 12, 80)}
    assert plain[SECOND] == [] and [len(made[SECOND]) for made in both.values()] == [6, 12, 80]
    assert all(made[FIRST] == plain[FIRST] for made in both.values())
    assert both[12][SECOND][:6] == both[6][SECOND] and both[80][SECOND][:12] == both[12][SECOND]
    fewer = parts(base, n_train=8, mix_families=MIX, n_mix=12)
    assert fewer[SECOND] == both[12][SECOND] and fewer[FIRST] == plain[FIRST][:8]
    assert {example.family for example in both[12][SECOND]} == set(MIX)
    assert not {e.id for e in both[80][SECOND]} & {e.id for e in plain[FIRST]}


def test_a_cap_holds_for_every_family_of_an_imbalanced_pool(base):
    skewed = {"imbalance": 1.5, "pool_size": 400, "n_train": 100}
    plain = Counter(e.family for e in parts(base, **skewed)[FIRST])
    assert max(plain.values()) > 30
    for cap in (10, 20):
        made = parts(base, per_family_cap=cap, mix_families=MIX, n_mix=2 * cap, **skewed)
        assert len(made[FIRST]) == 100
        assert max(Counter(e.family for e in made[FIRST]).values()) <= cap
        assert Counter(e.family for e in made[SECOND]) == dict.fromkeys(MIX, cap)


def test_the_whole_of_a_capped_pool_is_what_the_cap_leaves(base):
    made = parts(base, imbalance=2.0, pool_size=300, n_train=300, per_family_cap=7)
    whole = parts(base, imbalance=2.0, pool_size=300, n_train=300)
    held, left = (Counter(e.family for e in p[FIRST]) for p in (whole, made))
    assert left == {family: min(7, n) for family, n in held.items()}


def test_a_cap_keeps_the_first_of_each_family():
    turns = (Turn("user", "x"), Turn("assistant", "y"))
    rows = [Example(f"{name}{index}", turns, family=name) for index, name in enumerate("aabababb")]
    assert [rows.index(e) for e in capped(rows, 2)] == [0, 1, 2, 4] and capped(rows, 0) == rows


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.9])
def test_documents_make_up_their_share_of_the_sequences(base, share):
    made = parts(base, n_train=30, mix_families=MIX, n_mix=10, pretraining_share=share)
    n = len(made[DOCUMENT])
    assert abs(n - share * (n + 40)) <= 0.5
    assert all(len(e.turns) == 1 and e.family == "pretraining" for e in made[DOCUMENT])
    fewer = parts(base, n_train=15, mix_families=MIX, n_mix=5, pretraining_share=share)
    assert made[DOCUMENT][: len(fewer[DOCUMENT])] == fewer[DOCUMENT]
    assert made[FIRST] == parts(base, n_train=30)[FIRST]
    assert parts(base, n_train=30, pretraining_share=share, seed=1)[DOCUMENT][:1] != made[DOCUMENT][:1]


def test_documents_are_none_that_measure_forgetting(base):
    reference = set(corpus.reference_text(200))
    made = parts(base, n_train=30, pretraining_share=0.9)[DOCUMENT]
    assert len({e.response for e in made} & reference) < 0.1 * len(made)  # one-line sums do recur by chance


def test_too_few_rows_are_said(base):
    with pytest.raises(InputError, match="n_train is 50, but only .* of 60 pool rows fit max_length 16 and per_f"):
        parts(base, n_train=50, max_length=16, per_family_cap=3)
    with pytest.raises(InputError, match="n_mix is 60, but only .* of 60 mixed-in rows fit max_length 30"):
        parts(base, n_mix=60, mix_families=("chain_1", "worked_chain_3"), max_length=30)


def test_a_pool_of_which_no_row_fits_is_said_before_any_selection(base):
    for n_train in (8, 60):
        for selector in ("random", "perplexity_response"):
            with pytest.raises(InputError, match="^60 of 60 rows .* longer than max_length 2;[^\n]+$"):
                parts(base, n_train=n_train, max_length=2, selector=selector, describe_selection=True)


REFUSED = {
    "no family to mix in": ({"n_mix": 5}, "n_mix is 5, but mix_families names no family"),
    "a family in both parts": ({"n_mix": 5, "mix_families": ["swap"]}, "mix_families: 'swap' is one of families"),
    "unknown family": ({"n_mix": 5, "mix_families": ["chan_1"]}, "did you mean 'chain_1'"),
    "unknown family without use": ({"mix_families": ["chan_1"]}, "did you mean 'chain_1'"),
    "repeated family": ({"n_mix": 5, "mix_families": ["chain_1"] * 2}, "mix_families names a family twice"),
    "family for tests only": ({"n_mix": 5, "mix_families": ["never_job"]}, "mix_families: 'never_job' can only be"),
    "too many to mix in": (
        {"n_mix": 9000, "mix_families": ["new_job"]},
        "n_mix is 9000; these families and phr.* hold",
    ),
    "negative": ({"n_mix": -1}, "n_mix: must not be negative"),
    "cap below n_train": ({"n_train": 50, "per_family_cap": 2}, "n_train is 50, but per_family_cap 2 leaves at most 4"),
    "cap below n_mix": (
        {"n_mix": 5, "mix_families": ["chain_1"], "per_family_cap": 4},
        "n_mix is 5, but per_family_cap 4 leaves at most 4 examples of 1 families",
    ),
    "share": ({"pretraining_share": 0.95}, "pretraining_share: must be between 0 and 0.9, got 0.95"),
    "no document": ({"n_train": 9, "pretraining_share": 0.01}, "pretraining_share: 0.01 beside 9 examples is not one"),
    "no second part": ({"order": "sequential"}, "order: 'sequential' needs a second part"),
    "unknown order": ({"order": "curiculum"}, "order: .*did you mean 'curriculum'"),
    "nothing kept": (
        {"order": "dual_stage", "n_mix": 5, "mix_families": ["chain_1"], "kept_fraction": 0.01, "n_train": 10},
        "kept_fraction: 0.01 of 10 examples is not one example",
    ),
    "kept more than all": ({"kept_fraction": 1.5}, "kept_fraction: must be between 0 and 1"),
    "initialisation": ({"initialisation": "randm"}, "initialisation: .*did you mean 'random'"),
    "too many probe items": ({"n_probes": 2, "probe_items": 5000}, "^probe_items: n_eval is 5000; family .* dev items"),
    "no probe items": ({"n_probes": 2, "probe_items": 0}, "probe_items: must be greater than 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_before_any_run(base, name):
    fields, told = REFUSED[name]
    with pytest.raises(InputError, match=told) as caught:
        worldly.resolved(base, **fields)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("start", "ignored"),
    [
        ({}, {"mix_families": ["chain_1"]}),
        ({}, {"kept_fraction": 0.5}),
        ({}, {"probe_items": 3}),
        ({}, {"per_family_cap": 60}),
        ({"n_train": 0}, {"n_mix": 4, "mix_families": ["chain_1"], "order": "phased", "n_probes": 3}),
        ({"n_train": 0}, {"per_family_cap": 4, "pretraining_share": 0.5}),
    ],
)
def test_fields_without_effect_make_no_second_run(base, start, ignored):
    plain, changed = worldly.resolved(base, **start), worldly.resolved(base, **start, **ignored)
    assert changed == plain


@pytest.mark.parametrize(
    "used",
    [
        {"mix_families": ["chain_1"], "n_mix": 3},
        {"per_family_cap": 5},
        {"pretraining_share": 0.5},
        {"order": "reverse"},
        {"initialisation": "random"},
        {"n_probes": 1},
    ],
)
def test_fields_with_effect_do(base, used):
    plain, changed = worldly.resolved(base), worldly.resolved(base, **used)
    assert digest(changed) != digest(plain) and resolve(changed) == changed
    assert (train_digest(changed) == train_digest(plain)) == ("n_probes" in used)


def test_a_file_has_no_parts_no_cap_and_no_documents(base, tmp_path):
    rows = [{"prompt": f"say {i}", "completion": str(i)} for i in range(60)]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    of_file = {"source": "local", "data_path": str(path), "n_train": 8}
    worldly.resolved(base, **of_file, order="curriculum")
    for fields, told in (
        ({"n_mix": 3, "mix_families": ["a"]}, "leave mix_families out"),
        ({"per_family_cap": 3}, "leave per_family_cap out"),
        ({"pretraining_share": 0.1}, "leave pretraining_share out"),
        ({"n_probes": 2}, "n_probes: source 'local' cannot tell an answer from a continuation"),
        ({"order": "phased"}, "order: 'phased' goes by task families, which source 'local' does not have"),
        ({"order": "sequential"}, "needs a second part"),
    ):
        with pytest.raises(InputError, match=told):
            worldly.resolved(base, **of_file, **fields)
