"""The model's name in a body of several parts (RFC 7578), which is otherwise passed on byte for byte."""

from __future__ import annotations

from collections.abc import Callable

from werkzeug.http import parse_options_header

from oxillama.errors import InvalidRequest

#: As many as werkzeug takes of a form by default. Each costs more than its bytes.
_MAX_PARTS = 1000
_MAX_HEAD_BYTES = 8 * 1024
_MODEL_PART = b'\r\nContent-Disposition: form-data; name="model"\r\n\r\n'


def with_model(content: bytes, content_type: str, choose: Callable[[str | None], str | None]) -> bytes:
    """The same body with another value in its field `model`.

    Args:
        content: the body.
        content_type: of the request, with the boundary.
        choose: from the field's value to what is to stand there; from and to None where there is no such field.

    Returns:
        The body. It is untouched when it has no boundary, or nothing is to change.

    Raises:
        InvalidRequest: it has too many parts.
    """
    boundary = parse_options_header(content_type)[1].get("boundary")
    if not boundary:
        return content
    delimiter = b"\r\n--" + boundary.encode("latin-1", "replace")
    # The first delimiter has no line before it; what follows the last one is no part.
    before, *parts = (b"\r\n" + content).split(delimiter, _MAX_PARTS + 2)
    if len(parts) < 2:
        return content
    if len(parts) > _MAX_PARTS + 1:
        raise InvalidRequest(f"The form in the body of your request has more than {_MAX_PARTS} parts.")
    values = [(number, part.partition(b"\r\n\r\n")) for number, part in enumerate(parts[:-1]) if _is_model(part)]
    for number, (head, blank, value) in values:
        parts[number] = head + blank + (choose(value.decode(errors="replace")) or "").encode()
    if not values and (model := choose(None)) is not None:
        parts.insert(0, _MODEL_PART + model.encode())
    return delimiter.join((before, *parts)).removeprefix(b"\r\n")


def _is_model(part: bytes) -> bool:
    head = part[:_MAX_HEAD_BYTES].partition(b"\r\n\r\n")[0].decode("latin-1")
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            return parse_options_header(value.strip())[1].get("name") == "model"
    return False
