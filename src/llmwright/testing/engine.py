"""What every engine must do: call `check_engine` in the tests of yours.

    from llmwright.testing.engine import check_engine

    def test_my_engine(tmp_path) -> None:
        check_engine("mine", folder)

The folder is a model or an export that the engine runs, with recorded probes. What an engine says
that it lacks has to be refused by name; all else has to have its effect.
"""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from llmwright.core.errors import LLMwrightError
from llmwright.data.records import Row
from llmwright.inference.engines.engine import Engine, SamplingEngine
from llmwright.inference.predictor import Predictor
from llmwright.inference.proof.parity import compare
from llmwright.inference.proof.probes import PROBES_FILE, Probes
from llmwright.inference.writing.generation import Token, writer_of
from llmwright.inference.writing.sampling import Settings

LENGTH = 8
# Batches of other sizes sum in another order; formats of few bits round what they sum.
EXACT, ROUNDED = 1e-3, 5e-1
# Settings that leave the likeliest token alone, whatever the temperature.
ONE_LEFT: dict[str, Any] = {"top_k": 1, "top_p": 1e-9, "min_p": 1.0}
# Settings that make a greedy text repeat less, at their strongest.
LESS_REPEATS: dict[str, Any] = {
    "repetition_penalty": 10.0,
    "presence_penalty": 2.0,
    "frequency_penalty": 2.0,
}


def check_engine(name: str, folder: Path, rows: Sequence[Row] | None = None) -> set[str]:
    """Check an engine with one model; return what was checked.

    Args:
        name: The engine, as it is registered.
        folder: A model or an export.
        rows: Canonical rows to ask; those of the recorded probes when not given.

    Raises:
        AssertionError: It does not do what every engine does; the message says what.
    """
    predictor = Predictor.open(folder, name)
    engine = predictor.engine
    assert engine.name == name, f"opened as {engine.name}"
    assert engine.number_format, "its number format is not said"
    assert name in predictor.choice, "nobody is told that it was chosen"
    done = {"open", "close"}
    try:
        if (folder / PROBES_FILE).is_file():
            probes = Probes.open(folder)
            rows = rows or [probe.row for probe in probes.probes]
            table = compare(predictor, probes)
            failed = [(check.name, check.value, check.limit) for check in table.failed]
            assert table.passed, f"the probes are answered otherwise: {failed}"
            done.add("probes")
        assert rows, "there is nothing to ask"
        done |= set(_checks(predictor, rows))
    finally:
        predictor.close()
        predictor.close()
    held = weakref.ref(engine)
    del predictor, engine
    gc.collect()
    assert held() is None, "something still holds the engine after close"
    return done


def _checks(predictor: Predictor, rows: Sequence[Row]) -> Iterator[str]:
    _check_adapters(predictor.engine)
    yield "adapters"
    if predictor.task.generates:
        yield from _check_writing(predictor, rows)
    else:
        _check_batches(predictor, rows)
        yield "predict"
    if predictor.task.scores and predictor.task.generates:
        _check_scores(predictor, rows)
        yield "score"
    _check_vectors(predictor, rows)
    yield "embed"


def _check_adapters(engine: Engine) -> None:
    """See that a name of no adapter is refused before anything is written."""
    code, _ = _refusal(lambda: engine.unload_adapter("nobody"))
    assert code == "INFER-051", "an adapter that nobody loaded was unloaded"


def _refusal(call: Callable[[], Any]) -> tuple[str, str | None]:
    """Return the code of the error that a call raises, and what it is about; else nothing."""
    try:
        call()
    except LLMwrightError as error:
        return error.code, error.where
    return "", None


def _check_batches(predictor: Predictor, rows: Sequence[Row]) -> None:
    together = list(predictor.predict(rows))
    for row, found in zip(rows, together, strict=True):
        alone = next(predictor.predict([row]))
        assert set(alone) == set(found), f"{alone} alone, {found} among others"
        for label in ("label", "labels", "tags"):
            assert alone.get(label) == found.get(label), f"{alone} alone, {found} among others"


def _check_writing(predictor: Predictor, rows: Sequence[Row]) -> Iterator[str]:
    greedy = [_written(predictor, row) for row in rows]
    assert greedy == [_written(predictor, row) for row in rows], "greedy texts differ"
    batch = [a["text"] for a in predictor.predict(rows, max_new_tokens=LENGTH)]
    assert batch == greedy, "texts of a batch differ from those written alone"
    yield "predict"
    for options in ({}, {"temperature": 1.0, "seed": 5}):
        for row in rows[:2]:
            pieces = list(predictor.stream(row, max_new_tokens=LENGTH, **options))
            whole = _written(predictor, row, **options)
            assert "".join(pieces) == whole, "a stream does not add up to the answer"
    yield "stream"
    _check_seeds(predictor, rows[0])
    yield "seed"
    _check_sampling(predictor, rows[0], greedy[0])
    yield "sampling"
    _check_log_probs(predictor, rows[0])
    yield "log-probabilities"
    _check_joining(predictor, rows)
    yield "join"
    if not isinstance(predictor.engine, SamplingEngine) and predictor.engine.context:
        _check_context(predictor, rows[0])
        yield "context"


def _written(predictor: Predictor, row: Row, **options: Any) -> str:
    answer = next(predictor.predict([row], **{"max_new_tokens": LENGTH, **options}))
    return str(answer["text"])


def _check_seeds(predictor: Predictor, row: Row) -> None:
    # Hot enough that two texts are hardly ever equal.
    options = {"temperature": 3.0, "max_new_tokens": LENGTH}
    texts = [_written(predictor, row, seed=seed, **options) for seed in (1, 1, 2, 3, 4)]
    assert texts[0] == texts[1], "a seed does not repeat"
    assert len(set(texts)) > 1, "all seeds give one text"


def _check_sampling(predictor: Predictor, row: Row, greedy: str) -> None:
    """See that each setting has its effect, or is refused by name where the engine lacks it."""
    hot = {"temperature": 3.0, "seed": 1}
    alike = set()
    for name, value in ONE_LEFT.items():
        if not _refused(predictor, name, value):
            alike.add(_written(predictor, row, **hot, **{name: value}))
    # A VAE draws its latent vector besides.
    wanted = alike if "vae" in predictor.contract.model_type else {greedy}
    assert alike <= wanted, f"of {set(ONE_LEFT)} one leaves several tokens: {alike}, {greedy!r}"
    assert len(alike) == 1, f"{set(ONE_LEFT)} give {alike}"
    plain = _ids(predictor, row)
    for name, value in LESS_REPEATS.items():
        if not _refused(predictor, name, value):
            ids = _ids(predictor, row, **{name: value})
            assert len(set(ids)) >= len(set(plain)), f"{name} makes {ids} of {plain}"
    first = _ids(predictor, row)[0]
    if not _refused(predictor, "logit_bias", {first: -100.0}):
        ids = _ids(predictor, row, logit_bias={first: -100.0})
        assert ids[0] != first, "a bias has no effect"
    if len(greedy) > 2:
        stop = greedy[1:3]
        cut = _written(predictor, row, stop=(stop,))
        assert cut == greedy[: greedy.index(stop)], f"stop {stop!r} gives {cut!r} of {greedy!r}"
    if not _refused(predictor, "min_new_tokens", LENGTH):
        options = {"min_new_tokens": LENGTH, "max_new_tokens": LENGTH}
        *_, last = predictor.write(predictor.encode(row), **options)
        count = last.num_output_tokens
        assert count == LENGTH, f"{count} tokens, at least {LENGTH} were asked for"


def _refused(predictor: Predictor, name: str, value: Any) -> bool:
    """Say whether the engine lacks a setting, which is then refused by its name."""
    if name not in predictor.engine.lacks:
        return False
    refused = _refusal(lambda: predictor.settings(**{name: value}))
    assert refused == ("INFER-052", name), f"the engine says it lacks {name}: {refused}"
    return True


def _ids(predictor: Predictor, row: Row, **options: Any) -> list[int]:
    deltas = predictor.write(predictor.encode(row), max_new_tokens=LENGTH, **options)
    return [token for delta in deltas for token in delta.token_ids]


def _check_log_probs(predictor: Predictor, row: Row) -> None:
    deltas = list(predictor.write(predictor.encode(row), num_scores=2, max_new_tokens=LENGTH))
    scores = [score for delta in deltas for score in delta.scores or ()]
    for score in scores:
        assert score.log_prob <= 1e-6, f"a probability above 1: {score}"
        values = [value for _, value in score.top]
        assert values == sorted(values, reverse=True), f"not the likeliest first: {score}"
        # Parts of characters look alike as text, so of two there may be one left.
        if len(values) == 2:
            assert abs(values[0] - score.log_prob) < ROUNDED, f"not the likeliest: {score}"


def _check_joining(predictor: Predictor, rows: Sequence[Row]) -> None:
    """See that texts that come and go beside others are what they are alone."""
    prompts = [predictor.encode(row).input_ids_T for row in rows[:3]]
    base = predictor.settings(max_new_tokens=LENGTH)
    settings = [replace(base, max_new_tokens=LENGTH + 2 * n) for n in range(len(prompts))]
    alone = [_together(predictor, [p], [s], ())[0] for p, s in zip(prompts, settings, strict=True)]
    assert _together(predictor, prompts, settings, ()) == alone, "texts that join differ"
    if len(prompts) > 1:
        found = _together(predictor, prompts, settings, (0,))
        assert found[1:] == alone[1:], "a text that leaves changes the others"


def _together(
    predictor: Predictor,
    prompts: Sequence[np.ndarray],
    settings: Sequence[Settings],
    dropped: Sequence[int],
) -> list[tuple[list[int], str]]:
    """Return tokens, or text where that is all, of texts that begin while others are written."""
    writer = writer_of(predictor.engine)
    ids: list[list[int]] = [[] for _ in prompts]
    texts = [""] * len(prompts)
    waiting = list(range(len(prompts)))
    with contextlib.closing(writer):
        while waiting or not writer.is_idle():
            for row in waiting[:1]:
                writer.add([row], [prompts[row]], [settings[row]], [0])
            waiting = waiting[1:]
            for token in writer.step():
                _note(token, ids, texts)
            for row in dropped:
                writer.drop(row)
    return list(zip(ids, texts, strict=True))


def _note(token: Token, ids: list[list[int]], texts: list[str]) -> None:
    """Add a token to its text."""
    if token.failure is not None:
        raise token.failure
    if token.told is not None and token.told.text is not None:
        texts[token.row] += token.told.text
    elif token.is_text:
        ids[token.row].append(token.token_id)


def _check_context(predictor: Predictor, row: Row) -> None:
    context = predictor.engine.context
    assert context is not None
    deltas = list(
        predictor.write(
            predictor.encode(row), max_new_tokens=4 * context, min_new_tokens=4 * context
        )
    )
    written = sum(len(delta.token_ids) for delta in deltas)
    assert deltas[-1].finish_reason == "length", deltas[-1].finish_reason
    assert written <= context + 1, f"{written} tokens in a context of {context}"


def _check_scores(predictor: Predictor, rows: Sequence[Row]) -> None:
    targets = [{**row, "target": "a"} if "input" in row else row for row in rows]
    if "messages" in rows[0]:
        targets = [
            {"messages": [*row["messages"], {"role": "assistant", "content": "a"}]} for row in rows
        ]
    if isinstance(predictor.engine, SamplingEngine):
        assert _refusal(lambda: list(predictor.score(targets)))[0] == "INFER-053"
        return
    together = list(predictor.score(targets))
    limit = EXACT if predictor.engine.number_format == "float32" else ROUNDED
    for row, found in zip(targets, together, strict=True):
        alone = next(predictor.score([row]))
        assert np.array_equal(alone.token_ids_U, found.token_ids_U)
        apart = np.abs(alone.log_probs_U - found.log_probs_U)
        assert not apart.size or apart.max() <= limit, f"scores differ by {apart.max()} in a batch"
        assert (found.log_probs_U <= 1e-6).all(), "a probability above 1"


def _check_vectors(predictor: Predictor, rows: Sequence[Row]) -> None:
    texts = [str(next(v for v in row.values() if isinstance(v, str))) for row in rows if _text(row)]
    if not predictor.engine.gives_hidden:
        code, _ = _refusal(lambda: predictor.embed(["a"]))
        assert code == "INFER-060", "vectors come from an engine that says it has none"
        return
    together = predictor.embed(texts or ["a"])
    for text, vector_D in zip(texts, together, strict=False):
        alone_D = predictor.embed([text])[0]
        lengths = float(np.linalg.norm(alone_D) * np.linalg.norm(vector_D))
        assert float(alone_D @ vector_D) >= 0.999 * lengths, "vectors differ in a batch"


def _text(row: Row) -> bool:
    return any(isinstance(value, str) for value in row.values())
