"""Requests that make or change a message."""

from __future__ import annotations

from typing import Any

from oxillama.schemas.fields import Array, Choice, Identifier, Object, String, StringOr, Variants
from oxillama.schemas.loading import RequestSchema, TypedSchema
from oxillama.schemas.options import NotedSchema
from oxillama.schemas.problems import Problem

LONGEST_TEXT = 256_000


_EMPTY_CONTENT = Problem("invalid_value", "Message content must be non-empty.")
_EMPTY_PART = Problem("invalid_value", "content with type `text` must have `text` values.")


class MessageText(String):
    """Text of a message.

    Args:
        when_empty: what is wrong with an empty one.
    """

    def __init__(self, *, when_empty: Problem, **kwargs: Any) -> None:
        super().__init__(max_length=LONGEST_TEXT, **kwargs)
        self._when_empty = when_empty

    def check(self, value: str) -> None:
        """Empty or too long."""
        if not value:
            raise self._when_empty.error()
        super().check(value)


class TextPart(TypedSchema):
    """A piece of text."""

    text = MessageText(when_empty=_EMPTY_PART, required=True)


def _detail() -> Choice:
    return Choice("auto", "low", "high", load_default="auto")


class ImageUrl(RequestSchema):
    """An image on the web, or in the request itself."""

    url = String(pattern="^(https?://|data:image/).+$", allow_empty=False, required=True)
    detail = _detail()


class ImageFile(RequestSchema):
    """An image that was uploaded."""

    file_id = Identifier(required=True)
    detail = _detail()


class ImageUrlPart(TypedSchema):
    """A piece of content that is an image by URL."""

    image_url = Object(ImageUrl, required=True)


class ImageFilePart(TypedSchema):
    """A piece of content that is an image by file."""

    image_file = Object(ImageFile, required=True)


class Attachment(RequestSchema):
    """A file for the tools of the thread."""

    file_id = Identifier(required=True)
    tools = Array(Variants({"code_interpreter": TypedSchema, "file_search": TypedSchema}), load_default=list)


class ModifyMessage(NotedSchema):
    """`POST /threads/{thread_id}/messages/{message_id}`."""


class CreateMessage(ModifyMessage):
    """`POST /threads/{thread_id}/messages`, and each message given with a new thread or run."""

    role = Choice("user", "assistant", required=True)
    content = StringOr(
        MessageText(when_empty=_EMPTY_CONTENT),
        Array(Variants({"text": TextPart, "image_url": ImageUrlPart, "image_file": ImageFilePart}), allow_empty=False),
        required=True,
    )
    attachments = Array(Object(Attachment))
