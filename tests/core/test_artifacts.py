from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
from tiny_table import Python

from llmwright.core.artifacts import MANIFEST, Artifact, Store, check, read_manifest, size_bytes
from llmwright.core.errors import CheckError, ConfigError, InputError, ResourceError


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / ".llmwright")


def publish(store: Store, text: str = "hello", kind: str = "model", **metadata: object) -> Artifact:
    with store.draft(kind) as draft:
        (draft.path / "deep").mkdir()
        (draft.path / "a.txt").write_text(text)
        (draft.path / "deep" / MANIFEST).write_text(text)
        draft.metadata.update(metadata)
    assert draft.artifact is not None
    return draft.artifact


def visible(store: Store) -> list[str]:
    return sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file())


def test_the_same_content_is_the_same_artifact(store: Store) -> None:
    first, second = publish(store, seen=1), publish(store, seen=2)
    assert first == second
    assert store.list() == [first]
    assert second.metadata == {"seen": 1}
    assert publish(store, "other").id != first.id
    assert publish(store, kind="dataset").id != first.id


def test_an_artifact_is_found_again(store: Store) -> None:
    made = publish(store, seen=1)
    assert store.find(made.id[:4]) == made.path
    assert store.get(made.id) == made
    assert store.get(made.id[:4]) is None
    assert store.get("*") is None
    assert Artifact.open(made.path).metadata == {"seen": 1}
    assert size_bytes(made) == 10
    check(made)


def test_an_unknown_or_ambiguous_id_is_refused(store: Store) -> None:
    publish(store), publish(store, "other")
    with pytest.raises(ConfigError, match="0 artifacts match"):
        store.find("nothing")
    with pytest.raises(ConfigError, match="2 artifacts match"):
        store.find("")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_crash_in_the_draft_leaves_nothing(store: Store, error: type[BaseException]) -> None:
    def crash() -> None:
        with store.draft("model") as draft:
            (draft.path / "half.bin").write_bytes(b"half")
            raise error

    pytest.raises(error, crash)
    assert store.list() == []
    assert not store.root.exists()
    assert list((store.root.parent / "drafts").iterdir()) == []


@pytest.mark.parametrize("name", ["a.txt", f"deep/{MANIFEST}"])
def test_every_flipped_byte_is_found(store: Store, name: str) -> None:
    made = publish(store)
    whole = (made.path / name).read_bytes()
    for position in range(len(whole)):
        broken = bytearray(whole)
        broken[position] ^= 1
        (made.path / name).write_bytes(broken)
        with pytest.raises(CheckError, match=name) as caught:
            check(made)
        assert caught.value.code == "CORE-032"
    (made.path / name).write_bytes(whole)
    check(made)


def test_every_flipped_byte_of_the_manifest_is_found(store: Store) -> None:
    made = publish(store, loss=1.5)
    whole = (made.path / MANIFEST).read_bytes()
    for position in range(len(whole) - 1):  # the last is the newline
        broken = bytearray(whole)
        broken[position] ^= 1
        (made.path / MANIFEST).write_bytes(broken)
        with pytest.raises(CheckError):
            check(made)


def test_missing_and_added_files_are_found(store: Store) -> None:
    made = publish(store)
    (made.path / "b.txt").write_text("new")
    with pytest.raises(CheckError, match=r"b\.txt"):
        check(made)
    (made.path / "b.txt").unlink()
    (made.path / "a.txt").unlink()
    with pytest.raises(CheckError, match=r"a\.txt"):
        check(made)


def test_a_manifest_that_lies_about_itself_is_found(store: Store) -> None:
    made = publish(store)
    manifest = json.loads((made.path / MANIFEST).read_text())
    manifest["metadata"] = {"accuracy": 1.0}
    (made.path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CheckError) as caught:
        store.list()
    assert caught.value.code == "CORE-033"


def test_a_folder_without_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        Artifact.open(tmp_path)
    assert caught.value.code == "CORE-030"


def test_publishing_mends_a_damaged_artifact(store: Store) -> None:
    made = publish(store)
    (made.path / "a.txt").write_text("damaged")
    assert publish(store) == made
    check(made)
    (made.path / MANIFEST).unlink()
    assert publish(store) == made
    check(made)


def test_a_removed_artifact_is_gone_and_can_be_made_again(store: Store) -> None:
    made = publish(store)
    store.remove(made.path)
    assert store.list() == []
    assert publish(store) == made


def test_a_kill_while_removing_leaves_nothing_visible(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = publish(store)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # the kill
    store.remove(made.path)
    assert visible(store) == []


def test_the_metadata_may_hold_paths_and_dates(store: Store) -> None:
    made = publish(store, path=Path("/a"), names=("x", "y"))
    assert made.metadata == {"path": "/a", "names": ["x", "y"]}
    assert read_manifest(made.path)["kind"] == "model"


def test_drafts_of_dead_processes_are_removed_and_those_of_live_ones_kept(
    store: Store, python: Python, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = """
import os, sys
from pathlib import Path
from llmwright.core.artifacts import Store
manager = Store(Path(sys.argv[1])).draft("model")
draft = manager.__enter__()
(draft.path / "half.bin").write_bytes(b"half")
if sys.argv[2] == "die":
    os.kill(os.getpid(), 9)
print("ready", flush=True)
sys.stdin.read()
"""
    drafts = store.root.parent / "drafts"
    python(code, store.root.parent, "die")
    (dead,) = [path for path in drafts.iterdir() if path.is_dir()]
    live = subprocess.Popen(
        [sys.executable, "-c", code, str(store.root.parent), "live"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert live.stdout is not None
    live.stdout.readline()
    (living,) = {path for path in drafts.iterdir() if path.is_dir()} - {dead}
    (drafts / ".DS_Store").touch()
    # The clock was set.
    created = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: created(self) + 5)
    publish(store)
    assert (living / "half.bin").is_file()
    assert {path.name for path in drafts.iterdir()} == {
        ".DS_Store",
        living.name,
        f"{living.name}.lock",
    }
    live.communicate(b"")
    publish(store)
    assert [path.name for path in drafts.iterdir()] == [".DS_Store"]


def test_two_threads_publish_the_same_content_at_once(store: Store) -> None:
    barrier = threading.Barrier(8)
    made: list[Artifact] = []

    def work() -> None:
        with store.draft("model") as draft:
            (draft.path / "a.txt").write_text("same")
            barrier.wait()
        assert draft.artifact is not None
        made.append(draft.artifact)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len({a.id for a in made}) == 1
    check(made[0])


def test_processes_publish_the_same_content_at_once(store: Store, tmp_path: Path) -> None:
    code = """
import sys, time
from pathlib import Path
from llmwright.core.artifacts import Store, check
store = Store(Path(sys.argv[1]))
while not Path(sys.argv[2]).exists():
    time.sleep(0.001)
for turn in range(40):
    with store.draft("model") as draft:
        (draft.path / "a.txt").write_text(str(turn))
    assert draft.artifact.id
"""
    start = tmp_path / "start"
    arguments = [sys.executable, "-c", code, str(store.root.parent), str(start)]
    workers = [subprocess.Popen(arguments, stderr=subprocess.PIPE) for _ in range(3)]
    start.touch()
    for worker in workers:
        _, said = worker.communicate(timeout=60)
        assert worker.returncode == 0, said.decode()
    found = store.list()
    assert len(found) == 40
    for artifact in found:
        check(artifact)
    assert list((store.root.parent / "drafts").iterdir()) == []


def test_an_unwritable_store_is_a_clear_error(tmp_path: Path) -> None:
    blocked = Store(tmp_path / "locked")
    (tmp_path / "locked").mkdir()
    (tmp_path / "locked").chmod(0o555)
    if os.access(tmp_path / "locked", os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(ResourceError) as caught, blocked.draft("model"):
        pass
    assert caught.value.code == "CORE-021"


def test_a_damaged_artifact_is_found_and_removed_by_its_name(store: Store) -> None:
    sound, damaged = publish(store), publish(store, "other")
    (damaged.path / MANIFEST).write_text("{")
    assert store.find(damaged.id[:6]) == damaged.path
    assert store.get(sound.id) == sound
    store.remove(store.find(damaged.id))
    assert store.list() == [sound]


def test_a_study_stands_for_its_model(store: Store) -> None:
    model = publish(store)
    study = publish(store, "found", "study", model=model.id)
    assert store.meant(study, ["model", "export"]) == model
    assert store.meant(study, ["study"]) == study
    assert store.meant(study, ["dataset"]) is None
    assert store.meant(model, ["model"]) == model
    assert store.is_whole(study)
    store.remove(model.path)
    assert store.meant(study, ["model"]) is None
    assert not store.is_whole(study)
