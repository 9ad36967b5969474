"""Conversations: what is sent along, and what is remembered."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

import llmwright
from llmwright.cli.main import cli
from llmwright.cli.talk import Talk
from llmwright.core.artifacts import Store
from llmwright.core.errors import InputError, LLMwrightError
from llmwright.inference.chat import Conversation
from llmwright.inference.predictor import Predictor
from llmwright.tasks.contract import Contract

Saved = Callable[[str], Path]
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ':' + m['content'] + eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@pytest.fixture
def chatty(saved: Saved, tmp_path: Path) -> Path:
    folder = Path(shutil.copytree(saved("decoder"), tmp_path / "chat"))
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    contract = Contract.open(folder).model_copy(update={"row_type": "messages", "max_length": 64})
    contract.save(folder)
    return folder


def test_turns_are_sent_along(chatty: Path) -> None:
    predictor = Predictor.open(chatty)
    talk = Conversation(predictor, system="be kind", max_new_tokens=4)
    first = "".join(talk.say("hi"))
    second = "".join(talk.say("rain?"))
    turns = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": first},
        {"role": "user", "content": "rain?"},
    ]
    expected = next(predictor.predict([{"messages": turns}], max_new_tokens=4))
    assert second == expected["text"]
    assert talk.messages == [*turns, {"role": "assistant", "content": second}]
    talk.reset()
    assert talk.messages == turns[:1]
    assert "".join(talk.say("hi")) == first


def test_a_broken_off_turn_is_forgotten(chatty: Path) -> None:
    talk = Conversation(Predictor.open(chatty), max_new_tokens=6)
    answer = talk.say("hi")
    next(answer)
    answer.close()
    assert talk.messages == []


def test_other_generators_answer_without_memory(saved: Saved) -> None:
    predictor = Predictor.open(saved("seq2seq"))
    talk = Conversation(predictor)
    assert "".join(talk.say("rain")) == "".join(talk.say("rain"))
    assert "".join(talk.say("rain")) == next(predictor.predict([{"input": "rain"}]))["text"]
    with pytest.raises(InputError) as error:
        Conversation(predictor, system="be kind")
    assert error.value.code == "INFER-019"


def test_a_classifier_cannot_talk(saved: Saved) -> None:
    with pytest.raises(InputError) as error:
        Conversation(Predictor.open(saved("classifier")))
    assert error.value.code == "INFER-005"


def test_a_program_talks_line_by_line(chatty: Path, tmp_path: Path) -> None:
    with Store(tmp_path / ".llmwright").draft("model") as draft:
        shutil.copytree(chatty, draft.path, dirs_exist_ok=True)
    assert draft.artifact is not None
    words = ["chat", "--json", "--max-new-tokens", "4", "--model", str(draft.artifact.path)]
    said = CliRunner().invoke(cli, [*words, "--project", str(tmp_path)], input="hi\n\nrain?\n")
    talk = Conversation(Predictor.open(chatty), max_new_tokens=4)
    expected = [{"text": "".join(talk.say(turn))} for turn in ("hi", "rain?")]
    assert [json.loads(line) for line in said.output.splitlines()] == expected


def test_what_no_longer_fits_is_left_out_and_said(chatty: Path) -> None:
    talk = Conversation(Predictor.open(chatty), system="be kind", max_new_tokens=4)
    dropped = []
    for turn in range(6):
        list(talk.say(f"rain or sun {turn}?"))
        dropped.append(talk.dropped)
    assert dropped[0] == 0
    assert any(dropped)
    assert talk.messages[0] == {"role": "system", "content": "be kind"}
    assert [m["role"] for m in talk.messages[1:3]] == ["user", "assistant"]
    assert len(talk.said) == 1 + 2 * 6
    # The model was not sent a prompt that had to be cut.
    row = talk.predictor.read({"messages": [*talk.messages[:-2], talk.messages[-2]]})
    assert not talk.predictor.encode(row).truncated


def test_settings_and_the_system_message_change_between_turns(chatty: Path) -> None:
    talk = Conversation(Predictor.open(chatty), max_new_tokens=4)
    cold = "".join(talk.say("hi"))
    talk.undo()
    assert talk.messages == []
    talk.set_generation(temperature=5.0, seed=1)
    assert "".join(talk.say("hi")) != cold
    talk.reset()
    talk.set_generation(temperature=0)
    assert "".join(talk.say("hi")) == cold
    talk.tell("be brief")
    assert [m["role"] for m in talk.messages] == ["system", "user", "assistant"]
    talk.tell("")
    assert [m["role"] for m in talk.messages] == ["user", "assistant"]
    with pytest.raises(LLMwrightError):
        talk.set_generation(temperature=-1)
    assert talk.generation["temperature"] == 0


def talked(folder: Path, project: Path, *lines: str) -> str:
    words = ["chat", "--max-new-tokens", "4", "--model", str(folder), "--project", str(project)]
    run = CliRunner().invoke(cli, words, input="\n".join(lines) + "\n")
    assert run.exit_code == 0, run.output
    return run.output


@pytest.fixture
def stored(chatty: Path, tmp_path: Path) -> Path:
    with Store(tmp_path / ".llmwright").draft("model") as draft:
        shutil.copytree(chatty, draft.path, dirs_exist_ok=True)
    assert draft.artifact is not None
    return draft.artifact.path


def test_a_person_talks_with_commands(stored: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.jsonl"
    shown = talked(
        stored, tmp_path, "/help", "/system be kind", "hi", "/set temperature=0.5 seed=3",
        "/temperature -1", "/dance", "/style tone=formal", "/style", f"/save {kept}",
        '"""', "rain", "and wind", '"""', "one \\", "two", f"/save {kept}", "/undo", "/reset",
        f"/save {kept}", "/exit", "never said",
    )  # fmt: skip
    first, second, third = [json.loads(line)["messages"] for line in kept.read_text().splitlines()]
    assert [m["content"] for m in first if m["role"] != "assistant"] == ["be kind", "hi"]
    said = [m["content"] for m in second if m["role"] == "user"]
    assert said == ["hi", "rain\nand wind", "one \ntwo"]
    assert third == [{"role": "system", "content": "be kind"}]
    for expected in ("/system TEXT", "temperature = 0.5, seed = 3", "/dance", "TASK-030"):
        assert expected in shown
    assert "learned no styles" in shown
    assert "never said" not in shown


def test_an_end_of_input_ends_the_talk(stored: Path, tmp_path: Path) -> None:
    assert "Talk to" in talked(stored, tmp_path, "hi")


def test_ctrl_c_stops_the_answer_not_the_talk(
    chatty: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    conversation = Conversation(Predictor.open(chatty), max_new_tokens=8)
    turns = iter(["hi", "/save", "rain?"])
    whole = conversation.predictor.stream

    def interrupted(row, **generation):
        yield next(whole(row, **generation))
        raise KeyboardInterrupt

    def listen(_: str) -> str:
        turn = next(turns, None)
        if turn is None:
            raise EOFError
        monkeypatch.setattr(
            conversation.predictor, "stream", interrupted if turn == "hi" else whole
        )
        return turn

    monkeypatch.setattr("builtins.input", listen)
    monkeypatch.chdir(chatty)
    Talk(conversation).run()
    assert "stopped" in capsys.readouterr().out
    assert [m["role"] for m in conversation.messages] == ["user", "assistant"]
    assert conversation.messages[0]["content"] == "rain?"


class Handler(BaseHTTPRequestHandler):
    """Any server that speaks OpenAI's protocol and reads no more than three messages."""

    def log_message(self, format: str, *args: object) -> None:
        return

    def send(self, content: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self.send(json.dumps({"data": [{"id": "far"}]}).encode(), "application/json")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if len(body["messages"]) > 3:
            error = {"error": {"message": "too long"}}
            self.send(json.dumps(error).encode(), "application/json", 400)
            return
        said = body["messages"][-1]["content"]
        deltas = [({"content": said}, None), ({"content": "!"}, None), ({}, "stop")]
        events = [
            {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
            for delta, reason in deltas
        ]
        lines = [f"data: {json.dumps(event)}\n\n" for event in events] + ["data: [DONE]\n\n"]
        self.send("".join(lines).encode(), "text/event-stream")


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_an_address_is_talked_with_and_sent_what_it_can_read(address: str, tmp_path: Path) -> None:
    talk = llmwright.chat(model=address, project=tmp_path)
    assert talk.name == "far"
    for turn, dropped in (("one", 0), ("two", 0), ("three", 2)):
        assert "".join(talk.say(turn)) == f"{turn}!"
        assert talk.dropped == dropped
    talk.tell("be kind")
    talk.tell("")
    assert [m["content"] for m in talk.messages] == ["two", "two!", "three", "three!"]
    assert [m["content"] for m in talk.said[::2]] == ["one", "two", "three"]
