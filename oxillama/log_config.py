"""Logging to stderr, in the same form in every process. Neither message texts nor keys are ever logged."""

from __future__ import annotations

import logging


def configure() -> None:
    """Log warnings of libraries and everything of ours from INFO on."""
    logging.basicConfig(format="%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("oxillama").setLevel(logging.INFO)
