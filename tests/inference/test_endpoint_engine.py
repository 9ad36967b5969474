"""Models behind an address, over real HTTP: ours and a foreign one with OpenAI's protocol."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from llmwright.core.artifacts import Artifact
from llmwright.core.errors import CheckError, InputError
from llmwright.core.runs import Run, Store
from llmwright.inference.config import VerifyConfig
from llmwright.inference.endpoint_engine import EndpointPredictor
from llmwright.inference.predictor import LocalPredictor, Predictor
from llmwright.inference.probes import record_probes
from llmwright.inference.sampling import log_softmax
from llmwright.inference.verify import verify
from llmwright.tasks.contract import Contract

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
        predictor: LocalPredictor = self.server.predictor
        if self.path == "/generate":
            unknown = set(body) - {*self.server.inputs}
            if unknown:
                self.send_json({"error": {"message": f"no field {unknown}"}}, 400)
                return
            answer = next(predictor.predict([body], **settings))
            if "text" in answer:
                answer = {self.server.outputs[0]: answer["text"]}
            self.send_json(self.server.change(answer))
        elif body.get("stream"):
            self.send_response(200)
            self.end_headers()
            for piece in predictor.stream({"prompt": body["prompt"]}, **settings):
                data = json.dumps({"choices": [{"text": piece}]})
                self.wfile.write(f"data: {data}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")
        else:
            self.send_json({"choices": [self.choice(body["prompt"], settings)]})

    def choice(self, prompt: str, settings: dict[str, Any]) -> dict[str, Any]:
        predictor: LocalPredictor = self.server.predictor
        answer = next(predictor.predict([{"prompt": prompt}], **settings))
        state = predictor.engine.begin([predictor.encode({"prompt": prompt}).input_ids_T])
        first = log_softmax(state.logits_BV)[0]
        token = predictor.tokenizer.decode([int(first.argmax())])
        log_probs = {"tokens": [token], "token_logprobs": [float(first.max()) + self.server.shift]}
        return {"text": answer["text"], "finish_reason": "length", "logprobs": log_probs}


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
        }  # fmt: skip
        for name, value in (defaults | values).items():
            setattr(server, name, value)
        threading.Thread(target=server.serve_forever, daemon=True).start()
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
    url = serve(model.path, inputs=["description"], outputs=["weather"])
    report = verify(VerifyConfig(target=url), {"model": model}, run)
    assert report.metadata["parity"]["checks"]["texts_equal"] == 1.0


def test_a_text_of_any_column_is_a_prompt_to_our_server(
    serve: Serve, saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    model, run = recorded("decoder", saved, rows_of, tmp_path)
    contract = Contract.open(model.path)
    contract.model_copy(update={"fields": {"text": "paragraphs"}}).save(model.path)
    url = serve(model.path, inputs=["prompt"], outputs=["text"])
    report = verify(VerifyConfig(target=url), {"model": model}, run)
    assert report.metadata["parity"]["checks"]["texts_equal"] == 1.0


def test_a_foreign_server_is_checked_by_text_and_log_probs(
    serve: Serve, saved: Saved, rows_of: Rows, tmp_path: Path
) -> None:
    model, run = recorded("decoder", saved, rows_of, tmp_path)
    report = verify(VerifyConfig(target=serve(model.path, ours=False)), {"model": model}, run)
    assert report.metadata["parity"]["checks"]["texts_equal"] == 1.0
    assert report.metadata["parity"]["checks"]["score_difference"] < 1e-4
    shifted = serve(model.path, ours=False, shift=0.01)
    with pytest.raises(CheckError, match="largest difference of a score"):
        verify(VerifyConfig(target=shifted), {"model": model}, run)


def test_streams_and_answers_of_a_foreign_server(serve: Serve, saved: Saved) -> None:
    folder = saved("decoder")
    local, remote = (
        Predictor.open(folder),
        EndpointPredictor(serve(folder, ours=False), api_key="key"),
    )
    row = {"prompt": "The weather"}
    expected = next(local.predict([row], max_new_tokens=5))["text"]
    assert next(remote.predict([row], max_new_tokens=5))["text"] == expected
    assert "".join(remote.stream(row, max_new_tokens=5)) == expected
    remote.close()


def test_what_goes_wrong_is_said(serve: Serve, saved: Saved) -> None:
    url = serve(saved("classifier"))

    def code(**values: Any) -> str:
        with pytest.raises(InputError) as error:
            EndpointPredictor(**{"address": url, "api_key": "key", **values})
        return error.value.code

    assert code(api_key=None) == "INFER-008"
    assert code(served_model="other") == "INFER-013"
    assert code(address="http://127.0.0.1:9") == "INFER-007"
