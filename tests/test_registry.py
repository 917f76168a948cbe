"""Registries find components by name and by file."""

import pytest

from itlib.errors import InputError
from itlib.registry import Registry, methods, perturbations, selectors


def test_components_in_a_folder_register_themselves():
    assert {"full", "lora", "prompt"} <= set(methods.names())
    assert "random" in selectors and "typo" in perturbations


def test_unknown_name_suggests_the_closest():
    with pytest.raises(InputError, match=r"unknown tuning method 'lroa' \(did you mean 'lora'\?\)"):
        methods.get("lroa")


def test_a_name_is_taken_once():
    registry = Registry("thing", "itlib.selectors")
    registry.register("a")(len)
    with pytest.raises(ValueError, match="twice"):
        registry.register("a")(max)


def test_versions_default_to_one():
    registry = Registry("thing", "itlib.selectors")
    registry.register("a", version=3)(len)
    assert registry.version("a") == 3 and selectors.version("random") == 1
