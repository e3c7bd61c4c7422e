"""The model's name in a form, replaced in the bytes: another reader finds the other name, and everything else as it was."""

from __future__ import annotations

import contextlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.formparser import MultiPartParser

from oxillama.errors import InvalidRequest
from oxillama.web.multipart import with_model

BOUNDARY = "a'b_1"
CONTENT_TYPE = f'multipart/form-data; boundary="{BOUNDARY}"'
NAMES = {"whisper-1": "faster-whisper"}

#: Bytes that look like what divides the parts, but for the boundary.
_VALUES = st.binary(max_size=20) | st.sampled_from(
    [b"", b"\r\n", b"\r\n--", b"--a'b_", b'\r\n\r\nContent-Disposition: form-data; name="model"\r\n\r\n']
)
_FIELDS = st.lists(st.tuples(st.sampled_from(["model", "file", "x", "Model"]), _VALUES | st.sampled_from([b"whisper-1"])), max_size=5)


def form(fields: list[tuple[str, bytes]]) -> bytes:
    parts = [f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n" for name, value in fields]
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def read(body: bytes) -> list[tuple[str, str]]:
    fields, _ = MultiPartParser().parse(BytesIO(body), BOUNDARY.encode(), len(body))
    return sorted(fields.items(multi=True))


def served(asked: str | None) -> str | None:
    return asked if asked is None else NAMES.get(asked, asked)


@given(_FIELDS)
def test_only_the_model_changes(fields):
    body = form(fields)
    renamed = with_model(body, CONTENT_TYPE, served)
    expected = [(name, NAMES.get(value, value) if name == "model" else value) for name, value in read(body)]
    assert read(renamed) == sorted(expected)
    if ("model", b"whisper-1") not in fields and all(value.decode(errors="replace").encode() == value for _, value in fields):
        assert renamed == body


@given(_FIELDS)
def test_the_model_of_the_url_is_there_once_it_is_asked_for(fields):
    named = [(name, value) for name, value in read(form(fields)) if name != "model"]
    models = max(1, sum(name == "model" for name, _ in fields)) if fields else 0
    found = read(with_model(form(fields), CONTENT_TYPE, lambda _: "mine"))
    assert found == sorted(named + [("model", "mine")] * models)


@given(st.binary(max_size=200) | st.lists(st.sampled_from([b"--a'b_1", b"\r\n", b"--", b"model", b": ", b'"']), max_size=20).map(b"".join))
def test_anything_at_all(body):
    with contextlib.suppress(InvalidRequest):
        assert isinstance(with_model(body, CONTENT_TYPE, lambda _: "mine"), bytes)
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=", "text/plain", ""):
        assert with_model(body, content_type, lambda _: "mine") == body


def test_too_many_parts():
    assert len(read(with_model(form([("x", b"")] * 1000), CONTENT_TYPE, served))) == 1000
    with pytest.raises(InvalidRequest, match="more than 1000 parts"):
        with_model(form([("x", b"")] * 1001), CONTENT_TYPE, served)
