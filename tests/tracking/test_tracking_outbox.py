"""The outbox on disk: order, crashes, corrupt lines, a full disk."""

import math
import os
import shutil

import pytest

from embsweep.tracking import outbox as outbox_module
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


def test_entries_are_delivered_in_order_and_once(filled):
    assert len(filled) == 5
    assert drain(filled) == [{"n": n} for n in range(5)]
    assert filled.head(0) is None


def test_entries_not_yet_delivered_survive_the_process(filled, folder):
    filled.head(0)
    filled.advance()
    again = Outbox(folder)
    assert (len(again), again.unreadable) == (4, 0)
    again.append({"n": 5})
    assert drain(again) == [{"n": n} for n in range(1, 6)]
    assert len(Outbox(folder)) == 0


@pytest.mark.parametrize("write", [1, 2, 3])
def test_a_crash_while_delivered_lines_are_removed_hides_no_loss(filled, folder, monkeypatch, write):
    for _ in range(3):
        filled.head(0)
        filled.advance()
    real, calls = outbox_module.atomic_write, []

    def die(path, data):
        calls.append(path)
        if len(calls) == write:
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(outbox_module, "atomic_write", die)
    with pytest.raises(KeyboardInterrupt):
        Outbox(folder)
    monkeypatch.undo()
    assert Outbox(folder).appended <= 5
    assert {entry["n"] for entry in drain(Outbox(folder))} >= {3, 4}


@pytest.mark.parametrize("delivered", [0, 2, 5])
@pytest.mark.parametrize("remaining", [0, 1, 4, 5])
def test_missing_lines_are_detected_whether_delivered_or_not(filled, folder, delivered, remaining):
    for _ in range(delivered):
        filled.head(0)
        filled.advance()
    path = folder / "entries.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:remaining]))
    assert filled.appended == 5
    assert Outbox(folder).appended == remaining


def test_counting_pending_entries_changes_nothing(filled, folder):
    assert count_waiting(folder) == 5
    for remaining in (4, 3):
        filled.head(0)
        filled.advance()
        assert count_waiting(folder) == remaining
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert count_waiting(folder) == 3
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert count_waiting(folder / "nowhere") == 0


def test_appended_counts_all_entries_ever_written(filled, folder):
    for n in range(3):
        drain(filled)
        filled = Outbox(folder)
        assert filled.appended == 5 + n
        filled.append({"n": 5 + n})
        assert filled.appended == 6 + n
    shutil.rmtree(folder)
    assert Outbox(folder).appended == 0


def test_values_are_unchanged_after_reading(folder):
    entry = {"nan": math.inf, "text": "é\n\r\u2028\x00 \ud800", "list": [1, None, True], "deep": {"a": {"b": 0.1}}}
    Outbox(folder).append(entry)
    assert drain(Outbox(folder)) == [entry]


@pytest.mark.parametrize("cursor", [b"", b"garbage", b"-5 0", b"999999 0", b"3 0", b"71", b"0 0 0", "½ 0".encode()])
def test_an_invalid_cursor_redelivers_everything(filled, folder, cursor):
    filled.head(0)
    filled.advance()
    (folder / "delivered").write_bytes(cursor)
    assert drain(Outbox(folder)) == [{"n": n} for n in range(5)]


@pytest.mark.slow
def test_a_last_line_truncated_at_any_byte_loses_only_its_entry(filled, folder):
    path = folder / "entries.jsonl"
    content = path.read_bytes()
    last = content.rstrip(b"\n").rfind(b"\n") + 1
    for end in range(last + 1, len(content)):
        path.write_bytes(content[:end])
        box = Outbox(folder)
        assert (box.unreadable, len(box)) == (1, 4)
        assert box.corrupt.read_bytes() == content[last:end]
        box.append({"n": "next"})
        assert drain(box)[-2:] == [{"n": 3}, {"n": "next"}]


def test_altered_lines_are_quarantined_at_any_position(filled, folder):
    path = folder / "entries.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    garbage = b"\xff\x00\r" + os.urandom(50).replace(b"\n", b"") + b"\n"
    path.write_bytes(b"".join([lines[0], lines[1].replace(b"1}", b"7}"), garbage, *lines[2:], b"tail"]))
    box = Outbox(folder)
    assert box.unreadable == 3
    assert drain(box) == [{"n": n} for n in (0, 2, 3, 4)]


def test_a_full_disk_leaves_the_outbox_unchanged(filled, folder, monkeypatch):
    def half(path, line):
        with path.open("ab") as file:
            file.write(line[: len(line) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outbox_module, "_append", half)
    with pytest.raises(OSError, match="No space"):
        filled.append({"n": "lost"})
    monkeypatch.undo()
    filled.append({"n": 5})
    assert Outbox(folder).unreadable == 0
    assert drain(Outbox(folder)) == [{"n": n} for n in range(6)]


def test_a_refused_entry_is_kept_with_its_reason(filled):
    filled.head(0)
    filled.refuse("no such run")
    assert filled.head(0) == {"n": 1}
    assert "no such run" in filled.refused.read_text()


@pytest.mark.parametrize("crash_point", ["entries", "delivered"])
def test_a_crash_while_opening_loses_no_entry(filled, folder, monkeypatch, crash_point):
    filled.head(0)
    filled.advance()
    original = outbox_module.atomic_write

    def crash(path, data):
        if crash_point in path.name:
            raise KeyboardInterrupt
        original(path, data)

    monkeypatch.setattr(outbox_module, "atomic_write", crash)
    with pytest.raises(KeyboardInterrupt):
        Outbox(folder)
    monkeypatch.undo()
    assert drain(Outbox(folder))[-4:] == [{"n": n} for n in range(1, 5)]
