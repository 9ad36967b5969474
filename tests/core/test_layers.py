from __future__ import annotations

from collections.abc import Sequence

import pytest

from llmwright.core.errors import ConfigError
from llmwright.core.layers import (
    Form,
    flat,
    from_environment,
    merge,
    parse_overrides,
    parse_value,
)


def form_at(parts: Sequence[str]) -> Form:
    if parts[-1] == "docs":
        return "short folder"
    return "short kind" if parts[-1] in ("o", "optimizer") else "other"


@pytest.mark.parametrize(
    ("base", "top", "merged"),
    [
        ({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}}, {"a": {"x": 1, "y": 3}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": 1}, {"a": None}, {"a": None}),
        # another kind: the fields of the old one mean nothing
        (
            {"o": {"kind": "adamw", "betas": [0.9]}},
            {"o": {"kind": "sgd"}},
            {"o": {"kind": "sgd"}},
        ),
        (
            {"o": {"kind": "adamw", "lr": 1}},
            {"o": {"kind": "adamw", "wd": 2}},
            {"o": {"kind": "adamw", "lr": 1, "wd": 2}},
        ),
        # the kind may be named after a field of it
        ({"o": {"lr": 1}}, {"o": {"kind": "sgd"}}, {"o": {"lr": 1, "kind": "sgd"}}),
        # short forms, below and above
        ({"o": "sgd"}, {"o": {"lr": 1}}, {"o": {"kind": "sgd", "lr": 1}}),
        ({"o": "sgd"}, {"o": {"kind": "adamw"}}, {"o": {"kind": "adamw"}}),
        ({"o": {"kind": "sgd", "lr": 1}}, {"o": "sgd"}, {"o": {"kind": "sgd", "lr": 1}}),
        ({"o": {"kind": "sgd", "lr": 1}}, {"o": "adamw"}, {"o": "adamw"}),
        ({"docs": "a"}, {"docs": {"size": 1}}, {"docs": {"folder": "a", "size": 1}}),
        ({"docs": {"folder": "a", "size": 1}}, {"docs": "b"}, {"docs": {"folder": "b", "size": 1}}),
        ({"docs": 2024}, {"docs": {"size": 1}}, {"docs": {"folder": 2024, "size": 1}}),
        ({"docs": {"folder": "a"}}, {"docs": False}, {"docs": False}),
        # what is no choice has no short form
        ({"source": "a.csv"}, {"source": {"train": "b"}}, {"source": {"train": "b"}}),
        # entries of lists
        ({"e": [{"f": 1}, {"f": 2}]}, {"e": {"1": {"f": 9}}}, {"e": [{"f": 1}, {"f": 9}]}),
        ({"e": [{"name": "b", "f": 1}]}, {"e": {"b": {"f": 9}}}, {"e": [{"name": "b", "f": 9}]}),
        ({"e": [{"f": 1}]}, {"e": {"f": 2}}, {"e": {"f": 2}}),
        (
            {"e": [{"o": "sgd"}]},
            {"e": {0: {"o": {"lr": 1}}}},
            {"e": [{"o": {"kind": "sgd", "lr": 1}}]},
        ),
    ],
)
def test_merge(base: dict, top: dict, merged: dict) -> None:
    before = repr(base)
    assert merge(base, top, form_at) == merged
    assert repr(base) == before


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("3e-4", 3e-4),
        ("1E5", 1e5),
        ("-2.5e-3", -2.5e-3),
        ("3", 3),
        ("1.0", 1.0),
        ("true", True),
        ("[1, a]", [1, "a"]),
        ("{kind: sgd, lr: 1e-2}", {"kind": "sgd", "lr": 0.01}),
        ("null", None),
        ("", ""),
        ("e5", "e5"),
        ("1e5x", "1e5x"),
        ("天气", "天气"),
    ],
)
def test_values_are_yaml_with_numbers_as_people_write_them(raw: str, value: object) -> None:
    found = parse_value(raw, "key")
    assert (found, type(found)) == (value, type(value))


def test_overrides_nest_and_the_last_wins() -> None:
    words = ["train.lr=3e-4", "train.optimizer=sgd", "train.optimizer.momentum=0.9", "train.lr=1"]
    assert parse_overrides(words, form_at) == {
        "train": {"lr": 1, "optimizer": {"kind": "sgd", "momentum": 0.9}}
    }
    assert parse_overrides(["a=b=c"], form_at) == {"a": "b=c"}


@pytest.mark.parametrize(
    ("word", "code"), [("lr", "CORE-043"), ("=3", "CORE-043"), ("lr=[1", "CORE-044")]
)
def test_what_is_no_override_is_named(word: str, code: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides([word], form_at)
    assert caught.value.code == code


def test_code_in_yaml_is_not_run() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_value("!!python/object/apply:os.getcwd []", "key")
    assert caught.value.code == "CORE-044"


def test_the_environment_sets_sections() -> None:
    environment = {
        "LLMWRIGHT_TRAIN__OPTIMIZER__LR": "3e-4",
        "LLMWRIGHT_HOME": "/x",
        "OTHER__TRAIN": "1",
        "LLMWRIGHT_TRAIN__EPOCHS": "2",
    }
    found = from_environment(environment, ["train", "prepare"], form_at)
    assert found == {"train": {"optimizer": {"lr": 3e-4}, "epochs": 2}}


def test_a_mistyped_variable_is_not_ignored() -> None:
    with pytest.raises(ConfigError, match="train") as caught:
        from_environment({"LLMWRIGHT_TRIAN__LR": "1"}, ["train"], form_at)
    assert (caught.value.code, caught.value.where) == ("CORE-052", "LLMWRIGHT_TRIAN__LR")


def test_flat_makes_dotted_keys_and_keeps_lists() -> None:
    assert flat({"a": {"b": 1, "c": {}}, "d": [{"e": 1}]}) == {
        "a.b": 1,
        "a.c": {},
        "d": [{"e": 1}],
    }
