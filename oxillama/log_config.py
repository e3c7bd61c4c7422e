"""Logging to stderr, in the same form in every process. Neither message texts nor keys are ever logged."""

from __future__ import annotations

import logging
import re

FORMAT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"
#: Longer than anything we say ourselves; what comes from outside may have megabytes.
MAX_MESSAGE = 2_000
MAX_TRACE = 20_000

#: Ends of lines, as readers of logs know them, and what moves a terminal's cursor.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure() -> None:
    """Log warnings of libraries and everything of ours from INFO on."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(FORMAT))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("oxillama").setLevel(logging.INFO)


class OneLine(logging.Formatter):
    """A record is one line of bounded length; those of a stack trace begin with `| `, so that none can be taken for another record."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter`."""
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:
        """See `logging.Formatter`."""
        return _marked(super().formatException(ei))  # type: ignore[arg-type]

    def formatStack(self, stack_info: str) -> str:
        """See `logging.Formatter`."""
        return _marked(super().formatStack(stack_info))


def one_line(text: str, most: int = MAX_MESSAGE) -> str:
    """The text in one line, cut to `most` characters of itself, with control characters written as escapes."""
    cut = f"… ({len(text):,} characters)" if len(text) > most else ""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text[:most]) + cut


def _marked(trace: str) -> str:
    if len(trace) > MAX_TRACE:
        trace = trace[: MAX_TRACE // 2] + "\n…\n" + trace[-MAX_TRACE // 2 :]
    return "\n".join("| " + one_line(line) for line in trace.split("\n"))
