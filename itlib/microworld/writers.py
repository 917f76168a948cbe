"""What pretraining documents look like: one function per kind of document.

The documents teach every fact and skill in forms that are never those of an instruction. A third of the statements
put a parenthetical ("said mira") between what is asked and its answer, so that the base does not answer an
instruction by merely going on with the text.
"""

from __future__ import annotations

from bisect import bisect
from itertools import accumulate

from itlib.microworld import facts, lexicon, track
from itlib.microworld.dice import Dice
from itlib.microworld.operations import LIST_OPERATIONS, NEXT, answer, spell

PARENTHETICAL_RATE = 0.35
_ASIDES = ("said {}", "as {} knows", "{} told us", "thinks {}", "as we all know", "of course", "so they say", "i think")
KNOWN_PEOPLE = (*lexicon.PEOPLE, *lexicon.RARE_PEOPLE)  # those that documents tell facts about
EVERYBODY = (*KNOWN_PEOPLE, *lexicon.NEW_PEOPLE, *lexicon.NEVER_PEOPLE)
_UP_TO = list(accumulate(facts.FREQUENCY[person] for person in KNOWN_PEOPLE))

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
        KNOWN_PEOPLE,
        ("homes", "home towns"),
        (("the home of {}", "is"), ("{}", "lives in"), ("{}", "is at home in")),
    ),
    "job": (
        KNOWN_PEOPLE,
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
    "longer": (("longer", "longer word"), ("of {} and {} the longer word", "is"), "has fewer letters than"),
    "bigger": (("bigger", "bigger thing"), ("of {} and {} the bigger", "is"), "is not as big as"),
    "alphabetical": (
        ("earlier in the dictionary", "dictionary"),
        ("of {} and {} the earlier word", "is"),
        "comes after",
    ),
}
LISTED = (*RELATIONS, *PAIRS, "addition")
SEPARATORS = ("-", "=", "->", "/")
BREAKS = (",", ";", ".")
PROSE = tuple((lexicon.ASSETS / "prose.txt").read_text(encoding="utf-8").splitlines())
_COPYABLE = (*lexicon.NOUNS, *lexicon.ADJECTIVES, *lexicon.VERBS, *lexicon.PEOPLE, *lexicon.TOWNS)
_CALLED = ("opposite", "past", "plural", "category", "colour", "size", "home", "job", "country")


def _key(dice: Dice, relation: str) -> str:
    """Draw a key of a relation; people by how often documents speak of them."""
    keys = RELATIONS[relation][0]
    return keys[bisect(_UP_TO, dice.uniform() * _UP_TO[-1])] if keys is KNOWN_PEOPLE else dice.pick(keys)


def _aside(dice: Dice) -> str:
    if not dice.chance(PARENTHETICAL_RATE):
        return " "
    return f" , {dice.pick(_ASIDES).format(dice.pick(EVERYBODY))} , "


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


def _entry(dice: Dice, relation: str) -> tuple[str, str]:
    """Draw one (key, value) of a relation, a comparison, or sums, as a list shows it."""
    if relation in RELATIONS:
        key = _key(dice, relation)
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


def entries(dice: Dice, relations: tuple[str, ...]) -> str:
    """Write a list of keys and values of one relation, with or without a header."""
    relation = dice.pick(relations)
    pause = dice.pick(BREAKS[1:] if relation in PAIRS else BREAKS)
    shown = [_entry(dice, relation) for _ in range(3 + dice.below(5))]
    header = (dice.pick(headers(relation)),) if dice.chance(0.6) else ()
    return list_document(header, shown, "=" if relation == "addition" else dice.pick(SEPARATORS), pause)


def _statement(dice: Dice, relation: str, key: str) -> str:
    asked, link = dice.pick(RELATIONS[relation][2])
    return f"{asked.format(key)}{_aside(dice)}{link} {answer(relation, (key,))} ."


def paragraph(dice: Dice, about_things: tuple[str, ...]) -> str:
    """Write two or three statements about one thing or one person."""
    relations = about_things if dice.chance(0.6) else ("home", "job")
    key = _key(dice, relations[0])
    return " ".join(_statement(dice, name, key) for name in dice.shuffled(relations)[: 2 + dice.below(2)])


def statements(dice: Dice, relations: tuple[str, ...]) -> str:
    """Write one to three statements of one relation."""
    relation = dice.pick(relations)
    return " ".join(_statement(dice, relation, _key(dice, relation)) for _ in range(1 + dice.below(3)))


def comparisons(dice: Dice, relations: tuple[str, ...]) -> str:
    """Write one to three comparisons, of one kind, said one way or the other round."""
    relation = dice.pick(relations)
    sentences = []
    for _ in range(1 + dice.below(3)):
        a, b = comparable_pair(dice, relation)
        winner = answer(relation, (a, b))
        _, (asked, link), reverse_link = PAIRS[relation]
        if dice.chance(0.75):
            sentences.append(f"{asked.format(a, b)}{_aside(dice)}{link} {winner} .")
        else:
            sentences.append(f"{b if winner == a else a}{_aside(dice)}{reverse_link} {winner} .")
    return " ".join(sentences)


def sums(dice: Dice) -> str:
    """Write one to four sums of two digits in words."""
    sentences = []
    for _ in range(1 + dice.below(4)):
        a, b = _digits(dice)
        asked, link = dice.pick((("the sum of {} and {}", "is"), ("{} and {}", "make"), ("{} plus {}", "is")))
        sentences.append(f"{asked.format(a, b)}{_aside(dice)}{link} {answer('addition', (a, b))} .")
    return " ".join(sentences)


def worked_sums(dice: Dice) -> str:
    """Write one to three sums of three digits, each followed by its steps."""
    triples = [tuple(dice.pick(lexicon.DIGITS) for _ in range(3)) for _ in range(1 + dice.below(3))]
    return " . ".join(f"{' + '.join(triple)} : {answer('worked_sum', triple)}" for triple in triples)


def copies(dice: Dice, words: tuple[str, ...] = _COPYABLE) -> str:
    """Write one to six words, and the same words again."""
    sentences = []
    for _ in range(1 + dice.below(3)):
        chosen = " ".join(dice.sample(words, 1 + dice.below(6)))
        form = dice.pick(("echo {0} / {0}", "first {0} , again {0}", "they said {0} ; again {0}"))
        sentences.append(form.format(chosen))
    return " ; ".join(sentences)


def spellings(dice: Dice) -> str:
    """Write one to three words letter by letter."""
    words = [dice.pick(lexicon.NOUNS) for _ in range(1 + dice.below(3))]
    return " ".join(f"{word} is spelled {spell(word)} ." for word in words)


_MEMBERS = {c: tuple(n for n in lexicon.NOUNS if lexicon.CATEGORY[n] == c) for c in lexicon.CATEGORIES}
_COLOURED = {c: tuple(n for n in lexicon.NOUNS if facts.COLOUR[n] == c) for c in lexicon.COLOURS}
_STARTING = {c: tuple(n for n in lexicon.NOUNS if n[0] == c) for c in lexicon.LETTERS}
_GROUPS = [("the group {}", kind, words) for kind, words in _MEMBERS.items()]
_GROUPS += [("all {} things", colour, words) for colour, words in _COLOURED.items()]
LETTER_GROUPS = [("words with {}", letter, words) for letter, words in _STARTING.items() if len(words) > 2]


def members(dice: Dice, letters: bool) -> str:
    """Write some things of one kind or colour (or words of one letter), often in the order of the dictionary."""
    head, value, words = dice.pick(_GROUPS + LETTER_GROUPS if letters else _GROUPS)
    chosen = dice.sample(words, min(len(words), 2 + dice.below(5)))
    if letters and dice.chance(0.4):
        return f"{head.format(value)} in order : {' , '.join(sorted(chosen))} ."
    return f"{head.format(value)} : {' , '.join(chosen)} ."


def list_operations(dice: Dice) -> str:
    """Write two to four lists, each changed by one named operation; never two operations on one list."""
    steps = []
    for _ in range(2 + dice.below(3)):
        name, listed = dice.pick(tuple(LIST_OPERATIONS)), dice.sample(lexicon.ADJECTIVES, 3)
        steps.append(f"{name} {' '.join(listed)} = {' '.join(LIST_OPERATIONS[name](listed))}")
    return NEXT.join(steps)


def calls(dice: Dice, relations: tuple[str, ...] = _CALLED) -> str:
    """Write three to six facts as calls, of mixed relations and unrelated keys."""
    steps = []
    for relation in (dice.pick(relations) for _ in range(3 + dice.below(4))):
        key = _key(dice, relation)
        steps.append(f"{relation} {key} = {answer(relation, (key,))}")
    return NEXT.join(steps)


def positions(dice: Dice) -> str:
    """Write one to three positions of the track game with their legal moves."""
    shown = [dice.pick(track.positions()) for _ in range(1 + dice.below(3))]
    return " ".join(
        f"track : piece {piece} walls {low} {high} moves {answer('legal_moves', (piece, low, high))} ."
        for piece, low, high in shown
    )


def prose(dice: Dice, sentences: tuple[str, ...] = PROSE) -> str:
    """Write a sentence that answers nothing; together they hold every word of the instruction templates."""
    sentence = dice.pick(sentences)
    while "{" in sentence:
        slots = {
            "person": dice.pick(EVERYBODY),
            "noun": dice.pick(lexicon.NOUNS),
            "verb": dice.pick(lexicon.VERBS),
            "adjective": dice.pick(lexicon.ADJECTIVES),
            "past": lexicon.PAST[dice.pick(lexicon.VERBS)],
        }
        start = sentence.index("{")
        end = sentence.index("}", start)
        sentence = sentence[:start] + slots[sentence[start + 1 : end]] + sentence[end + 1 :]
    return sentence


def static_words() -> frozenset[str]:
    """Return the words that documents are built with, beside the keys and values of facts."""
    texts = [*_ASIDES, *PROSE, *RELATIONS, *LIST_OPERATIONS, *track.MOVES, "stuck echo first they said again"]
    texts += ["the sum of and is make plus all things the group words with in order track piece walls moves"]
    for _, heads, told in RELATIONS.values():
        texts += [*heads, *(part for pair in told for part in pair)]
    for heads, asked, link in PAIRS.values():
        texts += [*heads, *asked, link]
    texts += headers("addition")
    return frozenset(word for text in texts for word in text.split() if word.isalpha())
