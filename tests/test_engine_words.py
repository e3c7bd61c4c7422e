"""What of an engine's words may be quoted."""

from __future__ import annotations

import pytest

from oxillama import engine_words


@pytest.mark.parametrize(
    ("said", "quoted"),
    [
        ("no \x1b[31mred\x1b[0m\x07", "no [31mred [0m"),
        ("one\nline\tonly\x00", "one line only"),
        ("next\u2028line\x85", "next line"),
        ("naïve 漢字 🙂 …", "naïve 漢字 🙂 …"),
        ("half \ud83d a character", "half � a character"),
    ],
)
def test_a_quotation_holds_nothing_that_steers_a_terminal(said: str, quoted: str) -> None:
    assert engine_words.quotable(said, ()) == quoted
