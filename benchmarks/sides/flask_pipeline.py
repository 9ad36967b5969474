"""The usual way to serve a classifier: Flask, one thread per request, `transformers.pipeline`."""

from __future__ import annotations

import sys

from flask import Flask, jsonify, request
from transformers import pipeline


def main() -> None:
    classify = pipeline("text-classification", model=sys.argv[1], device="cpu")
    app = Flask(__name__)

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.post("/classify")
    def answer():  # type: ignore[no-untyped-def]
        found = classify(request.get_json()["input"])[0]
        return jsonify(label=found["label"], score=found["score"])

    app.run(port=int(sys.argv[2]), threaded=True)


if __name__ == "__main__":
    main()
