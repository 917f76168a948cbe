"""Probes of clean and noisy phases: right forms, known steps, and an oracle that wraps a model in the noise."""

import pytest
import worldly

from itlib import form_probes
from itlib.augmentations.noise_phases import noise_phases
from itlib.evaluate import score_items
from itlib.execute import execute, load_base
from itlib.form_probes import FormProber, phase_options
from itlib.perturbations.label_noise import LABEL_TRANSFORMS
from itlib.probes import probe_steps
from itlib.resolve import resolve
from itlib.result import ITEM_COLUMNS
from itlib.spec import RunSpec, digest, with_fields
from itlib.template import encode
from itlib.training_set import training_set

FIELDS = {
    "families": ["copy", "two_questions"], "n_train": 16, "n_eval": 2, "n_reference": 3, "probe_items": 3,
    "augmentation": "noise_phases", "order": "as_given", "budget": 1, "budget_unit": "epochs", "batch_size": 4,
    "n_probes": 8, "probe_spacing": "even",
}  # fmt: skip
NAMES = {"clean_form", "noise_form", "trained_clean_form", "trained_noise_form"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return worldly.folder(tmp_path_factory.mktemp("model"))


def resolved(base, transform="word_reversal", **fields):
    options = [f"transform={transform}", "phase_examples=8"]
    return worldly.resolved(base, **(FIELDS | {"augmentation_options": options} | fields))


def test_even_steps_reach_both_ends_and_the_old_spacing_is_no_part_of_a_digest():
    assert probe_steps(12, 4, "even") == {0, 3, 6, 9, 12} and probe_steps(2, 5, "even") == {0, 1, 2}
    plain = resolve(with_fields(RunSpec(), n_probes=2))
    assert digest(plain) == digest(resolve(with_fields(plain, probe_spacing="log")))
    assert digest(plain) != digest(resolve(with_fields(plain, probe_spacing="even")))


def test_a_run_sees_phase_after_phase_and_is_probed_evenly_in_each(base, monkeypatch):
    seen = []
    monkeypatch.setattr(FormProber, "saw", lambda self, examples: seen.extend(examples))
    result = execute(resolved(base))
    assert [row["step"] for row in result.probes] == list(range(9)) and result.totals["n_steps"] == 8
    assert [one.noise for one in seen] == (["none"] * 8 + ["word_reversal"] * 8) * 2
    assert result.totals["n_augmented"] == 32


@pytest.mark.parametrize(("transform", "absent"), [("letter_reversal", set()), ("irrelevant", {"noise_form"})])
def test_what_has_a_form_is_measured(base, transform, absent):
    result = execute(resolved(base, transform, n_probes=2))
    assert all(set(row) == {"step"} | NAMES - absent for row in result.probes)


def test_trained_questions_are_those_that_are_asked_noisily(base, monkeypatch):
    kept = {}
    measured = FormProber._measured
    monkeypatch.setattr(FormProber, "_measured", lambda self, model: kept.update(self._forms) or measured(self, model))
    execute(resolved(base, "irrelevant", n_probes=1))
    clean, noisy = kept["trained_clean_form"], kept["trained_noise_form"]
    assert len(noisy) == len({one.instruction for one in noisy}) == len(kept["clean_form"]) == 6
    for own, other in zip(clean, noisy, strict=True):
        assert own.instruction == other.instruction and own.response == other.gold != other.response


def test_arms_probe_the_same_trained_questions_whenever_noise_comes(base):
    def probed(phases):
        options = ["transform=word_reversal", f"phases={phases}", "phase_examples=16"]
        spec = resolved(base, augmentation_options=options)
        prober = FormProber(spec, worldly_tokenizer(base), pad_id=0, context_length=256)
        prober.saw(training_set(spec, lambda: load_base(spec)).examples)
        return [(one.instruction, one.response) for one in prober._forms["trained_noise_form"]]

    assert len(probed("clean,noisy,clean,noisy")) == 6
    assert probed("clean,noisy,clean,noisy") == probed("clean,clean,clean,noisy")


class Wrapped:
    """A model that says what a clean one says, in the form of a transform: the oracle of the source's measure."""

    def __init__(self, answers, transform):
        self.answers, self.apply = answers, LABEL_TRANSFORMS[transform].apply

    def __call__(self, model, items, encoded, **how):
        rows = []
        for item in items:
            row = dict.fromkeys(ITEM_COLUMNS) | {
                "exact_match": float(self.apply(self.answers[item.id]) == item.response)
            }
            rows.append(tuple(row.values()))
        return tuple(rows)


@pytest.mark.parametrize("transform", sorted(LABEL_TRANSFORMS))
def test_a_clean_model_wrapped_in_the_noise_is_as_right_in_its_form_as_the_clean_one_was(base, monkeypatch, transform):
    prober = FormProber(resolved(base, transform), worldly_tokenizer(base), pad_id=0, context_length=256)
    items = prober._forms["clean_form"]
    answers = {item.id: item.response if place % 3 else "red dog" for place, item in enumerate(items)}
    clean = sum(answers[item.id] == item.response for item in items) / len(items)
    monkeypatch.setattr(form_probes, "score_items", Wrapped(answers, transform))
    row = prober._measured(None)
    assert 0 < clean < 1 and row["noise_form"] == pytest.approx(clean) and row["clean_form"] == 0.0


def worldly_tokenizer(base):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(base)


def test_probing_in_forms_changes_nothing_else(base):
    plain, probed = execute(resolved(base, n_probes=0)), execute(resolved(base))
    assert (plain.items, plain.curve, plain.totals) == (probed.items, probed.curve, probed.totals)
    assert plain.probes == ()


def test_options_are_those_that_are_given_and_the_defaults_of_the_others():
    data = with_fields(RunSpec(), augmentation="noise_phases").data
    assert phase_options(data) == noise_phases.__kwdefaults__
    given = ["transform=irrelevant", "sentence=true"]
    named = phase_options(with_fields(RunSpec(), augmentation="noise_phases", augmentation_options=given).data)
    assert (named["transform"], named["sentence"]) == ("irrelevant", True)


def test_a_contradiction_of_a_new_question_is_the_one_that_training_teaches(base):
    fields = {"families": ["size", "colour"], "n_train": 40, "probe_items": 6}
    spec = resolved(base, "contradictory", augmentation_options=["transform=contradictory", "sentence=true"], **fields)
    prober = FormProber(spec, worldly_tokenizer(base), pad_id=0, context_length=256)
    seen = training_set(spec, lambda: load_base(spec)).examples
    prober.saw(seen)
    taught = {(one.family, one.gold): one.response for one in seen if one.noise == "contradictory"}
    asked = prober._forms["noise_form"]
    assert 0 < len(asked) <= 12 and all(one.response == taught[one.family, one.gold] != one.gold for one in asked)
    assert all(one.gold.startswith("it is ") for one in [*asked, *prober._forms["clean_form"]])


def test_scores_are_those_of_the_evaluation(base):
    """The share of a form is the mean exact match that any evaluation gives."""
    spec = resolved(base)
    model, tokenizer = load_base(spec)
    prober = FormProber(spec, tokenizer, pad_id=0, context_length=256)
    items = prober._forms["clean_form"]
    rows = score_items(
        model, items, encode(items, tokenizer, max_length=256)[0], pad_id=0, dtype="float32", exact_match=True
    )
    assert prober._measured(model)["clean_form"] == pytest.approx(sum(r[5] for r in rows) / len(rows))
