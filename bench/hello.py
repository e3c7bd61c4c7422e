"""The reference for every request: the least that a Flask application can do. Served by gunicorn with the settings of our own."""

from __future__ import annotations

from flask import Flask, Response, jsonify, request

application = Flask("hello", static_folder=None)

#: With it the body has about 300 bytes, as many as a small object of the API.
_TEXT = "Hello, world. " * 15


@application.get("/health")
def health() -> Response:
    """What tells that it serves."""
    return jsonify(status="ok")


@application.get("/hello")
def hello() -> Response:
    """A small JSON object."""
    return jsonify(id="hello_000000000000000000000000", object="hello", created_at=1790000000, text=_TEXT, metadata={})


@application.post("/hello")
def hello_back() -> Response:
    """The same, once the request's JSON was read."""
    values = request.get_json()
    return jsonify(id="hello_000000000000000000000000", object="hello", created_at=1790000000, text=_TEXT, metadata={"read": len(values)})
