"""SHA-256 of each part of the micro-world; run as a script it prints them as JSON."""

import hashlib
import json
from itertools import islice

from itlib.microworld import corpus, facts, language, lexicon, tokenizer, world, writers
from itlib.microworld.phrasings import SETS, phrasings
from itlib.registry import families

EVERY = world.every_family()
TAUGHT = tuple(name for name in EVERY if families.get(name).size("pool"))


def line(example):
    """What an item is, whatever fields an example may get."""
    said = (example.id, example.instruction, example.response, example.gold, example.phrasing, example.noise)
    return *said, example.entities, example.constraints, example.family, example.category, example.familiarity


def pool(size, seed, **fields):
    return [line(example) for example in world.pool(size, seed=seed, **fields)]


def templates():
    for name in EVERY:
        for which in SETS:
            yield from ((name, which, p.id, p.template, p.asks, p.unchanged, p.literal) for p in phrasings(name, which))


def held_out(which):
    for split in ("dev", "test"):
        for name in EVERY:
            holds = families.get(name).size(split) * len(phrasings(name, which))
            items = world.held_out(split, min(20, holds), families=(name,), phrasing_set=which)
            yield from map(line, items)


def parts():
    """Return each part's lines, as text."""
    told = {
        "lexicon": [(lexicon.ASSETS / "lexicon.json").read_text(encoding="utf-8"), lexicon.all_words()],
        "facts": [facts.COLOUR, facts.SIZE, facts.HOME, facts.JOB, facts.COUNTRY, facts.FREQUENCY],
        "prose": writers.PROSE,
        "second language": language.counterparts().items(),
        "vocabulary": tokenizer.vocabulary(),
        "templates": templates(),
        "documents": islice(corpus.documents("train", 0), 2000),
        "reference": corpus.reference_text(200),
        "pool": pool(2000, 0, families=TAUGHT),
        "standard pool": pool(2000, 1),
        "worded pool": pool(1000, 2, response_wording="mixed", response_style="polite", second_language=0.3),
        "unbalanced pool": pool(1000, 3, imbalance=1.0, n_operands=20, n_phrasings=4),
        "noisy pool": pool(1000, 4, noise_rate=0.4),
    }
    return told | {f"held-out items, {which}": held_out(which) for which in SETS}


def digests():
    """Return the SHA-256 of every part."""
    return {name: hashlib.sha256("\n".join(map(repr, lines)).encode()).hexdigest() for name, lines in parts().items()}


if __name__ == "__main__":
    print(json.dumps(digests(), indent=4))
