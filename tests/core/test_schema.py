from __future__ import annotations

from typing import Annotated, Literal

import pytest
from tiny_table import COLOURS, STYLES, TABLE, GatherConfig, ShapeConfig, Upper

from llmwright.core import schema
from llmwright.core.config import Choice, Config, Kind, Name
from llmwright.core.operation import Operation


def test_fields_say_what_a_person_must_know() -> None:
    source, task, *_, share, limit = schema.fields_of(GatherConfig)
    assert (source.label, source.default, source.is_text) == ("TEXT", None, True)
    assert (task.label, task.default) == ("TEXT", "")
    assert (share.label, share.default, share.help) == ("NUMBER", "0.5", "A number.")
    assert limit.label == "NUMBER"


def test_choices_and_names_are_listed() -> None:
    class Inner(Config):
        style: Annotated[Kind, Choice(STYLES)] | None = None
        colour: Annotated[str, Name(COLOURS)] | None = None
        size: Literal["tiny", "big"] = "tiny"
        loud: bool = False

    style, colour, size, loud = schema.fields_of(Inner)
    assert style.choices == ("cut", "upper")
    assert colour.choices == ("green", "red")
    assert colour.is_text
    assert size.label == "tiny|big"
    assert (loud.is_flag, loud.default) == (True, "no")
    text, shape_style, *_ = schema.fields_of(ShapeConfig)
    assert text.label == "REF"
    assert shape_style.default == "upper"


def test_the_schema_of_a_project_has_every_operation() -> None:
    found = schema.project_schema(TABLE)
    assert set(found["properties"]) == {"name", "task", "recipe", *TABLE}
    mapping, listed, off, alone = found["properties"]["shape"]["oneOf"]
    assert mapping["properties"]["style"]["oneOf"][0] == {"$ref": "#/$defs/Cut"}
    assert mapping["properties"]["name"] == {"type": "string"}
    assert listed["items"] == mapping
    assert (off, alone) == ({"const": False}, {"type": "null"})
    assert {"type": "null"} not in found["properties"]["gather"]["oneOf"]  # needs a source
    assert found["$defs"]["Cut"]["required"] == ["num_chars"]


class First:
    class Same(Config):
        """A."""

        a: int = 1

    class Plan(Config):
        """B."""

        same: First.Same


class Second:
    class Same(Config):
        """C."""

        b: int = 1

    class Plan(Config):
        """D."""

        same: Second.Same


@pytest.fixture
def two_of_one_name() -> dict[str, Operation]:
    for plan in (First.Plan, Second.Plan):
        plan.model_rebuild()
    config = f"{__name__}:"
    return {
        "one": Operation("one", "x", config, "", "One."),
        "two": Operation("two", "x", config, "", "Two."),
    }


def test_two_classes_of_one_name_keep_their_own_definitions(
    two_of_one_name: dict[str, Operation], monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = {"one": First.Plan, "two": Second.Plan}
    monkeypatch.setattr(Operation, "config_class", lambda self: classes[self.verb])
    found = schema.project_schema(two_of_one_name)
    keys = set()
    for verb, field in (("one", "a"), ("two", "b")):
        same = found["properties"][verb]["oneOf"][0]["properties"]["same"]
        reference = same["$ref"].rsplit("/", 1)[1]
        assert list(found["$defs"][reference]["properties"]) == [field]
        keys.add(reference)
    assert len(keys) == 2


def test_the_real_table_has_a_schema() -> None:
    from llmwright.operations import OPERATIONS

    found = schema.project_schema(OPERATIONS)
    assert set(OPERATIONS) <= set(found["properties"])
    assert "Upper" not in found["$defs"]
    assert Upper.model_fields  # the tiny table's kinds belong to no real operation
