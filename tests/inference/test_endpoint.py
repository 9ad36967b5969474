"""Models behind an address, over real HTTP: ours and a foreign one with OpenAI's protocol."""

from __future__ import annotations

import dataclasses
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmwright.core.artifacts import Artifact
from llmwright.core.errors import CheckError, InputError
from llmwright.core.runs import Run, Store
from llmwright.inference.config import VerifyConfig
from llmwright.inference.endpoint import Endpoint
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.parity import limits_for
from llmwright.inference.proof.probes import Probe, Probes, record_probes
from llmwright.inference.proof.remote import Judge
from llmwright.inference.proof.verify import verify
from llmwright.inference.writing.sampling import log_softmax
from llmwright.tasks.contract import Contract

TAGS = ["B-LOC", "I-LOC", "O"]
Saved = Callable[[str], Path]
Rows = Callable[[str], list[dict[str, Any]]]


class Handler(BaseHTTPRequestHandler):
    """Answers with a real model; ``server.ours`` decides which protocol it speaks."""

    server: Any

    def log_message(self, format: str, *args: Any) -> None:
        return

    def send_json(self, body: Any, status: int = 200) -> None:
        content = json.dumps(body, ensure_ascii=False).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        if self.headers.get("authorization") != "Bearer key":
            self.send_json({"error": {"message": "no key"}}, 401)
            return
        if self.server.models is not None:
            self.send_json(self.server.models)
            return
        card: dict[str, Any] = {"id": "tiny"}
        if self.server.ours:
            contract = self.server.predictor.contract
            fields = {"input": self.server.inputs, "output": self.server.outputs}
            card |= {"owned_by": "llmwright", "task": contract.task, "fields": fields}
            card |= {"labels": self.server.labels}
        self.send_json({"data": [card]})

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        body = json.loads(self.rfile.read(length))
        settings = {"max_new_tokens": body.pop("max_tokens", None)}
        settings["temperature"] = body.pop("temperature", None)
        predictor: Predictor = self.server.predictor
        if self.path == "/generate":
            unknown = set(body) - {*self.server.inputs}
            if unknown:
                self.send_json({"error": {"message": f"no field {unknown}"}}, 400)
                return
            answer = next(predictor.predict([predictor.read(body)], **settings))
            if "text" in answer:
                reason = answer["finish_reason"]
                answer = {self.server.outputs[0]: answer["text"], "finish_reason": reason}
            self.send_json(self.server.change(answer))
        elif self.path == "/v1/embeddings":
            (vector_D,) = predictor.embed([body["input"]]) + self.server.shift
            self.send_json({"data": [{"embedding": vector_D.tolist()}]})
        elif self.server.reply is not None:
            self.send_json(self.server.reply)
        elif "logprobs" in body and not self.server.log_probs:
            self.send_json({"error": {"message": "no logprobs"}}, 400)
        else:
            self.send_json({"choices": [self.choice(body["prompt"], settings)]})

    def choice(self, prompt: str, settings: dict[str, Any]) -> dict[str, Any]:
        predictor: Predictor = self.server.predictor
        row = predictor.read(prompt)
        answer = next(predictor.predict([row], **settings))
        state = predictor.engine.begin([predictor.encode(row).input_ids_T])
        first = log_softmax(state.logits_BV)[0]
        token = predictor.tokenizer.decode([int(first.argmax())])
        log_probs = {"tokens": [token], "token_logprobs": [float(first.max()) + self.server.shift]}
        return {**answer, "logprobs": log_probs if self.server.log_probs else None}


Serve = Callable[..., str]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    monkeypatch.setenv("LLMWRIGHT_API_KEY", "key")
    servers: list[Any] = []

    def begin(folder: Path, **values: Any) -> str:
        server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.predictor = Predictor.open(folder)
        defaults: dict[str, Any] = {
            "ours": True, "inputs": ["text"], "outputs": ["label", "scores"], "shift": 0.0,
            "labels": server.predictor.contract.labels, "change": lambda answer: answer,
            "models": None, "reply": None, "log_probs": True,
        }  # fmt: skip
        for name, value in (defaults | values).items():
            setattr(server, name, value)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


def recorded(name: str, saved: Saved, rows_of: Rows, root: Path) -> tuple[Artifact, Run]:
    (root / "run").mkdir()
    run = Run("r", root / "run", root, Store(root / ".llmwright"))
    with run.draft("model") as draft:
        shutil.copytree(saved(name), draft.path, dirs_exist_ok=True)
        record_probes(draft.path, rows_of(name), Contract.open(draft.path), "validation", 8)
    assert draft.artifact is not None
    return draft.artifact, run


def test_our_server_with_the_true_classifier_passes(
    serve: Serve, saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    model, run = recorded("classifier", saved, rows_of, tmp_path)
    report = verify(VerifyConfig(target=serve(model.path)), {"model": model}, run)
    assert report.metadata["parity"]["checks"]["label_agreement"] == 1.0
    assert report.metadata["parity"]["checks"]["score_difference"] < 1e-5


@pytest.mark.parametrize("ours", [True, False])
def test_a_server_of_vectors_is_proven(
    ours: bool, serve: Serve, saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    model, run = recorded("embedder", saved, rows_of, tmp_path)
    report = verify(VerifyConfig(target=serve(model.path, ours=ours)), {"model": model}, run)
    checks = report.metadata["parity"]["checks"]
    assert checks["vector_agreement"] == 1.0
    assert checks["vector_difference"] < 1e-5
    with pytest.raises(CheckError, match="vectors that point the same way"):
        verify(VerifyConfig(target=serve(model.path, shift=0.5)), {"model": model}, run)


def swapped(answer: dict[str, Any]) -> dict[str, Any]:
    scores = answer["scores"]
    names = sorted(scores)
    turned = dict(zip(names, [scores[n] for n in (*names[1:], names[0])], strict=True))
    return {"label": max(turned, key=turned.__getitem__), "scores": turned}


@pytest.mark.parametrize(
    ("values", "check"),
    [({"change": swapped}, "share of labels"), ({"labels": ["sun", "rain", "cold"]}, "order")],
)
def test_a_server_with_other_labels_fails(
    values: dict[str, Any], check: str, serve: Serve, saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    model, run = recorded("classifier", saved, rows_of, tmp_path)
    with pytest.raises(CheckError, match=check):
        verify(VerifyConfig(target=serve(model.path, **values)), {"model": model}, run)


def test_our_server_with_a_generator_under_the_users_names(
    serve: Serve, saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    model, run = recorded("seq2seq", saved, rows_of, tmp_path)
    url = serve(model.path, inputs=["description"], outputs=["weather"], log_probs=False)
    report = verify(VerifyConfig(target=url), {"model": model}, run)
    checks = report.metadata["parity"]["checks"]
    assert (checks["texts_equal"], checks["log_probs_given"]) == (1.0, 0.0)
    assert "score_difference" not in checks


def test_a_text_of_any_column_is_a_prompt_to_our_server(
    serve: Serve, saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    model, run = recorded("decoder", saved, rows_of, tmp_path)
    contract = Contract.open(model.path)
    contract.model_copy(update={"fields": {"text": "paragraphs"}}).save(model.path)
    url = serve(model.path, inputs=["prompt"], outputs=["text"], log_probs=False)
    report = verify(VerifyConfig(target=url), {"model": model}, run)
    assert report.metadata["parity"]["checks"]["texts_equal"] == 1.0


def test_a_foreign_server_is_checked_by_text_and_log_probs(
    serve: Serve, saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    model, run = recorded("decoder", saved, rows_of, tmp_path)
    report = verify(VerifyConfig(target=serve(model.path, ours=False)), {"model": model}, run)
    assert report.metadata["parity"]["checks"]["texts_equal"] == 1.0
    assert report.metadata["parity"]["checks"]["score_difference"] < 1e-4
    assert report.metadata["parity"]["checks"]["log_probs_given"] == 1.0
    plain = serve(model.path, ours=False, log_probs=False)
    report = verify(VerifyConfig(target=plain), {"model": model}, run)
    assert report.metadata["parity"]["checks"]["texts_equal"] == 1.0
    assert report.metadata["parity"]["checks"]["log_probs_given"] == 0.0
    shifted = serve(model.path, ours=False, shift=0.01)
    with pytest.raises(CheckError, match="largest difference of a score"):
        verify(VerifyConfig(target=shifted), {"model": model}, run)


def test_what_goes_wrong_is_said(serve: Serve, saved: Saved) -> None:
    url = serve(saved("classifier"))
    contract = Contract.open(saved("classifier"))

    def code(**values: Any) -> str:
        with pytest.raises(InputError) as error:
            Endpoint(**{"address": url, "contract": contract, "api_key": "key", **values})
        return error.value.code

    assert code(api_key=None) == "INFER-008"
    assert code(served_model="other") == "INFER-013"
    assert code(address="http://127.0.0.1:9") == "INFER-007"
    assert code(address="http://[::1") == "INFER-007"
    assert code(address="http://") == "INFER-007"


@pytest.mark.parametrize(
    ("models", "code"),
    [
        ([], "INFER-009"),
        ({"models": []}, "INFER-009"),
        ({"data": [{"name": "x"}]}, "INFER-009"),
        ({"data": 3}, "INFER-009"),
        ({"data": []}, "INFER-024"),
    ],
)
def test_strange_lists_of_models_are_said(
    models: Any, code: str, serve: Serve, saved: Saved
) -> None:
    url = serve(saved("decoder"), models=models)
    with pytest.raises(InputError) as error:
        Endpoint(url, Contract.open(saved("decoder")), api_key="key")
    assert error.value.code == code


@pytest.mark.parametrize(
    "reply",
    [
        [],
        {"choices": []},
        {"choices": [{}]},
        {"choices": ["x"]},
        {"choices": [{"text": "x", "logprobs": [3]}]},
        {"choices": [{"text": "x", "logprobs": {"tokens": ["x"], "token_logprobs": ["y"]}}]},
    ],
)
def test_strange_answers_are_said(reply: Any, serve: Serve, saved: Saved) -> None:
    url = serve(saved("decoder"), ours=False, reply=reply)
    endpoint = Endpoint(url, Contract.open(saved("decoder")), api_key="key")
    with pytest.raises(InputError) as error:
        endpoint.ask({"text": "a"}, 4)
    assert error.value.code == "INFER-009"
    endpoint.close()


def test_a_foreign_server_cannot_classify(serve: Serve, saved: Saved) -> None:
    url = serve(saved("classifier"), ours=False)
    endpoint = Endpoint(url, Contract.open(saved("classifier")), api_key="key")
    with pytest.raises(InputError) as error:
        endpoint.ask({"text": "a"})
    assert error.value.code == "INFER-014"
    endpoint.close()


def judge_of(folder: Path) -> tuple[Judge, list[Probe]]:
    predictor = Predictor.open(folder)
    probes = Probes.open(folder).probes
    return Judge(predictor.contract, predictor.tokenizer, limits_for("url")), probes


def test_a_text_may_differ_only_at_a_close_race(
    saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    model, _ = recorded("decoder", saved, rows_of, tmp_path)
    judge, probes = judge_of(model.path)
    tokenizer = judge.tokenizer
    ids = tokenizer("The weather is fine")["input_ids"]
    probe = probes[0]
    text = tokenizer.decode(ids)
    probe.answer = {"text": text, "finish_reason": "stop"}
    probe.token_ids_U = np.array([*ids, 3])
    probe.top_log_probs_UK = np.tile(np.float32([-0.1, -3.0]), (len(ids) + 1, 1))
    middle = len(ids) // 2
    start = tokenizer.decode(ids[:middle])

    def agrees(found: str, reason: str | None = "stop") -> bool:
        return judge.agreement({"text": found, "finish_reason": reason}, probe) == [True]

    assert agrees(text)
    assert agrees(text, None)
    # A server that lost its stop token.
    assert not agrees(text, "length")
    assert not agrees(text + " and on", "length")
    assert not agrees(start + "?")
    probe.top_log_probs_UK[middle] = [-0.69, -0.69]
    assert agrees(start + "?")
    assert not agrees("?" + text)
    assert not agrees(text, "length")
    probe.top_log_probs_UK[-1] = [-0.69, -0.69]
    assert agrees(text + " and on", "length")


def test_tags_may_differ_only_where_they_were_close(
    saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    model, _ = recorded("tagger", saved, rows_of, tmp_path)
    judge, probes = judge_of(model.path)
    probe = probes[2]
    assert probe.logits is not None
    tags = probe.answer["tags"]
    other = [TAGS[(TAGS.index(tag) + 1) % 3] for tag in tags]
    # The first piece of the first word.
    probe.logits[0] = 1.0
    assert judge.agreement({"tags": tags}, probe) == [True] * len(tags)
    assert judge.agreement({"tags": other}, probe) == [True] + [False] * (len(tags) - 1)
    assert judge.agreement({"tags": tags[1:]}, probe) == [False] * len(tags)


def test_labels_may_differ_only_where_they_were_close(
    saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    model, _ = recorded("classifier", saved, rows_of, tmp_path)
    judge, probes = judge_of(model.path)
    several = dataclasses.replace(
        judge, contract=judge.contract.model_copy(update={"multi_label": True})
    )
    probe = dataclasses.replace(probes[0], answer={"labels": ["rain"]})
    probe.logits = np.array([0.0, 3.0, -2.0])
    assert several.agreement({"labels": ["rain", "cold"]}, probe) == [True]
    assert several.agreement({"labels": ["rain", "sun"]}, probe) == [False]
    assert several.agreement({"labels": []}, probe) == [False]
    probe.answer = {"label": "rain"}
    assert judge.agreement({"label": "cold"}, probe) == [False]
    probe.logits = np.array([3.0, 3.0, -2.0])
    assert judge.agreement({"label": "cold"}, probe) == [True]
