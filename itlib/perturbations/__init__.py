"""Perturbations: pure, seeded changes to an instruction before it is shown to a tuned model.

A perturbation is a function ``(text, severity, rng) -> text``, registered by name. ``severity`` is the share of
units it edits, between 0 (the identity) and 1.
"""
