"""What the micro-world is made of: samples, counts and overlaps, all taken from data that is generated here."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice

import pandas as pd

from itlib.constraints import check, graded
from itlib.example import Example
from itlib.microworld import corpus, facts, language, lexicon, noise, responses, splits, track, world, writers
from itlib.microworld.dice import Dice
from itlib.microworld.operations import NEXT, check_steps
from itlib.microworld.phrasings import ADVERSARIAL, SETS, WRAPPERS, phrasings
from itlib.registry import families
from itlib.schema import coerce_fields, param

# the pool teaches what is asked of new people, and nothing teaches what is asked of the last group, so neither is split
UNSPLIT = ("new_home", "new_job", "never_home", "never_job")
POOLS: dict[str, dict[str, object]] = {
    "balanced": {},
    "imbalance 1": {"imbalance": 1.0},
    "5 operands each": {"n_operands": 5},
    "30 % noise": {"noise_rate": 0.3},
}
GROUPS = {"person": lexicon.PEOPLE, "rare": lexicon.RARE_PEOPLE, "new": lexicon.NEW_PEOPLE}
GROUPS["never"] = lexicon.NEVER_PEOPLE


@dataclass(frozen=True)
class WorldParams:
    """Parameters of the notebook ``world``. The defaults are the smoke profile: one base, few items."""

    profile: str = param("smoke", help="names the results folder", choices=("smoke", "cpu"))
    n_documents: int = param(4000, help="documents sampled to count in", minimum=100)
    pool_size: int = param(600, help="examples of every pool that is looked at", minimum=100, maximum=3000)
    seed: int = param(0, help="draws documents and pools; no held-out item depends on it", minimum=0)
    n_items: int = param(5, help="held-out items per family, and dev items per gate", minimum=2, maximum=50)
    bases: tuple[str, ...] = param(("micro-1m/seed-0",), help="shipped bases to measure; empty takes all")
    results: str = param("", help="results folder; empty takes results/ of the project")

    def __post_init__(self) -> None:
        coerce_fields(self, where=type(self).__name__)


def contents() -> pd.DataFrame:
    """Return the kinds of words of the world, how many there are, and a few of each."""
    kinds = {
        "things": lexicon.NOUNS,
        "kinds of things": lexicon.CATEGORIES,
        "adjectives, in pairs of opposites": lexicon.ADJECTIVES,
        "verbs": lexicon.VERBS,
        "colours": lexicon.COLOURS,
        "sizes": lexicon.SIZES,
        "people met often": lexicon.PEOPLE,
        "people met seldom": lexicon.RARE_PEOPLE,
        "people mentioned, facts left to the pool": lexicon.NEW_PEOPLE,
        "people mentioned, facts never told": lexicon.NEVER_PEOPLE,
        "jobs": lexicon.JOBS,
        "towns": lexicon.TOWNS,
        "countries": lexicon.COUNTRIES,
        "positions of the track game": [" ".join(position) for position in track.positions()],
    }
    rows = [(kind, len(words), ", ".join(words[:4])) for kind, words in kinds.items()]
    return pd.DataFrame(rows, columns=["what", "number", "the first of them"])


def facts_of(person: str = lexicon.PEOPLE[0], noun: str = lexicon.NOUNS[0]) -> pd.DataFrame:
    """Return what holds of a person, a thing, an adjective and a verb: columns subject, relation, object."""
    town = facts.HOME[person]
    rows = [
        (person, "home", town),
        (town, "country", facts.COUNTRY[town]),
        (person, "job", facts.JOB[person]),
        (noun, "category", lexicon.CATEGORY[noun]),
        (noun, "colour", facts.COLOUR[noun]),
        (noun, "size", facts.SIZE[noun]),
        (noun, "plural", lexicon.PLURAL[noun]),
        (noun, "second language", language.translate(noun)),
        (lexicon.ADJECTIVES[0], "opposite", lexicon.OPPOSITE[lexicon.ADJECTIVES[0]]),
        (lexicon.VERBS[0], "past", lexicon.PAST[lexicon.VERBS[0]]),
    ]
    return pd.DataFrame(rows, columns=["subject", "relation", "object"])


@cache
def documents(n: int, seed: int) -> tuple[str, ...]:
    """Return the first documents of the stream that a base of this seed is pretrained on."""
    return tuple(islice(corpus.documents("train", seed), n))


def spoken(text: str) -> str:
    """Return which language a text is in: "first", "second", or "both" for a list of translations."""
    words = set(text.split())
    second = not words.isdisjoint(language.counterparts().values())
    first = not words.isdisjoint(language.counterparts())
    return "both" if first and second else "second" if second else "first"


def sample_documents(params: WorldParams, which: str, n: int = 10) -> list[str]:
    """Return the first ``n`` documents of one language."""
    return list(islice((text for text in documents(params.n_documents, params.seed) if spoken(text) == which), n))


def family_table() -> pd.DataFrame:
    """Return all families with category, familiarity, and the instruction and response of one example."""
    rows = []
    for name in world.every_family():
        family = families.get(name)
        example = world.held_out("dev", 1, families=(name,))[0]
        standard = "yes" if family.standard else "no"
        rows.append((name, family.category, family.familiarity, standard, example.instruction, example.response))
    return pd.DataFrame(
        rows, columns=["family", "category", "familiarity", "standard", "an instruction", "a right response"]
    )


def phrasing_examples(family: str = "home") -> pd.DataFrame:
    """Return one test item of a family under every phrasing set: same operands, other instruction."""
    rows = []
    for name in SETS:
        example = world.held_out("test", 1, families=(family,), phrasing_set=name)[0]
        use = "evaluation only" if name in ADVERSARIAL else "pool or evaluation"
        rows.append((name, use, example.instruction, example.response))
    return pd.DataFrame(rows, columns=["set", "use", "instruction", "counted as right"])


def phrasing_counts() -> pd.DataFrame:
    """Return, per phrasing set, templates of one family, of all families, and how many of these are observed ones."""
    rows = []
    for name, (wrapper_set, _) in SETS.items():
        by_family = {family: {item.template for item in phrasings(family, name)} for family in world.every_family()}
        observed = {family: {item.template for item in phrasings(family, "observed")} for family in by_family}
        wrappers = 0 if name == "random" else len(WRAPPERS.get(wrapper_set, ()))
        templates = {template for found in by_family.values() for template in found}
        known = sum(len(by_family[family] & observed[family]) for family in by_family)
        rows.append((name, wrappers, len(by_family["opposite"]), len(templates), known))
    columns = ["set", "wrappers", "templates_per_family", "different_templates", "observed_for_their_family"]
    return pd.DataFrame(rows, columns=columns)


def operand_counts() -> pd.DataFrame:
    """Return how many different operands each family has in each split."""
    rows = [
        (name, world.category(name), split, families.get(name).size(split))
        for name in world.every_family()
        for split in splits.SPLITS
    ]
    return pd.DataFrame(rows, columns=["family", "category", "split", "operands"])


def overlaps(params: WorldParams) -> pd.DataFrame:
    """Return how many entities and whole instructions two splits share, counted in generated examples.

    A pool of every family that can be taught is set against dev and test items of every family. The families of
    ``UNSPLIT``, which share people on purpose, are counted apart.
    """
    every = world.every_family()
    taught = tuple(name for name in every if families.get(name).size("pool"))
    data = {"pool": world.pool(params.pool_size, seed=params.seed, families=taught)}
    for split in ("dev", "test"):
        data[split] = world.held_out(split, params.n_items, families=every)
    rows = []
    for what in ("entities", "instructions", "new and never people"):
        found = {split: _found(examples, what) for split, examples in data.items()}
        rows += [(what, one, other, len(found[one] & found[other])) for one in found for other in found]
    return pd.DataFrame(rows, columns=["what", "split", "other", "shared"])


def _found(examples: Sequence[Example], what: str) -> set[str]:
    chosen = [example for example in examples if (example.family in UNSPLIT) == (what == "new and never people")]
    if what == "instructions":
        return {example.instruction for example in chosen}
    return {entity for example in chosen for entity in example.entities}


def levels() -> pd.DataFrame:
    """Return the levels at which something can be held out, with a pool item and a test item of each."""
    rows = [
        ("instance", "the word asked about", "always", "home", "home", "observed"),
        ("phrasing", "also the way of asking", "eval_phrasing_set: unobserved", "home", "home", "unobserved"),
        ("composition", "also the pair of operations", "families: chain_2", "chain_2", "chain_2", "observed"),
        ("family", "the whole task", "families without swap, eval_families: swap", "copy", "swap", "observed"),
        ("category", "every task of a category", "families without letters", "first_letter", "reverse", "observed"),
    ]
    shown = []
    for level, new, setting, taught, asked, phrasing_set in rows:
        pool = world.pool(1, seed=0, families=(taught,))[0]
        test = world.held_out("test", 1, families=(asked,), phrasing_set=phrasing_set)[0]
        shown.append((level, new, setting, pool.instruction, test.instruction))
    return pd.DataFrame(shown, columns=["level", "new at test", "asked for by", "in the pool", "at test"])


def exposures(params: WorldParams) -> pd.DataFrame:
    """Return how often sampled documents name each person, and how often they tell a home or a job."""
    texts = documents(params.n_documents, params.seed)
    everybody = {person: group for group, people in GROUPS.items() for person in people}
    named = Counter(word for text in texts for word in set(text.split()) & everybody.keys())
    told: Counter[str] = Counter()
    true = {(person, value) for person in everybody for value in _values(person)}
    for text in texts:
        pairs = (pair for pattern in _fact_patterns() for pair in pattern.findall(text))
        told.update(person for person, value in pairs if (person, value) in true)
    rows = [
        (person, group, facts.FREQUENCY.get(person, 0.0), named[person], told[person])
        for person, group in everybody.items()
    ]
    return pd.DataFrame(rows, columns=["person", "group", "frequency", "documents_naming", "facts_told"])


def exposure_table(told: pd.DataFrame) -> pd.DataFrame:
    """Return medians per person of ``exposures``, by group and by how often documents speak of a person."""
    columns = ["documents_naming", "facts_told"]
    medians = told.groupby(["group", "frequency"])[columns].median().reset_index()
    medians = medians.sort_values("frequency", ascending=False, kind="stable")
    return medians.assign(frequency=medians["frequency"].map(fraction)).reset_index(drop=True)


def fraction(frequency: float) -> str:
    """Return a frequency relative to a frequent person as "1", "1/8" or "never"."""
    return "never" if frequency == 0 else "1" if frequency == 1 else f"1/{round(1 / frequency)}"


def _values(person: str) -> tuple[str, ...]:
    return facts.HOME[person], facts.JOB[person], language.translate(facts.JOB[person])


@cache
def _fact_patterns() -> tuple[re.Pattern[str], ...]:
    """Return the forms in which documents tell homes and jobs, in both languages, as (person, value) patterns."""
    patterns = [r"(\w+) (?:-|=|->|/) (\w+)"]
    for relation in ("home", "job"):
        for asked, link in writers.RELATIONS[relation][2]:
            before = asked.replace("{}", "").strip()
            for say in (str, language.translate):
                head = f"{re.escape(say(before))} " if before else ""
                patterns.append(rf"{head}(\w+) (?:, [^,]* , )?{re.escape(say(link))} (\w+)")
    return tuple(map(re.compile, patterns))


def language_shares(params: WorldParams) -> pd.DataFrame:
    """Return the share of sampled documents, and of their words, in each language."""
    texts = pd.Series(documents(params.n_documents, params.seed))
    frame = pd.DataFrame({"language": texts.map(spoken), "words": texts.str.split().map(len)})
    counts = frame.groupby("language")["words"].agg(["size", "sum"])
    shares = (counts / counts.sum()).rename(columns={"size": "share_of_documents", "sum": "share_of_words"})
    return shares.reset_index()


def word_by_word(relation: str = "category") -> pd.DataFrame:
    """Return a statement of the first language above its translation, one column per word."""
    text = writers.statements(Dice("word by word"), (relation,)).partition(" . ")[0]
    first, second = text.split(), language.translate(text).split()
    return pd.DataFrame([first, second], index=["first", "second"], columns=range(1, len(first) + 1))


def noise_examples(params: WorldParams) -> pd.DataFrame:
    """Return one place of a pool, clean and under every kind of noise, with the right response beside it."""
    size = 100
    pools = {"none": world.pool(size, seed=params.seed)}
    for kind in noise.KINDS:
        pools[kind] = world.pool(size, seed=params.seed, noise_kinds=(kind,), noise_rate=0.5)
    place = next(i for i in range(size) if all(kind in ("none", pool[i].noise) for kind, pool in pools.items()))
    rows = [(kind, pool[place].instruction, pool[place].response, pool[place].gold) for kind, pool in pools.items()]
    return pd.DataFrame(rows, columns=["noise", "instruction", "response trained on", "right response"])


def compositions(params: WorldParams) -> pd.DataFrame:
    """Return what four pools of one size hold: examples per family, new or repeated in operands, or corrupted."""
    rows = []
    for pool, fields in POOLS.items():
        seen: set[tuple[str, str]] = set()
        for example in world.pool(params.pool_size, seed=params.seed, **fields):
            item = (example.family, " ".join(example.entities))
            part = "corrupted" if example.noise != "none" else "same again" if item in seen else "asked once"
            seen.add(item)
            rows.append((pool, example.family, part))
    frame = pd.DataFrame(rows, columns=["pool", "family", "part"])
    counts = frame.groupby(["pool", "family", "part"], sort=False).size().rename("examples").reset_index()
    places = {name: place for place, name in enumerate(world.every_family())}
    return counts.sort_values("family", key=lambda names: names.map(places), kind="stable").reset_index(drop=True)


def voices(content: str = "cold") -> pd.DataFrame:
    """Return one content in every wording and style, token by token, each token as content, wording or style."""
    wordings, rows = responses.wording_words(), []
    for style, (opening, closing) in responses.STYLES.items():
        for wording in responses.WORDINGS["mixed"]:
            text = " ".join(part for part in (opening, wording, closing) if part).replace("{}", content)
            for place, token in enumerate(text.split()):
                part = "content" if token in content.split() else "wording" if token in wordings else "style"
                rows.append((style, wording, place, token, part))
    return pd.DataFrame(rows, columns=["style", "wording", "place", "token", "part"])


def graded_responses(family: str = "some_members_sorted") -> pd.DataFrame:
    """Return three responses to one open-ended item, the constraints each fulfils, and the share of them."""
    item = next(e for e in world.held_out("dev", 12, families=(family,)) if e.response.count(",") >= 2)
    first, *rest = item.response.split(" , ")
    tries = {
        "as asked": item.response,
        "order turned round": " , ".join([*reversed(rest), first]),
        "one thing said twice": f"{first} , {first}",
    }
    rows = []
    for name, response in tries.items():
        met = {text: "yes" if held else "no" for text, held in check(item.constraints, response).items()}
        share = graded(item.constraints, response)
        rows.append({"instruction": item.instruction, "attempt": name, "response": response, **met, "graded": share})
    return pd.DataFrame(rows)


def checked_steps() -> pd.DataFrame:
    """Return worked solutions, right and with one slip, and which of their steps are true."""
    rows = []
    for family in ("worked_sum", "worked_two_hop", "worked_chain_2"):
        right = world.held_out("dev", 1, families=(family,))[0].response
        steps = right.split(NEXT)
        head, _, answer = steps[0].rpartition(" ")
        slip = NEXT.join([f"{head} {_other(answer, family)}", *steps[1:]])
        for name, solution in (("right", right), ("one slip", slip)):
            rows.append((family, name, solution, *check_steps(solution)))
    return pd.DataFrame(rows, columns=["family", "solution is", "solution", "step 1 true", "step 2 true"])


def _other(answer: str, family: str) -> str:
    """Return a false last word of a step, of the same sort as the true one."""
    if family == "worked_sum":
        return str(int(answer) + 1)
    words = lexicon.TOWNS if family == "worked_two_hop" else lexicon.ADJECTIVES
    return next(word for word in words if word != answer)
