from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_table import TABLE

from llmwright.core import pipeline
from llmwright.core.errors import ConfigError
from llmwright.core.project import PLANNED, Project, recipe_values


def write(folder: Path, text: str | bytes) -> Path:
    file = folder / "llmwright.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def failure(folder: Path, text: str | bytes, **settings: dict) -> ConfigError:
    file = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        pipeline.configs(Project.load(file, TABLE, **settings), TABLE)
    return caught.value


def test_a_project_is_found_from_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "name: weather\n")
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    found = Project.find(TABLE)
    assert (found.root, found.name) == (tmp_path.resolve(), "weather")


def test_a_folder_that_is_given_is_the_project_whatever_is_above(tmp_path: Path) -> None:
    write(tmp_path, "name: weather\n")
    (tmp_path / "inner").mkdir()
    for name in ("inner", "typo"):
        found = Project.find(TABLE, tmp_path / name)
        assert (found.file, found.root) == (None, (tmp_path / name).resolve())


def test_a_folder_without_a_file_takes_overrides_too(tmp_path: Path) -> None:
    found = Project.find(TABLE, tmp_path, overrides={"gather": {"source": "x"}})
    assert found.values == {"gather": {"source": "x"}}
    with pytest.raises(ConfigError, match="gathr"):
        Project.find(TABLE, tmp_path, overrides={"gathr": {"source": "x"}})


def test_the_name_of_a_step_is_among_the_choices(tmp_path: Path) -> None:
    error = failure(tmp_path, "gather:\n  - {source: x, step: y}\n")
    assert (error.code, error.values["key"]) == ("CORE-040", "gather.0.step")
    assert "limit, name, share" in error.message
    inside = failure(tmp_path, "gather: {source: x, bounds: {step: y}}\n")
    assert "name" not in inside.message


def test_an_empty_file_is_an_empty_project(tmp_path: Path) -> None:
    project = Project.load(write(tmp_path, "# nothing yet\n"), TABLE)
    with pytest.raises(ConfigError) as caught:
        pipeline.run_project(project, TABLE)
    assert caught.value.code == "CORE-058"


@pytest.mark.parametrize(
    ("text", "code", "where"),
    [
        ("gather:\n\tsource: x\n", "CORE-051", "llmwright.yaml:2"),
        ("gather: {source: x\n", "CORE-051", "llmwright.yaml:2"),
        ("- 1\n- 2\n", "CORE-051", "llmwright.yaml"),
        ("just words", "CORE-051", "llmwright.yaml"),
        (b"name: \xff\xfe\n", "CORE-051", "llmwright.yaml"),
        (b"name: a\x00b\n", "CORE-051", "llmwright.yaml"),
        ("a: !!python/name:os.system\n", "CORE-051", "llmwright.yaml:1"),
        ("gather: {source: x}\ngathr: {}\n", "CORE-052", "llmwright.yaml:2"),
        ("1: {}\n", "CORE-052", "llmwright.yaml:1"),
        ("on: {}\n", "CORE-052", None),
        ("gather: 3\n", "CORE-054", "llmwright.yaml:1"),
        ("gather: true\n", "CORE-054", "llmwright.yaml:1"),
        ("gather: [{source: x}, y]\n", "CORE-054", "gather.1"),
        ("gather: {source: x, source: y}\n", "CORE-057", "llmwright.yaml:1"),
        ("gather:\n  - {name: a, source: x}\n  - {name: a, source: y}\n", "CORE-055", None),
        ("gather:\n  name: ../up\n  source: x\n", "CORE-046", "llmwright.yaml:2"),
        ("gather:\n  source: x\n  bounds:\n    low: a\n", "CORE-041", "llmwright.yaml:4"),
        ("gather:\n  - source: x\n    shar: 1\n", "CORE-040", "llmwright.yaml:3"),
        ("gather:\n  share: 1\n", "CORE-042", "llmwright.yaml:1"),
        ("recipe: wether\n", "CORE-056", None),
        ("recipe: ../recipes/weather\n", "CORE-056", None),
    ],
    ids=str,
)
def test_what_is_wrong_in_a_file_is_said_with_its_line(
    tmp_path: Path, text: str | bytes, code: str, where: str | None
) -> None:
    error = failure(tmp_path, text)
    assert (error.code, error.where) == (code, where)
    assert error.fix


def test_an_unreadable_file_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "llmwright.yaml").mkdir()
    with pytest.raises(ConfigError) as caught:
        Project.load(tmp_path / "llmwright.yaml", TABLE)
    assert caught.value.code == "CORE-050"


@pytest.mark.parametrize("section", PLANNED)
def test_a_section_of_an_operation_to_come_is_named(tmp_path: Path, section: str) -> None:
    error = failure(tmp_path, f"name: x\n{section}: {{}}\n")
    assert (error.code, error.where) == ("CORE-053", "llmwright.yaml:2")
    assert section in error.message


def test_lists_make_named_steps(tmp_path: Path) -> None:
    text = "gather:\n- {name: first, source: x}\n- {source: y}\ncount: [{}]\nshape: false\n"
    project = Project.load(write(tmp_path, text), TABLE)
    found = [(s.verb, s.step, s.where) for s in project.sections(TABLE)]
    assert found == [
        ("gather", "first", "gather.0"),
        ("gather", "gather-2", "gather.1"),
        ("count", "count", "count.0"),
    ]


def test_layers_win_in_order_and_origins_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LLMWRIGHT_GATHER__SHARE", "0.3")
    monkeypatch.setenv("LLMWRIGHT_GATHER__TASK", "e")
    file = write(tmp_path, "gather: {source: x, share: 1e-2, task: t}\nshape: {style: upper}\n")
    project = Project.load(
        file,
        TABLE,
        overrides={"gather": {"task": "o"}, "shape": {"style": {"mark": "!"}}},
    )
    (gather, _), (shape, shaping) = [
        (section, config) for section, config in pipeline.configs(project, TABLE)
    ]
    assert gather.values == {"source": "x", "share": 0.3, "task": "o"}
    assert shaping.style.mark == "!"
    assert project.origins == {
        "gather.source": "llmwright.yaml",
        "gather.share": "environment",
        "gather.task": "command line",
        "shape.style.kind": "llmwright.yaml",
        "shape.style.mark": "command line",
    }


def test_origins_forget_what_another_kind_replaced(tmp_path: Path) -> None:
    file = write(tmp_path, "shape: {style: {kind: cut, num_chars: 3}}\n")
    project = Project.load(file, TABLE, overrides={"shape": {"style": {"kind": "upper"}}})
    assert project.origins == {"shape.style.kind": "command line"}


def test_an_error_in_an_override_does_not_point_at_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "gather:\n  source: x\n  share: 0.5\n"
    error = failure(tmp_path, text, overrides={"gather": {"share": "much"}})
    assert (error.code, error.where) == ("CORE-041", "command line")
    monkeypatch.setenv("LLMWRIGHT_GATHER__SHARE", "much")
    error = failure(tmp_path, text)
    assert error.where == "environment"


def test_an_override_of_an_unknown_section_is_not_ignored(tmp_path: Path) -> None:
    error = failure(tmp_path, "gather: {source: x}\n", overrides={"gathr": {"share": 1}})
    assert error.code == "CORE-052"
    assert 'Did you mean "gather"?' in error.message


def test_an_override_says_which_entry_of_a_list(tmp_path: Path) -> None:
    text = "gather: [{name: a, source: x}, {name: b, source: y}]\n"
    for key in ("b", "1"):
        file = write(tmp_path, text)
        project = Project.load(file, TABLE, overrides={"gather": {key: {"share": 0.9}}})
        shares = [config.share for _, config in pipeline.configs(project, TABLE)]
        assert shares == [0.5, 0.9]
    error = failure(tmp_path, text, overrides={"gather": {"share": 0.9}})
    assert error.code == "CORE-045"


def test_the_task_of_the_project_goes_to_prepare(tmp_path: Path) -> None:
    file = write(tmp_path, "task: seq2seq\nprepare: {source: x}\n")
    table = {"prepare": replace(TABLE["gather"], verb="prepare")}
    (section,) = Project.load(file, table).sections(table)
    assert section.values == {"source": "x", "task": "seq2seq"}


def test_a_recipe_lies_below_the_file(tmp_path: Path) -> None:
    from llmwright.operations import OPERATIONS

    recipe = recipe_values("weather")
    project = Project.load(write(tmp_path, "recipe: weather\nname: mine\n"), OPERATIONS)
    assert project.values["prepare"] == recipe["prepare"]
    assert project.name == "mine"
    assert "recipe weather" in set(project.origins.values())


def test_the_paths_of_a_recipe_lead_to_its_own_files(tmp_path: Path) -> None:
    source = recipe_values("weather")["prepare"]["source"]
    assert Path(source).is_absolute()
    assert "," in Path(source).read_text(encoding="utf-8")
    assert recipe_values("weather")["name"] == "weather"
    sources = recipe_values("intents")["prepare"]["source"]
    assert all(Path(path).is_file() for path in sources.values())


@pytest.mark.parametrize(
    ("raw", "value"), [("k #x", "k #x"), ("null", "null"), ("1e5", "1e5"), ("*x", "*x")]
)
def test_text_in_the_environment_is_taken_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: str, value: str
) -> None:
    file = write(tmp_path, "gather: {source: x}\nshape: {style: {kind: cut, num_chars: 2}}\n")
    monkeypatch.setenv("LLMWRIGHT_GATHER__SOURCE", raw)
    monkeypatch.setenv("LLMWRIGHT_SHAPE__STYLE__NUM_CHARS", "3")
    (_, gather), (_, shape) = pipeline.configs(Project.load(file, TABLE), TABLE)
    assert gather.source == value
    assert shape.style.num_chars == 3


def test_yaml_within_itself_is_a_clear_error(tmp_path: Path) -> None:
    error = failure(tmp_path, "gather: &a [*a]\n")
    assert error.code == "CORE-051"
    assert "within itself" in error.message


BASED = {**TABLE, "count": replace(TABLE["count"], config="tiny_table:RecountConfig", base="shape")}


def based(folder: Path, text: str) -> list[tuple]:
    return pipeline.configs(Project.load(write(folder, text), BASED), BASED)


def test_a_section_lies_on_its_base(tmp_path: Path) -> None:
    text = "shape: {colour: green, style: {kind: upper, mark: '!'}}\ncount: {shape: {behave: b}}\n"
    (base, _), (section, config) = based(tmp_path, text)
    assert config.shape.colour == "green"
    assert config.shape.style.mark == "!"
    assert config.shape.behave == "b"
    assert section.base == base


def test_an_error_in_the_base_is_found_where_it_is_written(tmp_path: Path) -> None:
    file = write(tmp_path, "count: {text: a}\nshape:\n  colour: blue\n")
    section = Project.load(file, BASED).sections(BASED)[1]
    assert section.located({"shape.colour": "llmwright.yaml:3"}) == {
        "shape.colour": "llmwright.yaml:3",
        "count.shape.colour": "llmwright.yaml:3",
    }


def test_which_of_several_sections_is_the_base_must_be_said(tmp_path: Path) -> None:
    text = "shape: [{name: a, colour: green}, {name: b, colour: red}]\ncount: "
    for given in ("{}", "{base: c}"):
        with pytest.raises(ConfigError) as caught:
            based(tmp_path, text + given)
        assert (caught.value.code, caught.value.where) == ("CORE-047", "llmwright.yaml:2")
        assert "a, b" in caught.value.message
    *_, (section, config) = based(tmp_path, text + "{base: b}")
    assert (section.base.step, config.shape.colour) == ("b", "red")
    *_, (section, config) = based(tmp_path, "count: {}")
    assert section.base is None
