"""The outbox on disk: order, crashes, torn lines, a full disk."""

import math
import os
import shutil

import pytest

from embsweep.tracking import outbox as module
from embsweep.tracking.outbox import Outbox, count_waiting


def drain(box):
    found = []
    while (entry := box.head(0)) is not None:
        found.append(entry)
        box.advance()
    return found


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "outbox"


@pytest.fixture
def filled(folder):
    box = Outbox(folder)
    for n in range(5):
        box.append({"n": n})
    return box


def test_entries_come_in_order_and_once(filled):
    assert len(filled) == 5
    assert drain(filled) == [{"n": n} for n in range(5)]
    assert filled.head(0) is None


def test_what_was_not_delivered_outlives_the_process(filled, folder):
    filled.head(0)
    filled.advance()
    again = Outbox(folder)
    assert (len(again), again.unreadable) == (4, 0)
    again.append({"n": 5})
    assert drain(again) == [{"n": n} for n in range(1, 6)]
    assert len(Outbox(folder)) == 0


@pytest.mark.parametrize("write", [1, 2, 3])
def test_a_crash_while_delivered_lines_are_dropped_hides_no_loss(filled, folder, monkeypatch, write):
    for _ in range(3):
        filled.head(0)
        filled.advance()
    real, calls = module.atomic_write, []

    def die(path, data):
        calls.append(path)
        if len(calls) == write:
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(module, "atomic_write", die)
    with pytest.raises(KeyboardInterrupt):
        Outbox(folder)
    monkeypatch.undo()
    assert Outbox(folder).appended <= 5
    assert {entry["n"] for entry in drain(Outbox(folder))} >= {3, 4}


@pytest.mark.parametrize("delivered", [0, 2, 5])
@pytest.mark.parametrize("left", [0, 1, 4, 5])
def test_lines_that_are_gone_are_missed_whether_they_were_delivered_or_not(filled, folder, delivered, left):
    for _ in range(delivered):
        filled.head(0)
        filled.advance()
    path = folder / "entries.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:left]))
    assert filled.appended == 5
    assert Outbox(folder).appended == left


def test_a_look_counts_what_waits_and_changes_nothing(filled, folder):
    assert count_waiting(folder) == 5
    for left in (4, 3):
        filled.head(0)
        filled.advance()
        assert count_waiting(folder) == left
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert count_waiting(folder) == 3
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert count_waiting(folder / "nowhere") == 0


def test_it_counts_all_there_ever_were(filled, folder):
    for n in range(3):
        drain(filled)
        filled = Outbox(folder)
        assert filled.appended == 5 + n
        filled.append({"n": 5 + n})
        assert filled.appended == 6 + n
    shutil.rmtree(folder)
    assert Outbox(folder).appended == 0


def test_values_come_back_as_they_were(folder):
    entry = {"nan": math.inf, "text": "é\n\r\u2028\x00 \ud800", "list": [1, None, True], "deep": {"a": {"b": 0.1}}}
    Outbox(folder).append(entry)
    assert drain(Outbox(folder)) == [entry]


@pytest.mark.parametrize("cursor", [b"", b"garbage", b"-5 0", b"999999 0", b"3 0", b"71", b"0 0 0", "½ 0".encode()])
def test_a_cursor_that_cannot_be_means_everything_once_more(filled, folder, cursor):
    filled.head(0)
    filled.advance()
    (folder / "delivered").write_bytes(cursor)
    assert drain(Outbox(folder)) == [{"n": n} for n in range(5)]


@pytest.mark.slow
def test_a_tail_torn_at_any_byte_costs_its_own_entry_alone(filled, folder):
    path = folder / "entries.jsonl"
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for end in range(last + 1, len(whole)):
        path.write_bytes(whole[:end])
        box = Outbox(folder)
        assert (box.unreadable, len(box)) == (1, 4)
        assert box.corrupt.read_bytes() == whole[last:end]
        box.append({"n": "next"})
        assert drain(box)[-2:] == [{"n": 3}, {"n": "next"}]


def test_altered_lines_are_set_aside_wherever_they_are(filled, folder):
    path = folder / "entries.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    garbage = b"\xff\x00\r" + os.urandom(50).replace(b"\n", b"") + b"\n"
    path.write_bytes(b"".join([lines[0], lines[1].replace(b"1}", b"7}"), garbage, *lines[2:], b"tail"]))
    box = Outbox(folder)
    assert box.unreadable == 3
    assert drain(box) == [{"n": n} for n in (0, 2, 3, 4)]


def test_a_full_disk_leaves_it_as_it_was(filled, folder, monkeypatch):
    def half(path, line):
        with path.open("ab") as file:
            file.write(line[: len(line) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_append", half)
    with pytest.raises(OSError, match="No space"):
        filled.append({"n": "lost"})
    monkeypatch.undo()
    filled.append({"n": 5})
    assert Outbox(folder).unreadable == 0
    assert drain(Outbox(folder)) == [{"n": n} for n in range(6)]


def test_what_is_refused_is_kept_with_its_reason(filled):
    filled.head(0)
    filled.refuse("no such run")
    assert filled.head(0) == {"n": 1}
    assert "no such run" in filled.refused.read_text()


@pytest.mark.parametrize("crash_point", ["entries", "delivered"])
def test_a_crash_while_it_is_opened_delivers_twice_rather_than_never(filled, folder, monkeypatch, crash_point):
    filled.head(0)
    filled.advance()
    original = module.atomic_write

    def crash(path, data):
        if crash_point in path.name:
            raise KeyboardInterrupt
        original(path, data)

    monkeypatch.setattr(module, "atomic_write", crash)
    with pytest.raises(KeyboardInterrupt):
        Outbox(folder)
    monkeypatch.undo()
    assert drain(Outbox(folder))[-4:] == [{"n": n} for n in range(1, 5)]
