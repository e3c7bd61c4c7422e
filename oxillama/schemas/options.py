"""What an assistant and a run both say about how to answer."""

from __future__ import annotations

from oxillama.schemas.fields import (
    MAX_SCHEMA_BYTES,
    Boolean,
    Choice,
    Decimal,
    FreeJson,
    Identifier,
    Integer,
    Metadata,
    Object,
    String,
    StringOr,
    Variants,
)
from oxillama.schemas.loading import RequestSchema, TypedSchema
from oxillama.schemas.tools import tools

LONGEST_INSTRUCTIONS = 256_000
#: Characters of a model's name. The hosted API names no bound; it knows its models, and we remember what callers ask for.
MAX_MODEL = 256


class JsonSchema(RequestSchema):
    """The JSON schema that an answer must have."""

    name = Identifier(required=True)
    description = String()
    schema = FreeJson()
    strict = Boolean()


class JsonSchemaFormat(TypedSchema):
    """The answer is JSON by a schema."""

    json_schema = Object(JsonSchema, required=True, max_bytes=MAX_SCHEMA_BYTES)


class AutoTruncation(TypedSchema):
    """The server chooses which messages to leave out."""

    last_messages = Integer(least=1, load_default=None)


class LastMessages(TypedSchema):
    """Only the newest messages go to the model."""

    last_messages = Integer(least=1, required=True)


def response_format() -> StringOr:
    """The field of an answer's format."""
    kinds = {"text": TypedSchema, "json_object": TypedSchema, "json_schema": JsonSchemaFormat}
    return StringOr(Choice("auto"), Variants(kinds))


def truncation_strategy() -> Variants:
    """The field of what a run leaves out of a long thread."""
    return Variants({"auto": AutoTruncation, "last_messages": LastMessages})


class NotedSchema(RequestSchema):
    """The request of an object that carries metadata; alone, that of one where nothing else can change."""

    metadata = Metadata()


class AnswerOptions(NotedSchema):
    """How to answer."""

    model = String(max_length=MAX_MODEL, allow_empty=False)
    instructions = String(max_length=LONGEST_INSTRUCTIONS)
    tools = tools()
    temperature = Decimal(least=0, most=2)
    top_p = Decimal(least=0, most=1)
    reasoning_effort = Choice("none", "minimal", "low", "medium", "high", "xhigh", "max")
    response_format = response_format()
