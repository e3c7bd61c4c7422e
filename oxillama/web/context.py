"""What a view may reach of the application it runs in."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app, request

from oxillama import ids
from oxillama.settings import Settings
from oxillama.store import Store
from oxillama.store.threads import ThreadFolder
from oxillama.web.body_room import BodyRoom
from oxillama.web.caretaker import Caretaker
from oxillama.web.engine_state import EngineState
from oxillama.web.hang_up import HangUpWatch
from oxillama.web.headers import PROJECT
from oxillama.web.streaming import StreamDesk
from oxillama.web.writability import Writability


@dataclass(frozen=True)
class Context:
    """The parts that all views share; made once a process."""

    settings: Settings
    store: Store
    streams: StreamDesk
    hang_ups: HangUpWatch
    body_room: BodyRoom
    engine_state: EngineState
    caretaker: Caretaker
    writability: Writability


def context() -> Context:
    """The parts of the running application."""
    return current_app.extensions["oxillama"]


def project() -> str:
    """The project whose key came with this request."""
    return request.environ[PROJECT]


def thread_folder(thread_id: str) -> ThreadFolder:
    """A thread of this request's project, whether it exists or not. Raises InvalidRequest or NotFound for what cannot be an id."""
    return context().store.thread(project(), ids.check("thread", thread_id, "thread_id"))
