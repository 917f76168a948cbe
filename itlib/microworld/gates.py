"""Gates of a base model: it knows the world, and does not yet follow instructions. They concern the base alone.

Nothing here asks what tuning does to a family later: that is what studies find out. All items come from dev.

    python -m itlib.microworld.gates                     prints the gates of every shipped base
    python -m itlib.microworld.gates --folder FOLDER     those of a build
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from itlib.microworld import corpus, facts, language, lexicon, pretrain, responses, world, writers
from itlib.microworld.dice import Dice
from itlib.microworld.operations import answer
from itlib.microworld.phrasings import template_words
from itlib.packing import leading_outputs
from itlib.registry import families
from itlib.spectra import FLAT, power_law_exponent

STRICT_LIMIT = 0.02
LENIENT_LIMIT = 0.05
RECALL_LIMIT = 0.95
FLAT_SPECTRUM = FLAT
SPREAD = "micro-1m"  # the size of which several seeds are shipped
FACT_FAMILIES = ("opposite", "past", "plural", "category", "colour", "size", "home", "job", "country", "first_letter")
SHOTS = 5
SEPARATOR = "="  # not "-": lists of translations have it too, so that "hot -" can ask for another language
# what is not a list of facts -> (a document up to the answer, what separates two of them, the family that draws it)
SKILLS = {
    "copy": ("echo {all} /", ";", "copy"),
    "worked sum": ("{0} + {1} + {2} :", ".", "worked_sum"),
    "list operation": ("{1} {0} =", ";", "chain_1"),
    "legal moves": ("track : piece {0} walls {1} {2} moves", ".", "legal_moves"),
}
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
            best = model(input_ids=ids.to(model.device), use_cache=False).logits.argmax(-1).cpu()
        for line, index in enumerate(part):
            head, tail = rows[index]
            start_of_answer = leading_outputs(model) + len(head) - 1
            right = (best[line, start_of_answer : start_of_answer + len(tail)] == torch.tensor(tail)).tolist()
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


def _continued(model: Any, tokenizer: Any, documents: Sequence[tuple[str, str]]) -> float:
    """Return the share of (beginning, ending) documents whose ending is what greedy decoding goes on with."""
    beginnings, endings = zip(*documents, strict=True)
    return float(greedy_matches(model, tokenizer, list(beginnings), list(endings))[1].mean())


def few_shot(
    model: Any,
    tokenizer: Any,
    n_per_relation: int = 60,
    relations: tuple[str, ...] = writers.LISTED,
    separator: str = SEPARATOR,
) -> dict[str, float]:
    """Return exact match when each relation is continued in document form after ``SHOTS`` entries of a list.

    Asked are dev entities (dev digit pairs, pairs of dev nouns); entries before them are from the pool.
    """
    scores = {}
    for relation in relations:
        dice, family = Dice("few-shot", relation), families.get(relation)
        asked = [family.sample(dice, "dev") for _ in range(n_per_relation)]
        documents = [_listed(dice, relation, item, separator) for item in asked]
        scores[relation] = _continued(model, tokenizer, documents)
    return scores


def _listed(dice: Dice, relation: str, asked: tuple[str, ...], separator: str = SEPARATOR) -> tuple[str, str]:
    """Return a list document of pool entries that ends before the value of ``asked``, and that value."""
    pause = ";" if relation in writers.PAIRS else ","
    shown = [families.get(relation).sample(dice, "pool") for _ in range(SHOTS)]
    entries = [(_key(relation, item), answer(relation, item)) for item in shown]
    done = writers.list_document(writers.headers(relation)[:1], entries, separator, pause)
    return f"{done} {pause} {_key(relation, asked)} {separator}", answer(relation, asked)


def _key(relation: str, arguments: tuple[str, ...]) -> str:
    return (" + " if relation == "addition" else " , ").join(arguments)


def frequencies() -> list[float]:
    """Return how often documents may speak of a person, from never, 0, to 1."""
    return sorted({0.0, *facts.FREQUENCY.values()})


def recall_by_frequency(model: Any, tokenizer: Any) -> dict[float, float]:
    """Return exact match on homes and jobs in document form, by how often documents speak of a person.

    Keys are frequencies relative to a frequent person, 1 for these and 0 for people that no document tells about
    (whose facts can only be guessed: about one in forty homes and one in sixteen jobs).
    """
    groups: dict[float, list[str]] = {0.0: [*lexicon.NEW_PEOPLE, *lexicon.NEVER_PEOPLE]}
    for person, frequency in facts.FREQUENCY.items():
        groups.setdefault(frequency, []).append(person)
    scores = {}
    for frequency, people in sorted(groups.items()):
        dice = Dice("recall by frequency", frequency)
        asked = [_listed(dice, relation, (person,)) for person in people for relation in ("home", "job")]
        scores[frequency] = _continued(model, tokenizer, asked)
    return scores


def skills(model: Any, tokenizer: Any, n_items: int = 60) -> dict[str, float]:
    """Return exact match in document form of what is not a list of facts: copying, steps, operations, the game."""
    return {name: _continued(model, tokenizer, _skill_documents(name, n_items)) for name in SKILLS}


def _skill_documents(name: str, n_items: int) -> list[tuple[str, str]]:
    template, pause, family = SKILLS[name]
    dice, source = Dice("few-shot", name), families.get(family)
    documents = []
    for _ in range(n_items):
        shown, asked = source.sample(dice, "pool"), source.sample(dice, "dev")
        if family == "chain_1":
            shown = (shown[0], asked[1])  # one operation is shown, and asked again on other words
        begun, finished = (template.format(*item, all=" ".join(item)) for item in (asked, shown))
        done = f"{finished} {source.response(shown, 'pool')}"
        documents.append((f"{done} {pause} {begun}", source.response(asked, "dev")))
    return documents


def second_language(model: Any, tokenizer: Any, n_items: int = 60) -> dict[str, float]:
    """Return exact match of ``few_shot`` on facts said in the second language."""
    scores = {}
    for relation in (name for name in FACT_FAMILIES if not families.get(name).about_form):
        dice, family = Dice("second language", relation), families.get(relation)
        documents = [_listed(dice, relation, family.sample(dice, "dev")) for _ in range(n_items)]
        translated = [(language.translate(begun), language.translate(rest)) for begun, rest in documents]
        scores[relation] = _continued(model, tokenizer, translated)
    return scores


def unseen_phrasing_words() -> set[str]:
    """Return words of templates and styles that no document shows in a sentence of the first language."""
    texts = islice(corpus.documents("train", 0), _SCANNED_DOCUMENTS)
    seen = {word for text in texts if not language.is_second(text) for word in text.split()}
    asked = template_words() | responses.style_words() | responses.wording_words() | {"instruction", "response"}
    return set(asked) - seen


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
            rows.append(
                {
                    "matrix": name,
                    "top_over_median": float(values[0] / np.median(values)),
                    "exponent": power_law_exponent(values),
                    "flat": power_law_exponent(values) < FLAT_SPECTRUM,
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


def measurements(model: Any, tokenizer: Any, n_per_family: int = 50) -> dict[str, float]:
    """Return what a base knows that no gate asks for, in document form, and how steep its spectra are."""
    listed = few_shot(model, tokenizer, n_per_family, (*writers.PAIRS, "addition"))
    frequencies = recall_by_frequency(model, tokenizer)
    second = second_language(model, tokenizer, n_per_family)
    ambiguous = few_shot(model, tokenizer, n_per_family, FACT_FAMILIES, separator="-")
    exponents = [float(row["exponent"]) for row in spectrum(model)]
    return {
        **{name.replace("_", " "): value for name, value in listed.items()},
        **skills(model, tokenizer, n_per_family),
        "second language, mean of facts": float(np.mean(list(second.values()))),
        "mean of facts where a translation would fit too": float(np.mean(list(ambiguous.values()))),
        **{f"people at frequency {frequency:g}": value for frequency, value in frequencies.items()},
        "smallest exponent of a spectrum": min(exponents),
        "share of flat spectra": float(np.mean([value < FLAT_SPECTRUM for value in exponents])),
    }


def shipped() -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, model, tokenizer) of every shipped base."""
    from itlib.registry import models
    from itlib.spec import ModelSpec

    for name in models.names():
        for seed in getattr(models.get(name), "base_seeds", list)():
            yield f"{name}/seed-{seed}", *models.get(name).load(ModelSpec(model=name, base_seed=seed))


def built(folder: Path) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, model, tokenizer) of every base of a build folder."""
    from transformers import LlamaForCausalLM

    from itlib.microworld import tokenizer

    for weights in sorted(folder.glob("*/seed-*/model.safetensors")):
        model = LlamaForCausalLM.from_pretrained(weights.parent, local_files_only=True, dtype="float32").eval()
        yield f"{weights.parent.parent.name}/{weights.parent.name}", model, tokenizer.load()


def main(arguments: list[str] | None = None) -> int:
    """Print gates and measurements of the shipped bases, or of a build folder; the exit code tells if a gate fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="a folder that itlib.microworld.build wrote")
    options = parser.parse_args(arguments)
    columns, failed = {}, []
    for name, model, tokenizer in built(options.folder) if options.folder else shipped():
        checked = check(model, tokenizer)
        failed += [f"{name}: {gate.name}" for gate in checked if not gate.passed]
        columns[name] = {f"{gate.name} ({'<=' if gate.below else '>='} {gate.limit:g})": gate.value for gate in checked}
        columns[name] |= {
            "validation loss [nats per token]": pretrain.validation_loss(model),
            **measurements(model, tokenizer),
        }
        print(f"{name}: {'all gates pass' if all(gate.passed for gate in checked) else 'a gate FAILS'}", flush=True)
    frame = pd.DataFrame(columns)
    print(frame.to_string(float_format=lambda value: f"{value:.3f}"))
    losses = frame.loc["validation loss [nats per token]", [name for name in columns if name.startswith(f"{SPREAD}/")]]
    if len(losses) > 1:
        print(
            f"validation loss of {len(losses)} seeds of {SPREAD}: {losses.min():.4f} to {losses.max():.4f}, "
            f"standard deviation {losses.std():.4f}"
        )
    print("\n".join(f"FAILED  {name}" for name in failed) or "every gate of every base passes")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
