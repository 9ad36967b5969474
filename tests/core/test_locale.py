from __future__ import annotations

import pytest

from llmwright.core import locale


@pytest.mark.parametrize(
    ("settings", "language"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "C", "LLMWRIGHT_LANG": "zh"}, "zh"),
        ({"LANG": "zh_TW", "LLMWRIGHT_LANG": "en"}, "en"),
        ({"LLMWRIGHT_LANG": "", "LANG": "zh"}, "zh"),
    ],
    ids=str,
)
def test_the_language_is_the_users(
    settings: dict[str, str], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LLMWRIGHT_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert locale.language() == language


def test_sentences_come_in_both_languages() -> None:
    assert locale.text("core.free_of", "en", free="1", of="2") == "1 free of 2"
    assert locale.text("core.yes", "zh") != locale.text("core.yes", "en")
    with pytest.raises(KeyError):
        locale.text("core.no_such_sentence")


def test_help_is_the_docstring_in_english_and_the_catalogue_in_chinese() -> None:
    assert locale.help_text("PrepareConfig.source", "Where.", "en") == "Where."
    assert locale.help_text("PrepareConfig.source", "Where.", "zh") != "Where."
    assert locale.help_text("Nothing.at_all", "Where.", "zh") == "Where."


def test_a_package_without_texts_has_none() -> None:
    assert locale.catalogue("zh", "nothing") == {}
