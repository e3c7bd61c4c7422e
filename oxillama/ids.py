"""Make and check ids.

An id of ours is a prefix and 24 letters and digits: nine that encode the microsecond of its making, in an alphabet that is in ASCII
order, and fifteen random ones. So sorting ids sorts by creation, and a cursor can be compared when its object is gone.
The store of oxillama-server 0.1.3 wrote 32 hex digits, and a hyphenated uuid for steps; those are accepted too and sort before ours.
"""

from __future__ import annotations

import random
import re

from oxillama import clock
from oxillama.errors import InvalidRequest, NotFound

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
STAMP_LENGTH = 9
RANDOM_LENGTH = 15

#: noun, as the API's error texts name it -> what its ids begin with
PREFIXES = {"assistant": "asst", "thread": "thread", "message": "msg", "run": "run", "run step": "step"}

_OURS = re.compile(r"[a-z]+_([0-9A-Za-z]{9})[0-9A-Za-z]{15}", re.ASCII)
_LEGACY = re.compile(r"(?:thread|msg|run)_[0-9a-f]{32}|step-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_LONGEST_OURS = max(map(len, PREFIXES.values())) + 1 + STAMP_LENGTH + RANDOM_LENGTH
_LONGEST_SHOWN = 64


def new_id(noun: str, stamp: int | None = None) -> str:
    """A new id for `noun`.

    Args:
        noun: a key of PREFIXES.
        stamp: microseconds since 1970; now, when not given.
    """
    stamp = clock.microseconds() if stamp is None else stamp
    return f"{PREFIXES[noun]}_{_encode(stamp, STAMP_LENGTH)}{_random(RANDOM_LENGTH)}"


def new_call_id() -> str:
    """A new id for one tool call."""
    return f"call_{_random(STAMP_LENGTH + RANDOM_LENGTH)}"


def new_request_id() -> str:
    """A new value for the `x-request-id` header."""
    return f"req_{random.getrandbits(128):032x}"


def stamp_of(object_id: str) -> int:
    """The microsecond in which an id of ours was made; 0 for one of oxillama-server 0.1.3, so that those sort first."""
    match = _OURS.fullmatch(object_id)
    if match is None:
        return 0
    stamp = 0
    for character in match[1]:
        stamp = stamp * len(ALPHABET) + ALPHABET.index(character)
    return stamp


def is_ours(object_id: str) -> bool:
    """Whether the id has the shape that this program makes."""
    return _OURS.fullmatch(object_id) is not None


def is_legacy(object_id: str) -> bool:
    """Whether the id has the shape that oxillama-server 0.1.3 made."""
    # The length alone tells nearly all apart, and every line of every list is asked.
    return len(object_id) > _LONGEST_OURS and _LEGACY.fullmatch(object_id) is not None


def order_of(object_id: str) -> str:
    """What ids of one noun are sorted by: ours by creation, behind those of oxillama-server 0.1.3, which have no order."""
    return object_id if is_ours(object_id) else ""


def check(noun: str, object_id: str, param: str) -> str:
    """The id itself, once it is safe to make a path of.

    Args:
        noun: a key of PREFIXES.
        object_id: what the caller sent.
        param: the name of the parameter it came in, for the error.

    Raises:
        InvalidRequest: it begins with the wrong prefix (behaviour.md, section 9).
        NotFound: the prefix is right, but we never made an id of this shape.
    """
    prefix = PREFIXES[noun]
    if not object_id.startswith(prefix):
        message = f"Invalid '{param}': '{shown(object_id)}'. Expected an ID that begins with '{prefix}'."
        raise InvalidRequest(message, param, "invalid_value")
    if object_id.startswith((f"{prefix}_", f"{prefix}-")) and (is_ours(object_id) or is_legacy(object_id)):
        return object_id
    raise NotFound(noun, shown(object_id))


def shown(text: str) -> str:
    """What a caller sent, cut so that an error does not send a whole request back."""
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def _encode(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def _random(length: int) -> str:
    # Ids are names, not secrets: keys decide who may read. Asking the kernel for each would cost more than storing a message's line.
    return "".join(random.choices(ALPHABET, k=length))
