"""Numbers to be predicted: found where they are clear, asked for elsewhere, never labels."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from llmwright.core.errors import InputError
from llmwright.data.records import Dataset


@pytest.mark.parametrize("language", ["en", "zh"])
def test_similarities_of_two_texts_are_recognised(
    real: Callable[..., Dataset], language: str
) -> None:
    files = {"train": f"stsb/stsb-{language}-train_3000.csv"}
    dataset = real(files | {"validation": f"stsb/stsb-{language}-dev.csv"})
    info = dataset.info
    assert (info.task, info.row_type) == ("text-regression", "regression")
    assert info.counts["train"] == 3000
    assert info.num_rejected == 0
    assert info.numbers is not None
    assert (info.numbers.min, info.numbers.max) == (0, 5)
    values = [row["value"] for row in dataset.rows("train")]
    assert info.numbers.mean == pytest.approx(sum(values) / 3000)
    assert info.labels == []


def table(header: str, values: list[str]) -> str:
    return header + "\n" + "\n".join(f"text number {i},{v}" for i, v in enumerate(values))


MEASURED = [str(i / 8) for i in range(60)]


@pytest.mark.parametrize(
    ("header", "values", "settings", "task"),
    [
        ("text,label", MEASURED, {}, "text-regression"),
        ("text,label", [f"{i % 5}.0" for i in range(60)], {}, "text-classification"),
        ("text,label", [f"{i % 5 / 2}" for i in range(60)], {}, "text-classification"),
        ("text,label", MEASURED, {"shape": "classification"}, "text-classification"),
        ("text,label", MEASURED, {"task": "text-classification"}, "text-classification"),
        ("text,label", ["1", "2"] * 30, {"task": "text-regression"}, "text-regression"),
        # Beside a single text a number may be anything.
        ("text,score", MEASURED, {}, "text-generation"),
        ("text,score", MEASURED, {"task": "text-regression"}, "text-regression"),
        ("a,b", ["1", "2"] * 30, {"columns": {"text": "a", "value": "b"}}, "text-regression"),
        (
            "a,b",
            ["1", "2"] * 30,
            {"columns": {"text": "a", "label": "b"}, "task": "text-regression"},
            "text-regression",
        ),
    ],
)
def test_what_is_a_number_and_what_a_label(
    bench, header: str, values: list[str], settings: dict, task: str
) -> None:
    dataset = bench.dataset(bench.write("a.csv", table(header, values)), header=True, **settings)
    assert dataset.info.task == task


def test_a_confidence_beside_a_label_is_no_target(bench) -> None:
    rows = [
        {"premise": f"a {i}", "hypothesis": f"b {i}", "label": "yn"[i % 2], "score": i / 100}
        for i in range(80)
    ]
    dataset = bench.dataset(bench.write("a.jsonl", "\n".join(map(json.dumps, rows))))
    assert dataset.info.task == "text-classification"


def test_rows_without_a_number_are_rejected_by_name(bench) -> None:
    values = [*MEASURED, "n/a", "", "nan", "1e400", "1_000"]
    bench.write("a.csv", table("text,label", values))
    with pytest.raises(InputError, match="not a number|is empty") as error:
        bench.dataset("a.csv", header=True, task="text-regression")
    assert error.value.code == "DATA-040"
    dataset = bench.dataset("a.csv", header=True, task="text-regression", max_rejected=0.1)
    assert dataset.info.reasons == {"number": 4, "missing": 1}
    lines = (dataset.path / "rejected.jsonl").read_text().splitlines()
    assert '"label" is n/a, not a number' in [json.loads(line)["detail"] for line in lines]


def test_numbers_that_are_all_alike_teach_nothing(bench) -> None:
    bench.write("a.csv", table("text,value", ["2.5"] * 20))
    with pytest.raises(InputError, match=r"same number, 2\.5") as error:
        bench.dataset("a.csv", header=True, task="text-regression")
    assert error.value.code == "DATA-051"
