"""Layout: every path of the data directory, made from checked ids. Nobody else joins paths.

<data>/format.json                              the number of this layout
<data>/tmp/                                     files and folders that are not in place yet
<data>/trash/                                   deleted threads, until they are swept
<data>/runners/<runner_id>                      locked by a runner for as long as it lives, and touched while it moves
<data>/queue/active/<run_id>                    a run that is not terminal: where it is, and who works on it
<data>/queue/waiting/<run_id>                   a hint that a run may be claimed
<data>/projects/<project>/assistants/<id>.json
<data>/projects/<project>/threads/<id>/         from here on the layout of oxillama-server 0.1.3
    meta.json                                   the Thread
    messages.jsonl                              its Messages, oldest first
    messages.torn                               last lines that a crash cut short
    messages/<message_id>.json                  a Message that was modified or deleted since
    runs.log                                    ids of its Runs, oldest first
    runs/<run_id>/status.json                   the Run
    runs/<run_id>/events.sse                    everything it streamed
    runs/<run_id>/so_far.json                   the message that it is writing, up to some event: a hint
    runs/<run_id>/additional_messages.jsonl     Messages that came with it and are not in the log yet
    runs/<run_id>/steps/<step_id>.json          its RunSteps
    runs/<run_id>/private.json                  what its next turns need, and no caller sees
"""

from __future__ import annotations

from os.path import join


class Layout:
    """Paths below one data directory."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.format = join(root, "format.json")
        self.values = join(root, "values.lock")
        self.temporary = join(root, "tmp")
        self.trash = join(root, "trash")
        self.runners = join(root, "runners")
        self.queue = join(root, "queue")
        self.active = join(root, "queue", "active")
        self.waiting = join(root, "queue", "waiting")
        self.projects = join(root, "projects")

    def active_entry(self, run_id: str) -> str:
        """The entry of a run that is not terminal."""
        return join(self.active, run_id)

    def project(self, project: str) -> str:
        """The folder of a project."""
        return join(self.projects, project)

    def assistants(self, project: str) -> str:
        """The folder of a project's assistants."""
        return join(self.projects, project, "assistants")

    def assistant(self, project: str, assistant_id: str) -> str:
        """An Assistant."""
        return join(self.projects, project, "assistants", f"{assistant_id}.json")

    def threads(self, project: str) -> str:
        """The folder of a project's threads."""
        return join(self.projects, project, "threads")

    def thread(self, project: str, thread_id: str) -> ThreadLayout:
        """The paths of a thread."""
        return ThreadLayout(f"{self.projects}/{project}/threads/{thread_id}")


class ThreadLayout:
    """Paths below one thread's folder, wherever that is just now. Made when asked for: most requests need one or two."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @property
    def meta(self) -> str:
        """The Thread."""
        return f"{self.folder}/meta.json"

    @property
    def messages(self) -> str:
        """The log of its Messages."""
        return f"{self.folder}/messages.jsonl"

    @property
    def torn_messages(self) -> str:
        """Last lines of that log that a crash cut short."""
        return f"{self.folder}/messages.torn"

    @property
    def overlays(self) -> str:
        """The folder of later versions of Messages."""
        return f"{self.folder}/messages"

    @property
    def runs_log(self) -> str:
        """The list of its Runs."""
        return f"{self.folder}/runs.log"

    @property
    def torn_runs(self) -> str:
        """Last lines of that list that a crash cut short."""
        return f"{self.folder}/runs.torn"

    @property
    def runs(self) -> str:
        """The folder of its Runs."""
        return f"{self.folder}/runs"

    def overlay(self, message_id: str) -> str:
        """The later version of a Message."""
        return f"{self.folder}/messages/{message_id}.json"

    def run(self, run_id: str) -> RunLayout:
        """The paths of a Run."""
        return RunLayout(f"{self.folder}/runs/{run_id}")


class RunLayout:
    """Paths below one Run's folder, wherever that is just now."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    @property
    def status(self) -> str:
        """The Run."""
        return f"{self.folder}/status.json"

    @property
    def events(self) -> str:
        """Its event log."""
        return f"{self.folder}/events.sse"

    @property
    def so_far(self) -> str:
        """The message that it is writing, up to some event."""
        return f"{self.folder}/so_far.json"

    @property
    def private(self) -> str:
        """What no caller sees of it."""
        return f"{self.folder}/private.json"

    @property
    def additional_messages(self) -> str:
        """Messages that came with it."""
        return f"{self.folder}/additional_messages.jsonl"

    @property
    def steps(self) -> str:
        """The folder of its RunSteps."""
        return f"{self.folder}/steps"

    def step(self, step_id: str) -> str:
        """A RunStep."""
        return f"{self.folder}/steps/{step_id}.json"
