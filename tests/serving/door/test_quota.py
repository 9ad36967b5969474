from __future__ import annotations

import pytest

from llmwright.serving.door.errors import ApiError
from llmwright.serving.door.keys import Key
from llmwright.serving.door.quota import Bucket, Quotas


def test_a_bucket_fills_steadily_and_never_holds_two_minutes() -> None:
    bucket = Bucket(60, now=0)
    bucket.take(60, now=0)
    assert bucket.wait(1, now=0) == pytest.approx(1)
    assert bucket.level(now=10) == pytest.approx(10)
    assert bucket.level(now=10_000) == 60


def test_what_was_taken_beyond_the_limit_is_paid_back() -> None:
    bucket = Bucket(100, now=0)
    bucket.take(300, now=0)
    assert bucket.level(now=0) == -200
    assert bucket.wait(1, now=0) == pytest.approx(201 * 0.6)
    assert bucket.headers("tokens", now=0)["x-ratelimit-remaining-tokens"] == "0"


def test_requests_beyond_the_limit_are_told_when_to_come_back() -> None:
    quotas = Quotas()
    key = Key(id="a", requests_per_minute=2)
    for _ in range(2):
        quotas.enter(key)
        quotas.leave(key, 10)
    with pytest.raises(ApiError) as refused:
        quotas.enter(key)
    assert refused.value.status == 429
    headers = refused.value.headers or {}
    assert 1 <= int(headers["retry-after"]) <= 30
    assert headers["x-ratelimit-limit-requests"] == "2"
    assert headers["x-ratelimit-remaining-requests"] == "0"
    quotas.enter(Key(id="b", requests_per_minute=2))


def test_tokens_count_once_they_are_used() -> None:
    quotas = Quotas()
    key = Key(id="a", tokens_per_minute=100)
    quotas.enter(key)
    quotas.leave(key, 500)
    with pytest.raises(ApiError, match="rate_limited_tokens"):
        quotas.enter(key)


def test_places_at_the_same_time_come_back() -> None:
    quotas = Quotas()
    key = Key(id="a", max_concurrency=1)
    quotas.enter(key)
    with pytest.raises(ApiError, match="too_many_at_once"):
        quotas.enter(key)
    quotas.leave(key, 0)
    quotas.enter(key)


def test_a_changed_limit_holds_at_once() -> None:
    quotas = Quotas()
    quotas.enter(Key(id="a", requests_per_minute=1))
    with pytest.raises(ApiError):
        quotas.enter(Key(id="a", requests_per_minute=1))
    quotas.enter(Key(id="a", requests_per_minute=100))
    quotas.enter(Key(id="a"))
