"""Thoughts in an answer's text."""

from __future__ import annotations

import pytest

from oxillama.engine.think_tags import ThinkTagSplitter


def split(pieces):
    splitter = ThinkTagSplitter()
    divided = [splitter.split(piece) for piece in pieces]
    return "".join(thoughts for thoughts, _ in divided), "".join(text for _, text in divided) + splitter.rest()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("answer", "thoughts", "text"),
    [
        ("<think>hm</think>\n\nfine", "hm", "fine"),
        ("\n<think>\nhm < 3 </thin k>\n</think>fine\n\n<think>x</think>", "\nhm < 3 </thin k>\n", "fine\n\n<think>x</think>"),
        ("<thinking>hm</think> still</thinking> fine", "hm</think> still", "fine"),
        ("<think></think>fine", "", "fine"),
        ("fine <think>not one</think>", "", "fine <think>not one</think>"),
        ("<thin ice", "", "<thin ice"),
        ("<", "", "<"),
        ("  ", "", "  "),
        ("", "", ""),
        ("<think>never ends", "never ends", ""),
        ("<think>hm</think>", "hm", ""),
        ("no opening</think>fine", "", "no opening</think>fine"),
    ],
)
def test_thoughts_are_not_the_answer(answer, size, thoughts, text):
    assert split([answer[place : place + size] for place in range(0, len(answer), size)]) == (thoughts, text)


def test_an_ordinary_answer_is_not_held_back():
    splitter = ThinkTagSplitter()
    assert [splitter.split(piece) for piece in ("Hello", " <think", ">")] == [("", "Hello"), ("", " <think"), ("", ">")]


def test_blanks_are_not_held_back_for_ever():
    splitter = ThinkTagSplitter()
    told = [splitter.split("\n")[1] for _ in range(2_000)]
    assert told[-1] == "\n"
    assert "".join(told) + splitter.rest() == "\n" * 2_000
