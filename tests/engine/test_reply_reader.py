"""Replies that arrive in pieces, cut at every place."""

from __future__ import annotations

import json
import time

import pytest

from oxillama.engine.interface import CallDelta, TextDelta
from oxillama.engine.reply_reader import ReplyReader
from oxillama.errors import EngineAnswerUnusable

TEXTS = ["", "Hi", 'a "quoted" \\ line\n\ttab/', "é 日本 🙂", "}}} {", '{"answer": "inner"}', " spaced "]
ARGUMENTS = ["{}", "{ }", '{"a": {"b": [1, {"c": "}"}]}}', '{"s": "}\\n} \\" }"}', '{\n "x": 1\n}', '{"e": "\\ud83d\\ude42"}']


def read(*fragments: str, reason: str = "stop", allowed: bool = True, text: bool = True) -> tuple[str, list[tuple[str | None, str]], str]:
    """The text, the calls' deltas, and the reason."""
    reader = ReplyReader(answer_allowed=allowed, answer_is_text=text)
    deltas = [delta for fragment in fragments for delta in reader.read(fragment)] + list(reader.finish(reason))
    assert all(delta.text for delta in deltas if isinstance(delta, TextDelta))
    said = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
    return said, [(delta.name, delta.arguments) for delta in deltas if isinstance(delta, CallDelta)], reader.reason(reason)


def cuts(document: str) -> list[list[str]]:
    return [list(document), [document], *([document[:at], document[at:]] for at in range(1, len(document)))]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("indent", [None, 2])
def test_an_answer_is_unescaped(text: str, ascii_only: bool, indent: int | None) -> None:
    for fragments in cuts(json.dumps({"answer": text}, ensure_ascii=ascii_only, indent=indent)):
        assert read(*fragments) == (text, [], "stop")


@pytest.mark.parametrize("arguments", ARGUMENTS)
@pytest.mark.parametrize("form", ['{"name":"f","arguments":%s}', '\n{ "name" : "f",\n "arguments" :\n %s\n }\n'])
def test_arguments_are_told_as_they_are_written(arguments: str, form: str) -> None:
    for fragments in cuts(form % arguments):
        text, calls, reason = read(*fragments, allowed=False)
        assert (text, reason) == ("", "tool_calls")
        # The delta that opens a call carries no arguments.
        assert calls[0] == ("f", "")
        assert all(name is None for name, _ in calls[1:])
        assert "".join(more for _, more in calls) == arguments


@pytest.mark.parametrize("answer", ['{"a": "\\"}"}', "[1, 2]", "3", '"x"', "{}"])
def test_an_answer_that_is_json_itself_is_told_as_it_is_written(answer: str) -> None:
    for fragments in cuts(f'{{"answer": {answer}}}'):
        assert read(*fragments, text=False) == (answer, [], "stop")


def test_pieces_come_at_once() -> None:
    reader = ReplyReader(answer_allowed=True, answer_is_text=True)
    told = [list(reader.read(fragment)) for fragment in ['{"ans', 'wer": "Hel', "lo \\", "n", " \\ud83d", '\\ude42"', "}"]]
    assert told == [[], [TextDelta("Hel")], [TextDelta("lo ")], [TextDelta("\n")], [TextDelta(" ")], [TextDelta("🙂")], []]
    reader = ReplyReader(answer_allowed=False, answer_is_text=True)
    told = [list(reader.read(fragment)) for fragment in ['{"name": "f", "arg', 'uments": {"a"', ': {"b": 1}', ', "c": 2}', "}"]]
    opened, value = CallDelta(0, "f", ""), [CallDelta(0, None, more) for more in ('{"a"', ': {"b": 1', '}, "c": 2')]
    assert told == [[], [opened, value[0]], [value[1]], [value[2]], []]


def test_a_document_cut_short_is_told_as_far_as_it_came() -> None:
    assert read('{"answer": "Once upon', reason="length") == ("Once upon", [], "length")
    assert read('{"name": "f", "arguments": {"a": "b', reason="length") == ("", [("f", ""), (None, '{"a": "b')], "length")
    assert read('{"na', reason="length") == ("", [], "length")
    assert read("", reason="content_filter") == ("", [], "content_filter")


def test_a_whole_document_was_not_cut_short() -> None:
    assert read('{"answer": "x"}', reason="length")[2] == "stop"
    assert read('{"name": "f", "arguments": {}}', reason="length")[2] == "tool_calls"


def test_half_a_surrogate_pair_is_no_text() -> None:
    assert read('{"answer": "a\\ud83d b"}')[0] == "a\ufffd b"


def test_an_engine_that_does_not_hold_its_model_to_the_schema() -> None:
    assert read("Just ", "text {") == ("Just text {", [], "stop")
    assert read("", " Hi") == (" Hi", [], "stop")
    assert read('{"other": 1}')[0] == '{"other": 1}'
    assert read('{"broken": ')[0] == '{"broken": '
    assert read('{"arguments": {"a": 1}, "name": "f"}') == ("", [("f", '{"a": 1}')], "tool_calls")
    for reply in ("Just text", '{"other": 1}', '{"answer": "x"}', '{"name": "f", "arguments": {', '{"name":"f","arguments":{},"x":1}', ""):
        with pytest.raises(EngineAnswerUnusable, match="form of a function call"):
            read(reply, allowed=False)


@pytest.mark.parametrize("document", ['{"answer": ' + "[" * 200_000, '{"answer": ' + "[" * 150 + "]" * 150 + "}", "[" * 200_000])
def test_depth_is_no_reply_and_no_trace(document):
    reader = ReplyReader(answer_allowed=False, answer_is_text=True)
    list(reader.read(document))
    with pytest.raises(EngineAnswerUnusable):
        list(reader.finish("stop"))


@pytest.mark.parametrize("begin", ['{"answer": "', "", " " * 100])
def test_a_long_reply_is_read_in_proportion(begin):
    def seconds(pieces):
        reader, began = ReplyReader(answer_allowed=True, answer_is_text=True), time.process_time()
        list(reader.read(begin))
        for _ in range(pieces):
            list(reader.read(" " * 40))
        return time.process_time() - began

    seconds(1000)
    assert seconds(32_000) < 32 * max(seconds(2000), 0.02)


def test_a_long_text_comes_whole():
    reader, text = ReplyReader(answer_allowed=True, answer_is_text=True), "word " * 20_000
    document = json.dumps({"answer": text})
    found = [delta.text for start in range(0, len(document), 7) for delta in reader.read(document[start : start + 7])]
    assert len(found) > 500, "it comes in pieces all the same"
    found += [delta.text for delta in reader.finish("stop")]
    assert "".join(found) == text
