"""What comes out of a request that may be carried out: ready to be stored, with nothing that was not given."""

import json
from pathlib import Path

import orjson
import pytest

from oxillama.schemas.assistants import CreateAssistant, ModifyAssistant
from oxillama.schemas.loading import built, load
from oxillama.schemas.messages import CreateMessage, ModifyMessage
from oxillama.schemas.runs import CreateRun, CreateThreadAndRun, ModifyRun, SubmitToolOutputs
from oxillama.schemas.threads import CreateThread, ModifyThread

CONTRACT = Path(__file__).parent.parent / "contract" / "schema.json"
RANKING = {"ranker": "default_2024_08_21", "score_threshold": 0.0, "hybrid_search": None}


def wire(value):
    """As JSON text, where the order of keys and 1 against 1.0 matter."""
    return orjson.dumps(value).decode()


def stored_tool(tool):
    return load(ModifyAssistant, {"tools": [tool]})["tools"][0]


@pytest.mark.parametrize(
    ("schema", "extra"),
    [
        (CreateAssistant, set()),
        (ModifyAssistant, set()),
        (CreateThread, set()),
        (ModifyThread, set()),
        (CreateMessage, set()),
        (ModifyMessage, set()),
        (CreateRun, set()),
        (CreateThreadAndRun, {"reasoning_effort"}),
        (ModifyRun, set()),
    ],
)
def test_each_body_knows_the_parameters_of_the_contract(schema, extra):
    official = json.loads(CONTRACT.read_text())["components"]["schemas"][f"{schema.__name__}Request"]
    assert set(built(schema).fields) == set(official["properties"]) | extra
    required = {name for name, field in built(schema).fields.items() if field.required}
    assert required == set(official.get("required", []))


def test_submitted_outputs_know_the_parameters_of_the_contract():
    official = json.loads(CONTRACT.read_text())["components"]["schemas"]["SubmitToolOutputsRunRequest"]
    assert set(built(SubmitToolOutputs).fields) == set(official["properties"])


@pytest.mark.parametrize("schema", [ModifyAssistant, CreateThread, ModifyThread, ModifyMessage, ModifyRun])
def test_bodies_may_be_empty_and_nothing_is_made_up(schema):
    assert load(schema, {}) == {}


@pytest.mark.parametrize(
    ("schema", "needed"),
    [
        (CreateAssistant, {"model": "m"}),
        (ModifyAssistant, {}),
        (CreateThread, {}),
        (ModifyThread, {}),
        (CreateMessage, {"role": "user", "content": "a"}),
        (ModifyMessage, {}),
        (CreateRun, {"assistant_id": "asst_1"}),
        (CreateThreadAndRun, {"assistant_id": "asst_1"}),
        (ModifyRun, {}),
        (SubmitToolOutputs, {"tool_outputs": []}),
    ],
)
def test_null_is_not_given(schema, needed):
    assert load(schema, dict.fromkeys(built(schema).fields) | needed) == needed


def test_null_is_not_given_in_nested_objects_either():
    body = {
        "tool_resources": {"code_interpreter": None, "file_search": {"vector_store_ids": None, "vector_stores": None}},
        "messages": [{"role": "user", "content": "a", "attachments": None, "metadata": None}],
    }
    assert load(CreateThread, body) == {
        "tool_resources": {"file_search": {"vector_store_ids": []}},
        "messages": [{"role": "user", "content": "a"}],
    }


@pytest.mark.parametrize(
    ("schema", "given", "stored"),
    [
        (
            CreateMessage,
            {"role": "user", "content": [{"type": "text", "text": "a", "image_url": None, "image_file": None}]},
            {"role": "user", "content": [{"type": "text", "text": "a"}]},
        ),
        (
            ModifyAssistant,
            {"tools": [{"type": "code_interpreter", "function": None, "file_search": None}]},
            {"tools": [{"type": "code_interpreter"}]},
        ),
        (ModifyAssistant, {"response_format": {"type": "text", "json_schema": None}}, {"response_format": {"type": "text"}}),
        (
            CreateRun,
            {"assistant_id": "asst_1", "tool_choice": {"type": "code_interpreter", "function": None}},
            {"assistant_id": "asst_1", "tool_choice": {"type": "code_interpreter"}},
        ),
    ],
)
def test_null_is_not_given_where_another_type_has_the_member(schema, given, stored):
    assert load(schema, given) == stored


def test_null_stays_in_json_of_the_caller():
    parameters = {"type": "object", "properties": {"unit": {"enum": ["c", None]}}, "default": None}
    tool = stored_tool({"type": "function", "function": {"name": "f", "parameters": parameters}})
    assert tool["function"]["parameters"] == parameters
    schema = {"type": "object", "default": None}
    shape = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    assert load(ModifyAssistant, {"response_format": shape}) == {"response_format": shape}


def test_a_request_is_left_as_it_was():
    body = {"tools": [{"type": "function", "function": {"name": "f"}}], "name": None}
    before = wire(body)
    load(ModifyAssistant, body)
    assert wire(body) == before


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (
            {"function": {"strict": True, "parameters": {}, "name": "f", "description": "d"}, "type": "function"},
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {}, "strict": True}},
        ),
        (
            {"type": "function", "function": {"name": "f", "description": None, "strict": None, "parameters": None}},
            {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}},
        ),
        ({"type": "code_interpreter"}, {"type": "code_interpreter"}),
        ({"type": "file_search"}, {"type": "file_search", "file_search": {"ranking_options": RANKING}}),
        (
            {"type": "file_search", "file_search": {"max_num_results": 7}},
            {"type": "file_search", "file_search": {"max_num_results": 7, "ranking_options": RANKING}},
        ),
        (
            {"type": "file_search", "file_search": {"ranking_options": {"score_threshold": 1, "ranker": "auto"}}},
            {"type": "file_search", "file_search": {"ranking_options": RANKING | {"ranker": "auto", "score_threshold": 1.0}}},
        ),
    ],
)
def test_tools_are_stored_in_full(given, stored):
    assert wire(stored_tool(given)) == wire(stored)
    assert wire(stored_tool(stored)) == wire(stored), "what the API answers can be sent back"


def test_defaults_are_not_shared_between_requests():
    tool = {"type": "function", "function": {"name": "f"}}
    stored_tool(tool)["function"]["parameters"]["properties"]["changed"] = {}
    assert stored_tool(tool)["function"]["parameters"] == {"type": "object", "properties": {}}
    stored_tool({"type": "file_search"})["file_search"]["ranking_options"]["ranker"] = "changed"
    assert stored_tool({"type": "file_search"})["file_search"]["ranking_options"] == RANKING


def test_numbers_come_out_as_on_the_wire():
    assert wire(load(ModifyAssistant, {"temperature": 1, "top_p": 0})) == '{"temperature":1.0,"top_p":0.0}'


def test_images_have_a_detail():
    parts = [
        {"type": "text", "text": "Look:"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {"type": "image_file", "image_file": {"file_id": "file-abc_1"}},
    ]
    assert wire(load(CreateMessage, {"role": "user", "content": parts})["content"]) == wire(
        [
            {"type": "text", "text": "Look:"},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "auto"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
            {"type": "image_file", "image_file": {"file_id": "file-abc_1", "detail": "auto"}},
        ]
    )


def test_attachments_are_echoed():
    given = [{"file_id": "file-1", "tools": [{"type": "file_search"}, {"type": "code_interpreter"}]}, {"file_id": "file-1"}]
    stored = load(CreateMessage, {"role": "user", "content": "a", "attachments": given})
    assert stored == {"role": "user", "content": "a", "attachments": [given[0], {"file_id": "file-1", "tools": []}]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("response_format", "auto"),
        ("response_format", {"type": "text"}),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}}}),
        ("tool_choice", "none"),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "file_search"}),
        ("tool_choice", {"type": "code_interpreter"}),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("truncation_strategy", {"type": "last_messages", "last_messages": 1}),
        ("truncation_strategy", {"type": "auto", "last_messages": 3}),
        ("parallel_tool_calls", False),
        ("stream", False),
        ("metadata", {}),
        ("metadata", {"": "", "note": "üñí"}),
        ("reasoning_effort", "none"),
        ("max_prompt_tokens", 256),
        ("instructions", ""),
        ("tools", []),
    ],
)
def test_options_are_kept_as_given(name, value):
    needed = {"assistant_id": "asst_1"}
    for schema in (CreateRun, CreateThreadAndRun):
        assert load(schema, needed | {name: value}) == needed | {name: value}


def test_a_truncation_strategy_always_says_how_many():
    values = load(CreateRun, {"assistant_id": "asst_1", "truncation_strategy": {"type": "auto"}})
    assert values["truncation_strategy"] == {"type": "auto", "last_messages": None}


def test_files_and_stores_are_kept():
    resources = {"code_interpreter": {"file_ids": ["file-1"]}, "file_search": {"vector_store_ids": ["vs_1"]}}
    for schema, needed in ((CreateAssistant, {"model": "m"}), (CreateThread, {}), (CreateThreadAndRun, {"assistant_id": "asst_1"})):
        assert load(schema, needed | {"tool_resources": resources}) == needed | {"tool_resources": resources}


def test_a_thread_within_a_run_is_checked_as_a_thread():
    thread = {"messages": [{"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}], "metadata": {"a": "b"}}
    assert load(CreateThreadAndRun, {"assistant_id": "asst_1", "thread": thread})["thread"] == thread


def test_a_call_without_an_output_gave_nothing():
    values = load(SubmitToolOutputs, {"tool_outputs": [{"tool_call_id": "call_1"}, {"tool_call_id": "call_2", "output": "x"}]})
    assert values == {"tool_outputs": [{"tool_call_id": "call_1", "output": ""}, {"tool_call_id": "call_2", "output": "x"}]}


def test_parameters_as_deep_as_is_allowed_can_be_written_again():
    deep = orjson.loads('{"a":' * 99 + "{}" + "}" * 99)
    tool = stored_tool({"type": "function", "function": {"name": "f", "parameters": deep}})
    assert orjson.loads(orjson.dumps(tool))["function"]["parameters"] == deep
