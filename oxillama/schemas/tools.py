"""Tools: which a model has, what they work on, and which it must use."""

from __future__ import annotations

from typing import Any

from oxillama.schemas.fields import (
    MAX_SCHEMA_BYTES,
    Array,
    Boolean,
    Choice,
    Decimal,
    FreeJson,
    Identifier,
    Integer,
    NotHere,
    Object,
    String,
    StringOr,
    Variants,
)
from oxillama.schemas.loading import RequestSchema, TypedSchema

MOST_TOOLS = 128


def _no_parameters() -> dict[str, Any]:
    return {"type": "object", "properties": {}}


class Function(RequestSchema):
    """A function of the caller's."""

    name = Identifier(required=True)
    description = String()
    parameters = FreeJson(load_default=_no_parameters)
    strict = Boolean(load_default=False)


class FunctionTool(TypedSchema):
    """A tool that the caller runs."""

    function = Object(Function, required=True, max_bytes=MAX_SCHEMA_BYTES)


class RankingOptions(RequestSchema):
    """How file search ranks. `hybrid_search` is not in the published schema, but in what the API answers."""

    ranker = Choice("auto", "default_2024_08_21", load_default="default_2024_08_21")
    score_threshold = Decimal(least=0, most=1, load_default=0.0)
    hybrid_search = FreeJson(load_default=None)


class FileSearch(RequestSchema):
    """The options of file search."""

    max_num_results = Integer(least=1, most=50)
    ranking_options = Object(RankingOptions, filled=True)


class FileSearchTool(TypedSchema):
    """The tool that searches files."""

    file_search = Object(FileSearch, filled=True)


class CodeInterpreterFiles(RequestSchema):
    """What code interpreter may read."""

    file_ids = Array(Identifier(), max_length=20, load_default=list)


class FileSearchStores(RequestSchema):
    """What file search may read."""

    vector_store_ids = Array(Identifier(), max_length=1, load_default=list)
    vector_stores = NotHere("Vector stores are not supported yet by this server.")


class ToolResources(RequestSchema):
    """What tools may read. An object without its list gets an empty one, since typed clients leave empty lists out and expect them back."""

    code_interpreter = Object(CodeInterpreterFiles)
    file_search = Object(FileSearchStores)


class FunctionName(RequestSchema):
    """A function, by name."""

    name = Identifier(required=True)


class NamedFunction(TypedSchema):
    """The choice of one function."""

    function = Object(FunctionName, required=True)


def tools() -> Array:
    """The field of a list of tools."""
    kinds = {"code_interpreter": TypedSchema, "file_search": FileSearchTool, "function": FunctionTool}
    return Array(Variants(kinds), max_length=MOST_TOOLS)


def tool_choice() -> StringOr:
    """The field of the tool that a model must use."""
    kinds = {"function": NamedFunction, "code_interpreter": TypedSchema, "file_search": TypedSchema}
    return StringOr(Choice("none", "auto", "required"), Variants(kinds))
