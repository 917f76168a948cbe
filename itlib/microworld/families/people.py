"""Facts about people and towns, by how often documents spoke of them: often, seldom, or never.

The groups ask the same questions of other people. Facts of "new" people stand in no document: the pool teaches them,
and dev and test ask for the same people again, in other phrasings. Facts of "never" people are taught by nothing, so a
model can only guess them; no pool holds them.
"""

from __future__ import annotations

from itlib.microworld.families import Family, Phrases, unary
from itlib.registry import families

HOME = Phrases(
    ("the home of {0}", "the home town of {0}", "the town where {0} lives", "the place {0} lives in"),
    ("the residence of {0}", "where {0} dwells"),
    ("the address of {0}",),
)
JOB = Phrases(
    ("the job of {0}", "the work of {0}", "what {0} works as", "the job that {0} does"),
    ("the profession of {0}", "how {0} earns money"),
    ("the occupation of {0}",),
)
COUNTRY = Phrases(
    ("the country of {0}", "the country where {0} lies", "the country around {0}", "the land that {0} lies in"),
    ("the nation of {0}", "which state {0} belongs to"),
    ("the realm of {0}",),
)
TWO_HOP = Phrases(
    (
        "the home country of {0}",
        "the country where {0} lives",
        "the country that {0} lives in",
        "the country of the home of {0}",
    ),
    ("the homeland of {0}", "the nation where {0} dwells"),
    ("the realm around the address of {0}",),
)
GROUPS = {"": ("person", "latent"), "rare_": ("rare_person", "rare"), "new_": ("new_person", "unknown")}
GROUPS["never_"] = ("never_person", "unknown")

for prefix, (kind, familiarity) in GROUPS.items():
    for name, skill, phrases in (
        ("home", "Recall the town a person lives in.", HOME),
        ("job", "Recall what a person works as.", JOB),
    ):
        families.register(prefix + name)(
            Family(
                prefix + name,
                "people",
                familiarity,
                skill,
                phrases,
                operation=name,
                operand=kind,
                every=unary(kind),
                standard=not prefix,
            )
        )

families.register("country")(
    Family(
        "country",
        "people",
        "latent",
        "Recall the country a town lies in.",
        COUNTRY,
        operand="town",
        every=unary("town"),
    )
)
families.register("two_hop")(
    Family(
        "two_hop",
        "people",
        "composed",
        "Recall the country of the town a person lives in.",
        TWO_HOP,
        operand="person",
        every=unary("person"),
    )
)
families.register("worked_two_hop")(
    Family(
        "worked_two_hop",
        "people",
        "composed",
        "Recall the town a person lives in, then its country, and show both steps.",
        Phrases(
            tuple(f"{phrase} in steps" for phrase in TWO_HOP.observed),
            ("the stages to the homeland of {0}", "the nation where {0} dwells , stage by stage"),
            ("the path to the realm around {0}",),
        ),
        operand="person",
        every=unary("person"),
        standard=False,
    )
)
