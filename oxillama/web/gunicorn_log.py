"""gunicorn's own log, in the same bounded lines as ours: it may quote a request that it could not read."""

from __future__ import annotations

from gunicorn.glogging import Logger

from oxillama.log_config import OneLine


class GunicornLog(Logger):
    """See the module."""

    def setup(self, cfg: object) -> None:
        """As gunicorn's, with lines of ours."""
        super().setup(cfg)
        for handler in self.error_log.handlers:
            handler.setFormatter(OneLine(self.error_fmt, self.datefmt))
