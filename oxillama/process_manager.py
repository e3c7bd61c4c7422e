"""supervisord, with two repairs, and with lines of the log that say who wrote them. `python -m oxillama` becomes this."""

from __future__ import annotations

import os
import signal

from supervisor import dispatchers, supervisord
from supervisor.options import ServerOptions
from supervisor.process import Subprocess

from oxillama.child_output import OutputLines

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


class LineDispatcher(dispatchers.POutputDispatcher):
    """What supervisord does with the output of one process: whole lines go to the log."""

    def __init__(self, process: Subprocess, event_type: type, fd: int) -> None:
        super().__init__(process, event_type, fd)
        self.output_buffer: bytes = b""
        self._lines = OutputLines(process.config.name)

    def record_output(self) -> None:
        """Log what has become whole of the output that has been read."""
        said, self.output_buffer = self.output_buffer, b""
        self._log(self._lines.read(said))

    def close(self) -> None:
        """Log what is left, and stop reading."""
        if not self.closed:
            self._log(self._lines.end())
        super().close()


if __name__ == "__main__":
    dispatchers.POutputDispatcher = LineDispatcher
    supervisord.ServerOptions = Options
    supervisord.main()
