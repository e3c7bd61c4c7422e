"""What a request may not say, and the words in which it is told."""

import pytest

from oxillama.errors import InvalidRequest
from oxillama.schemas.assistants import CreateAssistant, ModifyAssistant
from oxillama.schemas.loading import load
from oxillama.schemas.messages import CreateMessage, ModifyMessage
from oxillama.schemas.runs import CreateRun, CreateThreadAndRun, ModifyRun, SubmitToolOutputs
from oxillama.schemas.threads import CreateThread, ModifyThread


def problem(schema, body):
    with pytest.raises(InvalidRequest) as caught:
        load(schema, body)
    return caught.value.message, caught.value.param, caught.value.code


def nested(levels):
    value = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


FUNCTION = {"type": "function", "function": {"name": "f"}}


@pytest.mark.parametrize(
    ("schema", "body", "message", "param"),
    [
        (
            ModifyThread,
            {"metadata": {"modified": True}},
            "Invalid type for 'metadata.modified': expected a string, but got a boolean instead.",
            "metadata.modified",
        ),
        (
            ModifyThread,
            {"metadata": {"a": None}},
            "Invalid type for 'metadata.a': expected a string, but got null instead.",
            "metadata.a",
        ),
        (ModifyThread, {"metadata": "x"}, "Invalid type for 'metadata': expected a metadata object, but got a string instead.", "metadata"),
        (
            ModifyMessage,
            {"metadata": {"a": 1}},
            "Invalid type for 'metadata.a': expected a string, but got an integer instead.",
            "metadata.a",
        ),
        (ModifyRun, {"metadata": {"a": {}}}, "Invalid type for 'metadata.a': expected a string, but got an object instead.", "metadata.a"),
        (CreateAssistant, {"model": 1}, "Invalid type for 'model': expected a string, but got an integer instead.", "model"),
        (ModifyAssistant, {"tools": "x"}, "Invalid type for 'tools': expected an array of objects, but got a string instead.", "tools"),
        (ModifyAssistant, {"tools": {}}, "Invalid type for 'tools': expected an array of objects, but got an object instead.", "tools"),
        (ModifyAssistant, {"tools": [None]}, "Invalid type for 'tools[0]': expected an object, but got null instead.", "tools[0]"),
        (
            ModifyAssistant,
            {"tools": [{"type": 1}]},
            "Invalid type for 'tools[0].type': expected a string, but got an integer instead.",
            "tools[0].type",
        ),
        (
            ModifyAssistant,
            {"tools": [FUNCTION, {"type": "function", "function": {"name": "g", "strict": "true"}}]},
            "Invalid type for 'tools[1].function.strict': expected a boolean, but got a string instead.",
            "tools[1].function.strict",
        ),
        (
            ModifyAssistant,
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
            "Invalid type for 'tools[0].function.parameters': expected an object, but got an array instead.",
            "tools[0].function.parameters",
        ),
        (
            ModifyAssistant,
            {"temperature": "1"},
            "Invalid type for 'temperature': expected a decimal, but got a string instead.",
            "temperature",
        ),
        (ModifyAssistant, {"top_p": True}, "Invalid type for 'top_p': expected a decimal, but got a boolean instead.", "top_p"),
        (
            ModifyAssistant,
            {"response_format": 1},
            "Invalid type for 'response_format': expected one of a string or object, but got an integer instead.",
            "response_format",
        ),
        (
            ModifyAssistant,
            {"tool_resources": {"code_interpreter": {"file_ids": "file-1"}}},
            "Invalid type for 'tool_resources.code_interpreter.file_ids': expected an array of strings, but got a string instead.",
            "tool_resources.code_interpreter.file_ids",
        ),
        (
            CreateMessage,
            {"role": "user", "content": 5},
            "Invalid type for 'content': expected one of a string or array of objects, but got an integer instead.",
            "content",
        ),
        (
            CreateThread,
            {"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": {}}]},
            "Invalid type for 'messages[1].content': expected one of a string or array of objects, but got an object instead.",
            "messages[1].content",
        ),
        (
            CreateMessage,
            {"role": "user", "content": ["a"]},
            "Invalid type for 'content[0]': expected an object, but got a string instead.",
            "content[0]",
        ),
        (
            CreateMessage,
            {"role": "user", "content": [{"type": "text", "text": {"value": "a", "annotations": []}}]},
            "Invalid type for 'content[0].text': expected a string, but got an object instead.",
            "content[0].text",
        ),
        (
            CreateRun,
            {"assistant_id": "asst_1", "max_prompt_tokens": 300.0},
            "Invalid type for 'max_prompt_tokens': expected an integer, but got a decimal number instead.",
            "max_prompt_tokens",
        ),
        (
            CreateRun,
            {"assistant_id": "asst_1", "max_prompt_tokens": True},
            "Invalid type for 'max_prompt_tokens': expected an integer, but got a boolean instead.",
            "max_prompt_tokens",
        ),
        (
            CreateRun,
            {"assistant_id": "asst_1", "stream": 1},
            "Invalid type for 'stream': expected a boolean, but got an integer instead.",
            "stream",
        ),
        (
            CreateRun,
            {"assistant_id": "asst_1", "tool_choice": []},
            "Invalid type for 'tool_choice': expected one of a string or object, but got an array instead.",
            "tool_choice",
        ),
        (CreateRun, {"assistant_id": 7}, "Invalid type for 'assistant_id': expected a string, but got an integer instead.", "assistant_id"),
        (
            CreateThreadAndRun,
            {"assistant_id": "asst_1", "thread": "thread_1"},
            "Invalid type for 'thread': expected an object, but got a string instead.",
            "thread",
        ),
        (
            SubmitToolOutputs,
            {"tool_outputs": [{"tool_call_id": "call_1", "output": {"a": 1}}]},
            "Invalid type for 'tool_outputs[0].output': expected a string, but got an object instead.",
            "tool_outputs[0].output",
        ),
    ],
)
def test_a_value_of_another_type_is_not_converted(schema, body, message, param):
    assert problem(schema, body) == (message, param, "invalid_type")


@pytest.mark.parametrize(
    ("schema", "body", "param"),
    [
        (CreateAssistant, {}, "model"),
        (CreateAssistant, {"model": None}, "model"),
        (ModifyAssistant, {"tools": [{}]}, "tools[0].type"),
        (ModifyAssistant, {"tools": [{"type": None}]}, "tools[0].type"),
        (ModifyAssistant, {"tools": [{"type": "function"}]}, "tools[0].function"),
        (ModifyAssistant, {"tools": [{"type": "function", "function": None}]}, "tools[0].function"),
        (ModifyAssistant, {"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        (ModifyAssistant, {"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (ModifyAssistant, {"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.name"),
        (CreateMessage, {"content": "a"}, "role"),
        (CreateMessage, {"role": "user"}, "content"),
        (CreateMessage, {"role": "user", "content": None}, "content"),
        (CreateMessage, {"role": "user", "content": [{"type": "text"}]}, "content[0].text"),
        (CreateMessage, {"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "content[0].image_url.url"),
        (CreateMessage, {"role": "user", "content": [{"type": "image_file"}]}, "content[0].image_file"),
        (CreateMessage, {"role": "user", "content": "a", "attachments": [{"tools": []}]}, "attachments[0].file_id"),
        (CreateRun, {}, "assistant_id"),
        (CreateRun, {"assistant_id": "asst_1", "truncation_strategy": {}}, "truncation_strategy.type"),
        (
            CreateRun,
            {"assistant_id": "asst_1", "truncation_strategy": {"type": "last_messages", "last_messages": None}},
            "truncation_strategy.last_messages",
        ),
        (CreateRun, {"assistant_id": "asst_1", "tool_choice": {"type": "function"}}, "tool_choice.function"),
        (CreateRun, {"assistant_id": "asst_1", "tool_choice": {"type": "function", "function": {}}}, "tool_choice.function.name"),
        (CreateRun, {"assistant_id": "asst_1", "additional_messages": [{"role": "user"}]}, "additional_messages[0].content"),
        (CreateThreadAndRun, {"assistant_id": "asst_1", "thread": {"messages": [{"content": "a"}]}}, "thread.messages[0].role"),
        (SubmitToolOutputs, {}, "tool_outputs"),
        (SubmitToolOutputs, {"tool_outputs": [{"output": "a"}]}, "tool_outputs[0].tool_call_id"),
    ],
)
def test_what_is_needed_is_named_by_its_path(schema, body, param):
    assert problem(schema, body) == (f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


@pytest.mark.parametrize(
    ("schema", "body", "param"),
    [
        (CreateThread, {"messages": [{"role": "user", "content": "a", "id": "msg_1"}]}, "messages[0].id"),
        (CreateThreadAndRun, {"assistant_id": "asst_1", "thread": {"id": "thread_1", "object": "thread"}}, "thread.id"),
        (CreateRun, {"assistant_id": "asst_1", "tool_resources": {}}, "tool_resources"),
        (CreateRun, {"assistant_id": "asst_1", "thread": {}}, "thread"),
        (CreateThreadAndRun, {"assistant_id": "asst_1", "additional_messages": []}, "additional_messages"),
        (ModifyThread, {"messages": []}, "messages"),
        (ModifyMessage, {"content": "a"}, "content"),
        (ModifyRun, {"status": "completed"}, "status"),
        (ModifyRun, {"status": None}, "status"),
        (ModifyRun, {"_schema": 1}, "_schema"),
        (ModifyAssistant, {"tools": [{"type": "code_interpreter", "function": {"name": "f"}}]}, "tools[0].function"),
        (ModifyAssistant, {"tool_resources": {"computer": {}}}, "tool_resources.computer"),
        (SubmitToolOutputs, {"tool_outputs": [{"tool_call_id": "call_1", "type": "x"}]}, "tool_outputs[0].type"),
    ],
)
def test_an_unknown_parameter_is_refused_at_any_depth(schema, body, param):
    assert problem(schema, body) == (f"Unknown parameter: '{param}'.", param, "unknown_parameter")


@pytest.mark.parametrize(
    ("schema", "body", "message", "param"),
    [
        (
            CreateMessage,
            {"role": "system", "content": "a"},
            "Invalid value: 'system'. Supported values are: 'user' and 'assistant'.",
            "role",
        ),
        (
            ModifyAssistant,
            {"tools": [{"type": "browser"}]},
            "Invalid value: 'browser'. Supported values are: 'code_interpreter', 'file_search', and 'function'.",
            "tools[0].type",
        ),
        (
            ModifyAssistant,
            {"reasoning_effort": "huge"},
            "Invalid value: 'huge'. Supported values are: 'none', 'minimal', 'low', 'medium', 'high', 'xhigh', and 'max'.",
            "reasoning_effort",
        ),
        (ModifyAssistant, {"response_format": "json"}, "Invalid value: 'json'. Supported values are: 'auto'.", "response_format"),
        (
            ModifyAssistant,
            {"response_format": {"type": "xml"}},
            "Invalid value: 'xml'. Supported values are: 'text', 'json_object', and 'json_schema'.",
            "response_format.type",
        ),
        (
            CreateRun,
            {"assistant_id": "asst_1", "tool_choice": "any"},
            "Invalid value: 'any'. Supported values are: 'none', 'auto', and 'required'.",
            "tool_choice",
        ),
        (
            CreateRun,
            {"assistant_id": "asst_1", "truncation_strategy": {"type": "oldest"}},
            "Invalid value: 'oldest'. Supported values are: 'auto' and 'last_messages'.",
            "truncation_strategy.type",
        ),
        (
            CreateMessage,
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "best"}}]},
            "Invalid value: 'best'. Supported values are: 'auto', 'low', and 'high'.",
            "content[0].image_url.detail",
        ),
        (
            CreateMessage,
            {"role": "user", "content": "a", "attachments": [{"file_id": "file-1", "tools": [{"type": "function"}]}]},
            "Invalid value: 'function'. Supported values are: 'code_interpreter' and 'file_search'.",
            "attachments[0].tools[0].type",
        ),
        (
            ModifyAssistant,
            {"tools": [{"type": "function", "function": {"name": "get weather"}}]},
            "Invalid 'tools[0].function.name': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
            "tools[0].function.name",
        ),
        (
            ModifyAssistant,
            {"tools": [{"type": "function", "function": {"name": "f\n"}}]},
            "Invalid 'tools[0].function.name': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
            "tools[0].function.name",
        ),
        (
            CreateMessage,
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]},
            "Invalid 'content[0].image_url.url': string does not match pattern. "
            "Expected a string that matches the pattern '^(https?://|data:image/).+$'.",
            "content[0].image_url.url",
        ),
        (
            CreateMessage,
            {"role": "user", "content": [{"type": "image_file", "image_file": {"file_id": "../x"}}]},
            "Invalid 'content[0].image_file.file_id': string does not match pattern. "
            "Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'.",
            "content[0].image_file.file_id",
        ),
        (
            ModifyAssistant,
            {"tools": [{"type": "function", "function": {"name": "f", "parameters": nested(101)}}]},
            "Invalid 'tools[0].function.parameters': object too deep. Expected at most 100 levels of nesting.",
            "tools[0].function.parameters",
        ),
    ],
)
def test_a_value_that_is_not_among_the_possible_ones(schema, body, message, param):
    assert problem(schema, body) == (message, param, "invalid_value")


def too_long(param, most, length):
    return (
        f"Invalid '{param}': string too long. Expected a string with maximum length {most}, but got a string with length {length} instead."
    )


@pytest.mark.parametrize(
    ("schema", "param", "most", "body"),
    [
        (ModifyAssistant, "name", 256, lambda text: {"name": text}),
        (ModifyAssistant, "description", 512, lambda text: {"description": text}),
        (ModifyAssistant, "instructions", 256_000, lambda text: {"instructions": text}),
        (CreateRun, "instructions", 256_000, lambda text: {"assistant_id": "a", "instructions": text}),
        (CreateRun, "additional_instructions", 256_000, lambda text: {"assistant_id": "a", "additional_instructions": text}),
        (CreateMessage, "content", 256_000, lambda text: {"role": "user", "content": text}),
        (CreateMessage, "content[0].text", 256_000, lambda text: {"role": "user", "content": [{"type": "text", "text": text}]}),
        (ModifyAssistant, "model", 256, lambda text: {"model": text}),
        (CreateRun, "model", 256, lambda text: {"assistant_id": "a", "model": text}),
        (ModifyThread, "metadata.note", 512, lambda text: {"metadata": {"note": text}}),
        (
            ModifyAssistant,
            "tools[0].function.name",
            64,
            lambda text: {"tools": [{"type": "function", "function": {"name": text}}]},
        ),
    ],
)
def test_strings_have_a_length_in_characters(schema, param, most, body):
    letter = "f" if most == 64 else "ü"
    load(schema, body(letter * most))
    assert problem(schema, body(letter * (most + 1))) == (too_long(param, most, most + 1), param, "string_above_max_length")


@pytest.mark.parametrize(
    ("schema", "param", "most", "body"),
    [
        (ModifyAssistant, "tools", 128, lambda count: {"tools": [FUNCTION] * count}),
        (CreateRun, "tools", 128, lambda count: {"assistant_id": "a", "tools": [FUNCTION] * count}),
        (
            ModifyThread,
            "tool_resources.code_interpreter.file_ids",
            20,
            lambda count: {"tool_resources": {"code_interpreter": {"file_ids": ["file-1"] * count}}},
        ),
        (
            ModifyThread,
            "tool_resources.file_search.vector_store_ids",
            1,
            lambda count: {"tool_resources": {"file_search": {"vector_store_ids": ["vs_1"] * count}}},
        ),
    ],
)
def test_arrays_have_a_length(schema, param, most, body):
    load(schema, body(most))
    message = (
        f"Invalid '{param}': array too long. Expected an array with maximum length {most}, but got an array with length {most + 1} instead."
    )
    assert problem(schema, body(most + 1)) == (message, param, "array_above_max_length")


@pytest.mark.parametrize(
    ("schema", "param", "noun", "side", "bound", "bad", "body"),
    [
        (ModifyAssistant, "temperature", "decimal", "above", 2, 2.5, lambda value: {"temperature": value}),
        (ModifyAssistant, "temperature", "decimal", "below", 0, -1, lambda value: {"temperature": value}),
        (ModifyAssistant, "top_p", "decimal", "above", 1, 1.1, lambda value: {"top_p": value}),
        (CreateRun, "top_p", "decimal", "below", 0, -0.1, lambda value: {"assistant_id": "a", "top_p": value}),
        (CreateRun, "max_prompt_tokens", "integer", "below", 256, 255, lambda value: {"assistant_id": "a", "max_prompt_tokens": value}),
        (
            CreateRun,
            "max_completion_tokens",
            "integer",
            "below",
            256,
            255,
            lambda value: {"assistant_id": "a", "max_completion_tokens": value},
        ),
        (
            CreateRun,
            "truncation_strategy.last_messages",
            "integer",
            "below",
            1,
            0,
            lambda value: {"assistant_id": "a", "truncation_strategy": {"type": "last_messages", "last_messages": value}},
        ),
        (
            ModifyAssistant,
            "tools[0].file_search.max_num_results",
            "integer",
            "above",
            50,
            51,
            lambda value: {"tools": [{"type": "file_search", "file_search": {"max_num_results": value}}]},
        ),
    ],
)
def test_numbers_have_bounds_that_belong_to_them(schema, param, noun, side, bound, bad, body):
    load(schema, body(bound))
    extreme, sign = ("maximum", "<=") if side == "above" else ("minimum", ">=")
    message = f"Invalid '{param}': {noun} {side} {extreme} value. Expected a value {sign} {bound}, but got {bad} instead."
    assert problem(schema, body(bad)) == (message, param, f"{noun}_{side}_{extreme[:3]}_value")


def test_metadata_has_at_most_sixteen_pairs():
    pairs = {f"key{number}": "value" for number in range(17)}
    message = (
        "Invalid 'metadata': too many properties. Expected an object with at most 16 properties, "
        "but got an object with 17 properties instead."
    )
    assert problem(ModifyThread, {"metadata": pairs}) == (message, "metadata", "object_above_max_properties")
    del pairs["key0"]
    assert load(ModifyThread, {"metadata": pairs}) == {"metadata": pairs}


def test_metadata_keys_have_a_length():
    load(ModifyThread, {"metadata": {"k" * 64: "value"}})
    message = (
        "Invalid property name in 'metadata': 'kkk...kkk' is too long. Expected a string with maximum length 64, "
        "but got a string with length 65 instead."
    )
    assert problem(ModifyThread, {"metadata": {"k" * 65: "value"}}) == (message, "metadata", "property_name_above_max_length")


@pytest.mark.parametrize(
    ("schema", "body", "param", "kind"),
    [
        (CreateAssistant, {"model": ""}, "model", "a string"),
        (ModifyAssistant, {"tools": [{"type": "function", "function": {"name": ""}}]}, "tools[0].function.name", "a string"),
        (CreateMessage, {"role": "user", "content": []}, "content", "an array"),
    ],
)
def test_what_must_not_be_empty(schema, body, param, kind):
    noun = kind.split()[1]
    message = f"Invalid '{param}': empty {noun}. Expected {kind} with minimum length 1, but got an empty {noun} instead."
    assert problem(schema, body) == (message, param, f"empty_{noun}")


@pytest.mark.parametrize("schema", [CreateAssistant, CreateThread, ModifyThread])
def test_vector_stores_are_refused_rather_than_dropped(schema):
    body = {"model": "m"} if schema is CreateAssistant else {}
    param = "tool_resources.file_search.vector_stores"
    message = f"Unsupported parameter: '{param}'. Vector stores are not supported yet by this server."
    body["tool_resources"] = {"file_search": {"vector_stores": [{"file_ids": []}]}}
    assert problem(schema, body) == (message, param, "unsupported_parameter")


@pytest.mark.parametrize(("body", "words"), [([], "an array"), ("x", "a string"), (None, "null"), (1, "an integer")])
def test_a_body_is_an_object(body, words):
    message = f"Invalid type for 'body': expected an object, but got {words} instead."
    assert problem(CreateThread, body) == (message, None, "invalid_type")


def test_the_first_problem_is_told_and_unknown_parameters_come_last():
    body = {"zebra": 1, "apple": 1, "tools": [FUNCTION, {"type": "x"}, {}], "name": 5}
    assert problem(CreateAssistant, body)[1] == "model"
    body["model"] = "m"
    assert problem(CreateAssistant, body)[1] == "tools[1].type"
    del body["tools"]
    assert problem(CreateAssistant, body)[1] == "name"
    del body["name"]
    assert problem(CreateAssistant, body)[1] == "zebra"


def test_an_error_does_not_send_a_long_request_back():
    long = "x" * 10_000
    cut = "x" * 64 + "…"
    assert problem(ModifyThread, {long: 1}) == (f"Unknown parameter: '{cut}'.", cut, "unknown_parameter")
    assert (
        problem(CreateMessage, {"role": long, "content": "a"})[0]
        == f"Invalid value: '{cut}'. Supported values are: 'user' and 'assistant'."
    )


def test_braces_of_the_caller_are_only_text():
    assert problem(ModifyThread, {"{path}{0}": 1})[0] == "Unknown parameter: '{path}{0}'."
    assert problem(CreateMessage, {"role": "{path}", "content": "a"})[0].startswith("Invalid value: '{path}'.")


LARGE = {"description": "x" * (256 * 1024)}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "m", "tools": [FUNCTION, {"type": "function", "function": {"name": "f", **LARGE}}]}, "tools[1].function"),
        ({"model": "m", "tools": [{"type": "function", "function": {"name": "f", "parameters": LARGE}}]}, "tools[0].function.parameters"),
        (
            {"model": "m", "response_format": {"type": "json_schema", "json_schema": {"name": "f", "schema": LARGE}}},
            "response_format.json_schema.schema",
        ),
        ({"model": "m", "response_format": {"type": "json_schema", "json_schema": {"name": "f", **LARGE}}}, "response_format.json_schema"),
        (
            {"model": "m", "tools": [{"type": "file_search", "file_search": {"ranking_options": {"hybrid_search": LARGE}}}]},
            "tools[0].file_search.ranking_options.hybrid_search",
        ),
    ],
)
@pytest.mark.parametrize("schema", [CreateAssistant, ModifyAssistant])
def test_a_schema_has_at_most_256_kilobytes(schema, body, param):
    message, at, code = problem(schema, body)
    assert (at, code) == (param, "object_above_max_size")
    assert message.startswith(f"Invalid '{param}': object too large. Expected at most 262144 bytes of JSON, but got 262")


def test_a_schema_may_have_nearly_256_kilobytes():
    function = {"name": "f", "description": "x" * 120_000, "parameters": {"description": "x" * 140_000}}
    assert (
        load(CreateAssistant, {"model": "m", "tools": [{"type": "function", "function": function}] * 3})["tools"][0]["type"] == "function"
    )
