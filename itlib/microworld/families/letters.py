"""Controls on spelling: skills that no document shows and that a few thousand examples are not expected to teach."""

from __future__ import annotations

from itlib.microworld.families import Family, Phrases, unary
from itlib.registry import families

families.register("reverse")(
    Family(
        "reverse",
        "letters",
        "flat",
        "Spell a word backwards.",
        Phrases(
            ("the letters of {0} in reverse", "{0} spelled backwards", "{0} in reverse", "the word {0} read backwards"),
            ("{0} mirrored", "the characters of {0} from end to front"),
            ("{0} written upside",),
        ),
        operand="noun",
        every=unary("noun"),
        about_form=True,
    )
)
families.register("novel_rule")(
    Family(
        "novel_rule",
        "letters",
        "flat",
        "Apply an invented rule: the last letter of a word, then its second.",
        Phrases(
            ("the blick of {0}", "the blick form of {0}", "{0} in blick", "the blick rule for {0}"),
            ("{0} after blicking", "the blicked {0}"),
            ("{0} made blickish",),
        ),
        operand="noun",
        every=unary("noun"),
        about_form=True,
    )
)
