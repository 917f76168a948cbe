"""The embedded default world: invented facts, exact operations, instruction data and a small shipped base model.

It shows mechanisms on a laptop in seconds; it is no evidence about large models.
"""
