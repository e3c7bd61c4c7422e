"""Ids: their shape, their order, and what is let through to become part of a path."""

from __future__ import annotations

import re

import pytest

from oxillama import clock, ids
from oxillama.errors import InvalidRequest, NotFound

STAMP = 1_790_000_000_000_000
NOUNS = list(ids.PREFIXES)


@pytest.mark.parametrize(
    ("noun", "prefix"), [("assistant", "asst"), ("thread", "thread"), ("message", "msg"), ("run", "run"), ("run step", "step")]
)
def test_an_id_is_a_prefix_and_24_letters_and_digits(noun, prefix):
    made = ids.new_id(noun)
    assert re.fullmatch(prefix + r"_[0-9A-Za-z]{24}", made)
    assert ids.is_ours(made) and not ids.is_legacy(made)


def test_other_ids_have_the_shapes_of_the_hosted_api():
    assert re.fullmatch(r"call_[0-9A-Za-z]{24}", ids.new_call_id())
    assert re.fullmatch(r"req_[0-9a-f]{32}", ids.new_request_id())


@pytest.mark.parametrize(
    ("earlier", "later"), [(0, 1), (9, 10), (35, 36), (61, 62), (62**5 - 1, 62**5), (STAMP, STAMP + 1), (STAMP, STAMP + 10**9)]
)
def test_sorting_ids_sorts_by_creation(earlier, later):
    for _ in range(20):
        assert ids.new_id("message", earlier) < ids.new_id("message", later)


def test_the_alphabet_is_in_ascii_order():
    assert list(ids.ALPHABET) == sorted(set(ids.ALPHABET)) and len(ids.ALPHABET) == 62


@pytest.mark.parametrize("stamp", [0, 1, 62, STAMP, 62**9 - 1])
def test_an_id_tells_when_it_was_made(stamp):
    assert ids.stamp_of(ids.new_id("run", stamp)) == stamp


def test_an_id_is_made_from_the_clock_unless_told_otherwise(monkeypatch):
    monkeypatch.setattr(clock, "microseconds", lambda: STAMP)
    assert ids.stamp_of(ids.new_id("run")) == STAMP


def test_ids_of_one_microsecond_differ():
    assert len({ids.new_id("message", STAMP) for _ in range(1000)}) == 1000


def test_ids_of_the_original_come_before_all_of_ours():
    assert ids.stamp_of("msg_" + "f" * 32) == 0
    assert ids.stamp_of("step-5b0c7a90-4a39-4b0e-9d0b-3f0a3e1f2d11") == 0


@pytest.mark.parametrize("noun", NOUNS)
def test_an_id_that_we_made_is_accepted(noun):
    made = ids.new_id(noun)
    assert ids.check(noun, made, "some_id") == made


@pytest.mark.parametrize(
    ("noun", "made"),
    [
        ("thread", "thread_0123456789abcdef0123456789abcdef"),
        ("message", "msg_0123456789abcdef0123456789abcdef"),
        ("run", "run_0123456789abcdef0123456789abcdef"),
        ("run step", "step-5b0c7a90-4a39-4b0e-9d0b-3f0a3e1f2d11"),
    ],
)
def test_an_id_that_the_original_made_is_accepted(noun, made):
    assert ids.check(noun, made, "some_id") == made
    assert ids.is_legacy(made) and not ids.is_ours(made)


@pytest.mark.parametrize("wrong", ["undefined", "", "threads", "/etc/passwd", "../thread_x", "Thread_" + "a" * 24, " thread_" + "a" * 24])
def test_a_wrong_prefix_is_refused_with_the_documented_text(wrong):
    if wrong == "threads":
        wrong = "msg_" + "a" * 24
    with pytest.raises(InvalidRequest) as refused:
        ids.check("thread", wrong, "thread_id")
    assert refused.value.message == f"Invalid 'thread_id': '{wrong}'. Expected an ID that begins with 'thread'."
    assert (refused.value.param, refused.value.code) == ("thread_id", "invalid_value")


BODY = "0" * 24


@pytest.mark.parametrize(
    "shape",
    [
        "",
        "_",
        "_" + BODY[:-1],
        "_" + BODY + "0",
        "-" + BODY,
        "_" + BODY[:-1] + "_",
        "_../../../../etc/passwd",
        "_" + "../" * 8,
        "_..%2F..%2F" + "0" * 13,
        "/../" + BODY,
        "_/" + BODY[:-1],
        "_" + BODY[:-1] + "/",
        "_" + BODY[:-1] + "\\",
        "_" + BODY[:-1] + ".",
        "_" + BODY[:-1] + "\0",
        "_" + BODY + "\0",
        "_" + BODY + "\n",
        "_" + BODY + "\r\n",
        "_" + BODY + " ",
        "_" + BODY[:-1] + "\N{ARABIC-INDIC DIGIT THREE}",
        "_" + BODY[:-1] + "\N{FULLWIDTH DIGIT ZERO}",
        "_" + BODY[:-1] + "\N{CYRILLIC SMALL LETTER A}",
        "_" + BODY[:-1] + "\N{COMBINING ACUTE ACCENT}",
        "_" + BODY[:-1] + "\ud800",
        "_" + "a" * 10_240,
        "_" + "A" * 32,
        "_" + "a" * 31,
        "_" + "a" * 32 + "\n",
        "s_" + BODY,
    ],
    ids=repr,
)
@pytest.mark.parametrize("noun", NOUNS)
def test_the_right_prefix_with_any_other_shape_was_never_an_id(noun, shape):
    with pytest.raises(NotFound) as missing:
        ids.check(noun, ids.PREFIXES[noun] + shape, "some_id")
    assert missing.value.noun == noun
    assert len(missing.value.object_id) <= 65, "an id from outside is not repeated at length"


@pytest.mark.parametrize("noun", ["assistant", "run step"])
def test_the_shape_of_32_hex_digits_belongs_to_threads_messages_and_runs(noun):
    with pytest.raises(NotFound):
        ids.check(noun, f"{ids.PREFIXES[noun]}_{'a' * 32}", "some_id")


def test_the_not_found_text_names_the_noun_and_the_id():
    with pytest.raises(NotFound, match=r"^No run step found with id 'step_x'\.$"):
        ids.check("run step", "step_x", "step_id")


def test_a_long_id_with_a_wrong_prefix_is_not_repeated_at_length():
    with pytest.raises(InvalidRequest) as refused:
        ids.check("run", "x" * 10_240, "run_id")
    assert len(refused.value.message) < 200
