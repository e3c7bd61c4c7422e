"""How many values the JSON of a request may hold.

Making values holds the interpreter's lock: two million small lists in 8 MB took it for a second, in which nobody else of the process is
served. So they are counted before they are made.
"""

from __future__ import annotations

import re

from oxillama.errors import InvalidRequest

#: Far above what a request of the API can use: 128 functions of 1,000 values each fit. So do the 300,000 tokens that one request for
#: embeddings may have, each of which some clients send as a number.
MAX_VALUES = 320_000

#: A string, also one that never ends, or what comes before a value. Possessive, so that nothing is ever read twice.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{,]', re.DOTALL)


def check_values(content: bytes | bytearray) -> None:
    """Look whether a body holds few enough values.

    Args:
        content: what should be JSON.

    Raises:
        InvalidRequest: it holds more than MAX_VALUES.
    """
    # Texts have commas and brackets too, so that this only tells whether to look closer.
    if sum(map(content.count, (b",", b"[", b"{"))) < MAX_VALUES:
        return
    values = 0
    for token in _TOKEN.finditer(content):
        values += token[0][:1] != b'"'
        if values >= MAX_VALUES:
            raise InvalidRequest(
                f"Your request holds too many JSON values: there may be {MAX_VALUES:,} at the most.", None, "too_many_values"
            )
