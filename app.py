"""Development entry: `python app.py` runs the Flask development server, a runner and the embedded engine in one process.

Everything else about it is the same as in production: same store, same runner, same engine over HTTP.
"""

import asyncio
import os
import secrets
import sys
import threading

from werkzeug.serving import WSGIRequestHandler

from oxillama import log_config, parent_death, settings
from oxillama.engine import embedded
from oxillama.engine.chat_completions import connect
from oxillama.errors import OxillamaError, SettingsInvalid
from oxillama.factory import create_app
from oxillama.runner.loop import Runner
from oxillama.store import Store


class RequestHandler(WSGIRequestHandler):
    """The development server's, which does not tell the versions of werkzeug and Python."""

    def version_string(self) -> str:
        """The `Server` header."""
        return "oxillama"


def start_runner(chosen: settings.Settings) -> None:
    """Execute runs in a thread of this process."""

    async def serve() -> None:
        store = Store.open(chosen.data_dir, durable=chosen.durable)
        await Runner(store, connect(chosen), chosen.run_concurrency).serve()

    threading.Thread(target=lambda: asyncio.run(serve()), name="runner", daemon=True).start()


def start_engine(chosen: settings.Settings) -> object:
    """The embedded engine in this process, until the returned object is dropped; None when another engine is configured."""
    model = chosen.model_path or embedded.bundled_model()
    if not chosen.embedded or model is None or chosen.embedded_port is None:
        return None
    return embedded.start(model, chosen)


def main() -> None:
    """Serve until interrupted. With FLASK_DEBUG=1 the reloader's child does the work; its parent only watches files."""
    log_config.configure()
    os.umask(0o077)
    debug = os.environ.get("FLASK_DEBUG") == "1"
    os.environ.setdefault("OXILLAMA_EMBEDDED_PORT", str(embedded.free_port()))
    if not os.environ.get("OXILLAMA_ENGINE_URL"):
        os.environ.setdefault("OXILLAMA_ENGINE_API_KEY", secrets.token_urlsafe(32))
    try:
        chosen = settings.read(os.environ)
        host, _, port = chosen.bind.rpartition(":")
        if not settings.is_loopback(host.strip("[]")):
            raise SettingsInvalid("app.py is for developers and serves on loopback only; start `python -m oxillama` instead")
        app = create_app(chosen)
    except OxillamaError as error:
        sys.exit(f"oxillama cannot start: {error}")
    if os.environ.get("WERKZEUG_RUN_MAIN") == "true":
        parent_death.die_with_parent()
    engine = None
    if not debug or os.environ.get("WERKZEUG_RUN_MAIN") == "true":
        engine = start_engine(chosen)
        start_runner(chosen)
        app.extensions["oxillama"].caretaker.start()
    # Reloading is what debugging means here. werkzeug's debugger would let its pages run any code.
    app.run(host.strip("[]"), int(port), debug=debug, use_debugger=False, threaded=True, request_handler=RequestHandler)
    del engine


if __name__ == "__main__":
    main()
