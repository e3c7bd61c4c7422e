"""Lines of the log: who says them, how long they are, and that nobody forges one."""

from oxillama.child_output import MAX_LINE_BYTES, OutputLines


def test_each_line_has_the_name_of_who_says_it():
    lines = OutputLines("engine")
    assert lines.read(b"one\ntw") == b"engine: one\n"
    assert lines.read(b"o\n\nthree") == b"engine: two\nengine: \n"
    assert lines.end() == b"engine: three\n"
    assert lines.end() == b""


def test_nothing_in_a_line_ends_it_or_moves_a_cursor():
    said = OutputLines("web").read("a\rb\x1b[2Kc\x85d\u2028e\x00f\té 漢".encode() + b"\xff\n")
    assert said == "web: a\\rb\\x1b[2Kc\\x85d\\u2028e\\x00f\\té 漢\\xff\n".encode()


def test_a_long_line_is_cut_however_it_comes():
    whole, bytewise = OutputLines("x"), OutputLines("x")
    said = b"y" * (3 * MAX_LINE_BYTES) + b"\nz\n"
    expected = b"x: " + b"y" * MAX_LINE_BYTES + f" … {2 * MAX_LINE_BYTES} bytes more\nx: z\n".encode()
    assert whole.read(said) == expected
    assert b"".join(bytewise.read(bytes([one])) for one in said) == expected
