"""The append-only log of objects: found without an index, never torn for a reader, never losing the line after a torn one."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

import orjson
import pytest

from oxillama import ids
from oxillama.errors import CorruptRecord, StoreFull, StoreUnavailable
from oxillama.store.disk import Disk
from oxillama.store.lines import Lines
from tests.builders import listed

STAMP = 1_790_000_000_000_000
#: Short, usual, around the 16 KiB that are read at once, several of those, and much more.
LENGTHS = (0, 200, 16_384 - 60, 3, 16_384, 40_000, 1, 300_000, 50)


class Log(Lines):
    """Each question is asked of a new reader, as each request does."""

    def end(self) -> int:
        with self.reader() as reader:
            return reader.end()

    def span(self, object_id: str) -> tuple[int, int] | None:
        with self.reader() as reader:
            return reader.span(object_id)

    def forward(self, low: int, high: int) -> list[tuple[str, bytes]]:
        with self.reader() as reader:
            return list(reader.forward(low, high))

    def backward(self, low: int, high: int) -> list[tuple[str, bytes]]:
        with self.reader() as reader:
            return list(reader.backward(low, high))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(Disk(str(tmp_path), durable=False), str(tmp_path / "messages.jsonl"), str(tmp_path / "messages.torn"))


def path_of(log: Lines) -> Path:
    return Path(log._path)


def torn_of(log: Lines) -> Path:
    return Path(log._torn_path)


def line(stamp: int, length: int = 20) -> tuple[str, bytes]:
    object_id = ids.new_id("message", STAMP + stamp)
    return object_id, b'{"id":"%b","text":"%b"}' % (object_id.encode(), b"x" * length)


def lines(count: int) -> list[tuple[str, bytes]]:
    """Lines of varied lengths; the very long ones only near the ends and in the middle, or the log would be huge."""
    if count <= 20:
        return [line(number * 10, LENGTHS[number % len(LENGTHS)]) for number in range(count)]
    long = {1, 2, count // 2, count // 2 + 1, count - 2}
    return [line(number * 10, 300_000 if number in long else number * 37 % 700) for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 20, 3_000])
def test_everything_appended_is_read_in_order_from_either_end_and_found_by_its_id(log, count):
    content = lines(count)
    for start in range(0, count, 700):
        log.append([text for _, text in content[start : start + 700]])
    assert log.forward(0, log.end()) == content
    assert log.backward(0, log.end()) == content[::-1]
    assert log.last_id() == (content[-1][0] if content else None)
    for object_id, text in content if count <= 20 else content[::29] + content[-1:]:
        assert log.get(object_id) == text


@pytest.mark.parametrize("count", [1, 20, 3_000])
def test_a_span_divides_the_log_before_and_behind_an_object(log, count):
    content = lines(count)
    log.append([text for _, text in content])
    for number in {0, 1, 2, count // 2, count // 2 + 1, count - 2, count - 1} & set(range(count)):
        low, high = log.span(content[number][0])
        assert listed(log.forward(0, low)) == listed(content[:number])
        assert listed(log.forward(high, log.end())) == listed(content[number + 1 :])
        assert listed(log.backward(high, log.end())) == listed(content[number + 1 :])[::-1]


def test_every_id_of_a_long_log_is_found_and_no_other(log):
    content = [line(number * 10, number * 37 % 300) for number in range(3_000)]
    log.append([text for _, text in content])
    assert all(log.get(object_id) == text for object_id, text in content)
    for number in range(0, 3_000, 100):
        assert log.span(line(number * 10 + 5)[0]) is None
        assert log.span(line(number * 10)[0]) is None, "the same microsecond, other random letters"


def test_an_id_inside_the_text_of_another_object_is_not_mistaken_for_it(log):
    wanted = line(50)[0]
    quoting = b'{"id":"%b","text":"\\n{\\"id\\":\\"%b\\"}"}' % (line(10)[0].encode(), wanted.encode())
    log.append([quoting, line(90)[1]])
    assert log.get(wanted) is None


def test_no_log_at_all(log):
    assert log.end() == 0 and log.last_id() is None
    assert log.get(line(1)[0]) is None
    assert log.forward(0, 0) == log.backward(0, 0) == []


# --- a line that a crash cut short ---------------------------------------------------------------------------------------------------

WHOLE = line(1)
LATER = line(3)
TORN = (
    b"{",
    b'{"id":"msg',
    b'{"id":"msg_000',
    line(2)[1][:-1],
    b'{"id":"%b","metadata":{}' % line(2)[0].encode(),
    b'{"id":"%b","text":"}' % line(2)[0].encode(),
    line(2, 40_000)[1][:-2],
    b"\0" * 5_000,
    line(2)[1] + b"\0\0",
    b"\xff\xfe",
)


@pytest.mark.parametrize("torn", TORN, ids=lambda torn: repr(torn[-24:]))
def test_readers_pass_over_a_torn_last_line(log, torn):
    path_of(log).write_bytes(WHOLE[1] + b"\n" + torn)
    assert log.end() == len(WHOLE[1]) + 1
    assert listed(log.forward(0, log.end())) == listed(log.backward(0, log.end())) == [WHOLE[0]]
    assert log.last_id() == WHOLE[0] and log.get(WHOLE[0]) == WHOLE[1]
    assert log.span(line(2)[0]) is None
    assert not torn_of(log).exists(), "a reader changes nothing"


@pytest.mark.parametrize("torn", TORN, ids=lambda torn: repr(torn[-24:]))
def test_the_next_writer_puts_a_torn_line_aside_and_its_own_behind_the_last_whole_one(log, torn):
    path_of(log).write_bytes(WHOLE[1] + b"\n" + torn)
    log.append([LATER[1]])
    assert path_of(log).read_bytes() == WHOLE[1] + b"\n" + LATER[1] + b"\n"
    assert torn_of(log).read_bytes() == torn + b"\n"
    assert log.get(LATER[0]) == LATER[1]


def test_a_log_that_is_nothing_but_a_torn_line(log):
    path_of(log).write_bytes(b'{"id":"ms')
    assert log.end() == 0 and log.last_id() is None and log.get(WHOLE[0]) is None
    log.append([WHOLE[1]])
    assert path_of(log).read_bytes() == WHOLE[1] + b"\n"


def test_torn_lines_are_kept_one_behind_the_other(log):
    for number in (1, 2):
        with path_of(log).open("ab") as file:
            file.write(b"torn %d" % number)
        log.append([line(number)[1]])
    assert torn_of(log).read_bytes() == b"torn 1\ntorn 2\n"


def test_the_torn_line_of_an_object_is_not_its_place_in_the_log(log):
    object_id, text = line(2)
    path_of(log).write_bytes(LATER[1] + b"\n" + text[:-1])
    assert log.span(object_id) is None and log.get(object_id) is None


@pytest.mark.parametrize("length", [20, 50_000])
def test_a_whole_last_line_counts_although_its_newline_is_missing(log, length):
    last = line(2, length)
    path_of(log).write_bytes(WHOLE[1] + b"\n" + last[1])
    assert listed(log.forward(0, log.end())) == [WHOLE[0], last[0]]
    assert listed(log.backward(0, log.end())) == [last[0], WHOLE[0]]
    assert log.last_id() == last[0] and log.get(last[0]) == last[1]
    log.append([LATER[1]])
    assert path_of(log).read_bytes() == b"\n".join([WHOLE[1], last[1], LATER[1], b""])
    assert not torn_of(log).exists()


def test_a_list_begun_before_a_line_was_ended_still_ends_where_it_did(log):
    path_of(log).write_bytes(WHOLE[1])
    with log.reader() as reader:
        log.append([LATER[1]])
        assert listed(reader.forward(0, reader.end())) == [WHOLE[0]] == listed(reader.backward(0, reader.end()))


@pytest.mark.parametrize("cut_off", [1, 100, 16_384, 16_385, 300_000])
@pytest.mark.parametrize("length", [20, 50_000])
def test_a_reader_is_not_led_astray_when_a_writer_cuts_off_a_torn_line_meanwhile(log, cut_off, length):
    content = [line(number, length) for number in range(3)]
    log.append([text for _, text in content])
    high = log.end() + cut_off
    assert log.backward(0, high) == content[::-1]
    assert log.forward(0, high) == content


# --- what else a log may hold --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "junk", [b"", b"\n\n\n", b"not json", b'{"id":"msg_2', b'{"id":"}', b'{"object":"x"}', b"[]", b'{"id":"msg_1{"id":"x"}', b"z" * 40_000]
)
def test_lines_that_are_no_objects_are_passed_over_where_oxillama_server_0_1_3_may_have_left_them(log, junk):
    log._adopted = True
    before, after = [line(number) for number in range(300)], [line(number) for number in range(300, 600)]
    text = [*(text for _, text in before), junk, *(text for _, text in after)]
    path_of(log).write_bytes(b"\n".join(text) + b"\n")
    assert log.forward(0, log.end()) == before + after
    assert log.backward(0, log.end()) == (before + after)[::-1]
    assert all(log.get(object_id) == text for object_id, text in before + after)


def test_behind_a_line_that_is_no_object_there_is_room_for_objects_that_are_made_already(log):
    path_of(log).write_bytes(b"[\n")
    with pytest.raises(CorruptRecord):
        log.extend(lambda _: [WHOLE[1]])
    assert path_of(log).read_bytes() == b"[\n"
    log.append([WHOLE[1]])
    assert path_of(log).read_bytes() == b"[\n" + WHOLE[1] + b"\n"


def test_a_log_of_blank_lines(log):
    path_of(log).write_bytes(b"\n\n\n")
    assert log.last_id() is None and log.forward(0, log.end()) == []
    log.append([WHOLE[1]])
    assert log.get(WHOLE[0]) == WHOLE[1]


def legacy_line(number: int) -> tuple[str, bytes]:
    """As oxillama-server 0.1.3 wrote them: ids in no order at all."""
    object_id = f"msg_{number * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128:032x}"
    return object_id, b'{"id":"%b","text":"%b"}' % (object_id.encode(), b"x" * (number * 37 % 300))


@pytest.mark.parametrize("count", [3, 1_000])
def test_lines_of_the_original_are_found_before_ours_in_the_order_they_were_written(log, count):
    old, new = [legacy_line(number) for number in range(count)], [line(number) for number in range(count)]
    path_of(log).write_bytes(b"\n".join(text for _, text in old) + b"\n")
    assert all(log.get(object_id) == text for object_id, text in old)
    log.append([text for _, text in new])
    assert log.forward(0, log.end()) == old + new
    assert all(log.get(object_id) == text for object_id, text in old + new)
    assert log.get(legacy_line(count)[0]) is None


def test_an_object_that_is_out_of_order_is_found_all_the_same(log):
    content = [line(number) for number in range(600)]
    content[100], content[450] = content[450], content[100]
    log.append([text for _, text in content])
    assert all(log.get(object_id) == text for object_id, text in content)


def test_a_new_id_is_known_to_be_new_without_reading_the_log(log, monkeypatch):
    log.append([line(number, 1_000)[1] for number in range(3_000)])
    read, real = [], os.pread
    monkeypatch.setattr(os, "pread", lambda *args: read.append(len(data := real(*args))) or data)
    assert log.span(line(3_000)[0]) is None
    assert sum(read) < 100_000


def test_finding_an_object_reads_a_small_part_of_a_long_log(log, monkeypatch):
    content = [line(number, 1_000) for number in range(3_000)]
    log.append([text for _, text in content])
    read, real = [], os.pread
    monkeypatch.setattr(os, "pread", lambda *args: read.append(len(data := real(*args))) or data)
    assert log.get(content[1_234][0]) == content[1_234][1]
    assert sum(read) < 20 * 16_384


# --- a disk that does not do what it should ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [b"", WHOLE[1] + b"\n", WHOLE[1]], ids=["new", "ended", "unended"])
@pytest.mark.parametrize("fits", [0, 1, 30, 100])
@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EIO, StoreUnavailable)])
def test_a_write_that_fails_part_way_leaves_the_log_as_it_was(log, monkeypatch, before, fits, number, kind):
    path_of(log).write_bytes(before)
    real, calls = os.write, itertools.count()

    def write(fd: int, content: bytes) -> int:
        if fits and next(calls) == 0:
            return real(fd, content[:fits])
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(kind):
        log.append([line(2)[1], LATER[1]])
    monkeypatch.undo()
    assert path_of(log).read_bytes() == before
    log.append([LATER[1]])
    assert log.get(LATER[0]) == LATER[1]


def test_a_write_that_is_cut_in_pieces_is_carried_on(log, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, content: real(fd, content[:7]))
    log.append([WHOLE[1], LATER[1]])
    assert path_of(log).read_bytes() == WHOLE[1] + b"\n" + LATER[1] + b"\n"


def test_a_sync_that_fails_takes_the_line_back(tmp_path, monkeypatch):
    log = Log(Disk(str(tmp_path), durable=True), str(tmp_path / "log"), str(tmp_path / "torn"))
    log.append([WHOLE[1]])

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "the device has gone")

    monkeypatch.setattr(os, "fdatasync", fail)
    with pytest.raises(StoreUnavailable, match="the device has gone"):
        log.append([LATER[1]])
    assert path_of(log).read_bytes() == WHOLE[1] + b"\n"


def test_a_torn_line_that_cannot_be_put_aside_stays_where_it_is(log, monkeypatch):
    content = WHOLE[1] + b"\n" + b'{"id":"torn'
    path_of(log).write_bytes(content)

    def full(fd: int, content: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreFull):
        log.append([LATER[1]])
    assert path_of(log).read_bytes() == content


def test_a_log_that_may_not_be_opened_is_not_taken_for_an_empty_one(log, monkeypatch):
    """We may be root, whom no mode of a file keeps out: the refusal is the system call's."""
    log.append([WHOLE[1]])

    def refuse(path: str, *args: object) -> int:
        raise PermissionError(errno.EACCES, "not allowed", path)

    monkeypatch.setattr(os, "open", refuse)
    for act in (log.end, log.last_id, lambda: log.get(WHOLE[0]), lambda: log.append([LATER[1]])):
        with pytest.raises(StoreUnavailable, match="not allowed"):
            act()


def test_lines_are_what_a_json_parser_reads(log):
    texts = ["", "ÿ 你好 🙂", "two\nlines\r\n", "\u2028", '"}\n{"id":"x"}', "\0"]
    made = [ids.new_id("message", STAMP + number) for number in range(len(texts))]
    log.append([orjson.dumps({"id": object_id, "text": text}) for object_id, text in zip(made, texts, strict=True)])
    assert [orjson.loads(text)["text"] for text in path_of(log).read_bytes().splitlines()] == texts
    assert listed(log.forward(0, log.end())) == made
