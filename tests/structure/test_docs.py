"""Documents agree with the code: links resolve, commands exist, both READMEs show the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llmwright.cli.main import COMMANDS
from llmwright.operations import OPERATIONS

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
COMMAND = re.compile(r"llmwright ([a-z]+)")


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve(path: Path) -> None:
    for target in LINK.findall(path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_exist(path: Path) -> None:
    for block in code_blocks(path):
        for line in block.splitlines():
            found = COMMAND.match(line.strip().removeprefix("$ "))
            assert found is None or found[1] in {*COMMANDS, *OPERATIONS}, line


def code_blocks(path: Path) -> list[str]:
    return re.findall(r"```\w*\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def without_comments(block: str) -> list[str]:
    lines = [re.sub(r"\s*#.*", "", line) for line in block.splitlines()]
    return [re.sub(r"文件夹或编号", "FOLDER-OR-ID", line) for line in lines if line.strip()]


def test_readmes_show_the_same_commands() -> None:
    english, chinese = code_blocks(ROOT / "README.md"), code_blocks(ROOT / "README.zh-CN.md")
    assert [without_comments(b) for b in english] == [without_comments(b) for b in chinese]


def test_readmes_have_the_same_sections() -> None:
    def counts(name: str) -> tuple[int, int]:
        text = (ROOT / name).read_text(encoding="utf-8")
        return len(re.findall(r"^##? ", text, re.MULTILINE)), text.count("\n|")

    assert counts("README.md") == counts("README.zh-CN.md")


def test_architecture_is_short() -> None:
    words = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").split()
    assert len(words) <= 1200, "two pages"


def test_nothing_names_a_path_of_one_machine() -> None:
    tracked = [*DOCUMENTS, *(ROOT / "src").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    for path in tracked:
        if path == Path(__file__):
            continue
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<!\w)/work/", text), path
        assert "/root/" not in text, path
