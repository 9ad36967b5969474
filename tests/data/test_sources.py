from __future__ import annotations

from pathlib import Path

import pytest

from llmwright.core.errors import InputError
from llmwright.data.config import PrepareConfig
from llmwright.data.sources import find_files, name_splits


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("d/b.csv", "d/a.csv", "d/.hidden", "d/README.md", "d/deep/c.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    return tmp_path


def names(source: object, root: Path) -> list[str]:
    return [file.name for file in find_files(source, root)]  # type: ignore[arg-type]


def test_file_folder_glob_and_list(root: Path) -> None:
    assert names("d/a.csv", root) == ["d/a.csv"]
    assert names("d", root) == ["d/a.csv", "d/b.csv", "d/deep/c.csv"]
    assert names("d/*.csv", root) == ["d/a.csv", "d/b.csv"]
    assert names(["d/b.csv", "d/*.csv"], root) == ["d/b.csv", "d/a.csv"]
    assert names(str(root / "d" / "a.csv"), root) == ["d/a.csv"]


def test_given_splits(root: Path) -> None:
    files = find_files({"test": "d/b.csv", "train": "d/a.csv"}, root)
    assert [(f.name, f.split) for f in files] == [("d/a.csv", "train"), ("d/b.csv", "test")]


def test_the_config_names_its_files(root: Path) -> None:
    assert PrepareConfig(source="d/*.csv").local_files(root) == [root / "d/a.csv", root / "d/b.csv"]


def test_missing_files_are_errors(root: Path) -> None:
    with pytest.raises(InputError, match=r'DATA-010.*"a.csv"'):
        find_files("d/a.cvs", root)
    with pytest.raises(InputError, match="DATA-011"):
        find_files("empty", root)
    with pytest.raises(InputError, match="DATA-011"):
        find_files("d/*.parquet", root)


def test_splits_are_read_off_names_when_all_tell(root: Path) -> None:
    for name in ("s/my_test.csv", "s/dev.csv", "s/train-00.csv", "s/train-01.csv"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x", encoding="utf-8")
    found = name_splits(find_files("s", root), "s")
    assert [file.split for file in found] == ["train", "train", "validation", "test"]
    # "contest" holds "test", but not as a word.
    assert name_splits(find_files("d", root), "d") == find_files("d", root)
    (root / "s" / "contest.csv").write_text("x", encoding="utf-8")
    with pytest.raises(InputError, match=r"DATA-047.*contest.csv"):
        name_splits(find_files("s", root), "s")


def test_a_project_is_no_data(root: Path) -> None:
    (root / "d" / "llmwright.yaml").write_text("prepare: {source: .}\n", encoding="utf-8")
    for name in ("d/plugins/mine.py", "d/deep/shop/llmwright.yaml", "d/deep/shop/more.csv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x", encoding="utf-8")
    assert names(".", root / "d") == ["a.csv", "b.csv", "deep/c.csv"]
    assert names("*[lv]", root / "d") == ["a.csv", "b.csv"]
    # The folder of another project is read when it is asked for.
    assert names("d/deep/shop", root) == ["d/deep/shop/more.csv"]


def test_a_file_outside_the_project_is_called_by_its_whole_path(root: Path) -> None:
    project = root / "empty"
    assert names("../d/a.csv", project) == [(root / "d" / "a.csv").as_posix()]
