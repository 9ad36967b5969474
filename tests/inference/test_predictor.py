"""Asking a model: answers, streams, scores."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from llmwright.core.errors import CheckError, ConfigError, InputError
from llmwright.inference.predictor import Predictor
from llmwright.tasks.chat import known_sha256

Saved = Callable[[str], Path]
Rows = Callable[[str], list[dict[str, Any]]]
LABELLERS = ["classifier", "pairs", "tagger", "recurrent", "recurrent_tagger"]
GENERATORS = ["decoder", "seq2seq", "recurrent_decoder", "vae"]


@pytest.mark.parametrize("name", LABELLERS)
def test_padding_changes_no_label(name: str, saved: Saved, rows_of: Rows) -> None:
    predictor = Predictor.open(saved(name))
    rows = rows_of(name)
    together = predictor.engine.logits(
        predictor.task.collate([predictor.encode(row) for row in rows], predictor.contract)
    )
    for row, found in zip(rows, together, strict=True):
        example = predictor.encode(row)
        alone = predictor.engine.logits(predictor.task.collate([example], predictor.contract))[0]
        length = len(example.input_ids_T) if alone.ndim == 2 else len(alone)
        assert np.abs(found[:length] - alone[:length]).max() < 1e-4
    answers = list(predictor.predict(rows, batch_size=2))
    key = "tags" if "tagger" in name else "label"
    assert [a[key] for a in answers] == [next(predictor.predict([row]))[key] for row in rows]


def test_pairs_are_read_as_transformers_reads_them(saved: Saved, rows_of: Rows) -> None:
    predictor = Predictor.open(saved("pairs"))
    row = rows_of("pairs")[0]
    reference = AutoModelForSequenceClassification.from_pretrained(saved("pairs")).eval()
    inputs = predictor.tokenizer(
        row["text"], row["text_pair"], return_token_type_ids=True, return_tensors="pt"
    )
    with torch.no_grad():
        expected_L = reference(**inputs).logits[0].numpy()
        blind_L = reference(inputs.input_ids).logits[0].numpy()
    batch = predictor.task.collate([predictor.encode(row)], predictor.contract)
    assert np.abs(predictor.engine.logits(batch)[0] - expected_L).max() < 1e-5
    assert np.abs(expected_L - blind_L).max() > 1e-2


@pytest.mark.parametrize("name", GENERATORS)
def test_a_stream_adds_up_to_the_answer(name: str, saved: Saved, rows_of: Rows) -> None:
    predictor = Predictor.open(saved(name))
    for row in rows_of(name):
        deltas = list(predictor.write(predictor.encode(row)))
        answer = next(predictor.predict([row]))
        assert "".join(delta.text for delta in deltas) == answer["text"]
        assert deltas[-1].finish_reason == answer["finish_reason"]
        assert [d.finish_reason for d in deltas[:-1]] == [None] * (len(deltas) - 1)
        assert "".join(predictor.stream(row)) == answer["text"]


def test_full_predictions_count_tokens(saved: Saved, rows_of: Rows) -> None:
    predictor = Predictor.open(saved("decoder"))
    for row, found in zip(
        rows_of("decoder"), predictor.predict_full(rows_of("decoder")), strict=True
    ):
        assert found.num_input_tokens == len(predictor.encode(row).input_ids_T)
        assert found.num_output_tokens == 12


def test_long_inputs_are_cut_and_the_answer_says_so(saved: Saved) -> None:
    predictor = Predictor.open(saved("classifier"))
    short, long = predictor.predict([{"text": "fine"}, {"text": "weather " * 200}])
    assert "truncated" not in short
    assert long["truncated"] is True


@pytest.mark.parametrize("name", GENERATORS)
def test_scores_add_up_to_the_loss(name: str, saved: Saved, rows_of: Rows) -> None:
    predictor = Predictor.open(saved(name))
    model = predictor.engine.model  # type: ignore[attr-defined]
    rows = rows_of(name)
    for row, score in zip(rows, predictor.score(rows, batch_size=2), strict=True):
        (example,) = predictor.task.encode_parts(row, predictor.tokenizer, predictor.contract)
        batch = predictor.task.collate([example], predictor.contract)
        with torch.no_grad():
            output = model(**{key: torch.from_numpy(value) for key, value in batch.items()})
        loss = float(output.loss)
        if name == "vae":
            logits, labels = output.logits[:, :-1], torch.from_numpy(batch["labels"])[:, 1:]
            loss = float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten()))
        assert -score.log_probs_U.mean() == pytest.approx(loss, abs=1e-4)
        assert len(score.token_ids_U) == len(score.log_probs_U) > 1


def test_long_texts_are_scored_whole(saved: Saved) -> None:
    predictor = Predictor.open(saved("decoder"))
    row = {"text": "The weather is fine today. " * 20}
    (score,) = predictor.score([row])
    ids = predictor.tokenizer(row["text"])["input_ids"]
    assert score.token_ids_U.tolist() == [*ids, 3][1:]


def test_a_label_model_neither_streams_nor_scores(saved: Saved) -> None:
    predictor = Predictor.open(saved("classifier"))
    for ask in (lambda: next(predictor.stream({"text": "x"})), lambda: next(predictor.score([{}]))):
        with pytest.raises(InputError) as error:
            ask()
        assert error.value.code == "INFER-005"


def test_logits_of_long_targets_count_for_the_size_of_a_batch(
    saved: Saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor.open(saved("seq2seq"))
    rows = [{"input": "a", "target": "The weather is fine " * 2} for _ in range(4)]
    whole = list(predictor.score(rows))
    sizes: list[int] = []
    run = predictor.engine.logits
    monkeypatch.setattr(predictor.engine, "logits", lambda *given: _note(run(*given), sizes))
    # Room for the logits of two targets.
    length = len(whole[0].token_ids_U)
    limit = 2 * length * predictor.engine.model.config.vocab_size  # type: ignore[attr-defined]
    monkeypatch.setattr("llmwright.inference.scoring.MAX_LOGITS", limit)
    found = list(predictor.score(rows))
    assert max(sizes) <= limit
    assert [s.log_probs_U.sum() for s in found] == pytest.approx(
        [s.log_probs_U.sum() for s in whole], abs=1e-4
    )


def _note(logits: np.ndarray, sizes: list[int]) -> np.ndarray:
    sizes.append(logits.size)
    return logits


def test_another_chat_template_is_refused(saved: Saved, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved("decoder"), tmp_path / "chat"))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    predictor = Predictor.open(folder)
    promised = {"chat_template_sha256": known_sha256(predictor.tokenizer)}
    predictor.contract.model_copy(update=promised).save(folder)
    Predictor.open(folder)
    (folder / "chat_template.jinja").write_text("{{ messages }}!")
    with pytest.raises(CheckError) as error:
        Predictor.open(folder)
    assert error.value.code == "INFER-023"


def test_a_wrong_engine_or_folder_is_said(saved: Saved, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match='Did you mean "onnx"') as unknown:
        Predictor.open(saved("classifier"), "onx")
    assert unknown.value.code == "INFER-004"
    with pytest.raises(InputError) as unfit:
        Predictor.open(saved("classifier"), "onnx")
    assert unfit.value.code == "INFER-001"
    with pytest.raises(InputError) as nothing:
        Predictor.open(tmp_path)
    assert nothing.value.code == "TASK-001"


@pytest.mark.parametrize("content", [b"{broken", b"\xff\xfe\x00", b"[]", b'{"graphs": 3}'])
def test_a_damaged_description_of_an_export_is_said(
    content: bytes, saved: Saved, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(saved("classifier"), tmp_path / "export"))
    (folder / "export.json").write_bytes(content)
    with pytest.raises(InputError) as error:
        Predictor.open(folder)
    assert error.value.code == "INFER-006"
