"""Gates of a base model: it knows the world, and does not yet follow instructions. They concern the base alone.

Nothing here asks what tuning does to a family later: that is what studies find out. All items come from dev.

    python -m itlib.microworld.gates        prints the gates of the shipped base
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from itlib.microworld import corpus, world
from itlib.microworld.dice import Dice
from itlib.microworld.operations import answer
from itlib.microworld.phrasings import template_words
from itlib.registry import families

STRICT_LIMIT = 0.02
LENIENT_LIMIT = 0.05
RECALL_LIMIT = 0.95
FLAT_SPECTRUM = 0.2
FACT_FAMILIES = ("opposite", "past", "plural", "category", "colour", "size", "home", "job", "country", "first_letter")
SHOTS = 5
_SCANNED_DOCUMENTS = 20_000


@dataclass(frozen=True)
class Gate:
    """One check: what was measured, the limit, whether the value must stay below it, and whether it does."""

    name: str
    value: float
    limit: float
    below: bool

    @property
    def passed(self) -> bool:
        """Whether the value is on the right side of the limit."""
        return self.value <= self.limit if self.below else self.value >= self.limit


def greedy_matches(model: Any, tokenizer: Any, prompts: list[str], answers: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return whether greedy decoding gives each answer, (strict, lenient), both boolean of shape (n,).

    Decided by teacher forcing: an answer is decoded greedily exactly when every one of its tokens is the argmax
    after the tokens before it. Strict also wants the end-of-answer token right after.
    """
    import torch

    rows = []
    for prompt, wanted in zip(prompts, answers, strict=True):
        head = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        rows.append((head, tokenizer(wanted, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]))
    strict, lenient = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    order = sorted(range(len(rows)), key=lambda index: sum(map(len, rows[index])))
    for start in range(0, len(order), 128):
        part = order[start : start + 128]
        width = max(sum(map(len, rows[index])) for index in part)
        ids = torch.full((len(part), width), tokenizer.pad_token_id)
        for line, index in enumerate(part):
            joined = rows[index][0] + rows[index][1]
            ids[line, : len(joined)] = torch.tensor(joined)
        with torch.no_grad():
            best = model(input_ids=ids, use_cache=False).logits.argmax(-1)
        for line, index in enumerate(part):
            head, tail = rows[index]
            right = (best[line, len(head) - 1 : len(head) - 1 + len(tail)] == torch.tensor(tail)).tolist()
            strict[index], lenient[index] = all(right), all(right[:-1])
    return strict, lenient


def zero_shot(model: Any, tokenizer: Any, n_per_family: int = 50) -> dict[str, tuple[float, float]]:
    """Return (strict, lenient) exact match of every family when dev instructions are asked of the base."""
    scores = {}
    for family in world.default_families():
        examples = world.held_out("dev", n_per_family, families=(family,))
        prompts = [f"instruction : {example.instruction} response :" for example in examples]
        strict, lenient = greedy_matches(model, tokenizer, prompts, [example.response for example in examples])
        scores[family] = (float(strict.mean()), float(lenient.mean()))
    return scores


def few_shot(model: Any, tokenizer: Any, n_per_relation: int = 60) -> dict[str, float]:
    """Return exact match when each relation is continued in document form after ``SHOTS`` entries of a list.

    Asked are dev entities (dev digit pairs, pairs of dev nouns); entries before them are from the pool.
    """
    scores = {}
    for relation in corpus.LISTED:
        dice = Dice("few-shot", relation)
        family, pause = families.get(relation), ";" if relation in corpus.PAIRS else ","
        prompts, answers = [], []
        for _ in range(n_per_relation):
            shown = [family.sample(dice, "pool") for _ in range(SHOTS)]
            asked = family.sample(dice, "dev")
            entries = [(_key(*item), answer(*item)) for item in shown]
            done = corpus.list_document(corpus.headers(relation)[:1], entries, _separator(relation), pause)
            prompts.append(f"{done} {pause} {_key(*asked)} {_separator(relation)}")
            answers.append(answer(*asked))
        scores[relation] = float(greedy_matches(model, tokenizer, prompts, answers)[1].mean())
    scores["copy"] = _copy_score(model, tokenizer, n_per_relation)
    return scores


def _copy_score(model: Any, tokenizer: Any, n_items: int) -> float:
    dice, prompts, answers = Dice("few-shot", "copy"), [], []
    for _ in range(n_items):
        shown, asked = (" ".join(families.get("copy").sample(dice, split)[1]) for split in ("pool", "dev"))
        prompts.append(f"echo {shown} / {shown} ; echo {asked} /")
        answers.append(asked)
    return float(greedy_matches(model, tokenizer, prompts, answers)[1].mean())


def _separator(relation: str) -> str:
    return "=" if relation == "addition" else "-"


def _key(relation: str, arguments: tuple[str, ...]) -> str:
    return (" + " if relation == "addition" else " , ").join(arguments)


def unseen_phrasing_words() -> set[str]:
    """Return words of instruction templates that the pretraining documents never show."""
    seen = {word for text in islice(corpus.documents("train", 0), _SCANNED_DOCUMENTS) for word in text.split()}
    return (template_words() | {"instruction", "response"}) - seen


def spectrum(model: Any) -> list[dict[str, float | str]]:
    """Return, per matrix, largest over median singular value and the exponent a of sigma_j ~ j^-a.

    The exponent is a least-squares line on log-log axes over the larger half of the values. Below ``FLAT_SPECTRUM``
    the top singular vectors are hardly set apart, and a count of intruder dimensions (Shuttleworth et al. 2024,
    arXiv:2410.21228) is hard to interpret.
    """
    import torch

    rows = []
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            values = torch.linalg.svdvals(weight.detach().double()).numpy()
            half = values[: max(2, len(values) // 2)]
            exponent = -np.polyfit(np.log(np.arange(1, len(half) + 1)), np.log(half), 1)[0]
            rows.append(
                {
                    "matrix": name,
                    "top_over_median": float(values[0] / np.median(values)),
                    "exponent": float(exponent),
                    "flat": bool(exponent < FLAT_SPECTRUM),
                }
            )
    return rows


def check(model: Any, tokenizer: Any, n_per_family: int = 50) -> list[Gate]:
    """Measure all gates of a base model; a gate that fails is reported, never hidden."""
    asked = zero_shot(model, tokenizer, n_per_family)
    recalled = few_shot(model, tokenizer, n_per_family)
    strict, lenient = np.mean(list(asked.values()), axis=0)
    gates = [
        Gate("zero-shot exact match, mean, strict", float(strict), STRICT_LIMIT, True),
        Gate("zero-shot exact match, mean, lenient", float(lenient), LENIENT_LIMIT, True),
        Gate("template words never seen in documents", float(len(unseen_phrasing_words())), 0.0, True),
    ]
    gates += [Gate(f"document form, {name}", recalled[name], RECALL_LIMIT, False) for name in FACT_FAMILIES]
    return gates


def main() -> None:
    """Print gates and spectrum of the shipped base model."""
    from itlib.registry import models
    from itlib.spec import ModelSpec

    model, tokenizer = models.get(ModelSpec.model).load(ModelSpec())
    for gate in check(model, tokenizer):
        sign, verdict = "<=" if gate.below else ">=", "passed" if gate.passed else "FAILED"
        print(f"{verdict}  {gate.name}: {gate.value:.3f} (must be {sign} {gate.limit:g})")
    rows = spectrum(model)
    flat = [str(row["matrix"]) for row in rows if row["flat"]]
    print(f"spectrum: exponents {min(r['exponent'] for r in rows):.2f} to {max(r['exponent'] for r in rows):.2f}")
    if flat:
        print(
            f"warning: exponent below {FLAT_SPECTRUM} in {len(flat)} of {len(rows)} matrices; intruder dimensions of "
            "these are hard to interpret"
        )


if __name__ == "__main__":
    main()
