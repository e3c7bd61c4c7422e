"""create_app: the Flask application, made from settings."""

from __future__ import annotations

from flask import Blueprint, Flask

from oxillama.settings import Settings
from oxillama.store import Store
from oxillama.web import assistants, error_handlers, health, messages, models, pass_through, runs, steps, threads
from oxillama.web.application import Api
from oxillama.web.base_urls import AZURE, OPENAI
from oxillama.web.body_room import VALUE_SHARES, BodyRoom
from oxillama.web.caretaker import Caretaker
from oxillama.web.context import Context
from oxillama.web.engine_state import EngineState
from oxillama.web.hang_up import HangUpWatch
from oxillama.web.headers import Frontage
from oxillama.web.streaming import StreamDesk
from oxillama.web.writability import Writability


def create_app(settings: Settings) -> Flask:
    """The application on the data directory of `settings`. Raises StoreUnavailable when that cannot be used."""
    store = Store.open(settings.data_dir, durable=settings.durable)
    for project in set((settings.api_keys or {}).values()):
        store.create_project(project)
    app = Api("oxillama", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    # Flask would answer OPTIONS by itself, without our envelope. What pages of other origins are granted is in web/cors.py.
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    # A doubled slash is a mistake to be told of, not one to be answered with a redirection that loses the body.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    streams = StreamDesk(settings.max_streams)
    room = BodyRoom(
        arriving=settings.threads * settings.max_body_bytes, parsed=settings.max_body_bytes, shares=store.value_shares(VALUE_SHARES)
    )
    hang_ups = HangUpWatch(lambda: streams.stopping)
    app.extensions["oxillama"] = Context(
        settings, store, streams, hang_ups, room, EngineState(settings), Caretaker(store), Writability(store)
    )
    error_handlers.register(app, store.require_place)
    app.register_blueprint(health.bp)
    for name, base_url in (("openai", OPENAI), ("azure", AZURE)):
        api = Blueprint(name, __name__, url_prefix=base_url)
        for nouns in (assistants, threads, messages, runs, steps, models, pass_through):
            api.register_blueprint(nouns.bp)
        if base_url == AZURE:
            api.register_blueprint(pass_through.deployments_bp)
        app.register_blueprint(api)
    # The application itself stays what callers get: its `wsgi_app` is where Flask wants layers.
    app.wsgi_app = Frontage(app.wsgi_app, settings)  # type: ignore[method-assign]
    return app
