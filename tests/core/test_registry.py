from __future__ import annotations

import sys
from pathlib import Path

import pytest

from llmwright.core import registry
from llmwright.core.errors import ConfigError, InputError
from llmwright.core.registry import Registry, load_object, register, registering


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution with entry points, as pip would have left it on sys.path."""
    site = tmp_path / "site"
    info = site / "shiny-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shiny\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[llmwright.gem]\nruby = shiny_gems:RUBY\nglass = shiny_gems:MISSING\nopal = shiny_bad:X\n"
    )
    (site / "shiny_gems.py").write_text("RUBY = 'red stone'\n")
    (site / "shiny_bad.py").write_text("raise RuntimeError('bad luck')\n")
    monkeypatch.syspath_prepend(site)
    registry._entry_points.cache_clear()
    registry.installed_plugins.cache_clear()
    yield site
    registry._entry_points.cache_clear()
    registry.installed_plugins.cache_clear()


def test_built_ins_are_imported_when_asked_for() -> None:
    sys.modules.pop("colorsys", None)
    found: Registry[object] = Registry("gem", {"sky": "colorsys:rgb_to_hsv"})
    assert found.names() == ["sky"]
    assert "colorsys" not in sys.modules
    assert found.get("sky") is load_object("colorsys:rgb_to_hsv")
    assert found.origin("sky") == "built-in"


def test_an_unknown_name_gets_the_closest() -> None:
    found: Registry[object] = Registry("gem", {"sky": "colorsys:rgb_to_hsv"})
    with pytest.raises(ConfigError, match='No gem is called "ski". Did you mean "sky"') as caught:
        found.get("ski")
    assert caught.value.code == "CORE-011"


def test_installed_packages_come_through_entry_points(installed: Path) -> None:
    found: Registry[object] = Registry("gem", {"sky": "colorsys:rgb_to_hsv"})
    assert found.names() == ["glass", "opal", "ruby", "sky"]
    assert found.get("ruby") == "red stone"
    assert found.origin("ruby") == "shiny"
    assert "ruby" in found
    assert registry.installed_plugins()["shiny"] == "1.2"


@pytest.mark.parametrize(("name", "reason"), [("glass", "MISSING"), ("opal", "bad luck")])
def test_a_broken_package_is_named(installed: Path, name: str, reason: str) -> None:
    found: Registry[object] = Registry("gem", {})
    with pytest.raises(InputError, match=reason) as caught:
        found.get(name)
    assert caught.value.code == "CORE-012"
    assert "LLMWRIGHT_PLUGINS=off" in caught.value.fix


def test_installed_packages_can_be_switched_off(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMWRIGHT_PLUGINS", "off")
    found: Registry[object] = Registry("gem", {})
    assert found.names() == []
    assert registry.installed_plugins() == {}


def test_a_package_cannot_replace_a_built_in_unseen(installed: Path) -> None:
    found: Registry[object] = Registry("gem", {"ruby": "colorsys:rgb_to_hsv"})
    with pytest.raises(ConfigError, match='the gem "ruby"') as caught:
        found.get("ruby")
    assert caught.value.code == "CORE-010"


def test_a_plugin_may_register_before_the_owner_is_imported() -> None:
    register("gem", "quartz", "clear stone")
    found: Registry[str] = Registry("gem", {})
    assert found.names() == ["quartz"]
    assert found.origin("quartz") == "project"


def test_taken_names_are_refused_early_and_late() -> None:
    found: Registry[object] = Registry("gem", {"sky": "colorsys:rgb_to_hsv"})
    with pytest.raises(ConfigError) as caught:
        found.register("sky", object())
    assert caught.value.code == "CORE-010"
    register("ore", "iron", object())
    for _ in range(2):  # an import that is tried again fails again
        with pytest.raises(ConfigError, match='the ore "iron"'):
            Registry("ore", {"iron": "colorsys:rgb_to_hsv"})


def test_two_files_cannot_take_one_name_but_one_file_may_be_edited() -> None:
    found: Registry[object] = Registry("gem", {})
    for thing in (1, 2):
        with registering("plugins/a.py"):
            register("gem", "quartz", thing)
        assert found.get("quartz") == thing
    with registering("plugins/b.py"), pytest.raises(ConfigError, match=r"plugins/a\.py"):
        register("gem", "quartz", 3)


def test_a_string_target_of_a_plugin_is_imported_late() -> None:
    found: Registry[object] = Registry("gem", {})
    register("gem", "tone", "colorsys:hsv_to_rgb")
    assert found.get("tone") is load_object("colorsys:hsv_to_rgb")
