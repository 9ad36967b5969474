"""Files of word vectors: their rows become the embedding's; damaged and wrong files are named."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmwright.core.config import parse
from llmwright.core.errors import ConfigError, InputError, LLMwrightError
from llmwright.models.config import ScratchModel
from llmwright.models.spec import ModelRequest, build_model
from llmwright.models.vectors.fill import words_of
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig
from llmwright.tokenization.special import Framing

TEXTS = ["the rain falls on Paris", "snow falls on the town", "the sun and the wind"]
ROWS = {
    "the": [0.5, -0.25, 1.0, 0.125],
    "rain": [1.0, 2.0, -3.0, 4.0],
    "snow": [1.5, 2.5, -3.5, 4.5],
    "paris": [-1.0, 0.0, 0.5, 0.75],
    "unheard": [9.0, 9.0, 9.0, 9.0],
}
LM = "AutoModelForCausalLM"


def words(kind: str = "word", texts: list[str] = TEXTS):
    return TOKENIZERS.get(kind)(TokenizeConfig(kind=kind, vocab_size=300), texts, Framing())


def written(path: Path, rows: dict[str, list[float]] = ROWS, header: bool = False) -> Path:
    lines = [f"{len(rows)} {len(next(iter(rows.values())))}"] if header else []
    lines += [f"{word} {' '.join(map(str, row))}" for word, row in rows.items()]
    content = ("\n".join(lines) + "\n").encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def built(root: Path, notices: list[str] | None = None, tokenizer: Any = None, **options: Any):
    architecture = {"kind": "recurrent", **options}
    spec = parse(ScratchModel, {"architecture": architecture, "hidden_size": 8, "dropout": 0.0})
    heard: Callable[[str], None] = [].append if notices is None else notices.append
    return build_model(spec, ModelRequest(LM, tokenizer or words(), root=root, notice=heard))


@pytest.mark.parametrize(
    ("kind", "name", "header"),
    [("glove", "g.txt", False), ("word2vec", "w.vec", True), ("word2vec", "w.txt.gz", True)],
)
def test_embeddings_are_the_rows_of_the_file(
    kind: str, name: str, header: bool, tmp_path: Path
) -> None:
    written(tmp_path / name, header=header)
    tokenizer, notices = words(), []
    model = built(tmp_path, notices, tokenizer, vectors={"kind": kind, "file": name})
    weight, ids = model.get_input_embeddings().weight, tokenizer.get_vocab()
    assert model.config.embedding_size == 4
    for word in ("the", "rain", "snow"):
        assert weight[ids[word]].tolist() == ROWS[word]
    assert weight[ids["Paris"]].tolist() == ROWS["paris"]
    assert weight[tokenizer.pad_token_id].tolist() == [0.0] * 4
    assert weight[ids["wind"]].abs().sum() > 0
    said = " ".join(notices)
    total = len(tokenizer) - len(tokenizer.all_special_ids)
    assert f"4 of {total} words found" in said
    assert "1 words were found in lower case" in said
    assert weight.requires_grad
    logits = model(input_ids=torch.tensor([[ids["rain"], ids["falls"]]])).logits
    assert logits.shape == (1, 2, len(tokenizer))


def test_what_is_random_spreads_as_far_and_follows_the_seed(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = [f"known{n} other{n}" for n in range(60)]
    rows = {f"known{n}": rng.normal(0, 3.0, 40).round(4).tolist() for n in range(60)}
    written(tmp_path / "v.txt", rows)
    tokenizer = words(texts=texts)
    vectors = {"kind": "glove", "file": "v.txt", "scale": 0.5}
    first, same = (
        built(tmp_path, None, tokenizer, vectors=vectors).get_input_embeddings().weight
        for _ in range(2)
    )
    assert torch.equal(first, same)
    ids = tokenizer.get_vocab()
    known = first[[ids[f"known{n}"] for n in range(60)]]
    other = first[[ids[f"other{n}"] for n in range(60)]]
    torch.testing.assert_close(known, torch.tensor(list(rows.values())) * 0.5)
    assert other.std().item() == pytest.approx(known.std().item(), rel=0.1)


def test_frozen_vectors_do_not_learn(tmp_path: Path) -> None:
    from llmwright.training.adapters.adapter import AdapterRequest
    from llmwright.training.adapters.config import FullAdapter
    from llmwright.training.optimizers.build import parameter_groups

    written(tmp_path / "v.txt")
    notices: list[str] = []
    vectors = {"kind": "glove", "file": "v.txt", "freeze": True}
    made: Any = built(tmp_path, notices, vectors=vectors)
    asked: Any = {"tokenizer": None, "contract": None, "objective": "", "spec": None, "base": None}
    model = FullAdapter().build(AdapterRequest(made, **asked, seed=1, notice=notices.append))
    weight = model.get_input_embeddings().weight
    before = weight.detach().clone()
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.1), lr=0.1)
    ids = torch.tensor([[5, 6, 7, 8]])
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    assert torch.equal(weight, before)
    assert "do not learn" in " ".join(notices)


def test_pieces_that_begin_a_word_are_that_word(tmp_path: Path) -> None:
    tokenizer = words("bpe", TEXTS * 5)
    letters = {chr(place): [0.1, 0.2, 0.3, 0.4] for place in range(ord("a"), ord("z") + 1)}
    written(tmp_path / "v.txt", ROWS | letters)
    weight = built(
        tmp_path, None, tokenizer, vectors={"kind": "glove", "file": "v.txt"}
    ).get_input_embeddings()
    (index,) = tokenizer.encode(" rain", add_special_tokens=False)
    assert weight.weight[index].tolist() == ROWS["rain"]


def test_words_with_spaces_and_doubles_are_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path / "v.txt")
    with path.open("a") as file:
        file.write("the . . 1 2 3 4\nrain 7 7 7 7\n")
    tokenizer = words()
    model = built(tmp_path, None, tokenizer, vectors={"kind": "glove", "file": "v.txt"})
    weight = model.get_input_embeddings().weight
    assert weight[tokenizer.get_vocab()["rain"]].tolist() == ROWS["rain"]


def refused(root: Path, content: bytes | None, **options: Any) -> LLMwrightError:
    if content is not None:
        (root / "v.txt").write_bytes(content)
    with pytest.raises(LLMwrightError) as caught:
        built(root, vectors={"kind": "glove", "file": "v.txt"}, **options)
    return caught.value


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    missing = refused(tmp_path, None)
    assert isinstance(missing, InputError)
    assert missing.code == "MODEL-040"
    cut = refused(tmp_path, gzip.compress(b"the 1 2\nrain 1 2\n" * 999)[:-20])
    assert cut.code == "MODEL-040"
    for content, said in (
        (b"", "empty"),
        (b"3 2\n\0\1\2\3\4", "not text"),
        (b"the 1 2\nrain 1\n", "line 2: 1 numbers where 2"),
        (b"the 1 2\nrain 1 x\n", "line 2: could not convert"),
        (b"the 1 2\nrain 1 nan\n", "line 2: 2 numbers where 2 should be, or one"),
        (b"the rain falls\n", "line 1"),
        (b"9 2\nthe 1 2\nrain 1 2\n", "ends after 2 of 9"),
    ):
        error = refused(tmp_path, content)
        assert error.code == "MODEL-041"
        assert said in error.message


def test_another_size_is_refused_with_the_fix(tmp_path: Path) -> None:
    written(tmp_path / "v.txt")
    error = refused(tmp_path, None, embedding_size=8)
    assert isinstance(error, ConfigError)
    assert error.code == "MODEL-042"
    assert "set it to 4" in error.fix


def test_vectors_of_another_language_are_refused_with_examples(tmp_path: Path) -> None:
    error = refused(tmp_path, "天气 1 2\n下雨 3 4\n".encode())
    assert error.code == "MODEL-043"
    assert '"天气", "下雨"' in error.message
    assert '"the"' in error.message
    assert "tokenize: {kind: word}" in error.fix


def test_the_file_belongs_to_the_fingerprint(tmp_path: Path) -> None:
    from llmwright.training.config import TrainConfig

    values = {"kind": "glove", "file": "v.txt"}
    model = {"kind": "scratch", "architecture": {"kind": "recurrent", "vectors": values}}
    config = parse(TrainConfig, {"model": model})
    assert config.local_files(tmp_path) == [tmp_path / "v.txt"]


def test_a_piece_within_a_word_is_no_word() -> None:
    tokenizer = words("bpe", ["raining snowing raining snowing 下雨 下雨"] * 20)
    assert "in" in tokenizer.get_vocab()
    found = set(words_of(tokenizer).values())
    assert {"raining", "下雨", "雨"} <= found
    assert not found & {"in", "g", "\ufffd"}
