"""Benchmarks of lm-evaluation-harness on stored runs: GSM8K, IFEval, MMLU, and tasks in a folder of the user.

The harness loads tasks and grades answers. Ours are the model (the base of a stored run with the weights it kept), the
prompt (the text that training puts before an answer) and the settings of decoding (greedy, to the stop token).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from itlib.encoder_decoder import is_encoder_decoder
from itlib.errors import InputError, RunError, did_you_mean
from itlib.execute import load_base, pad_id, run_one
from itlib.packing import virtual_tokens
from itlib.resolve import resolve
from itlib.segments import renderer_of
from itlib.spec import RunSpec, digest, key
from itlib.stages import load_tuned
from itlib.store import Store
from itlib.template import stop_token_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BATCH_SIZE = {"cpu": 8, "cuda": "auto"}
_ANSWER = "itlib-answer"


def check_extra() -> None:
    """Refuse to go on without lm-evaluation-harness, or with one too old for our version of transformers."""
    try:
        import lm_eval.models.huggingface  # noqa: F401
    except (ImportError, AttributeError) as error:
        raise InputError(f"benchmarks need lm-evaluation-harness: pip install '.[benchmarks]' ({error})") from None


def find_runs(store: Store, names: Iterable[str]) -> list[RunSpec]:
    """Return the specs of stored runs, each once, by key, digest, or the first twelve digits of the digest.

    Raises:
        InputError: The store has no such run.
    """
    specs = {name: spec for spec in store.specs() for name in (key(spec), digest(spec), digest(spec)[:12])}
    found = {}
    for name in names:
        if name not in specs:
            hint = did_you_mean(name, specs)
            raise InputError(f"no run '{name}' in {store.root}{hint}; `itlib list runs` shows them")
        found[digest(specs[name])] = specs[name]
    return list(found.values())


def check_model(spec: RunSpec, store: Store) -> None:
    """Refuse a run of which no model is there: its weights were not kept, it diverged, or its device is missing.

    A run whose own evaluation intervened in decoding is refused too: the harness would measure its model without.
    """
    import torch

    if spec.evaluate.contrast != "none" or spec.evaluate.steering:
        raise InputError(f"run {key(spec)} contrasts or steers; take the run of the same model that does not")
    if spec.device == "cuda" and not torch.cuda.is_available():
        raise InputError(f"run {key(spec)} was made on a GPU, and no NVIDIA GPU is visible")
    if spec.data.n_train and store.weights(spec) is None:
        raise InputError(f"run {key(spec)} kept no weights; add --retrain to train it again and keep them")


def keep_weights(spec: RunSpec, store: Store) -> None:
    """Train a run again if its weights were not kept, and keep them; its stored scores stay.

    Raises:
        InputError: The run diverges or fails, or its inputs or our code changed, so that it would be another run.
    """
    if spec.data.n_train == 0 or store.weights(spec) is not None:
        return
    again = resolve(replace(spec, keep_weights=True))
    if digest(again) != digest(spec):
        raise InputError(f"run {key(spec)} cannot be made again: today the same fields are run {key(again)}")
    result = run_one(again, store, retry_failed=True)
    if result.status != "done":
        raise InputError(f"run {key(spec)} {result.status}, so it has no weights {result.error}".rstrip())


def task_manager(tasks: Sequence[str], include: str = "") -> Any:
    """Return the harness's index of tasks: its own, and those in a folder of the user.

    Task files may name Python functions beside them, and the harness runs them: read a folder before including it.

    Raises:
        InputError: The extra or the folder is not there, or a task is unknown.
    """
    check_extra()
    from lm_eval.tasks import TaskManager

    if include and not Path(include).is_dir():
        raise InputError(f"task folder not found: {include}")
    if include:
        own = TaskManager(include_path=include, include_defaults=False)
        if set(tasks) <= set(own.all_subtasks):
            return own  # reading the files of some ten thousand tasks of the harness takes longer than a small task
    manager = TaskManager(include_path=include or None)
    for task in tasks:
        if task not in manager.all_tasks:
            hint = did_you_mean(task, manager.all_tasks)
            raise InputError(f"unknown task '{task}'{hint}; `lm-eval ls tasks` lists those of lm-evaluation-harness")
    return manager


def benchmark(
    spec: RunSpec, store: Store, tasks: Sequence[str], *, manager: Any, limit: int | None = None
) -> list[dict[str, Any]]:
    """Run tasks on the model of a stored run: its base, with the weights it kept if it was tuned.

    Args:
        spec: The spec of a stored run.
        store: Where its weights are.
        tasks: Names of tasks, groups or tags.
        manager: What ``task_manager`` gives.
        limit: Items per task, the first ones; None takes all.

    Returns:
        See ``score_rows``.

    Raises:
        InputError: There is no model to be asked.
        RunError: The harness stopped at a task; the line names its reason.
    """
    from lm_eval import simple_evaluate

    check_model(spec, store)
    model = _language_model(spec, store)
    how = {"bootstrap_iters": 0, "log_samples": False, "apply_chat_template": True, "fewshot_as_multiturn": True}
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what the harness prints is no result of ours
            output = simple_evaluate(model=model, tasks=list(tasks), task_manager=manager, limit=limit, **how)
    except Exception as error:  # task files, data that cannot be had and prompts above the context fail in many ways
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise RunError(f"lm-evaluation-harness cannot run {', '.join(tasks)} on {key(spec)} ({reason})") from error
    return score_rows(key(spec), output, tasks)


def score_rows(run: str, output: Mapping[str, Any], asked: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per task and metric of the harness's output, tasks by name.

    A group that has a score of its own stands for its tasks; of one that has none, the tasks stand themselves. A metric
    that was taken after several ways to extract an answer keeps its name for the first of them; the others are
    ``metric:filter``, such as ``exact_match:flexible-extract``. Standard errors are left out.

    Args:
        run: Key of the run.
        output: What ``lm_eval.simple_evaluate`` returns.
        asked: The names that it was asked for.

    Returns:
        Rows of ``run``, ``family`` (name of task or group), ``metric``, ``value`` and ``n`` (items).
    """
    inside = output.get("group_subtasks", {})
    scores = {name: _values(found) for name, found in output["results"].items()}
    covered = {task for name in asked if scores.get(name) for task in _below(name, inside)}
    rows = []
    for family, values in sorted(scores.items()):
        leaves = [task for task in (family, *_below(family, inside)) if task in output["n-samples"]]
        n = sum(int(output["n-samples"][task]["effective"]) for task in leaves)
        if family not in covered:
            rows += [{"run": run, "family": family, "metric": m, "value": v, "n": n} for m, v in values.items()]
    return rows


def _values(found: Mapping[str, Any]) -> dict[str, float]:
    """Return metric → value from entries such as ``exact_match,strict-match``."""
    values: dict[str, float] = {}
    for entry, value in found.items():
        metric, comma, how = entry.partition(",")
        if not comma or metric.endswith("_stderr") or isinstance(value, str):
            continue
        values[f"{metric}:{how}" if metric in values else metric] = float(value)
    return values


def _below(name: str, inside: Mapping[str, Sequence[str]]) -> list[str]:
    return [task for child in inside.get(name, ()) for task in (child, *_below(child, inside))]


def prompt_text(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]], *, answer: bool) -> str:
    """Return a conversation as the text of a training row, cut where the answer begins.

    Cutting a whole row serves templates that know no ``add_generation_prompt``, and tokenizers that have no template.

    Args:
        tokenizer: Its chat template is used, ours where it has none.
        messages: Mappings with ``role`` and ``content``.
        answer: Whether an answer follows; if not, the text ends with the last message, which is to be continued.
    """
    import jinja2

    turns = [{"role": message["role"], "content": message["content"]} for message in messages]
    turns += [{"role": "assistant", "content": _ANSWER}] if answer else []
    last = turns[-1]["content"].strip()
    renderer = renderer_of(tokenizer)
    try:
        text = tokenizer.apply_chat_template(turns, chat_template=renderer.template, tokenize=False)
    except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
        roles = " ".join(turn["role"] for turn in turns)
        raise InputError(f"the chat template cannot render the turns {roles} ({error})") from None
    start = "" if tokenizer.chat_template else "".join(tokenizer.convert_ids_to_tokens(list(renderer.bos)))
    return start + text[: text.rindex(last) + (0 if answer else len(last))]


def _language_model(spec: RunSpec, store: Store) -> Any:
    """Return the model of a run in the harness's terms."""
    from lm_eval.models.huggingface import HFLM
    from transformers import GenerationConfig

    class StoredRun(HFLM):
        """A model that is asked in the words of its training."""

        def apply_chat_template(self, chat_history: Any, add_generation_prompt: bool = True, **_: Any) -> str:
            return prompt_text(self.tokenizer, chat_history, answer=add_generation_prompt)

        @property
        def eot_token_id(self) -> int:
            return stop_token_id(self.tokenizer)

        def chat_template(self, chat_template: bool | str = False) -> str:
            return renderer_of(self.tokenizer).template

    model, tokenizer = load_base(spec)
    if is_encoder_decoder(model):
        raise InputError(f"run {key(spec)} tuned an encoder-decoder; benchmarks take causal models only")
    if spec.data.n_train:
        model = load_tuned(model, spec, store.weights(spec))
    if virtual_tokens(model):
        raise InputError("benchmark: the harness puts no soft prompt before its texts; name another run")
    network = model.get_base_model() if hasattr(model, "get_base_model") else model
    stop = sorted({stop_token_id(tokenizer), tokenizer.eos_token_id} - {None})
    network.generation_config = GenerationConfig(eos_token_id=stop, pad_token_id=pad_id(tokenizer))
    how = {"mixed_precision_dtype": "bfloat16"} if spec.base.dtype == "bfloat16" else {}
    network = network.to(spec.device).eval()
    return StoredRun(network, tokenizer=tokenizer, batch_size=BATCH_SIZE[spec.device], add_bos_token=False, **how)
