from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import pytest
from tiny_table import RUN, TABLE, CountConfig, ShapeConfig, load, reused, rewrite, run, text_of

from llmwright.core import events, pipeline, plugins
from llmwright.core.artifacts import Artifact
from llmwright.core.config import Input
from llmwright.core.errors import (
    CheckError,
    ConfigError,
    InputError,
    LLMwrightError,
    StoppedError,
)
from llmwright.core.files import sha256_file
from llmwright.core.operation import Operation
from llmwright.core.origin import lineage
from llmwright.core.project import Project


def test_steps_run_in_order_and_feed_each_other(project: Project) -> None:
    gathered, shaped = run(project)
    assert text_of(shaped) == "ONE\nTWO"
    assert [one.step for one in (gathered, shaped)] == ["gather", "shape"]
    row = project.index.runs(step="shape")[0]
    assert (row.status, row.artifact) == ("finished", shaped.artifact and shaped.artifact.id)
    assert project.index.inputs(row.id) == {"text": gathered.artifact and gathered.artifact.id}
    assert row.versions["llmwright"]


def test_what_is_unchanged_is_skipped(project: Project) -> None:
    first, second = run(project), run(project)
    assert reused(second) == [True, True]
    assert [d.artifact for d in first] == [d.artifact for d in second]
    assert len(project.index.runs()) == 2
    assert reused(pipeline.run_project(load(project.root), TABLE, fresh=True)) == [False, False]


def test_a_changed_file_runs_what_follows_from_it(project: Project) -> None:
    run(project)
    (project.root / "poem.txt").write_text("three\n")
    done = run(project)
    assert reused(done) == [False, False]
    assert text_of(done[1]) == "THREE"


def test_a_changed_setting_runs_its_step_only(project: Project) -> None:
    run(project)
    done = run(project, shape={"style": {"mark": "!"}})
    assert reused(done) == [True, False]
    assert text_of(done[1]) == "ONE!\nTWO!"


def test_the_same_result_of_a_new_run_spares_what_follows(project: Project) -> None:
    rewrite(project, "gather: {source: poem.txt}\nshape:\ncount:\n")
    run(project)
    done = run(project, shape={"more": ["upper"]})  # capitals twice: the same text
    assert reused(done) == [True, False, True]


def test_a_new_plugin_runs_everything(project: Project) -> None:
    run(project)
    folder = project.root / "plugins"
    folder.mkdir()
    (folder / "mine.py").write_text("x = 1\n")
    plugins.trust(folder / "mine.py")
    assert reused(run(project)) == [False, False]
    assert reused(run(project)) == [True, True]


def test_a_new_version_of_an_operation_runs_it(project: Project) -> None:
    run(project)
    old = TABLE["shape"]
    newer = Operation(old.verb, old.makes, old.config, old.function, old.summary, version=2)
    assert reused(pipeline.run_project(project, TABLE | {"shape": newer})) == [True, False]


def test_a_removed_artifact_is_made_again(project: Project) -> None:
    gathered, _ = run(project)
    assert gathered.artifact is not None
    project.store.remove(gathered.artifact.path)
    done = run(project)
    assert reused(done) == [False, True]
    assert done[0].artifact == gathered.artifact


def test_what_is_reused_counts_as_the_newest(project: Project) -> None:
    first = run(project)[1]
    second = run(project, shape={"style": {"mark": "!"}})[1]
    run(project)
    newest = pipeline.find_artifact(project, "shaped", None)
    assert newest == first.artifact != second.artifact


def test_a_pass_uses_its_own_results_whatever_else_is_made_meanwhile(project: Project) -> None:
    def meddle(event: events.Event) -> None:
        if isinstance(event, events.RunFinished) and not meddled:
            meddled.append(event)
            (project.root / "other.txt").write_text("other\n")
            pipeline.execute(project, TABLE["gather"], other, "other")

    meddled: list[events.Event] = []
    other = TABLE["gather"].config_class().model_validate({"source": "other.txt"})
    done = pipeline.run_project(project, TABLE, [meddle])
    assert meddled
    assert text_of(done[1]) == "ONE\nTWO"


def test_only_some_steps_and_unknown_ones(project: Project) -> None:
    done = pipeline.run_project(project, TABLE, only=["gather"])
    assert [one.step for one in done] == ["gather"]
    with pytest.raises(ConfigError, match='no step "shpe"; it has: gather, shape'):
        pipeline.run_project(project, TABLE, only=["shpe"])


def test_every_section_is_checked_before_the_first_runs(project: Project) -> None:
    with pytest.raises(ConfigError, match="colour"):
        run(project, shape={"colour": "blue"})
    assert project.index.runs() == []


@pytest.mark.parametrize("how", ["id", "prefix", "step", "folder", "relative folder"])
def test_an_input_is_named_in_many_ways(project: Project, how: str) -> None:
    gathered, shaped = run(project)
    assert gathered.artifact is not None
    (project.root / "gather").mkdir()  # a folder of that name is not the step
    reference = {
        "id": gathered.artifact.id,
        "prefix": gathered.artifact.id[:5],
        "step": "gather",
        "folder": str(gathered.artifact.path),
        "relative folder": str(gathered.artifact.path.relative_to(project.root)),
    }[how]
    found = pipeline.resolve_inputs(project, CountConfig(text=reference))
    assert found == {"text": gathered.artifact}
    assert pipeline.resolve_inputs(project, CountConfig()) == {"text": shaped.artifact}


def test_wrong_inputs_are_refused(project: Project) -> None:
    with pytest.raises(InputError) as caught:
        pipeline.resolve_inputs(project, ShapeConfig())
    assert caught.value.code == "CORE-062"
    run(project)
    for reference, code in (("shape", "CORE-063"), ("nothing", "CORE-031"), (".", "CORE-030")):
        with pytest.raises(LLMwrightError) as caught:
            pipeline.resolve_inputs(project, ShapeConfig(text=reference))
        assert caught.value.code == code


def test_a_wrong_reference_is_answered_with_what_would_do(project: Project) -> None:
    gathered, shaped = run(project)
    with pytest.raises(ConfigError) as caught:
        pipeline.resolve_inputs(project, ShapeConfig(text="nothing"))
    assert gathered.artifact.id in caught.value.message
    assert shaped.artifact.id not in caught.value.message


def test_an_artifact_of_another_project_can_be_used(project: Project, tmp_path: Path) -> None:
    gathered, _ = run(project)
    assert gathered.artifact is not None
    other = Project(tmp_path / "other")
    config = CountConfig(text=str(gathered.artifact.path))
    done = pipeline.execute(other, TABLE["count"], config, "count")
    assert done.artifact is not None
    assert (done.artifact.path / "count.txt").read_text() == "2"
    assert other.index.inputs(done.run) == {"text": gathered.artifact.id}


def test_a_missing_source_is_the_operations_to_report(project: Project) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.txt"):
        run(project, gather={"source": "none.txt"})
    assert project.index.runs()[0].status == "failed"


def test_other_library_versions_are_said(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run(project)
    seen: list[events.Event] = []
    versions = pipeline.library_versions() | {"torch": "9.9"}
    monkeypatch.setattr(pipeline, "library_versions", lambda: versions)
    pipeline.run_project(load(project.root), TABLE, [seen.append])
    said = [event.text for event in seen if isinstance(event, events.Notice)]
    assert len(said) == 2
    assert "→ 9.9" in said[0]


def test_lineage_leads_back_to_the_files(project: Project) -> None:
    gathered, shaped = run(project)
    assert shaped.artifact is not None
    assert gathered.artifact is not None
    tree = lineage.trace(project, shaped.artifact)
    assert tree["inputs"]["text"]["id"] == gathered.artifact.id
    assert tree["inputs"]["text"]["files"] == ["poem.txt"]
    shown = list(lineage.lines(tree))
    assert [line.split("(")[0].rstrip() for line in shown] == [
        f"shaped {shaped.artifact.id}",
        f"└─ text: text {gathered.artifact.id}",
        "   └─ poem.txt",
    ]
    project.store.remove(gathered.artifact.path)
    left = list(lineage.lines(lineage.trace(project, shaped.artifact)))
    assert left[1] == f"└─ text: ? {gathered.artifact.id}  (?)"


def test_lineage_names_the_local_files_and_whose_they_are(project: Project) -> None:
    _, shaped = run(project)
    assert shaped.artifact is not None
    manifest = shaped.artifact.path / "manifest.json"
    project = load(project.root, gather={"source": str(manifest)})
    operation = replace(TABLE["gather"], function="tiny_table:copy")
    made = pipeline.run_project(project, {**TABLE, "gather": operation}, only=["gather"])[
        0
    ].artifact
    assert made is not None
    tree = lineage.trace(project, made)
    (known,) = tree["files"]
    assert known["sha256"] == sha256_file(manifest)
    shown = list(lineage.lines(tree))[1]
    path = manifest.relative_to(project.root)
    assert shown == f"└─ {path}  (shaped {shaped.artifact.id})"


def test_a_stop_inside_this_process_is_a_clear_error(project: Project) -> None:
    def interrupt(event: events.Event) -> None:
        if isinstance(event, events.Metric):
            raise KeyboardInterrupt

    with pytest.raises(StoppedError) as caught:
        pipeline.run_project(project, TABLE, [interrupt])
    assert caught.value.code == "CORE-060"
    assert reused(run(project)) == [True, False]  # and the same process may go on


def test_two_passes_at_once_end_with_the_same_artifacts(project: Project) -> None:
    arguments = [sys.executable, "-c", RUN, str(project.root)]
    settings = {"cwd": Path(__file__).parent, "stdout": subprocess.PIPE, "text": True}
    both = [subprocess.Popen(arguments, **settings) for _ in range(2)]  # type: ignore[call-overload]
    said = [process.communicate(timeout=60)[0].split() for process in both]
    for words in said:  # each does the work, takes it over, or is told that the other is at it
        assert words[-1] in ("CORE-061", "True", "False")
    made: list[Artifact] = project.store.list()
    assert sorted(a.kind for a in made) == ["shaped", "text"]


def test_a_service_may_run_several_times_at_once(project: Project) -> None:
    row = TABLE["gather"]
    service = Operation(row.verb, "", row.config, row.function, row.summary, step=False)
    inside: list[pipeline.Done] = []

    def again(event: events.Event) -> None:
        if isinstance(event, events.ArtifactSaved) and not inside:
            inside.append(pipeline.execute(project, service, config, "gather"))

    (config,) = (c for s, c in pipeline.configs(project, TABLE) if s.verb == "gather")
    outside = pipeline.execute(project, service, config, "gather", [again])
    assert inside
    assert inside[0].run != outside.run


@pytest.mark.parametrize("reference", ["~nouser/x", "x" * 300, "a\0b"])
def test_any_text_may_be_asked_for_and_is_not_found(project: Project, reference: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pipeline.by_reference(project, reference)
    assert caught.value.code == "CORE-031"


def test_a_damaged_artifact_stops_only_who_needs_it(project: Project) -> None:
    gathered, shaped = pipeline.run_project(project, TABLE)
    assert gathered.artifact is not None
    assert shaped.artifact is not None
    (shaped.artifact.path / "manifest.json").write_text("{")
    assert pipeline.find_artifact(project, "text", None) == gathered.artifact
    with pytest.raises(CheckError):
        pipeline.find_artifact(project, "shaped", None)


def test_an_input_that_the_config_can_do_without_leaves_no_trace(
    project: Project,
) -> None:
    seen: list[events.Event] = []
    operation = TABLE["shape"]
    config = operation.config_class().model_validate({})

    class Alone(type(config)):  # type: ignore[misc]
        """Needs no text."""

        def takes_newest(self, field: str) -> bool:
            return False

    gathered = pipeline.run_project(project, TABLE, only=["gather"])
    alone = Alone()
    assert pipeline.resolve_inputs(project, config).keys() == {"text"}
    assert pipeline.resolve_inputs(project, alone) == {}
    with pytest.raises(KeyError):
        pipeline.execute(project, operation, alone, "shape", [seen.append], before=gathered)
    assert any("gather" in e.text for e in seen if isinstance(e, events.Notice))


def test_what_an_input_was_made_with_counts_as_used(project: Project) -> None:
    operation = TABLE["shape"]

    class Later(ShapeConfig):
        """Goes on with what another step shaped, which brings its text."""

        base: Annotated[str, Input("shaped")] = "shape"
        """What it goes on with."""

        def takes_newest(self, field: str) -> bool:
            return field != "text"

    def said() -> list[str]:
        seen: list[events.Event] = []
        gathered = pipeline.run_project(project, TABLE, only=["gather"])
        with pytest.raises(KeyError):
            pipeline.execute(project, operation, Later(), "later", [seen.append], before=gathered)
        return [e.text for e in seen if isinstance(e, events.Notice)]

    run(project)
    assert said() == []
    (project.root / "poem.txt").write_text("other words\n", encoding="utf-8")
    assert "is not used" in said()[0]
