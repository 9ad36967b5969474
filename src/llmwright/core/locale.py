"""User-facing text in English and Chinese, from ``llmwright/locale/<language>/<package>.yaml``.

Each file has up to three parts: ``errors`` (code → message and fix), ``text`` (short sentences)
and, in Chinese only, ``help`` (config fields; the English help is the fields' own docstrings).
"""

from __future__ import annotations

import os
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

Language = Literal["en", "zh"]

# The prefix of an error code names the package whose catalogue holds its text.
PACKAGE_OF_PREFIX = {
    "CORE": "core",
    "DATA": "data",
    "TOK": "tokenization",
    "MODEL": "models",
    "TASK": "tasks",
    "INFER": "inference",
    "KNOW": "knowledge",
    "EVAL": "evaluation",
    "EXPORT": "export",
    "COMPRESS": "compression",
    "TRAIN": "training",
    "TUNE": "tuning",
    "SERVE": "serving",
    "RECIPE": "recipes",
    "CLI": "cli",
}


def language() -> Language:
    """Return the user's language: ``LLMWRIGHT_LANG``, else the system locale, else English."""
    for variable in ("LLMWRIGHT_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(variable, "")
        if value:
            return "zh" if value.lower().startswith("zh") else "en"
    return "en"


@cache
def catalogue(lang: Language, package: str) -> dict[str, Any]:
    """Return one package's texts in one language; empty where the package has none."""
    file = resources.files("llmwright").joinpath("locale", lang, f"{package}.yaml")
    if not file.is_file():
        return {}
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(file.read_text(encoding="utf-8"), Loader=loader) or {}


def text(key: str, lang: Language | None = None, **values: object) -> str:
    """Return the sentence with this key, filled in.

    Args:
        key: ``<package>.<name>``, as in ``data.recognised``.
        lang: Language; the user's when not given.
        **values: What the sentence's placeholders stand for.

    Raises:
        KeyError: No such sentence exists in English (a mistake in our code, not the user's).
    """
    package = key.split(".", 1)[0]
    found = catalogue(lang or language(), package).get("text", {}).get(key)
    template: str = found or catalogue("en", package)["text"][key]
    return template.format(**values) if values else template


def text_or(key: str, other: str, **values: object) -> str:
    """Return the sentence with this key, filled in, or another text where there is none."""
    package = key.split(".", 1)[0]
    known = key in catalogue("en", package).get("text", {})
    return text(key, None, **values) if known else other


def help_text(key: str, english: str, lang: Language | None = None) -> str:
    """Return the help of a config field (``TrainConfig.lr``) or command, in the user's language."""
    if (lang or language()) == "en":
        return english
    for package in PACKAGE_OF_PREFIX.values():
        found = catalogue("zh", package).get("help", {}).get(key)
        if found:
            return str(found)
    return english


def error_text(
    code: str, values: dict[str, object], lang: Language | None = None
) -> tuple[str, str]:
    """Return message and fix of an error code, filled in."""
    package = PACKAGE_OF_PREFIX[code.split("-", 1)[0]]
    entry = catalogue(lang or language(), package).get("errors", {}).get(code)
    entry = entry or catalogue("en", package)["errors"][code]
    return entry["message"].format(**values), entry["fix"].format(**values)
