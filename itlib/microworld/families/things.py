"""Facts about things: which colour and size a noun has in this world, and what kind of thing it is."""

from __future__ import annotations

from itlib.microworld.families import Family, Phrases, unary
from itlib.registry import families

for name, skill, phrases in (
    (
        "colour",
        "Recall the colour a thing has in this world.",
        Phrases(
            ("the colour of {0}", "the colour of the {0}", "the colour that {0} has", "what colour the {0} is"),
            ("the hue of {0}", "how the {0} is tinted"),
            ("the shade of {0}",),
        ),
    ),
    (
        "size",
        "Recall the size a thing has in this world.",
        Phrases(
            ("the size of {0}", "the size of the {0}", "the size that {0} has", "what size the {0} is"),
            ("the extent of {0}", "the dimension of {0}"),
            ("the bulk of {0}",),
        ),
    ),
    (
        "category",
        "Name the category a thing belongs to.",
        Phrases(
            ("the category of {0}", "the group of {0}", "what kind of thing {0} is", "the kind of {0}"),
            ("the class of {0}", "the type that {0} falls under"),
            ("the sort of {0}",),
        ),
    ),
):
    families.register(name)(Family(name, "things", "latent", skill, phrases, operand="noun", every=unary("noun")))
