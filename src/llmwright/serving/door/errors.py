"""One envelope for every error, as OpenAI's clients expect it.

``{"error": {"message", "type", "param", "code"}}`` — also for malformed JSON, unknown routes and
defects of ours. ``code`` is the name of the sentence in ``locale/<language>/serving.yaml``
(``serving.model_not_found``), or the code of a `LLMwrightError`.
"""

from __future__ import annotations

import itertools
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from llmwright.core import locale
from llmwright.core.errors import CheckError, LLMwrightError, ResourceError, StoppedError

LOGGER = logging.getLogger("llmwright.serving")

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# For errors that do not know it better.
RETRY = {"retry-after": "1"}
# Characters of a client's value, and of a whole message, that are sent back.
MAX_VALUE = 300
MAX_MESSAGE = 2000
# Sentences for errors that the framework raises by itself.
FRAMEWORK_CODES = {
    404: "route_not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "body_too_large",
}


class ApiError(Exception):
    """A refused request.

    Args:
        status: HTTP status, 400–599.
        code: Name of the sentence, without ``serving.``.
        param: The request's field it is about.
        headers: Headers to send along, as ``Retry-After``.
        **values: What the sentence's placeholders stand for.
    """

    def __init__(
        self,
        status: int,
        code: str,
        *,
        param: str | None = None,
        headers: dict[str, str] | None = None,
        **values: object,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.param = param
        self.headers = headers
        self.values = values

    def message(self, lang: locale.Language) -> str:
        """Return the sentence in a language."""
        values = {name: shown(value) for name, value in self.values.items()}
        return locale.text(f"serving.{self.code}", lang, **{"param": self.param, **values})


class ClientLeft(Exception):
    """The client closed its connection before the answer was complete."""


def shown(value: object, limit: int = MAX_VALUE) -> str:
    """Return a client's value as a message shows it: not endless, and without half characters."""
    text = str(value)
    text = text if len(text) <= limit else text[:limit] + "…"
    return text.encode("utf-8", "backslashreplace").decode()


def envelope(status: int, message: str, code: str, param: str | None = None) -> dict[str, Any]:
    """Return the body of an error."""
    kind = TYPES.get(status, "invalid_request_error")
    place = None if param is None else shown(param)
    message = shown(message, MAX_MESSAGE)
    return {"error": {"message": message, "type": kind, "param": place, "code": code}}


def from_known(error: LLMwrightError, lang: locale.Language) -> tuple[int, dict[str, Any]]:
    """Return status and body for an error of the catalogue.

    What the machine lacks is 503, what did not hold is 500; all else is about the request.
    """
    message, fix = error.in_language(lang)
    status = 400
    if isinstance(error, ResourceError | StoppedError):
        status = 503
    elif isinstance(error, CheckError):
        status = 500
    return status, envelope(status, f"{message} {fix}".strip(), error.code, error.where)


def describe(error: BaseException, lang: locale.Language) -> tuple[int, dict[str, Any]]:
    """Return status and body for any error; an unknown one is logged and told without detail."""
    if isinstance(error, ApiError):
        return error.status, envelope(error.status, error.message(lang), error.code, error.param)
    if isinstance(error, LLMwrightError):
        return from_known(error, lang)
    LOGGER.error("A request failed", exc_info=error)
    return 500, envelope(500, locale.text("serving.internal", lang), "internal")


def headers_of(error: BaseException, status: int) -> dict[str, str]:
    """Return the headers of an error's answer; what may be tried again says when."""
    given = error.headers if isinstance(error, ApiError) else None
    return {**(RETRY if status in (429, 503, 504) else {}), **(given or {})}


def language_of(accept: str | None) -> locale.Language:
    """Return the language a client asks for with ``Accept-Language``, else the server's."""
    wanted = (accept or "").strip().lower()
    if wanted.startswith("zh"):
        return "zh"
    return "en" if wanted.startswith("en") else locale.language()


def _language(request: Request) -> locale.Language:
    return language_of(request.headers.get("accept-language"))


def _known(request: Request, error: Exception) -> JSONResponse:
    status, body = describe(error, _language(request))
    return JSONResponse(body, status, headers_of(error, status))


def _framework(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = FRAMEWORK_CODES.get(error.status_code, "unreadable")
    cause = error.__cause__
    if isinstance(cause, UnicodeDecodeError):
        code = "not_utf8"
    elif isinstance(cause, RecursionError | ValueError):
        # Lists in lists, or a number, beyond what Python reads.
        code = "invalid_json"
    sentence = locale.text(
        f"serving.{code}",
        _language(request),
        path=shown(request.url.path),
        method=shown(request.method),
        reason=shown(cause),
        limit=request.app.state.service.config.max_body_bytes,
    )
    headers = dict(error.headers or {})
    return JSONResponse(envelope(error.status_code, sentence, code), error.status_code, headers)


def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    lang = _language(request)
    # Of the forms a field may have, one of the right type tells more than the others.
    first: dict[str, Any] = min(error.errors(), key=lambda each: each["type"].endswith("_type"))
    parts = [str(part) for part in first["loc"] if part != "body"]
    # Pydantic also names the form it tried, as in "constrained-str".
    place = list(itertools.takewhile(lambda part: part.replace("_", "").isalnum(), parts))
    param: str | None = ".".join(place) or None
    if first["type"] == "json_invalid":
        code, param = "invalid_json", None
    elif first["type"] == "extra_forbidden":
        code = "unsupported_parameter"
    elif param is None:
        # No JSON object at all: another content type, or another JSON value.
        code = "not_an_object"
    else:
        code = "missing_parameter" if first["type"] == "missing" else "invalid_parameter"
    sentence = locale.text(
        f"serving.{code}",
        lang,
        param=shown(param),
        path=shown(request.url.path),
        reason=_reason(first, lang),
    )
    return JSONResponse(envelope(400, sentence, code, param), 400)


def _reason(problem: dict[str, Any], lang: locale.Language) -> str:
    """Return pydantic's complaint in our words; in its own where it is an unusual one."""
    # Pydantic joins choices by "or", which is no Chinese word.
    values = {name: str(v).replace(" or ", ", ") for name, v in problem.get("ctx", {}).items()}
    key = f"serving.reason.{problem['type']}"
    if key in locale.catalogue(lang, "serving")["text"]:
        return locale.text(key, lang, **values)
    return str(problem["msg"])


def install(app: FastAPI) -> None:
    """Make every error of an app use the envelope."""
    app.add_exception_handler(ApiError, _known)
    app.add_exception_handler(LLMwrightError, _known)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _invalid)
