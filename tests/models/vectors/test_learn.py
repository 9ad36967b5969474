"""Word vectors learned from the training texts: words used alike come together."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from llmwright.core.config import parse
from llmwright.core.errors import InputError, ResourceError
from llmwright.models.config import ScratchModel
from llmwright.models.spec import ModelRequest, build_model
from llmwright.models.vectors.config import TrainedVectors
from llmwright.models.vectors.fill import VectorRequest
from llmwright.models.vectors.learn import MAX_SENTENCE, Sentences
from llmwright.tokenization.config import TOKENIZERS, TokenizeConfig
from llmwright.tokenization.special import Framing

ANIMALS, CITIES = ["cat", "dog", "cow", "hen"], ["paris", "rome", "oslo", "bern"]


def corpus() -> list[str]:
    pick = random.Random(0).choice
    texts = []
    for _ in range(300):
        texts.append(f"the {pick(ANIMALS)} eats grass and sleeps in the {pick(['barn', 'field'])}")
        texts.append(f"we fly to {pick(CITIES)} by plane and visit the {pick(['museum', 'tower'])}")
    return texts


def learned(seed: int = 3, **options):
    texts = corpus()
    tokenizer = TOKENIZERS.get("word")(TokenizeConfig(kind="word"), texts, Framing(frame="cls_sep"))
    encoded = [np.array(tokenizer.encode(text)) for text in texts]
    vectors = {"kind": "train", **options}
    values = {"architecture": {"kind": "recurrent", "vectors": vectors}, "hidden_size": 16}
    heard: list[str] = []
    request = ModelRequest(
        "AutoModelForCausalLM",
        tokenizer,
        seed=seed,
        sequences=lambda: encoded,
        notice=heard.append,
    )
    model = build_model(parse(ScratchModel, values), request)
    return model.get_input_embeddings().weight.detach(), tokenizer.get_vocab(), heard


def nearest(weight: torch.Tensor, ids: dict[str, int], word: str) -> str:
    chosen = [ids[other] for other in ANIMALS + CITIES if other != word]
    likeness = torch.cosine_similarity(weight[ids[word]][None], weight[chosen])
    place = chosen[int(likeness.argmax())]
    return next(other for other, index in ids.items() if index == place)


@pytest.mark.parametrize("method", ["skip_gram", "cbow"])
def test_words_used_alike_come_together(method: str) -> None:
    weight, ids, heard = learned(method=method, epochs=20, window=3)
    for group in (ANIMALS, CITIES):
        for word in group:
            assert nearest(weight, ids, word) in group
    said = " ".join(heard)
    assert "from the training texts" in said
    assert "0 are random" in said


def test_the_same_seed_gives_the_same_vectors() -> None:
    first, same, other = (learned(seed, epochs=1)[0] for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.slow
def test_they_are_the_same_in_every_process() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import torch; torch.set_num_threads(1)\n"
        "from test_learn import learned\n"
        "print(learned(epochs=2)[0].double().sum(dim=1).tolist())"
    )
    printed = [
        subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": hashes},
        ).stdout
        for hashes in ("0", "1")
    ]
    assert printed[0] == printed[1]


def request_for(sequences) -> VectorRequest:
    texts = ["rain and snow"]
    tokenizer = TOKENIZERS.get("word")(TokenizeConfig(kind="word"), texts, Framing(frame="cls_sep"))
    return VectorRequest(tokenizer, 4, 0, None, sequences, [].append)


def test_nothing_of_a_long_text_is_left_out_but_special_tokens() -> None:
    ids = np.resize(np.arange(7, 10), 2 * MAX_SENTENCE + 5)
    request = request_for(lambda: [np.array([request_for(tuple).tokenizer.cls_token_id, *ids])])
    pieces = list(Sentences(request))
    assert [len(piece) for piece in pieces] == [MAX_SENTENCE, MAX_SENTENCE, 5]
    assert [int(word) for piece in pieces for word in piece] == ids.tolist()


def test_without_texts_or_with_rare_words_only_it_says_so() -> None:
    for sequences in (tuple, lambda: [np.array([7, 8, 9])]):
        with pytest.raises(InputError) as caught:
            TrainedVectors().build(request_for(sequences))
        assert caught.value.code == "MODEL-044"


def test_without_gensim_the_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(ResourceError) as caught:
        TrainedVectors().build(request_for(tuple))
    assert caught.value.code == "MODEL-046"
    assert "llmwright[vectors]" in caught.value.fix
