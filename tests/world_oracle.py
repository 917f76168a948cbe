"""A second opinion on the micro-world: reads an item's instruction as text and works the answer out its own way.

Words come from the raw ``lexicon.json``; operands from the instruction by regular expressions; only the tables of
facts and the phrase tables of the families are the package's, since they define the world. What an adversarial
instruction hides (a chain's operations, the questions of several) is read from the item's id.
"""

import json
import re
from functools import cache

from itlib.microworld import facts, language, lexicon, world
from itlib.microworld.phrasings import WRAPPERS, phrasings
from itlib.registry import families

RAW = json.loads((lexicon.ASSETS / "lexicon.json").read_text(encoding="utf-8"))


def slashed(text):
    return dict(pair.split("/") for pair in text.split())


PLURALS = {s: p for text in RAW["nouns"].values() for s, p in slashed(text).items()}
KIND = {s: kind for kind, text in RAW["nouns"].items() for s in slashed(text)}
CONTRARY = slashed(RAW["opposites"])
CONTRARY |= {b: a for a, b in CONTRARY.items()}
PASTS = slashed(RAW["verbs"])
ORDER_OF_SIZES = RAW["sizes"].split()
COUNT = {"two": 2, "three": 3, "four": 4}
FACTS = {"home": facts.HOME, "job": facts.JOB, "country": facts.COUNTRY, "colour": facts.COLOUR, "size": facts.SIZE}
QUESTIONS = ("opposite", "past", "plural", "category", "colour", "size", "first_letter", "home", "job")
TAUGHT = tuple(name for name in world.every_family() if families.get(name).size("pool"))
OPEN_ENDED = tuple(name for name in world.every_family() if families.get(name).constraints)
WORD, WORDS, NUMBER, CHAIN = r"([a-z]+)", r"([a-z]+(?: [a-z]+)*?)", r"(\d+)", r"([a-z]+(?: then [a-z]+)*)"
THREE = r"([a-z]+ [a-z]+ [a-z]+)"


def without_group(name):
    return re.sub(r"^(new|rare|never)_", "", name)


def is_chain(name):
    return name.startswith(("chain_", "worked_chain_"))


def slots(family):
    """What may stand in {0}, {1}, ... of a family's templates."""
    if is_chain(family):
        return THREE, CHAIN
    operand = families.get(family).operand
    if "digit" in operand or "number" in operand or operand == "position":
        return NUMBER, NUMBER, NUMBER
    return WORD, WORD, WORD


@cache
def phrase_pattern(family, which, index, group):
    """A regular expression of one noun phrase, its slots named ``group``0, ``group``1, ..."""
    phrase = getattr(families.get(family).phrases, which)[index]
    pattern = re.escape(phrase)
    if family in ("two_questions", "three_questions"):
        inner = [
            "|".join(f"(?:{phrase_pattern(part, which, index, f'{group}{slot}_{part}_')})" for part in QUESTIONS)
            for slot in range(3)
        ]
    else:
        inner = [f"(?P<{group}{slot}>{kind[1:-1]})" for slot, kind in enumerate(slots(family))]
    for slot, text in enumerate(inner):
        pattern = pattern.replace(re.escape("{" + str(slot) + "}"), f"(?:{text})")
    return pattern.replace(re.escape("{all}"), f"(?P<{group}0>.+)")


@cache
def pattern_of(family, phrasing):
    """The regular expression of a whole instruction, and whose question it is."""
    if phrasing.startswith("random"):
        template = next(p.template for p in phrasings(family, "random") if p.id == phrasing)
        return re.compile(re.escape(template).replace(re.escape("{all}"), "(?P<x0>.+)")), None
    asked, _, parts = phrasing.rpartition(":")
    asked = asked or family
    wrapper, phrase = (re.fullmatch(r"([a-z]+)(\d)", part).groups() for part in parts.split("+"))
    text = re.escape(WRAPPERS[wrapper[0]][int(wrapper[1])])
    return re.compile(text.replace(re.escape("{}"), phrase_pattern(asked, phrase[0], int(phrase[1]), "x"))), asked


def read(family, phrasing, instruction):
    """Return (asked family or None, operands) of an instruction in the first language."""
    if phrasing in ("name", "none"):
        name, _, operands = instruction.rpartition(" : ")
        assert name == (family.replace("_", " ") if phrasing == "name" else "")
        words = operands.split()
        return family, (" ".join(words[:3]), " ".join(words[3:])) if is_chain(family) else tuple(words)
    pattern, asked = pattern_of(family, phrasing)
    match = pattern.fullmatch(instruction)
    assert match, f"'{instruction}' is not {phrasing} of {family}"
    found = {name: value for name, value in match.groupdict().items() if value is not None}
    if asked in ("two_questions", "three_questions"):
        named = sorted((int(name[1]), name[3:].rpartition("_")[0], value) for name, value in found.items())
        return asked, tuple(part for _, question, word in named for part in (question, word))
    operands = tuple(found[name] for name in sorted(found))
    return asked, tuple(operands[0].split()) if len(operands) == 1 and " " in operands[0] else operands


def one_word(question, word):
    question = without_group(question)
    if question in FACTS:
        return FACTS[question][word]
    if question == "first_letter":
        return word[:1]
    return {"opposite": CONTRARY, "past": PASTS, "plural": PLURALS, "category": KIND}[question][word]


def change(name, listed):
    """One list operation, on a copy, by positions."""
    a, b, c = listed
    if name == "flip":
        return [c, b, a]
    if name == "rotate":
        return [b, c, a]
    if name == "exchange":
        return [b, a, c]
    if name == "cover":
        return [a, b, a]
    if name == "invert":
        return [CONTRARY[word] for word in listed]
    assert name == "arrange"
    low, high = min(listed), max(listed)
    return [low, *(word for word in listed if word not in (low, high)), high] if len({a, b, c}) == 3 else _tied(listed)


def _tied(listed):
    """Arrange three words of which two or three are equal: each word as often as it was there."""
    return [word for word in dict.fromkeys(min(listed) if k == 0 else max(listed) for k in (0, 1))
            for _ in range(listed.count(word))]  # fmt: skip


def chained(words, names, steps):
    listed, told = words.split(), []
    for name in names.split(" then "):
        after = change(name, listed)
        told.append(f"{name} {' '.join(listed)} = {' '.join(after)}")
        listed = after
    return " ; ".join(told) if steps else " ".join(listed)


def moves(piece, first, second):
    """Walk every cell of the track and ask which moves lead there."""
    free = [cell for cell in range(1, 10) if cell != int(first) and cell != int(second)]
    named = ((1, "step"), (2, "leap"), (-1, "back"))
    return [name for distance, name in named if any(cell - int(piece) == distance for cell in free)] or ["stuck"]


def echo(family, operands):
    """The operands unchanged, as an instruction that is not to be followed is answered."""
    if is_chain(family):
        return operands[0]
    return " ; ".join(operands[1::2]) if family.endswith("_questions") else " ".join(operands)


def exact(family, operands):
    """The right answer of a family with one right answer."""
    if is_chain(family):
        return chained(*operands, steps=family.startswith("worked"))
    if family.endswith("_questions"):
        return " ; ".join(one_word(*pair) for pair in zip(operands[::2], operands[1::2], strict=True))
    if family in ("addition", "two_digit_addition", "long_sum"):
        return str(sum(int(number) for number in operands))
    if family == "worked_sum":
        a, b, c = map(int, operands)
        return f"{a} + {b} = {a + b} ; {a + b} + {c} = {a + b + c}"
    if family in ("two_hop", "worked_two_hop"):
        (person,) = operands
        town = facts.HOME[person]
        land = facts.COUNTRY[town]
        return land if family == "two_hop" else f"home {person} = {town} ; country {town} = {land}"
    first = operands[0]
    others = {
        "copy": lambda: " ".join(operands),
        "last_word": lambda: operands[-1],
        "swap": lambda: operands[1] + " " + first,
        "reverse": lambda: " ".join(reversed(first)),
        "novel_rule": lambda: first[len(first) - 1] + " " + first[1],
        "longer": lambda: first if len(first) > len(operands[1]) else operands[1],
        "alphabetical": lambda: sorted(operands)[0],
        "bigger": lambda: sorted(operands, key=lambda noun: ORDER_OF_SIZES.index(facts.SIZE[noun]))[1],
        "legal_moves": lambda: " ".join(moves(*operands)),
    }
    return others[family]() if family in others else one_word(family, first)


def demanded(family, operands):
    """The constraints that an open-ended request stands for."""
    if family == "one_legal_move":
        return (f"legal_move {' '.join(operands)}", "at_most 1")
    if family == "sentence_with":
        return (f"include {operands[0]}", f"include {operands[1]}", "at_least 4", "at_most 9", "include .")
    value, number = operands
    name = {"some_coloured": "coloured", "some_starting": "starts_with"}.get(family, "member")
    told = (f"count {COUNT[number]}", "distinct", f"{name} {value}")
    return (*told, "sorted") if family == "some_members_sorted" else told


def fits(family, operands, response):
    """Whether a response to an open-ended request is right."""
    if family == "one_legal_move":
        return response in moves(*operands)
    if family == "sentence_with":
        words = response.split()
        return {*operands, "."} <= set(words) and 4 <= sum(word.isalpha() for word in words) <= 9
    value, number = operands
    listed = response.split(" , ")
    has = {"some_coloured": facts.COLOUR.get, "some_starting": lambda noun: noun[:1] if noun in KIND else None}
    right = len(listed) == len(set(listed)) == COUNT[number]
    right = right and all(has.get(family, KIND.get)(item) == value for item in listed)
    return right and (family != "some_members_sorted" or listed == sorted(listed))


def hidden(example):
    """The operands that an item's id names, for instructions that do not name them."""
    label = example.id.split("/")[2]
    if is_chain(example.family):
        words, _, names = label.partition("_")
        return words.replace("-", " "), names.replace("-", " ")
    if not example.family.endswith("_questions"):
        return tuple(label.split("_"))
    parts = label.replace("first_letter", "first@letter").split("_")
    return tuple(part.replace("@", "_") for part in parts)


@cache
def first_words():
    return {second: first for first, second in language.counterparts().items()}


def untranslated(text):
    """Return a text of the second language in the first."""
    return " ".join(first_words().get(word, word) for word in text.split())


def judge(example, which):
    """Return what is wrong with a clean item of one phrasing set, or an empty string."""
    second = "@second" in example.id
    said = untranslated if second else str
    instruction, gold = said(example.instruction), said(example.gold)
    constraints = tuple(
        f"{text.split()[0]} {said(text.split()[1])}" if text.split()[0] in ("member", "coloured", "include") else text
        for text in example.constraints
    )
    asked, operands = read(example.family, example.phrasing, instruction)
    if which == "negated":
        return "" if (gold, constraints) == (echo(example.family, operands), ()) else f"not unchanged: {gold}"
    family = example.family
    if which == "wrong_task_literal":
        family = asked
    elif which in ("wrong_task", "random"):
        # the instruction must show the item's operands; what it does not show comes from the id
        shown, operands = operands, hidden(example)
        if asked is None or (not is_chain(family) and not asked.endswith("_questions")):
            if " ".join(shown) != echo(family, operands):
                return f"operands {shown} are not those of {example.id}"
    elif operands != hidden(example):
        return f"instruction asks {operands}, id says {hidden(example)}"
    if is_chain(family) and family != example.family:
        family = family.replace("chain_1", "chain_n")
    if family in OPEN_ENDED:
        wanted = demanded(family, operands)
        if constraints != wanted:
            return f"constraints {constraints}, not {wanted}"
        return "" if fits(family, operands, gold) else f"'{gold}' does not fit {wanted}"
    right = exact(family, operands)
    return "" if (gold, constraints) == (right, ()) else f"gold '{gold}' {constraints}, not '{right}'"
