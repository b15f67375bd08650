"""A JSON Schema of the settings file for editors, made of the description the reader follows."""

from collections.abc import Mapping
from typing import Any

from cachectl.config.fields import ROOT, Either, Field, Section, Table, Words
from cachectl.config.kinds import Kind, Many

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a settings file."""
    return {
        "$schema": DIALECT,
        "title": "cachectl settings",
        **_section(ROOT, inherits=False),
    }


def _section(section: Section, *, inherits: bool) -> dict[str, Any]:
    properties = {
        name: _field(field, section.defaults.get(name), inherits=inherits)
        for name, field in section.fields.items()
    }
    required = [name for name, field in section.fields.items() if field.required]
    # A section whose keys are all commented out is empty, which YAML reads as null.
    types = "object" if required or section.one_of else ["object", "null"]
    shape: dict[str, Any] = {"type": types, "properties": properties, "additionalProperties": False}
    if section.one_of:
        shape["oneOf"] = [{"required": [name]} for name in section.one_of]
    return {**shape, "required": required} if required else shape


def _field(field: Field, default: Any, *, inherits: bool) -> dict[str, Any]:
    described = {"description": field.doc, **_kind(field)}
    if isinstance(field.kind, Kind) and not inherits and _is_json(default):
        described["default"] = default
    return described


def _kind(field: Field) -> Mapping[str, Any]:
    kind = field.kind
    if isinstance(kind, Section):
        return _section(kind, inherits=field.inherits)
    if isinstance(kind, Table):
        return {
            "type": ["object", "null"],
            "propertyNames": {"pattern": f"^({kind.name})$"},
            "additionalProperties": _section(kind.each, inherits=False),
        }
    if isinstance(kind, Either):
        many = _kind(Field(kind.many, ""))["anyOf"]
        return {"anyOf": [*many, _section(kind.section, inherits=False)]}
    if isinstance(kind, Words):
        return {"type": ["object", "null"], "additionalProperties": kind.each.json}
    if isinstance(kind, Many):
        several = {"type": "array", "items": kind.item.json, "minItems": 1}
        if kind.unique:
            several["uniqueItems"] = True
        return {"anyOf": [kind.item.json, several]} if kind.alone else several
    return kind.json


def _is_json(default: Any) -> bool:
    return isinstance(default, (bool, int, float, str))
