from __future__ import annotations

import pickle

import pytest

from llmwright.core.errors import (
    CheckError,
    ConfigError,
    InputError,
    LLMwrightError,
    ResourceError,
    StoppedError,
    closest,
)


def test_an_error_says_what_is_wrong_and_what_to_do_in_both_languages() -> None:
    error = InputError("CORE-030", path="/data/model", where="train.model")
    assert str(error) == (
        "[CORE-030] /data/model is not an artifact: it has no manifest.json. (train.model)"
    )
    message, fix = error.in_language("zh")
    assert message == "/data/model 不是产物：其中没有 manifest.json。"
    assert "llmwright artifacts" in fix


def test_the_language_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMWRIGHT_LANG", "zh_CN.UTF-8")
    assert InputError("CORE-030", path="x").message == "x 不是产物：其中没有 manifest.json。"
    assert closest("bp", ["bpe", "char"]) == '您是否想输入 "bpe"？可选：bpe, char。'


@pytest.mark.parametrize(
    ("cls", "code"),
    [(ConfigError, 2), (InputError, 1), (CheckError, 1), (ResourceError, 1), (StoppedError, 1)],
)
def test_the_class_decides_the_exit_code(cls: type[LLMwrightError], code: int) -> None:
    assert cls.exit_code == code
    assert issubclass(cls, LLMwrightError)


def test_braces_in_a_users_value_are_left_alone() -> None:
    assert "{path} {0}" in InputError("CORE-030", path="{path} {0}").message


def test_an_error_crosses_a_process_border_whole() -> None:
    error = ConfigError("CORE-040", where="a.yaml:3", key="trian", hint="Choices: train.")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is ConfigError
    assert (copy.code, copy.where, copy.message) == (error.code, error.where, error.message)


def test_closest_names_the_nearest_and_then_all() -> None:
    assert closest("bp", ["char", "bpe"]) == 'Did you mean "bpe"? Choices: bpe, char.'
    assert closest("zzz", ["char", "bpe"]) == "Choices: bpe, char."
    assert closest("x", []) == "Choices: -."
