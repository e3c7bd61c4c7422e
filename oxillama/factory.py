"""create_app: the Flask application, made from settings."""

from __future__ import annotations

from flask import Flask

from oxillama.settings import Settings
from oxillama.store import Store
from oxillama.web import assistants, error_handlers, headers, health, messages, models, runs, steps, threads
from oxillama.web.context import Context
from oxillama.web.streaming import StreamDesk


def create_app(settings: Settings) -> Flask:
    """The application on the data directory of `settings`. Raises StoreUnavailable when that cannot be used."""
    store = Store.open(settings.data_dir, durable=settings.durability == "full")
    for project in set((settings.api_keys or {}).values()):
        store.create_project(project)
    app = Flask("oxillama", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    # A doubled slash is a mistake to be told of, not one to be answered with a redirection that loses the body.
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = False
    app.extensions["oxillama"] = Context(settings, store, StreamDesk(settings.max_streams))
    error_handlers.register(app)
    headers.register(app, settings)
    for nouns in (assistants, threads, messages, runs, steps, models, health):
        app.register_blueprint(nouns.bp)
    return app
