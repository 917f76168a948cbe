"""Perturbations: pure, seeded changes to an instruction before it is shown to a tuned model.

A perturbation is a function ``(text, severity, rng, keep=frozenset()) -> str``, registered by name, with one file per
level: characters, words, sentences, meaning, format. What all of them promise:

* ``severity`` lies in [0, 1] (the caller checks it) and 0 is the identity.
* The number of edited units is ``round(severity * number of editable units)``, never a random draw: items and arms get
  the same dose. A perturbation of the whole text has one unit and therefore acts for a severity above 0.5 only. What
  is added beside the text (a distractor, random strings) is counted against the length of the text.
* Text with nothing to edit comes back as it is, and no text becomes empty.
* ``keep`` holds the words that carry the content, such as operands, without blanks. They are not edited, dropped,
  repeated or moved past each other, and nothing that is added equals one of them. A word counts as kept with and
  without the punctuation around it ("hot?" for "hot"); upper and lower case differ.
* Equal generators give equal results. Units are edited in an order that does not depend on severity, so a larger
  severity makes the edits of a smaller one and more.

They are for evaluation only. Some speak in wrappers of the world's test sets, which no training may show. What changes
responses, to be learned and unlearned, is in ``label_noise`` and not in the registry.
"""

from __future__ import annotations

from collections.abc import Callable

Perturbation = Callable[..., str]
