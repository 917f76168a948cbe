"""What papermill reads from a notebook's parameters cell, held against a schema."""

from __future__ import annotations

import ast

import papermill

from itlib.schema import field_types


def check_cell_against_schema(path, study, schema):
    """Hold what papermill reads from a notebook against the schema: names, order, defaults, types, help."""
    inspected = papermill.inspect_notebook(str(path))
    defaults = schema()
    fields = field_types(schema)
    assert list(inspected) == ["study", *(item.name for item in fields)]
    assert ast.literal_eval(inspected["study"]["default"]) == study
    for item in fields:
        seen = inspected[item.name]
        value = ast.literal_eval(seen["default"])
        wanted = getattr(defaults, item.name)
        assert value == (list(wanted) if isinstance(wanted, tuple) else wanted), item.name
        assert type(value).__name__ == seen["inferred_type_name"], item.name
        unit = f" [{item.metadata['unit']}]" if item.metadata.get("unit") else ""
        assert seen["help"] == f"{item.metadata['help']}{unit}", item.name
