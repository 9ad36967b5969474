"""runs, artifacts, lineage, jobs and settings, on a project whose one step needs no torch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmwright.core import jobs
from llmwright.core.index import Index, JobRow, process_started


def test_run_then_look_at_everything(project: Path, llmwright) -> None:
    first = llmwright("run", "--json")
    assert first.code == 0
    (step,) = first.json["steps"]
    artifact = step["artifact"]["id"]
    assert llmwright("run", "--json").json["steps"][0]["reused"]

    (row,) = llmwright("runs", "--json").json["runs"]
    assert (row["status"], row["artifact"]) == ("finished", artifact)
    assert artifact in llmwright("runs").out
    shown = llmwright("runs", "show", row["id"], "--json").json
    assert shown["operation"] == "prepare"
    assert shown["config"]["source"] == "data.csv"
    assert row["id"] in llmwright("runs", "show", row["id"][:-1]).out
    by_step = llmwright("runs", "show", "prepare").out
    assert "config.split.validation" in by_step
    assert artifact in by_step

    (listed,) = llmwright("artifacts", "--json").json["artifacts"]
    assert (listed["id"], listed["kind"]) == (artifact, "dataset")
    assert llmwright("artifacts", "check").code == 0
    assert llmwright("lineage", "prepare", "--json").json["id"] == artifact
    tree = llmwright("lineage", artifact[:6]).out
    assert "data.csv" in tree


def test_a_flipped_byte_is_found_and_mended(project: Path, llmwright) -> None:
    made = Path(llmwright("run", "--json").json["steps"][0]["artifact"]["path"])
    victim = made / "train.parquet"
    broken = bytearray(victim.read_bytes())
    broken[len(broken) // 2] ^= 1
    victim.write_bytes(broken)
    found = llmwright("artifacts", "check", "--json")
    assert (found.code, found.error) == (1, "CORE-032")
    assert "train.parquet" in found.json["error"]["message"]
    assert llmwright("artifacts", "remove", made.name).code == 0
    again = llmwright("run", "--json").json["steps"][0]
    assert (again["reused"], again["artifact"]["id"]) == (False, made.name)
    assert llmwright("artifacts", "check").code == 0


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (("trian",), 2, "CLI-002"),
        (("train", "--bogus", "1"), 2, "CLI-002"),
        (("prepare", "--split", "3"), 2, "CORE-041"),
        (("prepare", "split.sed=3"), 2, "CORE-040"),
        (("prepare", "split=[1"), 2, "CORE-044"),
        (("prepare", "data.csv", "split"), 2, "CORE-043"),
        (("run", "trian.lr=1"), 2, "CORE-052"),
        (("run", "--only", "nothing"), 2, "CORE-059"),
        (("runs", "show", "zzz"), 2, "CORE-064"),
        (("runs", "cancel", "zzz"), 2, "CORE-080"),
        (("artifacts", "check", "zzz"), 2, "CORE-031"),
        (("lineage", "zzz"), 2, "CORE-031"),
        (("prepare", "nothing.csv"), 1, "DATA-010"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_what_is_asked_wrongly_has_a_code_and_a_way_out(
    project: Path, llmwright, words: tuple[str, ...], code: int, error: str
) -> None:
    said = llmwright(*words, "--json")
    assert (said.code, said.error) == (code, error)
    assert said.json["error"]["fix"]
    shown = llmwright(*words)
    assert (shown.code, shown.out) == (code, "")
    assert error in shown.err
    assert "Traceback" not in shown.err


def test_settings_and_where_they_come_from(
    project: Path, llmwright, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMWRIGHT_PREPARE__MAX_REJECTED", "1e-2")
    said = llmwright("config", "show", "prepare.split.seed=7", "--json").json
    assert said["settings"]["prepare"]["split"]["seed"] == 7
    assert said["settings"]["prepare"]["max_rejected"] == 0.01
    assert said["origins"]["prepare.split.seed"] == "command line"
    assert said["origins"]["prepare.max_rejected"] == "environment"
    assert said["origins"]["prepare.source"] == "llmwright.yaml"


def test_origins_of_steps_in_a_list_and_of_an_empty_section(project: Path, llmwright) -> None:
    (project / "llmwright.yaml").write_text(
        "task: text-classification\nprepare: {source: data.csv}\nevaluate: {}\n"
        "train:\n  - {name: first, optimizer: sgd}\n  - {name: second, max_steps: 3}\n"
        "export: [{format: onnx}]\n",
        encoding="utf-8",
    )
    shown = llmwright("config", "show", "--origins", "train.second.epochs=2").out
    rows = {line.split()[0]: line.split("  ")[-1].strip() for line in shown.splitlines()[1:]}
    assert {key: rows[key] for key in rows if rows[key] != "default"} == {
        "prepare.source": "llmwright.yaml",
        "prepare.task": "llmwright.yaml",
        "train.first.optimizer.kind": "llmwright.yaml",
        "train.second.max_steps": "llmwright.yaml",
        "train.second.epochs": "command line",
        "export.0.format.kind": "llmwright.yaml",
    }
    assert {"train.first.max_steps", "train.first.optimizer.momentum"} < set(rows)
    assert any(key.startswith("evaluate.") for key in rows)
    said = llmwright("config", "show", "train.1.epochs=2", "--json").json
    assert said["settings"]["train.second"]["epochs"] == 2
    assert said["origins"]["train.second.epochs"] == "command line"


def test_jobs_are_listed_and_shown_like_runs(project: Path, llmwright) -> None:
    now = time.time()
    started = process_started(os.getpid()) or ""
    words = ["python", "-m", "llmwright.cli", "run"]
    job = JobRow("20260102-job-ab", words, os.getpid(), started, "running", None, now, None)
    Index(project / ".llmwright").save_job(job)
    heading, line = llmwright("runs").out.strip().splitlines()[-2:]
    assert re.split("  +", heading) == ["job", "status", "started", "exit code", "command"]
    assert "None" not in line
    shown = llmwright("runs", "show", "20260102-job").out
    assert re.search("status +running", shown)
    assert llmwright("runs", "show", job.id, "--json").json["argv"] == words


def test_the_schema_is_json_schema(project: Path, llmwright) -> None:
    found = llmwright("config", "schema").json
    assert "prepare" in found["properties"]
    assert found["$schema"].startswith("https://json-schema.org/")
    (project / "llmwright.yaml").write_text("trian: {\n", encoding="utf-8")
    assert llmwright("config", "schema").json == found


def test_doctor_looks_at_this_project(project: Path, llmwright) -> None:
    said = llmwright("doctor", "--json")
    found = {finding["name"]: finding for finding in said.json["findings"]}
    assert found["project"]["value"] == str(project / "llmwright.yaml")
    assert said.code == 0
    assert "torch" in llmwright("doctor").out


def test_a_detached_command_goes_on_by_itself(project: Path, llmwright) -> None:
    argv = [sys.executable, "-m", "llmwright.cli", "prepare", "--detach", "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, env=os.environ)
    assert '"job"' in done.stdout
    deadline = time.monotonic() + 30
    while (job := llmwright("runs", "--json").json["jobs"][0])["status"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (job["status"], job["exit_code"]) == ("finished", 0)
    assert '"dataset"' in llmwright("runs", "tail", job["id"]).out
    (row,) = llmwright("runs", "--json").json["runs"]
    assert row["status"] == "finished"
    stopped = llmwright("runs", "cancel", job["id"], "--json").json
    assert stopped["status"] == "finished"  # it had ended


@pytest.mark.parametrize("language", ["en", "zh"])
def test_errors_speak_the_users_language(
    project: Path, llmwright, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    monkeypatch.setenv("LLMWRIGHT_LANG", language)
    said = llmwright("prepare", "split.sed=3", "--json").json["error"]
    assert ("未知设置" in said["message"]) is (language == "zh")
    assert ("您是否想输入" in said["message"]) is (language == "zh")


@pytest.mark.parametrize("words", [(), ("config",)])
def test_a_group_without_a_command_shows_its_help(llmwright, words: tuple[str, ...]) -> None:
    said = llmwright(*words)
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("Usage: llmwright")


@pytest.mark.parametrize("words", [("runs",), ("run",), ("doctor",), ("prepare", "data.csv")])
def test_a_project_folder_that_is_not_there_is_refused(
    project: Path, llmwright, words: tuple[str, ...]
) -> None:
    said = llmwright(*words, "--project", "nowhere", "--json")
    assert (said.code, said.error) == (2, "CLI-002")
    assert "nowhere" in said.json["error"]["message"]


def test_an_error_names_the_command_line_where_the_value_came_from_there(
    project: Path, llmwright
) -> None:
    given = llmwright("prepare", "split.sed=3", "--json")
    assert (given.error, given.json["error"]["where"]) == ("CORE-040", "command line")
    file = project / "llmwright.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("seed", "sed"), encoding="utf-8")
    assert llmwright("prepare", "--json").json["error"]["where"] == "llmwright.yaml:5"


def test_given_splits_replace_the_source_of_the_file(project: Path, llmwright) -> None:
    (project / "test.csv").write_text("text,label\nwet mud day,rain\n", encoding="utf-8")
    said = llmwright("prepare", "--source", "{train: data.csv, test: test.csv}", "--json")
    (step,) = said.json["steps"]
    assert step["artifact"]["metadata"]["counts"]["test"] == 1
    wrong = llmwright("prepare", "--source", "{trian: data.csv}", "--json").json["error"]
    assert wrong["where"] == "command line"
    assert "kind" not in wrong["message"]
    assert wrong["values"]["key"] == "prepare.source"


def test_the_projects_task_is_the_origin_of_its_steps_task(project: Path, llmwright) -> None:
    lines = llmwright("config", "show", "--origins").out.splitlines()
    (line,) = [line for line in lines if line.startswith("prepare.task")]
    assert line.split() == ["prepare.task", "text-classification", "llmwright.yaml"]


def test_a_plugin_that_fails_to_load_is_listed_with_its_reason(project: Path, llmwright) -> None:
    (project / "plugins").mkdir()
    files = [project / "plugins" / name for name in ("bad.py", "good.py")]
    files[0].write_text("import nothing_of_this_name\n", encoding="utf-8")
    files[1].write_text('"""Good."""\n', encoding="utf-8")
    assert llmwright("plugins", "trust", *map(str, files)).code == 0
    bad, good = llmwright("plugins", "--json").json["files"]
    assert "nothing_of_this_name" in bad["problem"]
    assert good["problem"] is None
    shown = llmwright("plugins")
    assert shown.code == 0
    assert "broken" in shown.out


def test_several_plugins_are_trusted_at_once(project: Path, llmwright) -> None:
    (project / "plugins").mkdir()
    files = [project / "plugins" / name for name in ("one.py", "two.py")]
    for file in files:
        file.write_text(f'"""{file.stem}"""\n', encoding="utf-8")
    assert llmwright("plugins", "trust", *map(str, files)).code == 0
    assert [one["trusted"] for one in llmwright("plugins", "--json").json["files"]] == [True, True]


def test_removing_and_trusting_answer_in_json(project: Path, llmwright) -> None:
    made = llmwright("run", "--json").json["steps"][0]["artifact"]["id"]
    assert llmwright("artifacts", "remove", made, "--json").json["removed"] == made
    assert llmwright("artifacts", "--json").json["artifacts"] == []
    plugin = project / "plugins" / "one.py"
    plugin.parent.mkdir()
    plugin.write_text('"""One."""\n', encoding="utf-8")
    (digest,) = llmwright("plugins", "trust", str(plugin), "--json").json["trusted"].values()
    assert llmwright("plugins", "--json").json["files"][0]["sha256"] == digest


def test_one_damaged_manifest_blocks_nothing_else(project: Path, llmwright) -> None:
    sound = Path(llmwright("run", "--json").json["steps"][0]["artifact"]["path"])
    other = llmwright("prepare", "split.seed=2", "--json").json["steps"][0]["artifact"]
    (Path(other["path"]) / "manifest.json").write_text("{")
    victim = sound / "train.parquet"
    victim.write_bytes(victim.read_bytes() + b"x")
    listed = llmwright("artifacts", "--json")
    assert [one["id"] for one in listed.json["artifacts"]] == [sound.name]
    assert listed.json["damaged"] == [other["path"]]
    shown = llmwright("artifacts")
    assert sound.name in shown.out
    assert "CORE-033" in shown.err
    assert llmwright("lineage", sound.name).code == 0
    found = llmwright("artifacts", "check", "--json")
    assert (found.code, found.error) == (1, "CORE-035")
    assert "CORE-032" in found.json["error"]["message"]
    assert "CORE-033" in found.json["error"]["message"]
    assert llmwright("artifacts", "remove", other["id"][:8], "--json").json == {
        "removed": other["id"],
        "kind": "dataset",
    }
    assert llmwright("artifacts", "check", "--json").error == "CORE-032"


def test_of_several_sections_one_is_named(project: Path, llmwright) -> None:
    file = project / "llmwright.yaml"
    file.write_text(
        "prepare:\n- {name: a, source: data.csv, max_rows: 20}\n"
        "- {name: b, source: data.csv, max_rows: 30}\n",
        encoding="utf-8",
    )
    said = llmwright("prepare", "--json")
    assert (said.code, said.error) == (2, "CLI-001")
    assert "a, b" in said.json["error"]["message"]
    (step,) = llmwright("prepare", "--step", "b", "--json").json["steps"]
    assert step["step"] == "b"
    assert sum(step["artifact"]["metadata"]["counts"].values()) == 30
    assert llmwright("prepare", "--step", "c", "--json").error == "CORE-059"


def test_paths_that_are_typed_start_at_the_current_folder(
    project: Path, llmwright, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = project / "below"
    below.mkdir()
    rows = (project / "data.csv").read_text(encoding="utf-8").splitlines()
    (below / "r.csv").write_text("\n".join(rows[:31]), encoding="utf-8")
    monkeypatch.chdir(below)
    (step,) = llmwright("prepare", "r.csv", "--json").json["steps"]
    assert step["artifact"]["metadata"]["sources"][0]["path"] == "below/r.csv"
    (same,) = llmwright("run", "prepare.source=r.csv", "--json").json["steps"]
    assert same["reused"]
    (own,) = llmwright("run", "--json").json["steps"]
    assert own["artifact"]["metadata"]["sources"][0]["path"] == "data.csv"


def test_a_detached_command_is_what_was_asked_and_keeps_no_secret(project: Path, llmwright) -> None:
    job = llmwright("prepare", "max_rows=20", "--detach", "--json").json["job"]
    deadline = time.monotonic() + 30
    while (row := llmwright("runs", "--json").json["jobs"][0])["status"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert (row["id"], row["status"]) == (job, "finished")
    assert row["argv"][3:] == ["prepare", "max_rows=20", "--json"]
    for words in (("serve", "--api-key", "k"), ("serve", "api_key=k"), ("run", "serve.api_key=k")):
        said = llmwright(*words, "--detach", "--json")
        assert said.error == "CLI-003"
        assert "LLMWRIGHT_SERVE__API_KEY" in said.json["error"]["fix"]
    assert len(llmwright("runs", "--json").json["jobs"]) == 1
    for process in jobs._STARTED:
        process.wait(timeout=30)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "--epoch", "3"), '没有选项 "--epoch"。 是否想用 "--epochs"？'),
        (("train", "--epochs"), '"--epochs" 需要一个值。'),
        (("train", "--fresh=1"), '"--fresh" 不带值。'),
        (("runs", "show"), "缺少"),
        (("runs", "show", "a", "b"), "多余的参数：b。"),
        (("predict", "a", "--temperature", "x"), "必须是数字"),
        (("runs", "--project", "nowhere"), "'nowhere'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_click_finds_is_said_in_chinese(
    project: Path, llmwright, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.setenv("LLMWRIGHT_LANG", "zh")
    message = llmwright(words[0], "--json", *words[1:]).json["error"]["message"]
    assert said in message
    assert not re.search("[A-Za-z]{3,} [A-Za-z]{2,}", message)


def test_a_key_in_the_environment_is_taken_as_it_is_and_never_shown(
    project: Path, llmwright, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llmwright.core.project import Project
    from llmwright.operations import OPERATIONS

    for key in ("k #x", "null", "12345678", "*x", "@x"):
        monkeypatch.setenv("LLMWRIGHT_SERVE__API_KEY", key)
        (serve,) = [s for s in Project.find(OPERATIONS).sections(OPERATIONS) if s.verb == "serve"]
        assert serve.values == {"api_key": key}
    monkeypatch.setenv("LLMWRIGHT_SERVE__API_KEY", "12345678")
    shown = llmwright("config", "show")
    assert shown.code == 0
    assert "12345678" not in shown.out
