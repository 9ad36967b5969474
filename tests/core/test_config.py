from __future__ import annotations

from typing import Annotated, Any, Literal, Self

import pytest
from pydantic import Field, SecretStr, model_validator
from tiny_table import COLOURS, STYLES, Bounds, CountConfig, Cut, GatherConfig, ShapeConfig, Upper

from llmwright.core.config import HIDDEN, Choice, Config, Input, Kind, inputs_of, parse
from llmwright.core.errors import ConfigError
from llmwright.core.registry import Registry, register


def failure(cls: type[Config], values: dict[str, Any], **kwargs: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse(cls, values, **kwargs)
    return caught.value


@pytest.mark.parametrize(
    "given", ["upper", {"kind": "upper", "mark": ""}, Upper(), {"mark": ""}], ids=str
)
def test_a_choice_takes_a_name_a_mapping_or_an_object(given: object) -> None:
    config = parse(ShapeConfig, {"style": given})
    assert config.style == Upper()
    assert config.style.build("hello") == "HELLO"


def test_settings_of_a_choice_may_be_given_without_its_default_kind() -> None:
    assert parse(ShapeConfig, {"style": {"mark": "!"}}).style == Upper(mark="!")


def test_a_config_survives_its_json_form() -> None:
    config = ShapeConfig(style=Cut(num_chars=3), more=["upper", Cut(num_chars=1)])
    plain = config.model_dump(mode="json")
    assert plain["style"] == {"kind": "cut", "num_chars": 3}
    assert ShapeConfig.model_validate(plain) == config


def test_configs_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        ShapeConfig().behave = "badly"  # type: ignore[misc]


def test_an_unknown_key_gets_the_closest_key_and_its_line() -> None:
    lines = {"gather": "llmwright.yaml:1", "gather.sorce": "llmwright.yaml:2"}
    error = failure(GatherConfig, {"sorce": "x"}, where="gather", lines=lines)
    assert (error.code, error.where) == ("CORE-042", "llmwright.yaml:1")  # source is missing first
    error = failure(GatherConfig, {"source": "x", "sorce": "x"}, where="gather", lines=lines)
    assert (error.code, error.where) == ("CORE-040", "llmwright.yaml:2")
    assert "gather.sorce" in error.message
    assert 'Did you mean "source"?' in error.message


def test_an_unknown_nested_key_is_compared_with_its_neighbours() -> None:
    error = failure(GatherConfig, {"source": "x", "bounds": {"hig": 3}})
    assert error.code == "CORE-040"
    assert 'Did you mean "high"? Choices: high, low.' in error.message


@pytest.mark.parametrize(
    ("values", "code", "key", "said"),
    [
        ({"style": "uper"}, "CORE-041", "style", 'No style is called "uper". Did you mean "upper"'),
        ({"style": 3}, "CORE-041", "style", "needs a kind, one of: cut, upper"),
        ({"style": {"kind": "cut"}}, "CORE-042", "style.num_chars", "missing"),
        ({"style": "cut"}, "CORE-042", "style.num_chars", "missing"),
        ({"style": {"kind": "cut", "num_chars": "x"}}, "CORE-041", "style.num_chars", "'x'"),
        ({"style": {"kind": "cut", "num_char": 1, "num_chars": 1}}, "CORE-040", "style.num_char",
         'Did you mean "num_chars"?'),
        ({"more": ["upper", {"kind": "cut"}]}, "CORE-042", "more.1.num_chars", "missing"),
        ({"colour": "gren"}, "CORE-041", "colour", 'Did you mean "green"? Choices: green, red.'),
        ({"style": Bounds()}, "CORE-041", "style", "needs a kind"),
        ({"colour": None}, "CORE-041", "colour", "must be text"),
    ],
    ids=str,
)  # fmt: skip
def test_errors_inside_choices_have_dotted_keys(
    values: dict[str, Any], code: str, key: str, said: str
) -> None:
    error = failure(ShapeConfig, values, where="shape")
    assert (error.code, error.where) == (code, f"shape.{key}")
    assert said in error.message
    assert ".." not in error.message


def test_a_union_does_not_put_its_members_into_the_key() -> None:
    error = failure(GatherConfig, {"source": "x", "limit": "many"}, where="gather")
    assert (error.code, error.where) == ("CORE-041", "gather.limit")
    assert "gather.limit = 'many' is wrong" in error.message


def test_a_validators_own_words_come_through() -> None:
    class Ordered(Config):
        low: int = 0
        high: int = 0

        @model_validator(mode="after")
        def _in_order(self) -> Ordered:
            if self.low > self.high:
                raise ValueError("low is above high.")
            return self

    error = failure(Ordered, {"low": 3}, where="bounds")
    assert error.message.endswith("is wrong: low is above high.")


def test_long_values_are_shortened() -> None:
    error = failure(GatherConfig, {"source": "x", "share": "y" * 500})
    assert len(error.message) < 250


def test_a_name_may_be_none_only_where_allowed() -> None:
    assert parse(ShapeConfig, {"maybe": None}).maybe is None
    assert parse(ShapeConfig, {"maybe": "green"}).maybe == "green"


def test_a_choice_may_be_none_only_where_allowed() -> None:
    class Perhaps(Config):
        style: Annotated[Kind | None, Choice(STYLES)] = None

    assert Perhaps(style=None).style is None
    assert Perhaps(style="upper").style == Upper()
    assert Perhaps().model_dump(mode="json") == {"style": None}
    assert failure(ShapeConfig, {"style": None}).code == "CORE-041"


def test_a_plugin_that_is_no_kind_is_refused_in_words() -> None:
    register("style", "odd", object())
    error = failure(ShapeConfig, {"style": "odd"})
    assert 'the plugin\'s style "odd" is not a subclass of Kind' in error.message


def test_a_kind_of_another_choice_is_refused() -> None:
    class Paint(Kind):
        kind: Literal["paint"] = "paint"

    class Painted(Config):
        paint: Annotated[Paint, Choice(Registry("paint", {}))] = Paint()

    assert Painted(paint=Paint()).paint == Paint()
    assert failure(Painted, {"paint": Upper()}).code == "CORE-041"


def test_the_schema_is_one_of_what_is_registered_now() -> None:
    schema = ShapeConfig.model_json_schema()
    style = schema["properties"]["style"]
    names = [part["$ref"] for part in style["oneOf"] if "$ref" in part]
    assert names == ["#/$defs/Cut", "#/$defs/Upper"]
    assert {"type": "string", "enum": ["upper"]} in style["oneOf"]  # cut needs a number
    assert schema["$defs"]["Cut"]["required"] == ["num_chars"]
    assert style["default"] == {"kind": "upper", "mark": ""}
    assert style["description"] == "How."

    class Wave(Kind):
        kind: Literal["wave"] = "wave"

    register("style", "wave", Wave)
    again = ShapeConfig.model_json_schema()["properties"]["style"]["oneOf"]
    assert {"$ref": "#/$defs/Wave"} in again
    assert {"type": "string", "enum": ["upper", "wave"]} in again


def test_the_schema_of_names_lists_them() -> None:
    properties = ShapeConfig.model_json_schema()["properties"]
    assert properties["colour"]["enum"] == COLOURS.names()
    assert {"type": "null"} in properties["maybe"]["anyOf"]


def test_the_schema_of_a_kind_that_holds_its_own_choice_ends() -> None:
    found: Registry[type[Kind]] = Registry("box", {})

    class Box(Kind):
        kind: Literal["box"] = "box"
        inside: list[Annotated[Kind, Choice(found)]] = []

    class Shelf(Config):
        box: Annotated[Kind, Choice(found)] = Box()

    found.register("box", Box)
    schema = Shelf.model_json_schema()
    inner = schema["$defs"]["Box"]["properties"]["inside"]["items"]["oneOf"]
    assert {"$ref": "#/$defs/Box"} in inner
    assert Shelf(box={"kind": "box", "inside": ["box"]}).box == Box(inside=[Box()])


def test_inputs_are_found_in_nested_kinds() -> None:
    class FromStep(Kind):
        kind: Literal["step"] = "step"
        name: Annotated[str | None, Input("model", optional=True)] = None

    class Job(Config):
        data: Annotated[str | None, Input("dataset")] = None
        model: FromStep = FromStep()

    assert list(inputs_of(Job(data="abc"))) == [
        ("data", Input("dataset"), "abc"),
        ("model.name", Input("model", optional=True), None),
    ]
    assert [name for name, _, _ in inputs_of(CountConfig())] == ["text"]


def test_each_entry_of_a_mapping_is_an_input() -> None:
    class Many(Config):
        models: Annotated[dict[str, str], Input("model")] = {}

    assert list(inputs_of(Many())) == []
    assert list(inputs_of(Many(models={"a": "1", "b.c": "2"}))) == [
        ("models.a", Input("model"), "1"),
        ("models.b.c", Input("model"), "2"),
    ]


class DoorConfig(Config):
    """A config with a secret."""

    key: SecretStr | None = None
    """The key."""
    width: int = Field(1, gt=0)
    """How wide."""
    keys: dict[str, SecretStr] = {}
    """Further keys."""

    @model_validator(mode="after")
    def _narrow(self) -> Self:
        if self.width > 9:
            raise ValueError("too wide")
        return self


@pytest.mark.parametrize(
    "values",
    [
        {"key": 12345678},
        {"key": ["12345678"]},
        {"key": "12345678", "width": 10},
        {"keys": {"a": 12345678}},
    ],
)
def test_a_secret_is_never_shown(values: dict[str, Any]) -> None:
    error = failure(DoorConfig, values)
    assert error.code == "CORE-041"
    assert "12345678" not in str(error)
    assert HIDDEN in str(error)


@pytest.mark.parametrize(
    ("values", "english", "chinese"),
    [
        ({"width": 0}, "it must be greater than 0", "必须大于 0"),
        ({"width": "x"}, "it must be a whole number", "必须是整数"),
    ],
)
def test_what_is_wrong_is_said_in_the_users_language(
    values: dict[str, Any], english: str, chinese: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert english in failure(DoorConfig, values).message
    monkeypatch.setenv("LLMWRIGHT_LANG", "zh")
    assert chinese in failure(DoorConfig, values).message
    assert "需要 kind" in failure(ShapeConfig, {"style": 3}).message
