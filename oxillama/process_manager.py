"""supervisord, with two repairs. `python -m oxillama` becomes this."""

from __future__ import annotations

import os
import signal

from supervisor import supervisord
from supervisor.options import ServerOptions

_STOPPING = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT}
#: How often it looks for signals and for the dead; a signal does not wake it. Its own second would come on top of every start and stop.
_LOOK_SECONDS = 0.2


class Options(ServerOptions):
    """What supervisord asks of the operating system."""

    def __init__(self) -> None:
        super().__init__()
        poll = self.poller.poll
        self.poller.poll = lambda timeout: poll(min(timeout, _LOOK_SECONDS))

    def fork(self) -> int:
        """Fork so that no signal is lost: one that comes before the exec would go to supervisord's own handler in the child, for nothing.

        Told to stop while it starts, supervisord starts everything and stops it at once. What missed that is killed only seconds later.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)
        try:
            pid = os.fork()
            if pid == 0:
                for number in _STOPPING:
                    signal.signal(number, signal.SIG_DFL)
            return pid
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)


if __name__ == "__main__":
    supervisord.ServerOptions = Options
    supervisord.main()
