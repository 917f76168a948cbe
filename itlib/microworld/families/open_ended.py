"""Open-ended tasks: many right responses, graded by the share of their constraints that a response satisfies.

What is asked (a kind of thing and a number, a colour, a letter, two words) belongs to one split; the sample response
of a pool item uses words of the pool only, and any word of the world is right at test.
"""

from __future__ import annotations

from functools import cache

from itlib.microworld import facts, lexicon
from itlib.microworld.dice import Dice
from itlib.microworld.families import Arguments, Family, Phrases
from itlib.microworld.splits import requests, words
from itlib.registry import families

LIST_PAUSE = " , "
NUMBER = {"two": 2, "three": 3, "four": 4}
PROPERTIES = {
    "member": lambda noun: lexicon.CATEGORY[noun],
    "coloured": lambda noun: facts.COLOUR[noun],
    "starts_with": lambda noun: noun[0],
}


@cache
def _having(attribute: str, value: str, split: str) -> tuple[str, ...]:
    nouns = words("noun", "pool") if split == "pool" else lexicon.NOUNS
    return tuple(noun for noun in nouns if PROPERTIES[attribute](noun) == value)


@cache
def _requests(attribute: str, split: str) -> list[Arguments]:
    """Return the (value, number) requests of a split; values that too few pool nouns have are not asked for."""
    values = sorted({PROPERTIES[attribute](noun) for noun in lexicon.NOUNS})
    enough = [value for value in values if len(_having(attribute, value, "pool")) >= max(NUMBER.values())]
    return list(requests(attribute, tuple((value, number) for value in enough for number in NUMBER), split))


def _listing(attribute: str, in_order: bool) -> dict:
    def respond(dice: Dice, arguments: Arguments, split: str) -> str:
        value, number = arguments
        chosen = dice.sample(_having(attribute, value, split), NUMBER[number])
        return LIST_PAUSE.join(sorted(chosen) if in_order else chosen)

    def constraints(arguments: Arguments) -> tuple[str, ...]:
        value, number = arguments
        asked = (f"count {NUMBER[number]}", "distinct", f"{attribute} {value}")
        return (*asked, "sorted") if in_order else asked

    return {
        "respond": respond,
        "constraints": constraints,
        "every": lambda split: _requests(attribute, split),
        "entities": lambda arguments: (f"{attribute}={arguments[0]}*{arguments[1]}",),
        "about_form": in_order or attribute == "starts_with",
        "standard": False,
    }


for name, attribute, in_order, skill, phrases in (
    (
        "some_members",
        "member",
        False,
        "List a number of things of one kind.",
        Phrases(
            ("{1} of the kind {0}", "{1} of the group {0}", "{1} things of the kind {0}", "a list of {1} of kind {0}"),
            ("{1} that fall under {0}", "{1} examples from the class {0}"),
            ("{1} of sort {0}",),
        ),
    ),
    (
        "some_coloured",
        "coloured",
        False,
        "List a number of things of one colour.",
        Phrases(
            ("{1} {0} things", "{1} things coloured {0}", "{1} that have the colour {0}", "a list of {1} {0} things"),
            ("{1} that are tinted {0}", "{1} examples with the hue {0}"),
            ("{1} of shade {0}",),
        ),
    ),
    (
        "some_starting",
        "starts_with",
        False,
        "List a number of words with one first letter.",
        Phrases(
            (
                "{1} words with {0} at the start",
                "{1} words that start with {0}",
                "{1} words in {0}",
                "a list of {1} words with letter {0}",
            ),
            ("{1} examples with the initial {0}", "{1} whose opening character is {0}"),
            ("{1} with leading symbol {0}",),
        ),
    ),
    (
        "some_members_sorted",
        "member",
        True,
        "List a number of things of one kind, in dictionary order.",
        Phrases(
            (
                "{1} of the kind {0} in order",
                "{1} things of the group {0} in dictionary order",
                "an ordered list of {1} of the kind {0}",
                "{1} of kind {0} , the earlier word before",
            ),
            ("{1} that fall under {0} , by alphabet", "{1} alphabetical examples from the class {0}"),
            ("{1} of sort {0} , foremost before",),
        ),
    ),
):
    families.register(name)(
        Family(
            name,
            "open_ended",
            "latent",
            skill,
            phrases,
            operand=f"{attribute} request",
            **_listing(attribute, in_order),
        )
    )


def _sentence(dice: Dice, arguments: Arguments, split: str) -> str:
    noun, adjective = arguments
    form = dice.pick(("a {1} {0} was at home .", "the {0} was {1} .", "{2} likes the {1} {0} ."))
    return form.format(noun, adjective, dice.pick(words("person", split)))


families.register("sentence_with")(
    Family(
        "sentence_with",
        "open_ended",
        "latent",
        "Write a short sentence that contains two given words.",
        Phrases(
            (
                "a sentence with {0} and {1}",
                "a sentence that has {0} and {1}",
                "a short sentence of {0} and {1}",
                "words around {0} and {1}",
            ),
            ("an utterance that contains {0} and {1}", "a phrase built from {0} and {1}"),
            ("a remark on {0} and {1}",),
        ),
        operand="noun and adjective",
        draw=lambda dice, split: (dice.pick(words("noun", split)), dice.pick(words("adjective", split))),
        count=lambda split: len(words("noun", split)) * len(words("adjective", split)),
        constraints=lambda arguments: (
            f"include {arguments[0]}",
            f"include {arguments[1]}",
            "at_least 4",
            "at_most 9",
            "include .",
        ),  # fmt: skip
        respond=_sentence,
        standard=False,
    )
)
