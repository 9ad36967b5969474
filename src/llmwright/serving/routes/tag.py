"""``/v1/tag``: a tag for each word, and what the tags put together."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from llmwright.serving.bodies.texts import TagBody, Tagging
from llmwright.serving.routes.documented import answers
from llmwright.serving.routes.listed import found_for, listed
from llmwright.serving.served.entities import entities_of, spans_of, tells_groups
from llmwright.serving.work.service import service_of

router = APIRouter(tags=["Classification"])


@router.post("/v1/tag", responses=answers(Tagging))
async def tag(body: TagBody, request: Request) -> Response:
    """Tag the words of one text or several; entities say where in the text they stand."""
    service = service_of(request)
    hosted = await service.pick(body.model)
    model = hosted.model
    model.must("tag", "/v1/tag")
    texts = [body.input] if isinstance(body.input, str) else body.input
    service.check_rows(len(texts), "input")
    name = model.predictor.text_name
    found = await found_for(request, hosted, [model.predictor.read({name: one}) for one in texts])
    characters = model.contract.profile.get("words") == "characters"
    groups = tells_groups(model.contract.labels)

    def describe(index: int, answer: dict[str, Any]) -> dict[str, Any]:
        given = texts[index]
        told: dict[str, Any] = {key: answer[key] for key in ("tokens", "tags", "scores")}
        words = answer["tokens"]
        text = given if isinstance(given, str) else None
        if text is None:
            spans = [(place, place + 1) for place in range(len(words))]
        else:
            spans = spans_of(text, characters)
            told["spans"] = [list(span) for span in spans]
        if groups:
            told["entities"] = entities_of(answer["tags"], answer["scores"], spans, words, text)
        return told

    return listed("tag", hosted, found, describe)
