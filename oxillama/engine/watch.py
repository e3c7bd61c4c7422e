"""Watch over the embedded engine, and end it when it hangs: whoever started it starts it again. A process of its own, the engine's child.

A hang burns processor time or none, and llama.cpp's HTTP threads answer `/health` and `/slots` all the while. So it is asked something that
only the loop which evaluates prompts and samples tokens can answer. It does so between two batches, however busy it is.

Of a process that is stopped or hangs in native code no part can be trusted to notice: hence not a thread of it. A child and not a parent,
so that whoever manages processes has the engine itself in hand.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import select
import signal
import socket
import sys
import time

from oxillama import parent_death

#: The only short question that llama.cpp's server puts into the queue of that loop (seen with xllamacpp 2026.10).
_QUESTION = "/lora-adapters"
_PAUSE_SECONDS = 2


def main() -> None:
    """`python -m oxillama.engine.watch PORT SECONDS`, from the engine's process: kill that one once it does not move for so many seconds.

    The key is in `OXILLAMA_ENGINE_API_KEY`. It begins when its input is closed, which says that the model is loaded: that may take as long
    as it likes, since starting over would not make it faster.
    """
    engine, port, patience = os.getppid(), int(sys.argv[1]), int(sys.argv[2])
    parent_death.die_with_parent()
    # Ctrl-C goes to everybody on the terminal; this one goes when the engine does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.read()
    while is_moving(port, patience):
        time.sleep(_PAUSE_SECONDS)
    if os.getppid() == engine:
        print(f"The embedded engine did not move for {patience} s and is ended.", file=sys.stderr, flush=True)
        os.kill(engine, signal.SIGKILL)


def is_moving(port: int, patience: int) -> bool:
    """Whether the engine answers within so many seconds.

    They are counted one by one, so that one in which this process was stopped too is no more than one.
    """
    key = os.environ.get("OXILLAMA_ENGINE_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    while patience > 0:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
        # It does not listen any more, or has no thread for us.
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
            connection.request("GET", _QUESTION, headers=headers)
            while patience > 0 and not _is_readable(connection.sock):
                patience -= 1
            if patience > 0 and connection.getresponse().status == http.HTTPStatus.OK:
                return True
        time.sleep(1)
        patience -= 1
    return False


def _is_readable(source: socket.socket) -> bool:
    waiting = select.poll()
    waiting.register(source, select.POLLIN)
    return bool(waiting.poll(1000))


if __name__ == "__main__":
    main()
