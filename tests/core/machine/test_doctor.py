from __future__ import annotations

import shutil
from importlib import metadata

import pytest

from llmwright.core import pipeline
from llmwright.core.machine import doctor
from llmwright.core.project import Project


def findings(project: Project) -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine(project)}


def test_a_sound_project_gets_no_error(project: Project) -> None:
    found = findings(project)
    assert not [f for f in found.values() if f.level == "error"]
    assert found["project"].value.endswith("llmwright.yaml")
    assert found["torch"].value == metadata.version("torch")


def test_what_is_low_is_said_with_what_to_do(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(project.root)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    disk = findings(project)["disk"]
    assert disk.level == "warning"
    assert "5 GiB" in disk.fix


def test_a_plugin_without_consent_is_named(project: Project) -> None:
    (project.root / "plugins").mkdir()
    (project.root / "plugins" / "mine.py").write_text("x = 1\n")
    plugin = findings(project)["plugin"]
    assert plugin.level == "warning"
    assert plugin.fix.startswith("llmwright plugins trust ")


def test_a_missing_library_is_an_error_not_a_crash(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "RECORDED", ("torch", "no-such-library"))
    found = findings(project)
    assert found["no-such-library"].level == "error"
    assert pipeline.library_versions() == {"torch": metadata.version("torch")}


def test_the_hub_setting_is_shown(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example")
    assert findings(project)["hub"].value == "https://mirror.example"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "offline" in findings(project)["hub"].value
