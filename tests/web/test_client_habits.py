"""What clients of other languages send, and expect in return, where the SDKs for Python and Node do otherwise."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.request_rules import operations
from tests.raw_http import Http
from tests.web.test_refusals import filled

OWN_TEXT = "content with type `text` must have `text` values."
NO_CONTENT = "Message content must be non-empty."


def made(http: Http, path: str, body: Any) -> dict[str, Any]:
    answer = http.post(f"/v1{path}", body)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json
    return found


@pytest.mark.parametrize("path", ["/threads", "/threads/{other}", "/threads/{other}/messages/{other_message}", "/assistants/{assistant}"])
def test_an_empty_array_for_a_body_is_an_empty_object(bare: Http, objects: Any, path: str):
    """PHP has one empty value for lists and objects."""
    message = bare.get(f"/v1/threads/{objects.other}/messages").json["data"][0]["id"]
    target = "/v1" + path.format(**vars(objects), other_message=message)
    answer = bare.post(target, [])
    assert answer.status == 200
    assert {**answer.json, "id": 0, "created_at": 0} == {**bare.post(target, {}).json, "id": 0, "created_at": 0}


def test_an_empty_array_says_nothing_that_is_required(bare: Http, objects: Any):
    """Wherever there is a body, `[]` and `{}` are refused in the same words."""
    ids = {**{f"{noun}_id": value for noun, value in vars(objects).items()}, "model": "scripted-chat"}
    tried = 0
    for operation in operations():
        if operation.taken_body is None or not operation.taken_body.get("required"):
            continue
        target = "/v1" + operation.path.format(**ids)
        assert bare.post(target, []).error == bare.post(target, {}).error
        tried += 1
    assert tried == 5


def test_metadata_that_is_an_array(bare: Http):
    message = "Invalid type for 'metadata': expected a metadata object, but got an array instead."
    assert bare.post("/v1/threads", {"metadata": []}).error == (400, message, "invalid_request_error", "metadata", "invalid_type")


@pytest.mark.parametrize("betas", ["assistants=v2;realtime=v1", "realtime=v1; assistants=v2", "assistants=v2,realtime=v1"])
def test_several_betas(bare: Http, betas: str):
    assert bare.get("/v1/assistants?limit=1", {"OpenAI-Beta": betas}).status == 200


def test_several_betas_without_ours(bare: Http):
    status, message, *_ = bare.get("/v1/assistants", {"OpenAI-Beta": "realtime=v1;batches=v1"}).error
    assert (status, message) == (400, "Unknown beta requested: 'realtime=v1'.")


def test_lists_that_are_left_out_come_back(bare: Http):
    """go-openai leaves out empty lists; LibreChat and MacPaw's client read them all the same."""
    full = {"code_interpreter": {"file_ids": []}, "file_search": {"vector_store_ids": []}}
    thread = made(bare, "/threads", {"tool_resources": {"code_interpreter": {}, "file_search": {}}})
    assert thread["tool_resources"] == full
    assert made(bare, f"/threads/{thread['id']}", {"tool_resources": {"file_search": {}}})["tool_resources"] == {
        "file_search": {"vector_store_ids": []}
    }
    assistant = made(bare, "/assistants", {"model": "m", "tool_resources": {"code_interpreter": {"file_ids": None}}})
    assert assistant["tool_resources"] == {"code_interpreter": {"file_ids": []}}


def test_an_assistant_has_the_lists_of_its_tools(bare: Http):
    assistant = made(bare, "/assistants", {"model": "m", "tools": [{"type": "code_interpreter"}, {"type": "file_search"}]})
    assert assistant["tool_resources"] == {"code_interpreter": {"file_ids": []}, "file_search": {"vector_store_ids": []}}
    path = f"/assistants/{assistant['id']}"
    assert bare.get(f"/v1{path}").json == assistant
    given = {"file_search": {"vector_store_ids": ["vs_1"]}}
    changed = made(bare, path, {"tool_resources": given})
    assert changed["tool_resources"] == {"code_interpreter": {"file_ids": []}, **given}
    later = made(bare, "/assistants", {"model": "m"})
    assert later["tool_resources"] == {}
    changed = made(bare, f"/assistants/{later['id']}", {"tools": [{"type": "code_interpreter"}]})
    assert changed["tool_resources"] == {"code_interpreter": {"file_ids": []}}


@pytest.mark.parametrize("kind", ["file_search", "code_interpreter"])
def test_a_tool_choice_with_the_member_of_another_type_as_null(bare: Http, objects: Any, kind: str):
    """async-openai has one type for all choices, and writes what it does not use as null."""
    thread = {"messages": [{"role": "user", "content": "Hi"}]}
    body = {"assistant_id": objects.assistant, "tool_choice": {"type": kind, "function": None}, "thread": thread}
    assert made(bare, "/threads/runs", body)["tool_choice"] == {"type": kind}


EMPTY_CONTENT = [
    pytest.param("", NO_CONTENT, "content", id="no text"),
    pytest.param([{"type": "text", "text": ""}], OWN_TEXT, "content[0].text", id="a part without text"),
    pytest.param([{"type": "text", "text": "Hi"}, {"type": "text", "text": ""}], OWN_TEXT, "content[1].text", id="a second one"),
]


@pytest.mark.parametrize(("content", "message", "param"), EMPTY_CONTENT)
@pytest.mark.parametrize(
    ("path", "within", "body"),
    [
        ("/threads/{thread}/messages", "", lambda message: message),
        ("/threads", "messages[0].", lambda message: {"messages": [message]}),
        (
            "/threads/{thread}/runs",
            "additional_messages[0].",
            lambda message: {"assistant_id": "{assistant}", "additional_messages": [message]},
        ),
        ("/threads/runs", "thread.messages[0].", lambda message: {"assistant_id": "{assistant}", "thread": {"messages": [message]}}),
    ],
    ids=["message", "thread", "run", "thread and run"],
)
@pytest.mark.usefixtures("unchanged")
def test_messages_that_say_nothing(bare, objects, path, within, body, content, message, param):
    sent = filled(body({"role": "user", "content": content}), objects)
    answer = bare.post("/v1" + path.format(**vars(objects)), sent)
    assert answer.error == (400, message, "invalid_request_error", within + param, "invalid_value")
