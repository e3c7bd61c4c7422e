"""How long a prompt for the embedded engine may be before anybody counts its tokens.

llama.cpp takes some 70 bytes of memory for each byte of a prompt to count its tokens, of several prompts at once, and only then says that
they do not fit (measured with xllamacpp 2026.10: 500 MB for 7.5 MB). What cannot fit in any case is not given to it.
"""

from __future__ import annotations

#: Far more than a token has in any text but a long line of blanks.
MAX_BYTES_A_TOKEN = 128


def is_too_long(size: int, context_tokens: int) -> bool:
    """Whether a prompt cannot fit.

    Args:
        size: in bytes or characters.
        context_tokens: of the engine.
    """
    return size > context_tokens * MAX_BYTES_A_TOKEN
