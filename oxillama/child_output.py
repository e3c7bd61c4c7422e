"""What the parts say, as lines of the log: each with the part's name, none too long, and none that looks like another part's.

llama.cpp prints what callers wrote, such as the patterns of their schemas, and so prints the ends of lines that are in there.
"""

from __future__ import annotations

MAX_LINE_BYTES = 4_000


class OutputLines:
    """The output of one part, made into lines.

    Args:
        name: of the part, before each of its lines.
    """

    def __init__(self, name: str) -> None:
        self._name, self._begun, self._dropped = name, b"", 0

    def read(self, piece: bytes) -> bytes:
        """The lines that are whole with a piece of output, for the log."""
        *whole, last = piece.split(b"\n")
        lines = []
        for line in whole:
            self._add(line)
            lines.append(self._line())
        self._add(last)
        return b"".join(lines)

    def end(self) -> bytes:
        """The last line, when it was left without an end."""
        return self._line() if self._begun else b""

    def _add(self, piece: bytes) -> None:
        room = MAX_LINE_BYTES - len(self._begun)
        self._begun += piece[:room]
        self._dropped += len(piece[room:])

    def _line(self) -> bytes:
        text = self._begun.decode("utf-8", "backslashreplace")
        # Separators of lines and of paragraphs are not printable either, nor what moves the cursor of a terminal.
        shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
        more = f" … {self._dropped} bytes more" if self._dropped else ""
        self._begun, self._dropped = b"", 0
        return f"{self._name}: {shown}{more}\n".encode()
