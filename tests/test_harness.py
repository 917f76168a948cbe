"""Benchmarks through lm-evaluation-harness agree with our own scores of the same items; what cannot be is said."""

import importlib.util
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import small
from test_template import CHATML, byte_level, example

from itlib import harness
from itlib.cli import main
from itlib.errors import InputError, RunError
from itlib.evaluate import score_items
from itlib.example import Example, Turn
from itlib.execute import load_base, pad_id, run_one
from itlib.microworld import tokenizer as world_tokenizer
from itlib.registry import methods, sources
from itlib.scores_file import read
from itlib.spec import digest, key
from itlib.store import Store
from itlib.template import encode, encode_prompt

needs_harness = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-evaluation-harness is not installed (extra: benchmarks)"
)
FAMILIES = ("opposite", "past", "copy", "bigger", "two_hop", "two_digit_addition")
TUNED = {
    "families": FAMILIES, "n_train": 200, "pool_size": 200, "n_eval": 8, "n_reference": 0, "budget": 25,
    "batch_size": 32, "learning_rate": 2e-3, "eval_phrasing_set": "observed",
}  # fmt: skip
EXACT = """
task: micro_exact
dataset_path: json
dataset_kwargs: {{data_files: {{test: {items}}}, cache_dir: {cache}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["no such text"], do_sample: false, max_gen_toks: 32}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""
CHOICE = """
task: micro_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {items}}}, cache_dir: {cache}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: choices
doc_to_target: label
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""


def conversation(question, answer):
    return Example(id="", turns=(Turn("user", question), Turn("assistant", answer)))


def held_out(spec):
    return sources.get("microworld").held_out(spec.data, spec.evaluate)


def task_rows(spec):
    """Items as rows: question, answer, and the answer among those of three other items of its family."""
    rows = []
    items = held_out(spec)
    for place, one in enumerate(items):
        same = [other.response for other in items if other.family == one.family and other.response != one.response]
        choices = list(dict.fromkeys(same))[:3]
        label = place % (len(choices) + 1)
        choices.insert(label, one.response)
        rows.append({"question": one.instruction, "answer": one.response, "choices": choices, "label": label})
    return rows


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A folder with two tasks on the test items of the world."""
    folder = tmp_path_factory.mktemp("tasks")
    rows = task_rows(small.resolved(**TUNED))
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, text in (("micro_exact", EXACT), ("micro_choice", CHOICE)):
        (folder / f"{name}.yaml").write_text(text.format(items=folder / "items.jsonl", cache=folder / "cache"))
    return folder


@pytest.fixture(scope="module")
def manager(tasks):
    return harness.task_manager(["micro_exact", "micro_choice"], str(tasks))


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A store with the untuned base, a run of each method that kept its weights, and one that did not."""
    store = Store(tmp_path_factory.mktemp("results") / "store")
    specs = {
        "untuned": small.resolved(**TUNED | {"n_train": 0}),
        "full": replace(small.resolved(**TUNED), keep_weights=True),
        "lora": replace(small.resolved(**TUNED | {"method": "lora", "learning_rate": 1e-2}), keep_weights=True),
        "bare": small.resolved(**TUNED | {"budget": 3}),
    }
    return store, {name: run_one(spec, store) for name, spec in specs.items()}


def own_choice(spec, store, rows):
    """Share of rows whose right choice has the highest summed log-probability, the stop token left out; our code."""
    import torch

    model, tokenizer = load_base(spec)
    if spec.data.n_train:
        model = methods.get(spec.tuning.method).load(model, spec.tuning, store.weights(spec))
    right = []
    for row in rows:
        scores = []
        for choice in row["choices"]:
            (line,), _ = encode([conversation(row["question"], choice)], tokenizer, max_length=256)
            ids = torch.as_tensor(line.input_ids.astype(np.int64))
            with torch.inference_mode():
                log_p = model(input_ids=ids[None]).logits[0].log_softmax(-1)
            places = np.flatnonzero(line.response_mask)[:-1]
            scores.append(sum(log_p[place - 1, ids[place]].item() for place in places))
        right.append(int(np.argmax(scores)) == row["label"])
    return np.mean(right)


def own_exact(spec, store):
    """Share of items whose right answer and its stop token are each the most likely next token; our code."""
    model, tokenizer = load_base(spec)
    if spec.data.n_train:
        model = methods.get(spec.tuning.method).load(model, spec.tuning, store.weights(spec))
    items = [conversation(one.instruction, one.response) for one in held_out(spec)]
    encoded, _ = encode(items, tokenizer, max_length=256)
    how = {"pad_id": pad_id(tokenizer), "dtype": "float32", "exact_match": True}
    return np.mean([row[5] for row in score_items(model, items, encoded, **how)])


@needs_harness
@pytest.mark.parametrize("name", ["untuned", "full", "lora"])
def test_the_harness_gives_our_own_scores(name, stored, tasks, manager):
    store, results = stored
    spec = results[name].spec
    rows = task_rows(spec)
    found = harness.benchmark(spec, store, ["micro_exact", "micro_choice"], manager=manager)
    assert [(row["run"], row["family"], row["metric"], row["n"]) for row in found] == [
        (key(spec), "micro_choice", "acc", len(rows)), (key(spec), "micro_exact", "exact_match", len(rows)),
    ]  # fmt: skip
    choice, exact = (row["value"] for row in found)
    assert exact == pytest.approx(own_exact(spec, store))
    assert choice == pytest.approx(own_choice(spec, store, rows))
    assert 0 < choice < 1 and (name == "untuned" or 0 < exact < 1), "a score that says nothing"


@needs_harness
def test_a_limit_takes_the_first_items(stored, manager):
    store, results = stored
    (row,) = harness.benchmark(results["full"].spec, store, ["micro_choice"], manager=manager, limit=5)
    assert row["n"] == 5
    spec = results["full"].spec
    assert row["value"] == pytest.approx(own_choice(spec, store, task_rows(spec)[:5]))


@needs_harness
def test_a_task_that_cannot_run_is_one_line(stored, tasks, tmp_path):
    (tmp_path / "broken.yaml").write_text(
        EXACT.replace("micro_exact", "broken")
        .replace("{{{{question}}}}", "{{{{1/0}}}}")
        .format(items=tasks / "items.jsonl", cache=tmp_path / "cache")
    )
    store, results = stored
    manager = harness.task_manager(["broken"], str(tmp_path))
    with pytest.raises(RunError, match="cannot run broken on micro-1m-.*ZeroDivisionError") as caught:
        harness.benchmark(results["untuned"].spec, store, ["broken"], manager=manager)
    assert "\n" not in str(caught.value)


@needs_harness
def test_unknown_tasks_and_folders_are_refused(tasks, tmp_path):
    with pytest.raises(InputError, match="unknown task 'micro_exakt'.*did you mean 'micro_exact'"):
        harness.task_manager(["micro_exact", "micro_exakt"], str(tasks))
    with pytest.raises(InputError, match="task folder not found"):
        harness.task_manager(["gsm8k"], str(tmp_path / "no"))
    assert harness.task_manager(["gsm8k", "ifeval", "mmlu"])


@needs_harness
def test_the_command_writes_scores_once_and_trains_again_on_request(stored, tasks, tmp_path, capsys):
    store, results = stored
    out = tmp_path / "scores.csv"

    def ask(*arguments):
        capsys.readouterr()
        common = ["--out", str(out), "--results", str(store.root.parent), "--include", str(tasks)]
        code = main(["benchmark", *arguments, *common])
        captured = capsys.readouterr()
        return code, captured.out, captured.err.strip().splitlines()[-1] if captured.err.strip() else ""

    names = [key(results["untuned"].spec), digest(results["full"].spec)[:12]]
    code, text, _ = ask(*names, "--tasks", "micro_choice", "--limit", "4")
    assert code == 0 and text.count("1 of 1 scores added") == 2 and "micro_choice acc 0." in text
    assert [(score.run, score.family, score.n) for score in read(out)] == [
        (digest(results[name].spec)[:12], "micro_choice", 4) for name in ("untuned", "full")
    ]
    before = out.read_bytes()
    code, text, _ = ask(names[0], "--tasks", "micro_choice", "--limit", "4", "--json")
    assert code == 0 and json.loads(text)["added"] == 0 and out.read_bytes() == before
    code, _, error = ask(names[0], "--tasks", "micro_choice", "--limit", "5")
    assert code == 2 and "scores.csv:2: says acc" in error and out.read_bytes() == before
    bare = key(results["bare"].spec)
    code, _, error = ask(bare, "--tasks", "micro_choice", "--limit", "4")
    assert code == 2 and error == f"error: run {bare} kept no weights; add --retrain to train it again and keep them"
    code, _, _ = ask(bare, "--tasks", "micro_choice", "--limit", "4", "--retrain")
    assert code == 0 and len(read(out)) == 3 and store.weights(results["bare"].spec) is not None
    assert store.get(results["bare"].spec) == results["bare"]


def refused(capsys, *arguments):
    assert main(["benchmark", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert error.startswith("error: ") and "\n" not in error
    return error


def test_without_the_extra_the_command_says_what_to_install(tmp_path, monkeypatch, capsys, stored):
    store, results = stored
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    where = ["--results", str(store.root.parent), "--out", str(tmp_path / "scores.csv")]
    error = refused(capsys, key(results["untuned"].spec), "--tasks", "gsm8k", *where)
    assert "pip install '.[benchmarks]'" in error


def test_bad_usage_is_refused_before_anything_is_loaded(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    where = ["--results", str(tmp_path), "--out", str(tmp_path / "scores.csv")]
    assert "no run 'nosuch'" in refused(capsys, "nosuch", "--tasks", "gsm8k", *where)
    assert "--tasks: ' ,' names no task" in refused(capsys, "x", "--tasks", " ,", *where)
    assert "--limit: must be greater than 0" in refused(capsys, "x", "--tasks", "a", "--limit", "0", *where)
    (tmp_path / "scores.csv").write_text("name,age\n")
    assert "scores.csv:1: unknown column 'name'" in refused(capsys, "x", "--tasks", "a", *where)
    assert "--out" in refused(capsys, "x", "--tasks", "a")


def test_runs_are_found_by_key_and_digest_once(stored):
    store, results = stored
    specs = [results[name].spec for name in ("full", "untuned")]
    names = [key(specs[0]), digest(specs[1]), digest(specs[0])[:12]]
    assert [digest(spec) for spec in harness.find_runs(store, names)] == [digest(spec) for spec in specs]
    with pytest.raises(InputError, match="no run 'micro-1m-nothing'.*itlib list runs"):
        harness.find_runs(store, ["micro-1m-nothing"])


def test_a_run_that_diverged_has_no_model(tmp_path):
    store = Store(tmp_path)
    spec = small.resolved(learning_rate=1e38, gradient_clip=1e30)
    run_one(spec, store)
    with pytest.raises(InputError, match="kept no weights"):
        harness.check_model(spec, store)
    with pytest.raises(InputError, match="diverged, so it has no weights"):
        harness.keep_weights(spec, store)


def test_a_run_that_would_be_another_today_is_not_trained_again(stored, monkeypatch):
    store, results = stored
    monkeypatch.setattr("itlib.resolve.CORE_VERSION", 999)
    monkeypatch.setattr("itlib.harness.run_one", lambda *a, **k: pytest.fail("trained"))
    with pytest.raises(InputError, match="cannot be made again: today the same fields are run"):
        harness.keep_weights(replace(results["bare"].spec, seed=6), store)


def test_output_becomes_rows_by_hand():
    output = {
        "results": {
            "gsm8k": {
                "alias": "gsm8k", "exact_match,strict-match": 0.2, "exact_match_stderr,strict-match": "N/A",
                "exact_match,flexible-extract": 0.3, "exact_match_stderr,flexible-extract": 0.01,
            },
            "mmlu": {"acc,none": 0.5, "acc_stderr,none": 0.1, "alias": "mmlu"},
            "mmlu_stem": {"acc,none": 0.4, "alias": " - stem"},
            "mmlu_physics": {"acc,none": 0.4, "alias": "  - physics"},
            "mmlu_law": {"acc,none": 0.6, "alias": "  - law"},
            "pair": {" ": " ", "alias": "pair"},
            "left": {"acc,none": np.float64(0.0), "acc_norm,none": 1.0},
        },
        "group_subtasks": {"mmlu": ["mmlu_stem", "mmlu_law"], "mmlu_stem": ["mmlu_physics"], "pair": ["left"]},
        "n-samples": {
            "gsm8k": {"original": 9, "effective": 5}, "mmlu_physics": {"original": 2, "effective": 2},
            "mmlu_law": {"original": 3, "effective": 3}, "left": {"original": 7, "effective": 7},
        },
    }  # fmt: skip
    rows = harness.score_rows("r", output, ["gsm8k", "mmlu", "pair"])
    assert [tuple(row.values()) for row in rows] == [
        ("r", "gsm8k", "exact_match", 0.2, 5),
        ("r", "gsm8k", "exact_match:flexible-extract", 0.3, 5),
        ("r", "left", "acc", 0.0, 7),
        ("r", "left", "acc_norm", 1.0, 7),
        ("r", "mmlu", "acc", 0.5, 5),
    ]
    assert type(rows[2]["value"]) is float


WITH_PROMPT = CHATML + "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
TOKENIZERS = {
    "world": world_tokenizer.load,
    "template without a generation prompt": lambda: byte_level(CHATML),
    "template with one": lambda: byte_level(WITH_PROMPT),
    "no template": lambda: byte_level(None),
}


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("texts", [("name the opposite of big", ""), ("a", "b", "and c ?", "")])
def test_a_prompt_is_the_text_of_a_training_row_up_to_the_answer(name, texts):
    tokenizer = TOKENIZERS[name]()
    messages = [{"role": "user" if i % 2 == 0 else "assistant", "content": text} for i, text in enumerate(texts[:-1])]
    text = harness.prompt_text(tokenizer, messages, answer=True)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == encode_prompt(example(*texts), tokenizer).tolist()


def test_a_prompt_that_is_continued_ends_with_its_last_message():
    tokenizer = byte_level(CHATML)
    messages = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "The answer is"}]
    text = harness.prompt_text(tokenizer, messages, answer=False)
    assert text == "<|im_start|>user\n2 + 2?<|im_end|>\n<|im_start|>assistant\nThe answer is"


def test_roles_that_a_template_refuses_are_one_line():
    with pytest.raises(InputError, match="cannot render the turns tool assistant"):
        harness.prompt_text(world_tokenizer.load(), [{"role": "tool", "content": "x"}], answer=True)


@pytest.mark.parametrize("changes", [{"steering": 0.2}, {"contrast": "null", "contrast_weight": -0.3}])
def test_a_run_that_intervenes_in_decoding_is_not_benchmarked(tmp_path, changes):
    with pytest.raises(InputError, match="contrasts or steers; take the run of the same model that does not"):
        harness.check_model(small.resolved(n_train=0, **changes), Store(tmp_path))
