"""Files of rows: in order, resumable, never mixed up, and one bad row costs only itself."""

from __future__ import annotations

import csv
import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmwright import api
from llmwright.core.artifacts import Store
from llmwright.core.errors import ConfigError, InputError
from llmwright.core.events import Event, Progress
from llmwright.data.config import PrepareConfig
from llmwright.inference.predict import predict_file
from llmwright.inference.predictor import Predictor
from llmwright.tasks.contract import Contract

Saved = Callable[[str], Path]
Rows = Callable[[str], list[dict[str, Any]]]


def write_jsonl(path: Path, rows: list[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_each_row_gets_its_answer(saved: Saved, rows_of: Rows, tmp_path: Path) -> None:
    predictor, rows = Predictor.open(saved("classifier")), rows_of("classifier") * 3
    source, out = write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "deep" / "out.jsonl"
    events: list[Event] = []
    done = predict_file(predictor, source, out, batch_size=2, consumers=[events.append])
    assert done == {"count": 15, "skipped": 0, "failed": 0, "first_failure": None}
    assert [e.done for e in events if isinstance(e, Progress)] == [8, 15]
    lines = read_jsonl(out)
    expected = [answer["label"] for answer in predictor.predict(rows)]
    assert [line["answer"]["label"] for line in lines] == expected
    assert [line["text"] for line in lines] == [row["text"] for row in rows]


def test_a_table_under_the_users_names(saved: Saved, tmp_path: Path) -> None:
    predictor = Predictor.open(saved("seq2seq"))
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text('id,description\n1,"rain, snow"\n2,"two\nlines"\n3,今天\n', encoding="utf-8")
    assert predict_file(predictor, source, out)["count"] == 3
    rows = read_csv(out)
    texts = [
        answer["text"] for answer in predictor.predict([{"input": r["description"]} for r in rows])
    ]
    assert [row["answer"] for row in rows] == texts
    assert [row["description"] for row in rows] == ["rain, snow", "two\nlines", "今天"]
    assert {row["note"] for row in rows} <= {"", "length"}


def test_tags_in_a_table_stand_beside_their_words(saved: Saved, tmp_path: Path) -> None:
    predictor = Predictor.open(saved("tagger"))
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("text\nIt rains a lot\n", encoding="utf-8")
    predict_file(predictor, source, out)
    (expected,) = predictor.predict([{"tokens": ["It", "rains", "a", "lot"]}])
    pairs = [list(pair) for pair in zip(expected["tokens"], expected["tags"], strict=True)]
    assert json.loads(read_csv(out)[0]["answer"]) == pairs


def test_each_line_of_a_text_is_an_input(saved: Saved, tmp_path: Path) -> None:
    predictor = Predictor.open(saved("classifier"))
    source, out = tmp_path / "in.txt", tmp_path / "out.csv"
    source.write_text("It rains a lot today.\n今天天气很好\n", encoding="utf-8")
    assert predict_file(predictor, source, out)["count"] == 2
    assert [row["text"] for row in read_csv(out)] == ["It rains a lot today.", "今天天气很好"]
    assert float(read_csv(out)[0]["score"]) > 1 / 3


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
@pytest.mark.parametrize("whole_lines", [0, 1, 2, 4])
def test_a_broken_off_file_is_continued(
    suffix: str, whole_lines: int, saved: Saved, tmp_path: Path
) -> None:
    predictor = Predictor.open(saved("classifier"))
    rows = [{"text": t} for t in ("fine", "two\nlines", 'a "quoted", one', "rain", "wind")]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    whole, part = tmp_path / f"whole{suffix}", tmp_path / f"part{suffix}"
    predict_file(predictor, source, whole)
    # As a kill leaves it: some lines and a half.
    lines = whole.read_bytes().splitlines(keepends=True)
    part.write_bytes(b"".join(lines[:whole_lines]) + lines[whole_lines][:9])
    shutil.copy(f"{whole}.origin.json", f"{part}.origin.json")
    done = predict_file(predictor, source, part)
    assert done["count"] == 5
    assert done["skipped"] < 5
    if suffix == ".csv":
        assert [r["answer"] for r in read_csv(part)] == [r["answer"] for r in read_csv(whole)]
        assert [r["text"] for r in read_csv(part)] == [r["text"] for r in rows]
    else:
        assert [r["text"] for r in read_jsonl(part)] == [r["text"] for r in rows]
    assert predict_file(predictor, source, part)["skipped"] == 5


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_answers_of_other_rows_are_not_continued(
    suffix: str, saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    predictor, rows = Predictor.open(saved("classifier")), rows_of("classifier")
    out = tmp_path / f"out{suffix}"
    predict_file(predictor, write_jsonl(tmp_path / "one.jsonl", rows[:3]), out)
    other = write_jsonl(tmp_path / "two.jsonl", rows[1:])
    with pytest.raises(InputError) as error:
        predict_file(predictor, other, out)
    assert error.value.code == "INFER-018"
    out.write_text("something else\n")
    with pytest.raises(InputError) as strange:
        predict_file(predictor, other, out)
    assert strange.value.code == "INFER-017"


def test_a_bad_row_costs_only_itself(saved: Saved, rows_of: Rows, tmp_path: Path) -> None:
    predictor = Predictor.open(saved("classifier"))
    good = [{"text": row["text"]} for row in rows_of("classifier")[:3]]
    source = write_jsonl(
        tmp_path / "in.jsonl", [good[0], "{broken", good[1], {"words": "x"}, good[2]]
    )
    out = tmp_path / "out.jsonl"
    assert predict_file(predictor, source, out)["count"] == 5
    answers = [line["answer"] for line in read_jsonl(out)]
    assert "json" in answers[1]["error"]
    assert "TASK-003" in answers[3]["error"]
    expected = [answer["label"] for answer in predictor.predict(good)]
    assert [answers[i]["label"] for i in (0, 2, 4)] == expected


def test_rows_of_every_kind_get_an_answer_or_a_reason(saved: Saved, tmp_path: Path) -> None:
    predictor = Predictor.open(saved("classifier"))
    values = [12345, "\ud800", ["a", "b"], {"a": 1}, "fine", ""]
    source = write_jsonl(tmp_path / "in.jsonl", [json.dumps({"text": v}) for v in values])
    for out in (tmp_path / "out.jsonl", tmp_path / "out.csv"):
        for _ in range(2):
            assert predict_file(predictor, source, out)["count"] == 6
    answers = [line["answer"] for line in read_jsonl(tmp_path / "out.jsonl")]
    assert "TASK-003" in answers[5]["error"]
    alone = predictor.predict([{"text": t} for t in ("12345", "a\nb", "fine")])
    assert [answers[i]["label"] for i in (0, 2, 4)] == [a["label"] for a in alone]
    assert all("TASK-011" in answers[i]["error"] for i in (1, 3))
    assert read_csv(tmp_path / "out.csv")[1]["text"] == "\\ud800"


def test_files_of_conversations_are_answered(saved: Saved, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved("decoder"), tmp_path / "chat"))
    (folder / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.role + ':' + m.content + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    fields = {"messages": "conversations"}
    contract = Contract.open(folder).model_copy(update={"row_type": "messages", "fields": fields})
    contract.save(folder)
    predictor = Predictor.open(folder)
    turns = [{"role": "user", "content": "rain?"}]
    expected = next(predictor.predict([{"messages": turns}], max_new_tokens=4))["text"]
    rows = [
        {"conversations": [{"from": "human", "value": "rain?"}, {"from": "gpt", "value": "yes"}]},
        {"instruction": "rain?", "input": "", "output": "yes"},
        {"conversations": [{"from": "gpt", "value": "I alone speak"}]},
        {"conversations": "rain?"},
    ]
    out = tmp_path / "out.jsonl"
    predict_file(predictor, write_jsonl(tmp_path / "in.jsonl", rows), out, max_new_tokens=4)
    answers = [line["answer"] for line in read_jsonl(out)]
    assert [answer.get("text") for answer in answers] == [expected, expected, None, None]
    assert "TASK-013" in answers[2]["error"]
    assert "TASK-012" in answers[3]["error"]


def test_columns_that_are_swapped_are_not_mixed_up(saved: Saved, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved("seq2seq"), tmp_path / "model"))
    predictor = Predictor.open(folder)
    fields = {"input": "target", "target": "input"}
    predictor.contract.model_copy(update={"fields": fields}).save(folder)
    source, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    source.write_text("input,target\nrain,The weather is fine\n", "utf-8")
    predict_file(Predictor.open(folder), source, out)
    expected = next(predictor.predict([{"input": "The weather is fine"}]))
    assert read_jsonl(out)[0]["answer"]["text"] == expected["text"]


def test_random_texts_depend_on_their_row_alone(saved: Saved, tmp_path: Path) -> None:
    predictor = Predictor.open(saved("decoder"))
    rows: list[Any] = [{"text": "The weather"} for _ in range(12)]
    settings: dict[str, Any] = {"batch_size": 2, "temperature": 1.0, "seed": 3}
    whole, broken = tmp_path / "whole.jsonl", tmp_path / "broken.jsonl"
    predict_file(predictor, write_jsonl(tmp_path / "a.jsonl", rows), whole, **settings)
    texts = [line["answer"]["text"] for line in read_jsonl(whole)]
    # Parts are of 8 rows: the first rows of both must differ.
    assert texts[:4] != texts[8:]
    # The same file broken off, and with a bad row in it.
    lines = whole.read_bytes().splitlines(keepends=True)
    whole.write_bytes(b"".join(lines[:5]))
    predict_file(predictor, tmp_path / "a.jsonl", whole, **settings)
    assert [line["answer"]["text"] for line in read_jsonl(whole)] == texts
    rows[1] = {"text": {}}
    predict_file(predictor, write_jsonl(tmp_path / "b.jsonl", rows), broken, **settings)
    found = [line["answer"].get("text") for line in read_jsonl(broken)]
    assert found == [texts[0], None, *texts[2:]]


def test_a_table_has_the_columns_of_all_rows(saved: Saved, tmp_path: Path) -> None:
    predictor = Predictor.open(saved("classifier"))
    rows = [{"text": "a"}, {"text": "b", "id": 7}, "{broken"]
    source, out = write_jsonl(tmp_path / "in.jsonl", rows), tmp_path / "out.csv"
    predict_file(predictor, source, out)
    assert [row["id"] for row in read_csv(out)] == ["", "7", ""]
    assert read_csv(out)[2]["excerpt"] == "{broken"


@pytest.mark.parametrize("text", ["one\rtwo", "x" * 200_000, 'a "b", c\r\nd'])
def test_any_cell_is_read_again_when_going_on(text: str, saved: Saved, tmp_path: Path) -> None:
    predictor = Predictor.open(saved("classifier"))
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": text}, {"text": "b"}])
    out = tmp_path / "out.csv"
    predict_file(predictor, source, out)
    whole = out.read_bytes()
    out.write_bytes(whole[:-3])
    assert predict_file(predictor, source, out)["skipped"] == 1
    assert out.read_bytes() == whole


def test_a_missing_file_is_said(saved: Saved, tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        predict_file(Predictor.open(saved("classifier")), tmp_path / "no.csv", tmp_path / "o.csv")
    assert error.value.code == "INFER-021"


@pytest.mark.parametrize("ending", [".jsonl", ".csv"])
def test_a_column_of_the_users_called_answer_is_kept(
    saved: Saved, tmp_path: Path, ending: str
) -> None:
    predictor = Predictor.open(saved("classifier"))
    rows = [{"text": f"text {n}", "answer": f"mine {n}"} for n in range(4)]
    source = write_jsonl(tmp_path / "in.jsonl", rows)
    out = tmp_path / f"out{ending}"
    predict_file(predictor, source, out)
    whole = out.read_bytes()
    out.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]) + b"broken")
    assert predict_file(predictor, source, out)["skipped"] > 0
    assert out.read_bytes() == whole
    found = read_csv(out) if ending == ".csv" else read_jsonl(out)
    assert [row["answer"] for row in found] == [row["answer"] for row in rows]
    assert all(row["answer_of_model"] for row in found)


def test_an_output_of_an_unknown_kind_is_refused(saved: Saved, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "a"}])
    with pytest.raises(ConfigError) as error:
        predict_file(Predictor.open(saved("classifier")), source, tmp_path / "out.xlsx")
    assert error.value.code == "INFER-022"
    assert not (tmp_path / "out.xlsx").exists()


def test_one_text_alone_is_one_row_not_its_characters(saved: Saved, tmp_path: Path) -> None:
    with Store(tmp_path / ".llmwright").draft("model") as draft:
        shutil.copytree(saved("classifier"), draft.path, dirs_exist_ok=True)
    assert draft.artifact is not None
    ask = functools.partial(api.predict, model=draft.artifact, project=tmp_path)
    listed = ask(["rain and snow"])
    assert ask("rain and snow") == ask({"text": "rain and snow"}) == listed
    assert len(listed) == 1
    for nothing in (None, "", " "):
        with pytest.raises(InputError) as error:
            ask([nothing])
        assert error.value.code == "TASK-003"


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_answers_of_another_model_are_not_passed_off(
    suffix: str, saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    old, new = Predictor.open(saved("classifier")), Predictor.open(saved("recurrent"))
    source = write_jsonl(tmp_path / "in.jsonl", rows_of("classifier"))
    out = tmp_path / f"out{suffix}"
    predict_file(old, source, out)
    whole = out.read_bytes()
    # Complete, broken off within a record, and with nothing said about who answered.
    for content in (whole, whole[:-3]):
        out.write_bytes(content)
        with pytest.raises(InputError) as error:
            predict_file(new, source, out)
        assert error.value.code == "INFER-026"
        assert out.read_bytes() == content
    assert predict_file(old, source, out)["skipped"] == 4
    Path(f"{out}.origin.json").unlink()
    with pytest.raises(InputError, match="INFER-026"):
        predict_file(old, source, out)
    out.unlink()
    assert predict_file(new, source, out)["skipped"] == 0
    assert out.read_bytes() != whole


def test_texts_of_other_settings_are_not_mixed(saved: Saved, tmp_path: Path) -> None:
    predictor = Predictor.open(saved("decoder"))
    source = write_jsonl(tmp_path / "in.jsonl", [{"text": "The weather"}] * 2)
    out = tmp_path / "out.jsonl"
    predict_file(predictor, source, out, max_new_tokens=2)
    with pytest.raises(InputError, match="max_new_tokens 2 → 3"):
        predict_file(predictor, source, out, max_new_tokens=3)
    assert predict_file(predictor, source, out, max_new_tokens=2)["skipped"] == 2


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_rows_without_an_answer_are_counted(suffix: str, saved: Saved, tmp_path: Path) -> None:
    predictor = Predictor.open(saved("classifier"))
    source, out = tmp_path / "in.csv", tmp_path / f"out{suffix}"
    source.write_text(f"text,id\nfine,1\n,2\n  ,3\n{'long ' * 100},4\n", encoding="utf-8")
    for skipped in (0, 4):
        done = predict_file(predictor, source, out)
        assert (done["count"], done["failed"], done["skipped"]) == (4, 2, skipped)
        assert done["first_failure"]["row"] == 2
        assert "TASK-003" in done["first_failure"]["reason"]


def test_a_file_without_the_models_column_is_not_begun(saved: Saved, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_text("id,comment\n1,fine\n2,rain\n", encoding="utf-8")
    with pytest.raises(InputError, match="comment") as error:
        predict_file(Predictor.open(saved("pairs")), source, out)
    assert (error.value.code, error.value.values["field"]) == ("TASK-003", "premise")
    assert list(tmp_path.iterdir()) == [source]
    # An empty first cell is another thing.
    source.write_text("premise,hypothesis\n,x\na,b\n", encoding="utf-8")
    assert predict_file(Predictor.open(saved("pairs")), source, out)["failed"] == 1


def test_a_file_is_read_as_the_user_says(saved: Saved, tmp_path: Path) -> None:
    predictor = Predictor.open(saved("seq2seq"))
    source, out = tmp_path / "in.dat", tmp_path / "out.jsonl"
    source.write_bytes('description|id\n今天天气很好|7\n"明天|8\n'.encode("gbk"))
    reading = PrepareConfig(
        source=str(source), format="csv", encoding="gbk", delimiter="|", header=True, quoted=False
    )
    assert predict_file(predictor, source, out, reading=reading)["failed"] == 0
    kept = [(row["description"], row["id"]) for row in read_jsonl(out)]
    assert kept == [("今天天气很好", "7"), ('"明天', "8")]
    # Without a header there are no names, and no column of the model's.
    plain = reading.model_copy(update={"header": False})
    with pytest.raises(InputError, match="column_1"):
        predict_file(predictor, source, tmp_path / "other.jsonl", reading=plain)


def test_the_models_own_column_is_a_header(saved: Saved, tmp_path: Path) -> None:
    source, out = tmp_path / "in.csv", tmp_path / "out.jsonl"
    # By its content alone, a word that recurs further down would be a value.
    for name, column in (("classifier", "text"), ("seq2seq", "description")):
        source.write_text(f"{column}\n{column}\nfine\n", encoding="utf-8")
        out.unlink(missing_ok=True)
        predict_file(Predictor.open(saved(name)), source, out)
        assert [row[column] for row in read_jsonl(out)] == [column, "fine"]
