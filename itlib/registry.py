"""Registries: a component announces itself by name, and everything else looks it up.

A file dropped into a registry's package is found without editing any list:

    from itlib.registry import selectors

    @selectors.register("longest", version=1)
    def longest(examples, budget, *, seed): ...

Files outside the package do the same, see ``itlib.plugins``.

``version`` is part of the digest of every run that uses the component: raise it when the meaning changes. (Task
families and their constraints are covered together, by the version of the micro-world.)
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

from itlib import plugins
from itlib.errors import InputError, did_you_mean


class Registry:
    """Names of one kind of component, filled by importing every module of one package.

    Args:
        kind: What an entry is, in the words of an error message ("selector").
        package: Dotted package whose modules register entries when imported.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self.package = package
        self._entries: dict[str, Any] = {}
        self._versions: dict[str, int] = {}
        self._discovered = False

    def register(self, name: str, *, version: int = 1) -> Callable[[Any], Any]:
        """Decorate a function, class or instance to make it known under ``name``."""

        def add(target: Any) -> Any:
            known = self._entries.get(name)
            if known is not None and _origin(known) != _origin(target):
                raise ValueError(f"{self.kind} '{name}' is registered twice")
            self._entries[name] = target
            self._versions[name] = version
            return target

        return add

    def get(self, name: str) -> Any:
        """Return the entry, or raise ``InputError`` naming the closest known one."""
        self._discover()
        if name not in self._entries:
            known = ", ".join(sorted(self._entries))
            raise InputError(f"unknown {self.kind} '{name}'{did_you_mean(name, self._entries)}; known: {known}")
        return self._entries[name]

    def version(self, name: str) -> int:
        """Return the version of an entry; it enters the digest of every run that uses it."""
        self.get(name)
        return self._versions[name]

    def names(self) -> list[str]:
        """Return all names, sorted."""
        self._discover()
        return sorted(self._entries)

    def __contains__(self, name: str) -> bool:
        self._discover()
        return name in self._entries

    def _discover(self) -> None:
        if self._discovered:
            return
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{self.package}.{module.name}")
        plugins.load()
        self._discovered = True


def _origin(target: Any) -> tuple[str, str]:
    """Where an entry is written; a module that is imported twice registers the same entry again."""
    target = getattr(target, "score", getattr(target, "select", target))  # selectors wrap the function that is theirs
    kind = target if hasattr(target, "__qualname__") else type(target)
    return kind.__module__, kind.__qualname__


families = Registry("task family", "itlib.microworld.families")
models = Registry("model", "itlib.models")
sources = Registry("source", "itlib.sources")
methods = Registry("tuning method", "itlib.methods")
selectors = Registry("selector", "itlib.selectors")
perturbations = Registry("perturbation", "itlib.perturbations")
claims = Registry("claim", "itlib.claims")
constraints = Registry("constraint", "itlib.constraints")
augmentations = Registry("augmentation", "itlib.augmentations")
objectives = Registry("objective", "itlib.objectives")
measures = Registry("measure", "itlib.measures")
edits = Registry("edit", "itlib.edits")
