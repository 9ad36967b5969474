from __future__ import annotations

import importlib.util
import py_compile
from pathlib import Path

import pytest

from llmwright.core import files, plugins
from llmwright.core.errors import ConfigError, InputError
from llmwright.core.project import Project
from llmwright.core.registry import Registry

GEM = "from llmwright.core.registry import register\nregister('gem', '{name}', ({value},))\n"


@pytest.fixture
def gems() -> Registry[tuple[int]]:
    return Registry("gem", {})


def write(project: Project, name: str, text: str) -> Path:
    folder = project.root / "plugins"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_nothing_runs_without_consent(project: Project, gems: Registry[tuple[int]]) -> None:
    path = write(project, "mine.py", GEM.format(name="ruby", value=1))
    with pytest.raises(ConfigError) as caught:
        plugins.load_project_plugins(project)
    assert caught.value.code == "CORE-071"
    assert f"llmwright plugins trust {path}" in caught.value.fix
    assert gems.names() == []
    plugins.trust(path)
    write(project, "zebra.py", "x = 5\n")
    with pytest.raises(ConfigError, match=r"zebra\.py"):
        plugins.load_project_plugins(project)
    assert gems.names() == []  # all or none


def test_consent_is_for_these_very_bytes(project: Project, gems: Registry[tuple[int]]) -> None:
    path = write(project, "mine.py", GEM.format(name="ruby", value=2))
    assert plugins.trust(path).trusted
    (found,) = plugins.load_project_plugins(project)
    assert (found.path, found.trusted) == (path, True)
    assert gems.get("ruby") == (2,)
    assert gems.origin("ruby") == "plugins/mine.py"
    path.write_text(GEM.format(name="ruby", value=3))
    with pytest.raises(ConfigError, match=r"mine\.py"):
        plugins.load_project_plugins(project)
    assert gems.get("ruby") == (2,)
    plugins.trust(path)
    plugins.load_project_plugins(project)
    assert gems.get("ruby") == (3,)


def test_consent_lives_outside_the_project(project: Project, tmp_path: Path) -> None:
    plugins.trust(write(project, "mine.py", "x = 4\n"))
    home = tmp_path / "home"  # LLMWRIGHT_HOME of these tests
    (entry,) = files.read_json(home / "trusted.json").values()
    assert entry["path"].endswith("mine.py")
    assert not (project.root / ".llmwright").exists()


def test_where_consent_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMWRIGHT_HOME", "/a")
    assert plugins.user_folder() == Path("/a")
    monkeypatch.delenv("LLMWRIGHT_HOME")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/b")
    assert plugins.user_folder() == Path("/b/llmwright")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    assert plugins.user_folder() == Path.home() / ".config" / "llmwright"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import no_such_module\n", "no_such_module"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_broken_file_is_named(project: Project, text: str, reason: str) -> None:
    path = write(project, "mine.py", text)
    plugins.trust(path)
    for _ in range(2):  # and is not half loaded
        with pytest.raises(InputError, match=reason) as caught:
            plugins.load_project_plugins(project)
        assert caught.value.code == "CORE-072"
        assert str(path) in caught.value.message


def test_a_cached_pyc_beside_the_file_is_not_run(
    project: Project, gems: Registry[tuple[int]]
) -> None:
    path = write(project, "mine.py", GEM.format(name="evil", value=6))
    cached = importlib.util.cache_from_source(str(path))
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(path), cached, doraise=True, invalidation_mode=unchecked)
    path.write_text(GEM.format(name="good", value=7))
    plugins.trust(path)
    plugins.load_project_plugins(project)
    assert gems.names() == ["good"]


def test_two_files_that_take_one_name_are_told(
    project: Project, gems: Registry[tuple[int]]
) -> None:
    for name, value in (("a.py", 8), ("b.py", 9)):
        plugins.trust(write(project, name, GEM.format(name="opal", value=value)))
    with pytest.raises(ConfigError, match=r"plugins/a\.py") as caught:
        plugins.load_project_plugins(project)
    assert caught.value.code == "CORE-010"


def test_a_file_that_is_not_there_cannot_be_trusted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        plugins.trust(tmp_path / "none.py")
    assert caught.value.code == "CORE-070"


def test_a_damaged_list_of_consent_is_a_clear_error(project: Project, tmp_path: Path) -> None:
    write(project, "mine.py", "x = 10\n")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "trusted.json").write_text("{half")
    with pytest.raises(ConfigError) as caught:
        plugins.project_plugins(project)
    assert caught.value.code == "CORE-073"


def test_every_file_enters_the_fingerprint(project: Project) -> None:
    assert plugins.project_hashes(project) == {}
    path = write(project, "mine.py", "x = 11\n")
    assert plugins.project_hashes(project) == {"mine.py": files.sha256_file(path)}
