"""Messages, steps and stream events in the forms in which they are stored and sent."""

from __future__ import annotations

import orjson
import pytest

from oxillama import clock, ids
from oxillama.objects import message as message_object
from oxillama.objects import run as run_object
from oxillama.objects import step as step_object
from oxillama.objects import stream_event
from oxillama.objects.assistant import new_assistant
from oxillama.objects.stream_event import content_delta, frame, frames, message_so_far
from oxillama.objects.thread import new_thread
from tests.builders import told_in
from tests.contract.validation import check

STAMP, NOW = 1_790_000_000_000_000, 1_790_000_000
THREAD = "thread_" + "0" * 24
IMAGE = {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "auto"}}


@pytest.fixture(autouse=True)
def fixed_clock(monkeypatch):
    monkeypatch.setattr(clock, "now", lambda: NOW)


@pytest.fixture
def run():
    return run_object.new_run(THREAD, new_assistant({"model": "m"}), {}, stamp=STAMP, expiry_seconds=600)


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_callers_message_is_complete_at_once_and_of_no_run(role):
    message = message_object.caller_message(THREAD, {"role": role, "content": "Hi", "metadata": {"a": "b"}}, STAMP)
    check("MessageObject", message)
    assert ids.stamp_of(message["id"]) == STAMP
    assert message["content"] == [{"type": "text", "text": {"value": "Hi", "annotations": []}}]
    assert (message["role"], message["metadata"], message["attachments"]) == (role, {"a": "b"}, [])
    assert (message["status"], message["completed_at"], message["created_at"]) == ("completed", NOW, NOW)
    assert (message["run_id"], message["assistant_id"], message["incomplete_at"], message["incomplete_details"]) == (None,) * 4


def test_text_parts_change_their_shape_and_images_do_not():
    parts = [{"type": "text", "text": "one"}, IMAGE]
    message = message_object.caller_message(THREAD, {"role": "user", "content": parts}, STAMP)
    check("MessageObject", message)
    assert message["content"] == [message_object.text_part("one"), IMAGE]


def test_a_runs_message_begins_empty_and_ends_complete_or_incomplete(run):
    begun = message_object.run_message(run, STAMP)
    assert (begun["status"], begun["content"], begun["run_id"], begun["assistant_id"]) == (
        "in_progress",
        [],
        run["id"],
        run["assistant_id"],
    )
    part = [message_object.text_part("x")]
    whole = message_object.finish(begun, part, None)
    assert whole == {**begun, "status": "completed", "completed_at": NOW, "content": part}
    cut = message_object.finish(begun, part, "max_tokens")
    assert cut == {**begun, "status": "incomplete", "incomplete_at": NOW, "incomplete_details": {"reason": "max_tokens"}, "content": part}
    for message in (begun, whole, cut):
        check("MessageObject", message)


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired"])
def test_a_step_ends_with_the_time_field_of_its_status(run, status):
    step = step_object.message_step(run, "msg_" + "0" * 24, STAMP)
    assert (step["status"], step["expires_at"], step["usage"]) == ("in_progress", run["expires_at"], None)
    error = {"code": "server_error", "message": "x"} if status == "failed" else None
    ended = step_object.finish(step, status, usage=None, last_error=error)
    assert ended == {**step, "status": status, f"{status}_at": NOW, "expires_at": None, "last_error": error}
    check("RunStepObject", ended)


def test_a_step_of_calls_begins_without_any(run):
    step = step_object.tool_calls_step(run, STAMP)
    assert step["step_details"] == {"type": "tool_calls", "tool_calls": []}
    call = step_object.function_call("call_a", "f", "{}", "out")
    assert call == {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": "{}", "output": "out"}}


def test_a_new_thread_is_empty_unless_told_otherwise():
    thread = new_thread({})
    check("ThreadObject", thread)
    assert (thread["metadata"], thread["tool_resources"], thread["created_at"]) == ({}, {}, NOW)
    assert new_thread({"metadata": {"a": "b"}, "messages": [1]})["metadata"] == {"a": "b"}


# --- events --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "two\nlines", "\r\n\r\n", "\n\nevent: done\ndata: [DONE]\n\n", "\u2028\u2029\x85", "🙂", "\0"])
def test_a_frame_is_one_event_and_one_data_line_whatever_is_in_it(text):
    made = frame("thread.created", {"text": text})
    head, data, *rest = made.split(b"\n")
    assert (head, rest) == (b"event: thread.created", [b"", b""])
    assert orjson.loads(data.removeprefix(b"data: ")) == {"text": text}
    assert frames(made * 2) == [("thread.created", data[6:], len(made)), ("thread.created", data[6:], 2 * len(made))]


def test_a_torn_frame_is_left_out():
    whole = frame("a", {"n": 1}) + frame("b", {"n": 2})
    for length in range(len(whole)):
        assert [name for name, _, _ in frames(whole[:length])] == ["a", "b"][: whole[:length].count(b"\n\n")]


def test_only_the_first_piece_of_a_text_carries_annotations():
    content = message_object.GrowingContent()
    first, second = (orjson.loads(frames(content_delta("msg_1", content.add("text", "x")))[0][1]) for _ in range(2))
    assert first["delta"]["content"] == [{"index": 0, "type": "text", "text": {"value": "x", "annotations": []}}]
    assert second["delta"]["content"] == [{"index": 0, "type": "text", "text": {"value": "x"}}]


def test_a_call_is_opened_once_and_then_only_its_arguments_grow():
    call = step_object.function_call("call_a", "f", "")
    ((_, opened, _),) = frames(stream_event.call_opened("step_1", 2, call))
    ((_, more, _),) = frames(stream_event.call_arguments("step_1", 2, '{"a'))
    assert orjson.loads(opened)["delta"]["step_details"]["tool_calls"] == [{"index": 2, **call}]
    assert orjson.loads(more)["delta"]["step_details"]["tool_calls"] == [{"index": 2, "type": "function", "function": {"arguments": '{"a'}}]


def test_a_message_is_put_together_from_its_pieces(run):
    one, two = message_object.run_message(run, STAMP), message_object.run_message(run, STAMP + 1)
    log = b"".join(
        [
            frame("thread.message.created", one),
            content_delta(one["id"], {"index": 0, **message_object.text_part("on")}),
            content_delta(one["id"], {"index": 0, **message_object.text_part("e")}),
            frame("thread.message.created", two),
            content_delta(two["id"], {"index": 0, **message_object.text_part("two")}),
        ]
    )
    assert message_so_far(told_in(log), two["id"])["content"] == [message_object.text_part("two")]
    assert message_so_far(told_in(log[: log.index(two["id"].encode())]), one["id"])["content"] == [message_object.text_part("one")]
    assert message_so_far(told_in(frame("thread.message.created", one)), one["id"]) == one
    assert message_so_far(told_in(log), "msg_other") is None and message_so_far(told_in(b""), one["id"]) is None


def test_the_first_of_two_messages_is_not_given_the_text_of_the_second(run):
    one, two = message_object.run_message(run, STAMP), message_object.run_message(run, STAMP + 1)
    log = frame("thread.message.created", one) + content_delta(one["id"], {"index": 0, **message_object.text_part("one")})
    log += frame("thread.message.created", two) + content_delta(two["id"], {"index": 0, **message_object.text_part("two")})
    assert message_so_far(told_in(log), one["id"])["content"] == [message_object.text_part("one")]


def test_a_torn_stream_is_told_of_in_the_wrapped_form():
    ((name, data, _),) = frames(stream_event.error_event("gone", "thread_deleted"))
    assert name == "error"
    assert orjson.loads(data) == {"error": {"message": "gone", "type": "server_error", "param": None, "code": "thread_deleted"}}


def test_what_ends_a_stream():
    assert {f"thread.run.{status}" for status in ("completed", "incomplete", "failed", "cancelled", "expired")} == stream_event.ENDS
    assert stream_event.PAUSE == "thread.run.requires_action"
    assert stream_event.DONE == b"event: done\ndata: [DONE]\n\n"
