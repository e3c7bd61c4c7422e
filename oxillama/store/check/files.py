"""What is checked of any file: that it belongs where it is, who may read it, and that it holds what files of its kind hold."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import orjson

from oxillama import ids
from oxillama.errors import StoreError
from oxillama.store.check.findings import Findings
from oxillama.store.disk import DIRECTORY_MODE, FILE_MODE, Disk, naming

#: No object is larger; what is, was not written by this program and is not read into memory.
_LONGEST_BYTES = 64 * 1024 * 1024
#: Further ones in the same log are not told one by one.
_MOST_TOLD = 10


def entries(
    findings: Findings, folder: str, *, files: str = "", folders: str = "", ignored: str = "", adopted: bool = False
) -> Iterator[str]:
    """The names in a folder that belong there. Nothing is followed, and nothing that is foreign is opened.

    Args:
        findings: where to tell of the others, and of those that more may read than they should.
        folder: its path; nothing is wrong with one that does not exist.
        files: pattern of the whole name of a file that belongs there.
        folders: pattern of the whole name of a folder that belongs there.
        ignored: pattern of the whole name of what others put there.
        adopted: it was laid out by oxillama-server 0.1.3, which had other modes and left other files.
    """
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if re.fullmatch(ignored, entry.name):
                    continue
                is_folder, is_file = entry.is_dir(follow_symlinks=False), entry.is_file(follow_symlinks=False)
                if entry.is_symlink():
                    findings.problem(entry.path, "a symbolic link, which this program never makes")
                elif not (is_folder and re.fullmatch(folders, entry.name)) and not (is_file and re.fullmatch(files, entry.name)):
                    findings.unless(adopted, entry.path, "does not belong here")
                else:
                    if not (adopted or ids.is_legacy(entry.name)):
                        _check_mode(findings, entry, DIRECTORY_MODE if is_folder else FILE_MODE)
                    yield entry.name
    except FileNotFoundError:
        return
    except OSError as error:
        findings.problem(folder, f"cannot be read: {error.strerror}")


def read_object(findings: Findings, disk: Disk, path: str, expected: dict[str, Any]) -> dict[str, Any] | None:
    """The JSON object in a file, or None when it is not one, which is then told.

    Args:
        findings: where to tell what is wrong.
        disk: what to read from.
        path: the file.
        expected: what fields of it must be.
    """
    try:
        content = disk.read(path)
    except FileNotFoundError:
        findings.problem(path, "missing")
        return None
    except StoreError as error:
        findings.problem(path, error.reason)
        return None
    return parsed(findings, path, "", content, expected)


def parsed(findings: Findings, path: str, where: str, content: bytes, expected: dict[str, Any]) -> dict[str, Any] | None:
    """A JSON object; None, and told with `where` in the file it is, when it is not one. Fields that are not as expected are told too."""
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        findings.problem(path, f"{where}not JSON: {error}" if content else f"{where}empty")
        return None
    if not isinstance(value, dict):
        findings.problem(path, f"{where}not a JSON object")
        return None
    check_fields(findings, path, where, value, expected)
    return value


def check_fields(findings: Findings, path: str, where: str, value: dict[str, Any], expected: dict[str, Any]) -> None:
    """Tell which fields of an object are not what they must be."""
    for name, wanted in expected.items():
        if value.get(name) != wanted:
            findings.problem(path, f"{where}`{name}` is not {wanted}")


def check_lines(findings: Findings, path: str, check_line: Callable[[str, bytes], None]) -> None:
    """Read a log a line at a time. A last one without an end is a note: the next who writes there puts it aside.

    Args:
        findings: where to tell what is wrong.
        path: the log; nothing is wrong with one that does not exist.
        check_line: told where a line is, for what it finds wrong, and the line.
    """
    offset, before = 0, len(findings.problems)
    try:
        with naming(path), open(path, "rb") as log:
            while line := log.readline(_LONGEST_BYTES):
                if len(findings.problems) - before >= _MOST_TOLD:
                    findings.problem(path, "and so on: what follows was not read")
                    return
                if len(line) == _LONGEST_BYTES:
                    findings.problem(path, f"line at byte {offset}: does not end")
                    return
                if line.endswith(b"\n") or _is_json(line):
                    if line.strip():
                        check_line(f"line at byte {offset}: ", line.rstrip(b"\n"))
                else:
                    findings.note(path, f"a last line of {len(line)} bytes that a crash cut short; the next writer puts it aside")
                offset += len(line)
    except FileNotFoundError:
        return


def read_frames(findings: Findings, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and objects of the frames of an event log, one at a time, up to the first that is none.

    Raises:
        FileNotFoundError: there is no log.
    """
    offset = 0
    with naming(path), open(path, "rb") as log:
        while first := log.readline(_LONGEST_BYTES):
            event, data, blank = first, log.readline(_LONGEST_BYTES), log.readline(_LONGEST_BYTES)
            size = len(event) + len(data) + len(blank)
            if not blank.endswith(b"\n") and size < _LONGEST_BYTES:
                findings.note(path, f"a last frame of {size} bytes that is not whole; the next writer cuts it off")
                return
            if not (event.startswith(b"event: ") and data.startswith(b"data: ") and blank == b"\n"):
                findings.problem(path, f"frame at byte {offset}: not an event")
                return
            value = parsed(findings, path, f"frame at byte {offset}: ", data[6:], {})
            if value is None:
                return
            yield event[7:-1].decode("ascii", "replace"), value
            offset += size


def _check_mode(findings: Findings, entry: os.DirEntry[str], widest: int) -> None:
    try:
        mode = entry.stat(follow_symlinks=False).st_mode & 0o7777
    except FileNotFoundError:
        return
    if mode & ~widest:
        findings.problem(entry.path, f"mode {mode:04o} is wider than {widest:04o}")


def _is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True
