"""``/v1/search`` and ``/v1/answer``: the server's documents, with or without a writing model."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from llmwright.knowledge import answering
from llmwright.knowledge.search import Hit
from llmwright.serving.bodies.answers import Answered, Found
from llmwright.serving.bodies.knowledge import AnswerBody, SearchBody
from llmwright.serving.bodies.requests import ChatBody
from llmwright.serving.door.errors import ApiError
from llmwright.serving.routes.asked import usage
from llmwright.serving.routes.documented import answers
from llmwright.serving.work.call import Call
from llmwright.serving.work.hosted import Hosted
from llmwright.serving.work.library import Library
from llmwright.serving.work.service import Service, service_of
from llmwright.serving.work.worker import Job
from llmwright.serving.writing import Writing

router = APIRouter(tags=["Knowledge"])
SCORE_DIGITS = 4


@dataclass(frozen=True)
class Grounds:
    """What a question is answered from.

    Attributes:
        prompt: What the model is asked in place of the question; where there are no passages, the
            answer: that nothing is known.
        hits: The passages in it.
    """

    prompt: str
    hits: list[Hit]


@router.post("/v1/search", responses=answers(Found))
async def search(body: SearchBody, request: Request) -> Response:
    """Find the passages of the server's documents that answer a question best."""
    service = service_of(request)
    hits = await found(service, body.query, body.top_k)
    known = bool(library_of(service).known(hits))
    head = {"id": f"search-{uuid.uuid4().hex}", "object": "list", "created": int(time.time())}
    return JSONResponse({**head, "known": known, "data": citations(hits)})


@router.post("/v1/answer", responses=answers(Answered))
async def answer(body: AnswerBody, request: Request) -> Response:
    """Answer a question from the server's documents, or say that they do not know.

    A model that converses writes the answer and cites passages; without one the passages are the
    answer.
    """
    service = service_of(request)
    hits = await found(service, body.question, body.passages)
    known = library_of(service).known(hits)
    hosted = await writer_of(service, body.model)
    head: dict[str, Any] = {
        "id": f"answer-{uuid.uuid4().hex}",
        "object": "answer",
        "created": int(time.time()),
        "model": hosted.name if hosted else None,
        "known": bool(known),
    }
    if not known:
        text = answering.unknown(body.question)
        return JSONResponse({**head, "answer": text, "citations": [], "usage": usage([])})
    if hosted is None:
        told = {"answer": None, "citations": citations(known), "usage": usage([])}
        return JSONResponse({**head, **told})
    writing = hosted.bounded(body.writing())
    grounds = await grounds_of(body.question, known, hosted, writing, [])
    row = hosted.model.predictor.read({"messages": [_said(grounds.prompt)]})
    (piece,) = await Call(request, hosted, [Job([row], writing)]).texts()
    cited = citations(grounds.hits, piece.text)
    return JSONResponse({**head, "answer": piece.text, "citations": cited, "usage": usage([piece])})


def library_of(service: Service) -> Library:
    """Return the server's documents.

    Raises:
        ApiError: It has none (404).
    """
    if service.library is None:
        raise ApiError(404, "no_documents")
    return service.library


async def found(service: Service, question: str, count: int | None) -> list[Hit]:
    """Return the passages that answer a question best; errors as `Library.search`.

    Raises:
        ApiError: A guard refuses the question (400).
    """
    config = service.config
    most = config.max_queue + config.max_concurrency
    # Not every question comes to a model, whose call would look at it.
    (question,) = await service.guards.prompts([question], [], str)
    return await library_of(service).search(question, count, config.request_timeout_seconds, most)


async def writer_of(service: Service, name: str | None) -> Hosted | None:
    """Return the model that writes answers; None where none converses.

    Args:
        service: The server.
        name: Of a model; the first one that converses when None.

    Raises:
        ApiError: No such model (404), or it does not converse (400).
    """
    if name is not None:
        service.known(name).offer.must("chat", "/v1/answer")
        return await service.pick(name)
    for allowed in service.allowed:
        if "chat" in service.models[allowed].offer.abilities:
            return await service.pick(allowed)
    return None


async def grounds_for(
    body: ChatBody,
    messages: list[dict[str, str]],
    service: Service,
    hosted: Hosted,
    writing: Writing,
) -> Grounds | None:
    """Return what a conversation's next turn is answered from; None where it is the model alone.

    A question that finds nothing by itself is looked for together with the one before it, as in
    "And in 2015?".

    Raises:
        ApiError: There are no documents to answer from (404), no passage fits, or the answer is to
            follow a schema, which "I do not know" does not (400); or as `found`.
    """
    if body.knowledge is False or (body.knowledge is None and service.library is None):
        return None
    library = library_of(service)
    if body.schema_of() is not None:
        raise ApiError(400, "no_schema_from_documents", param="knowledge")
    question = messages[-1]["content"]
    before = [turn["content"] for turn in messages[:-1] if turn["role"] == "user"]
    known = library.known(await found(service, question, None))
    if not known and before:
        known = library.known(await found(service, f"{before[-1]}\n{question}", None))
    if not known:
        return Grounds(answering.unknown(question), [])
    return await grounds_of(question, known, hosted, writing, messages[:-1])


async def grounds_of(
    question: str,
    known: list[Hit],
    hosted: Hosted,
    writing: Writing,
    before: list[dict[str, str]],
) -> Grounds:
    """Return what a model is asked, with as many passages as it can read beside its answer.

    Args:
        question: The question.
        known: Passages that may answer it, the best first.
        hosted: The model.
        writing: How it writes: its answer needs room.
        before: Earlier turns of the conversation.

    Raises:
        ApiError: Not even a part of a passage fits (400).
    """
    # The search may have taken its time: the model must not be taken away before it is asked.
    hosted.touch()
    predictor = hosted.model.predictor
    context = min(
        limit for limit in (predictor.engine.context, predictor.contract.max_length) if limit
    )
    wanted = writing.generation.get("max_new_tokens", 0)
    # An answer may be short; passages that are missing make it wrong.
    room = context - min(wanted, context // 4)

    def fits(text: str) -> bool:
        row = predictor.read({"messages": [*before, _said(text)]})
        example = predictor.encode(row)
        return not example.truncated and len(example.input_ids_T) <= room

    control = predictor.tokenizer.all_special_tokens
    added = [str(token) for token in predictor.tokenizer.added_tokens_decoder.values()]
    tokens = sorted({*control, *added}, key=len, reverse=True)
    text, hits = await run_in_threadpool(answering.fitting, question, known, fits, tokens)
    hosted.touch()
    if not hits:
        raise ApiError(400, "no_room_for_passages", name=hosted.name, limit=context)
    return Grounds(text, hits)


def _said(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def citations(hits: list[Hit], text: str | None = None) -> list[dict[str, Any]]:
    """Return passages as answers tell them, numbered from 1 on.

    Args:
        hits: The passages.
        text: An answer that may cite them.
    """
    marked = answering.marked(text, len(hits)) if text is not None else None
    return [
        {
            "number": number,
            "text": hit.passage.text,
            "source": hit.passage.source,
            "heading": hit.passage.heading,
            "row": hit.passage.row,
            "start": hit.passage.start,
            "end": hit.passage.end,
            "score": round(hit.score, SCORE_DIGITS),
            **({} if marked is None else {"cited": number in marked}),
        }
        for number, hit in enumerate(hits, start=1)
    ]
