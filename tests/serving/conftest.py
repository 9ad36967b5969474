"""Tiny real models of every task, recorded with contract and probes, and servers around them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from llmwright.core.artifacts import Artifact, Store
from llmwright.data.records import DatasetInfo, Numbers
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.probes import record_probes
from llmwright.models.config import ScratchModel
from llmwright.models.load import save_model
from llmwright.models.spec import ModelRequest, build_model
from llmwright.serving.app import create_app
from llmwright.serving.config import ServeConfig
from llmwright.serving.door.auth import Keys
from llmwright.serving.guards.guarding import Guards
from llmwright.serving.served.model import ServedModel
from llmwright.serving.server import background
from llmwright.tasks.judged import served
from llmwright.tasks.make_contract import ContractRequest, make_contract
from llmwright.tasks.task import TASKS
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig
from llmwright.tokenization.special import CHATML, Framing

WEATHER = {
    "今天天气很好": "今天天气晴朗",
    "今天下了大雨": "今天有大雨",
    "外面很冷": "气温很低",
    "风非常大": "今天有大风",
}
INTENTS = {
    "where is my card": "card_arrival",
    "my card has not come": "card_arrival",
    "what is the exchange rate": "exchange_rate",
    "how many euros do i get": "exchange_rate",
    "my card was stolen": "lost_card",
    "i cannot find my card": "lost_card",
}

ROWS: dict[str, tuple[DatasetInfo, list[dict[str, Any]]]] = {
    "weather": (
        DatasetInfo(
            task="seq2seq",
            row_type="pair",
            shape="pair",
            fields={"input": "description", "target": "weather"},
        ),
        [{"input": source, "target": target} for source, target in WEATHER.items()],
    ),
    "intents": (
        DatasetInfo(
            task="text-classification",
            row_type="classification",
            shape="classification",
            fields={"text": "question", "label": "intent"},
            labels=sorted(set(INTENTS.values())),
        ),
        [{"text": text, "label": label} for text, label in INTENTS.items()],
    ),
    "names": (
        DatasetInfo(
            task="token-classification",
            row_type="tags",
            shape="tags",
            fields={"tokens": "words", "tags": "entities"},
            labels=["B-LOC", "B-PER", "O"],
        ),
        [
            {"tokens": ["Ada", "lives", "in", "London"], "tags": ["B-PER", "O", "O", "B-LOC"]},
            {"tokens": ["Bo", "saw", "Paris"], "tags": ["B-PER", "O", "B-LOC"]},
        ],
    ),
    "poems": (
        DatasetInfo(
            task="text-generation", row_type="text", shape="documents", fields={"text": "text"}
        ),
        [{"text": "白日依山尽，黄河入海流。"}, {"text": "床前明月光，疑是地上霜。"}],
    ),
    "talk": (
        DatasetInfo(
            task="text-generation",
            row_type="messages",
            shape="messages",
            fields={"messages": "messages"},
        ),
        [
            {
                "messages": [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": answer},
                ]
            }
            for question, answer in (("hello", "hi there"), ("bye", "see you"))
        ],
    ),
}
PAIRS = {
    ("is it cold", "it is cold"): "yes",
    ("is it cold", "the card came"): "no",
    ("where is the card", "the card came"): "yes",
    ("where is the card", "it is cold"): "no",
}
STARS = {"very good": 5.0, "good": 4.0, "bad": 2.0, "very bad": 1.0}
ROWS |= {
    "pairs": (
        DatasetInfo(
            task="text-classification",
            row_type="classification",
            shape="classification",
            fields={"text": "question", "text_pair": "document", "label": "answers"},
            labels=["no", "yes"],
        ),
        [{"text": one, "text_pair": two, "label": label} for (one, two), label in PAIRS.items()],
    ),
    "stars": (
        DatasetInfo(
            task="text-regression",
            row_type="regression",
            shape="regression",
            fields={"text": "review", "value": "stars"},
            numbers=Numbers(mean=3.0, std=1.5, min=1.0, max=5.0),
        ),
        [{"text": text, "value": value} for text, value in STARS.items()],
    ),
    "judge": (
        served(ROWS["talk"][0], "reward"),
        ROWS["talk"][1],
    ),
    "masks": (
        served(ROWS["poems"][0], "fill-mask"),
        [{"text": "it is [MASK] cold"}, {"text": "the card [MASK] came"}],
    ),
    "vectors": (
        served(ROWS["poems"][0], "text-embedding"),
        [{"text": "it is cold"}, {"text": "the card came"}],
    ),
}
# Their weights stay random: how they learn is another matter.
UNTRAINED = ("judge", "masks", "vectors")
# Built with a head that is taken off again.
HEADS = {"vectors": "AutoModelForMaskedLM"}
ARCHITECTURES = {"seq2seq": "seq2seq", "text-generation": "decoder"}
FRAMES = {"seq2seq": "eos", "text-generation": "none"}


def make_model(name: str, folder: Path, steps: int = 60) -> None:
    """Train a tiny model on a handful of rows, so that its answers depend on the input."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    info, rows = ROWS[name]
    task = TASKS.get(info.task)()
    strings = [str(value) for row in rows for value in row.values()]
    strings.append("system\nuser\nassistant\nabcdefghijklmnopqrstuvwxyz")
    # What JSON is written with.
    strings.append('{}[]":,.-_0123456789')
    framing = Framing(
        frame=FRAMES.get(info.task, "cls_sep"),
        chat_template=CHATML if info.row_type == "messages" else None,
    )
    tokenizer = TOKENIZERS.get("char")(TokenizeConfig(kind="char"), strings, framing)
    request = ModelRequest(
        HEADS.get(name, task.auto_class),
        tokenizer,
        labels=tuple(info.labels),
        max_length=64,
        seed=0,
    )
    spec = ScratchModel(
        architecture=ARCHITECTURES.get(info.task, "encoder"),
        hidden_size=32,
        num_layers=1,
        num_heads=2,
        context=96,
        dropout=0.0,
    )
    model = build_model(spec, request)
    if name in HEADS:
        model = model.base_model
    contract = make_contract(
        ContractRequest(
            info, tokenizer, model.config, sum(p.numel() for p in model.parameters()), 64, 32
        )
    )
    if name in UNTRAINED:
        steps = 0
    batch = task.collate([task.encode(row, tokenizer, contract) for row in rows], contract)
    tensors = {key: torch.from_numpy(value) for key, value in batch.items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        loss = model(**tensors).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    save_model(model.eval(), folder)
    tokenizer.save_pretrained(folder)
    contract.save(folder)
    record_probes(folder, rows, contract, "train", 4)


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Artifact]:
    """Return the artifact of a tiny model by its name; each is made once."""
    store = Store(tmp_path_factory.mktemp("project") / ".llmwright")
    made: dict[str, Artifact] = {}

    def artifact(name: str) -> Artifact:
        if name not in made:
            with store.draft("model") as draft:
                make_model(name, draft.path)
            assert draft.artifact is not None
            made[name] = draft.artifact
        return made[name]

    return artifact


@pytest.fixture(scope="session")
def models(artifacts: Callable[[str], Artifact]) -> Callable[[str], ServedModel]:
    """Return a loaded tiny model by its name."""
    made: dict[str, ServedModel] = {}

    def model(name: str) -> ServedModel:
        if name not in made:
            artifact = artifacts(name)
            made[name] = ServedModel(
                Predictor.open(artifact.path, engine="torch"), name, artifact.id
            )
        return made[name]

    return model


Server = Callable[..., contextlib.AbstractContextManager[httpx.Client]]


@pytest.fixture(scope="session")
def server(models: Callable[[str], ServedModel]) -> Server:
    """Return a context manager: a client of a real server of a model, on a free port."""

    @contextlib.contextmanager
    def running(
        name: str,
        keys: list[str] | None = None,
        model: Any = None,
        held: Keys | None = None,
        guards: Guards | None = None,
        **settings: Any,
    ) -> Iterator[httpx.Client]:
        config = ServeConfig(port=0, **{"access_log": False, **settings})
        plain = {f"key-{number}": key for number, key in enumerate(keys or [])}
        app = create_app(model or models(name), config, held or Keys(plain), guards=guards)
        with (
            background(app, config) as address,
            httpx.Client(base_url=address, timeout=30, trust_env=False) as client,
        ):
            client.app = app  # type: ignore[attr-defined]
            yield client

    return running


@pytest.fixture(scope="module")
def weather(server: Server) -> Iterator[httpx.Client]:
    with server("weather") as client:
        yield client


@pytest.fixture(scope="module")
def intents(server: Server) -> Iterator[httpx.Client]:
    with server("intents") as client:
        yield client


@pytest.fixture(scope="module")
def names(server: Server) -> Iterator[httpx.Client]:
    with server("names") as client:
        yield client


@pytest.fixture(scope="module")
def poems(server: Server) -> Iterator[httpx.Client]:
    with server("poems") as client:
        yield client


@pytest.fixture(scope="module")
def talk(server: Server) -> Iterator[httpx.Client]:
    with server("talk") as client:
        yield client


@contextlib.contextmanager
def process(
    artifact: Artifact, folder: Path, *options: str
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `serve` as a user does and yield its address once it is ready."""
    ready = folder / "ready.json"
    command = [
        sys.executable, "-m", "llmwright.cli", "serve", "--project", str(folder),
        "--model", str(artifact.path), "--port", "0", "--ready-file", str(ready),
        *options,
    ]  # fmt: skip
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as started:
        try:
            deadline = time.monotonic() + 90
            while not ready.is_file():
                assert started.poll() is None, started.stdout.read() if started.stdout else ""
                assert time.monotonic() < deadline
                time.sleep(0.05)
            yield json.loads(ready.read_text(encoding="utf-8"))["address"], started
        finally:
            started.kill()
