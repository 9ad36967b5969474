from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from llmwright.core.errors import ConfigError
from llmwright.serving.config import GuardKind, WordsGuard
from llmwright.serving.door.errors import ApiError
from llmwright.serving.guards.guarding import Filter, Guards, Post, Seen, build


def guards(*settings: GuardKind) -> Guards:
    def find(reference: str) -> Path:
        raise AssertionError(reference)

    return build(settings, Path(), find)


def words(*found: str, **given: Any) -> WordsGuard:
    return WordsGuard(words=list(found), **given)


def through(one: Filter, pieces: list[str]) -> list[str]:
    async def run() -> list[str]:
        return [await one.feed(p, n == len(pieces) - 1) for n, p in enumerate(pieces)]

    return asyncio.run(run())


def reply(settings: GuardKind, pieces: list[str]) -> tuple[list[str], Filter, list[str]]:
    flags: list[str] = []
    one = guards(settings).filter("reply", flags)
    assert one is not None
    return through(one, pieces), one, flags


def test_a_word_over_two_pieces_does_not_slip_through() -> None:
    for pieces in (["你好敏", "感", "词再见"], list("你好敏感词再见")):
        passed, one, flags = reply(words("敏感词"), pieces)
        assert "".join(passed) == "你好"
        assert one.blocked
        assert flags == ["words"]
        passed, one, _ = reply(words("敏感词", action="mask"), pieces)
        assert "".join(passed) == "你好***再见"
        assert one.changed


def test_what_may_pass_passes_at_once() -> None:
    passed, one, flags = reply(words("敏感词"), ["今天", "敏", "捷", "开发"])
    assert passed == ["今", "天", "敏", "捷开发"]
    assert not one.blocked
    assert flags == []


def test_a_word_of_letters_waits_for_what_follows() -> None:
    assert "".join(reply(words("ass"), ["an ", "as", "s", "et"])[0]) == "an asset"
    assert "".join(reply(words("ass"), ["an ", "as", "s", "!"])[0]) == "an "
    assert "".join(reply(words("ass"), ["an ", "as", "s"])[0]) == "an "
    assert "".join(reply(words("ass"), ["cl", "ass"])[0]) == "class"


def test_flags_change_nothing() -> None:
    passed, one, flags = reply(words("bad", action="flag", name="list-1"), ["a ba", "d day"])
    assert "".join(passed) == "a bad day"
    assert not one.blocked
    assert flags == ["list-1"]


def test_guards_look_one_behind_the_other() -> None:
    two = guards(words("bad", action="mask"), words("end"))
    one = two.filter("reply", [])
    assert one is not None
    assert "".join(through(one, ["a bad ", "end ", "here"])) == "a *** "


def test_prompts_are_refused_or_masked_in_all_their_parts() -> None:
    row = {
        "messages": [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "a BAD day"},
        ]
    }
    flags: list[str] = []
    (masked,) = asyncio.run(guards(words("bad", action="mask")).prompts([row], flags, str))
    assert masked["messages"][1] == {"role": "user", "content": "a *** day"}
    assert masked["messages"][0] == row["messages"][0]
    assert flags == ["words"]
    with pytest.raises(ApiError, match="content_blocked"):
        asyncio.run(guards(words("bad")).prompts([row], [], str))
    assert asyncio.run(guards(words("bad", looks_at="reply")).prompts([row], [], str)) == [row]
    assert asyncio.run(guards(words("user")).prompts([row], [], str)) == [row]


def test_phrases_over_several_words_of_a_list_are_found() -> None:
    row = {"tokens": ["a", "very", "bad", "day"]}
    (masked,) = asyncio.run(guards(words("very bad", action="mask")).prompts([row], [], str))
    assert [len(token) for token in masked["tokens"]] == [1, 4, 3, 3]
    assert masked["tokens"] == ["a", "****", "***", "day"]


def test_a_guard_that_fails_lets_nothing_pass() -> None:
    class Broken:
        def watch(self) -> Broken:
            return self

        async def look(self, text: str, ended: bool) -> Seen:
            raise RuntimeError("out of order")

        def passed(self, text: str) -> None:
            """Never called."""

        def close(self) -> None:
            """Hold nothing."""

    for action in ("block", "mask", "flag"):
        broken = Guards([Post("broken", words("x", action=action), Broken())])
        with pytest.raises(ApiError, match="guard_failed"):
            asyncio.run(broken.prompts([{"text": "good"}], [], str))


def test_lists_come_from_files_too(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# comment\n\nbad word\n坏词\n", "utf-8")
    settings = WordsGuard(file=Path("list.txt"))
    built = build([settings], tmp_path, Path)
    for text in ("a BAD word", "有坏词的"):
        with pytest.raises(ApiError):
            asyncio.run(built.prompts([{"text": text}], [], str))
    asyncio.run(built.prompts([{"text": "# comment"}], [], str))
    for wrong in (WordsGuard(), WordsGuard(file=Path("none")), WordsGuard(words=[" "])):
        with pytest.raises(ConfigError, match="SERVE-016"):
            build([wrong], tmp_path, Path)
