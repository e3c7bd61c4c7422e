"""Start a runner: `python -m oxillama.runner`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from oxillama import log_config, parent_death, settings
from oxillama.engine.chat_completions import connect
from oxillama.errors import SettingsInvalid, StoreError
from oxillama.runner.loop import Runner
from oxillama.settings import Settings
from oxillama.store import Store


async def run(chosen: Settings) -> None:
    """Execute runs until SIGTERM or SIGINT."""
    store = Store.open(chosen.data_dir, durable=chosen.durable)
    engine = connect(chosen)
    runner = Runner(store, engine, chosen.run_concurrency)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, runner.stop)
    try:
        await runner.serve()
    finally:
        await engine.close()


def main() -> None:
    """Read the settings and run. Exits with 1 and one line on stderr when they cannot be used."""
    log_config.configure()
    os.umask(0o077)
    parent_death.die_with_supervisor()
    try:
        asyncio.run(run(settings.read(os.environ)))
    except (SettingsInvalid, StoreError) as error:
        sys.exit(f"The runner cannot start: {error}")


if __name__ == "__main__":
    main()
