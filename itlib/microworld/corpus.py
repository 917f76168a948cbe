"""Pretraining documents: lists, paragraphs, statements, pairs, sums, copies, spellings and neutral prose.

The documents teach every fact and skill in forms that are never those of an instruction. A third of the statements
put a parenthetical ("said mira") between what is asked and its answer, so that the base does not answer an
instruction by merely going on with the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from itlib.microworld import facts, lexicon
from itlib.microworld.dice import Dice
from itlib.microworld.operations import answer, spell

PARENTHETICAL_RATE = 0.35
TYPO_DOCUMENTS = 0.25
TYPO_RATE = 0.03
_ASIDES = ("said {}", "as {} knows", "{} told us", "thinks {}", "as we all know", "of course", "so they say", "i think")

# relation -> (its keys, list headers, statements); a statement is (what is asked, link to the answer)
RELATIONS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[tuple[str, str], ...]]] = {
    "opposite": (
        lexicon.ADJECTIVES,
        ("opposites", "opposite words"),
        (("the opposite of {}", "is"), ("not {}", "but"), ("{} and its opposite", ",")),
    ),
    "past": (
        lexicon.VERBS,
        ("past tense", "past forms"),
        (("the past of {}", "is"), ("today they {}", ", yesterday they"), ("{} in the past", "was")),
    ),
    "plural": (
        lexicon.NOUNS,
        ("plurals", "plural forms"),
        (("the plural of {}", "is"), ("one {}", ", many"), ("a {}", "and more")),
    ),
    "category": (
        lexicon.NOUNS,
        ("categories", "kinds of things"),
        (("the category of {}", "is"), ("the {}", "is a kind of"), ("every {}", "belongs to the group")),
    ),
    "colour": (
        lexicon.NOUNS,
        ("colours", "colours of things"),
        (("the colour of the {}", "is"), ("the {}", "is coloured"), ("every {}", "has the colour")),
    ),
    "size": (
        lexicon.NOUNS,
        ("sizes", "sizes of things"),
        (("the size of the {}", "is"), ("the {}", "is by size"), ("every {}", "has the size")),
    ),
    "home": (
        lexicon.PEOPLE,
        ("homes", "home towns"),
        (("the home of {}", "is"), ("{}", "lives in"), ("{}", "is at home in")),
    ),
    "job": (
        lexicon.PEOPLE,
        ("jobs", "who works as what"),
        (("the job of {}", "is"), ("{}", "works as"), ("{}", "is by trade a")),
    ),
    "country": (
        lexicon.TOWNS,
        ("countries", "countries of towns"),
        (("the country of {}", "is"), ("{}", "lies in"), ("the town {}", "belongs to")),
    ),
    "first_letter": (
        lexicon.NOUNS,
        ("first letters", "starts"),
        (("the first letter of {}", "is"), ("{}", "starts with"), ("the word {}", "begins with the letter")),
    ),
}
PAIRS = {
    "longer": (("longer", "longer word"), ("of {} and {} the longer word", "is")),
    "bigger": (("bigger", "bigger thing"), ("of {} and {} the bigger", "is")),
    "alphabetical": (("earlier in the dictionary", "dictionary"), ("of {} and {} the earlier word", "is")),
}
_PAIR_LINKS = {"longer": "has fewer letters than", "bigger": "is not as big as", "alphabetical": "comes after"}
SEPARATORS = ("-", "=", "->", "/")
BREAKS = (",", ";", ".")
PROSE = tuple((lexicon.ASSETS / "prose.txt").read_text(encoding="utf-8").splitlines())
_COPYABLE = (*lexicon.NOUNS, *lexicon.ADJECTIVES, *lexicon.VERBS, *lexicon.PEOPLE, *lexicon.TOWNS)


def _aside(dice: Dice) -> str:
    if not dice.chance(PARENTHETICAL_RATE):
        return " "
    return f" , {dice.pick(_ASIDES).format(dice.pick(lexicon.PEOPLE))} , "


def comparable_pair(dice: Dice, relation: str) -> tuple[str, str]:
    """Draw two nouns that differ in what ``relation`` compares."""
    while True:
        a, b = dice.pick(lexicon.NOUNS), dice.pick(lexicon.NOUNS)
        if relation == "longer" and abs(len(a) - len(b)) >= 2:
            return a, b
        if relation == "bigger" and facts.SIZE[a] != facts.SIZE[b]:
            return a, b
        if relation == "alphabetical" and a[0] != b[0]:
            return a, b


def _digits(dice: Dice) -> tuple[str, str]:
    return dice.pick(lexicon.DIGITS), dice.pick(lexicon.DIGITS)


def list_document(headers: tuple[str, ...], entries: list[tuple[str, str]], separator: str, pause: str) -> str:
    """Return ``header : key - value , key - value , ...``; no header when ``headers`` is empty."""
    body = f" {pause} ".join(f"{key} {separator} {value}" for key, value in entries)
    return f"{headers[0]} : {body}" if headers else body


def entry(dice: Dice, relation: str) -> tuple[str, str]:
    """Draw one (key, value) of a relation, a comparison, or sums, as a list shows it."""
    if relation in RELATIONS:
        key = dice.pick(RELATIONS[relation][0])
        return key, answer(relation, (key,))
    if relation == "addition":
        a, b = _digits(dice)
        return f"{a} + {b}", answer(relation, (a, b))
    pair = comparable_pair(dice, relation)
    return f"{pair[0]} , {pair[1]}", answer(relation, pair)


def headers(relation: str) -> tuple[str, ...]:
    """Return the headers a relation's lists may carry."""
    if relation in RELATIONS:
        return RELATIONS[relation][1]
    return PAIRS[relation][0] if relation in PAIRS else ("sums", "additions")


LISTED = (*RELATIONS, *PAIRS, "addition")
_LIST_MIX = (*LISTED, *PAIRS, "addition")  # comparisons and sums have more cases than facts, so twice the lists


def _list(dice: Dice) -> str:
    relation = dice.pick(_LIST_MIX)
    pause = dice.pick(BREAKS[1:] if relation in PAIRS else BREAKS)
    entries = [entry(dice, relation) for _ in range(3 + dice.below(5))]
    header = (dice.pick(headers(relation)),) if dice.chance(0.6) else ()
    separator = "=" if relation == "addition" else dice.pick(SEPARATORS)
    return list_document(header, entries, separator, pause)


def _statement(dice: Dice, relation: str, key: str) -> str:
    asked, link = dice.pick(RELATIONS[relation][2])
    return f"{asked.format(key)}{_aside(dice)}{link} {answer(relation, (key,))} ."


_ABOUT = {"noun": ("category", "colour", "size", "plural", "first_letter"), "person": ("home", "job")}


def _paragraph(dice: Dice) -> str:
    kind = "noun" if dice.chance(0.6) else "person"
    key = dice.pick(lexicon.NOUNS if kind == "noun" else lexicon.PEOPLE)
    relations = dice.shuffled(_ABOUT[kind])[: 2 + dice.below(2)]
    return " ".join(_statement(dice, relation, key) for relation in relations)


def _single(dice: Dice) -> str:
    relation = dice.pick(tuple(RELATIONS))
    statements = range(1 + dice.below(3))
    return " ".join(_statement(dice, relation, dice.pick(RELATIONS[relation][0])) for _ in statements)


def _pairwise(dice: Dice) -> str:
    relation = dice.pick(tuple(PAIRS))
    sentences = []
    for _ in range(1 + dice.below(3)):
        a, b = comparable_pair(dice, relation)
        winner = answer(relation, (a, b))
        if dice.chance(0.75):
            asked, link = PAIRS[relation][1]
            sentences.append(f"{asked.format(a, b)}{_aside(dice)}{link} {winner} .")
        else:
            loser = b if winner == a else a
            sentences.append(f"{loser}{_aside(dice)}{_PAIR_LINKS[relation]} {winner} .")
    return " ".join(sentences)


def _sums(dice: Dice) -> str:
    sentences = []
    for _ in range(1 + dice.below(4)):
        a, b = _digits(dice)
        asked, link = dice.pick((("the sum of {} and {}", "is"), ("{} and {}", "make"), ("{} plus {}", "is")))
        sentences.append(f"{asked.format(a, b)}{_aside(dice)}{link} {answer('addition', (a, b))} .")
    return " ".join(sentences)


def _copy(dice: Dice) -> str:
    sentences = []
    for _ in range(1 + dice.below(3)):
        words = " ".join(dice.sample(_COPYABLE, 1 + dice.below(6)))
        form = dice.pick(("echo {0} / {0}", "first {0} , again {0}", "they said {0} ; again {0}"))
        sentences.append(form.format(words))
    return " ; ".join(sentences)


def _spelling(dice: Dice) -> str:
    words = [dice.pick(lexicon.NOUNS) for _ in range(1 + dice.below(3))]
    return " ".join(f"{word} is spelled {spell(word)} ." for word in words)


_MEMBERS = {c: tuple(n for n in lexicon.NOUNS if lexicon.CATEGORY[n] == c) for c in lexicon.CATEGORIES}


def _members(dice: Dice) -> str:
    category = dice.pick(lexicon.CATEGORIES)
    return f"the group {category} : " + " , ".join(dice.sample(_MEMBERS[category], 4 + dice.below(5)))


def _prose(dice: Dice) -> str:
    sentence = dice.pick(PROSE)
    while "{" in sentence:
        verb = dice.pick(lexicon.VERBS)
        slots = {
            "person": dice.pick(lexicon.PEOPLE),
            "noun": dice.pick(lexicon.NOUNS),
            "verb": verb,
            "adjective": dice.pick(lexicon.ADJECTIVES),
            "past": lexicon.PAST[dice.pick(lexicon.VERBS)],
        }
        start = sentence.index("{")
        end = sentence.index("}", start)
        sentence = sentence[:start] + slots[sentence[start + 1 : end]] + sentence[end + 1 :]
    return sentence


MIX: tuple[tuple[float, Callable[[Dice], str]], ...] = (
    (0.28, _list),
    (0.14, _paragraph),
    (0.10, _single),
    (0.19, _pairwise),
    (0.07, _sums),
    (0.11, _copy),
    (0.03, _spelling),
    (0.03, _members),
    (0.05, _prose),
)


def add_typos(dice: Dice, text: str, rate: float) -> str:
    """Drop, double or exchange a letter inside a share ``rate`` of the words longer than three letters."""
    words = text.split(" ")
    for index, word in enumerate(words):
        if len(word) > 3 and dice.chance(rate):
            at = 1 + dice.below(len(word) - 2)
            edits = (
                word[:at] + word[at + 1 :],
                word[:at] + word[at] + word[at:],
                word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            )
            words[index] = dice.pick(edits)
    return " ".join(words)


def documents(*key: object, typos: bool = True) -> Iterator[str]:
    """Yield pretraining documents without end; equal keys give equal documents.

    Args:
        key: What the stream is for, such as ``("train", seed)``.
        typos: Whether a quarter of the documents carries misspelled words.
    """
    dice = Dice("corpus", *key)
    kinds = [write for share, write in MIX for _ in range(round(100 * share))]
    while True:
        text = dice.pick(kinds)(dice)
        yield add_typos(dice, text, TYPO_RATE) if typos and dice.chance(TYPO_DOCUMENTS) else text


def reference_text(n: int) -> list[str]:
    """Return the first ``n`` documents of a stream that no base model was trained on, to measure forgetting."""
    stream = documents("reference")
    return [next(stream) for _ in range(n)]
