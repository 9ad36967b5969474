"""Every text exists in English and in Chinese, with the same placeholders, and is used."""

from __future__ import annotations

import ast
import re
import string
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmwright.core.config import Config
from llmwright.core.locale import PACKAGE_OF_PREFIX
from llmwright.core.registry import registries
from llmwright.core.schema import fields_of
from llmwright.operations import OPERATIONS

SOURCE = Path(__file__).parents[2] / "src" / "llmwright"
CODE = re.compile(r"^(?:{})-\d{{3}}$".format("|".join(PACKAGE_OF_PREFIX)))


def catalogue(language: str) -> dict[str, dict[str, Any]]:
    merged: dict[str, dict[str, Any]] = {"errors": {}, "text": {}, "help": {}}
    for file in sorted((SOURCE / "locale" / language).glob("*.yaml")):
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        for part, entries in content.items():
            clash = set(merged[part]) & set(entries)
            assert not clash, f"{file} repeats {clash}"
            merged[part].update(entries)
    return merged


ENGLISH, CHINESE = catalogue("en"), catalogue("zh")


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def strings_in_code() -> set[str]:
    found: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


STRINGS = strings_in_code()


@pytest.mark.parametrize("code", sorted(set(ENGLISH["errors"]) | set(CHINESE["errors"])))
def test_error_exists_in_both_languages(code: str) -> None:
    english, chinese = ENGLISH["errors"][code], CHINESE["errors"][code]
    for part in ("message", "fix"):
        assert placeholders(english[part]) == placeholders(chinese[part]), part
    assert code in STRINGS, "no code raises it"


def test_every_raised_code_has_a_text() -> None:
    raised = {s for s in STRINGS if CODE.match(s)} - {"CORE-099", "CLI-002", "CLI-130"}
    assert raised <= set(ENGLISH["errors"])


def test_sentences_match() -> None:
    assert set(ENGLISH["text"]) == set(CHINESE["text"])
    for key, english in ENGLISH["text"].items():
        assert placeholders(english) == placeholders(CHINESE["text"][key]), key


def config_classes() -> set[type[Config]]:
    found: set[type[Config]] = set()
    for operation in OPERATIONS.values():
        found.add(operation.config_class())
    for registry in registries().values():
        for name in registry.names():
            if registry.origin(name) != "built-in":
                continue
            entry = registry.get(name)
            if isinstance(entry, type) and issubclass(entry, Config):
                found.add(entry)
    return found


def test_every_setting_has_help_in_both_languages() -> None:
    expected = set()
    for cls in config_classes():
        for field in fields_of(cls):
            assert cls.model_fields[field.name].description, f"{cls.__name__}.{field.name}"
            expected.add(f"{cls.__name__}.{field.name}")
    missing = expected - set(CHINESE["help"])
    assert not missing, sorted(missing)
