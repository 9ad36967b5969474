"""``/v1/embeddings``: a vector for each text."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from llmwright.serving.bodies.vectors import EmbedBody, Embeddings
from llmwright.serving.door.errors import ApiError
from llmwright.serving.routes.documented import answers
from llmwright.serving.work.call import Call
from llmwright.serving.work.service import service_of
from llmwright.serving.work.worker import Job

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/embeddings", responses=answers(Embeddings))
async def embeddings(body: EmbedBody, request: Request) -> Response:
    """Return vectors of texts: of texts that mean the like, their product is large.

    Any model that reads texts has vectors; those of one made for it are good ones.
    """
    service = service_of(request)
    hosted = await service.pick(body.model)
    model = hosted.model
    model.must_embed("/v1/embeddings")
    texts = body.texts()
    service.check_rows(len(texts), "input")
    model.check_prompt(body.input_type)
    for ids in (text for text in texts if not isinstance(text, str)):
        model.check_ids(ids, "input")
    # Ids as an array: so whatever looks at the texts of rows knows them.
    read = [text if isinstance(text, str) else np.array(text, dtype=np.int64) for text in texts]
    rows = [{"text": text, "prompt": body.input_type} for text in read]
    job = Job(rows, answer=model.vectors)
    found = await Call(request, hosted, [job]).answers()
    size = len(found[0].answer["embedding"])
    if body.dimensions not in (None, size):
        raise ApiError(400, "dimensions", param="dimensions", size=size)
    data = [_entry(index, one.answer, body) for index, one in enumerate(found)]
    count = sum(one.num_input_tokens for one in found)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return JSONResponse({"object": "list", "model": model.name, "data": data, "usage": usage})


def _entry(index: int, answer: dict[str, Any], body: EmbedBody) -> dict[str, Any]:
    vector_D: np.ndarray = answer["embedding"]
    told: list[float] | str = vector_D.tolist()
    if body.encoding_format == "base64":
        told = base64.b64encode(vector_D.astype("<f4").tobytes()).decode()
    cut = {"truncated": True} if answer.get("truncated") else {}
    return {"object": "embedding", "index": index, "embedding": told, **cut}
