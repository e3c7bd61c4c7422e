"""Without keys, whoever reaches the port is served; so no web page that the operator's browser shows may be who.

A page of another site reaches loopback in two ways: by a name of its own that leads here (DNS rebinding), which shows in the Host header,
and by requests that browsers send to any site without asking it first, which they mark with Origin and Sec-Fetch-Site.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from wsgiref.types import WSGIEnvironment

from oxillama.errors import ForeignPage
from oxillama.settings import is_loopback

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::[0-9]*)?", re.ASCII)
_OWN = frozenset({"127.0.0.1", "::1", ""})
_SET_KEYS = (
    "A server with OXILLAMA_API_KEYS takes requests under any name and from any machine, "
    "and lets programs in web pages of the origins in OXILLAMA_CORS_ORIGINS read its answers."
)


def page_check(bind: str) -> Callable[[WSGIEnvironment], None]:
    """What refuses the requests of web pages, for a server without keys. It raises ForeignPage.

    Args:
        bind: the address it serves on, which is a loopback one.
    """
    port = bind.rpartition(":")[2]
    usual = frozenset({bind, *(f"{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]"))})

    def check(environ: WSGIEnvironment) -> None:
        address = environ.get("REMOTE_ADDR", "")
        # Where somebody gave the application to another server than ours, and that to the network.
        if address not in _OWN and not is_loopback(address):
            raise ForeignPage(f"This server has no API keys, so it answers its own machine only. {_SET_KEYS}", "address_not_allowed")
        host = environ.get("HTTP_HOST")
        # Browsers always send one.
        if host is not None and host not in usual and not _is_this_machine(host):
            raise ForeignPage(
                f"This server has no API keys, so it only answers what was addressed to localhost or 127.0.0.1, not to '{host[:64]}'. "
                f"{_SET_KEYS}",
                "host_not_allowed",
            )
        origin = environ.get("HTTP_ORIGIN")
        if environ.get("HTTP_SEC_FETCH_SITE") == "cross-site" or (origin is not None and origin.partition("://")[2] != host):
            message = f"This server has no API keys, so it refuses what web pages of other sites send. {_SET_KEYS}"
            raise ForeignPage(message, "origin_not_allowed")

    return check


def _is_this_machine(host: str) -> bool:
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match[1].strip("[]").lower())
