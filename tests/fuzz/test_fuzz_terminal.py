"""Hostile data on the terminal: a list of diagnostics, exit code 2, and no control sequences."""

import json
import re

import pytest
from budget import check_message

from embsweep.cli.console import exit_codes
from embsweep.config.data import BeirConfig, FilesConfig, SplitConfig
from embsweep.data.sources.load import load_collection

SPLIT = SplitConfig(seed=1, validation=0.1, test=0.1)
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r\n- forged: error"
DEEP = "[" * 960 + "]" * 960

FILES = {
    "in the name of a column": ("x.jsonl", json.dumps({EVIL: "a"})),
    "in a text": ("x.jsonl", json.dumps({"anchor": EVIL + "\0", "positive": "b"})),
    "in a repeated key": ("x.jsonl", f'{{"{json.dumps(EVIL)[1:-1]}": 1, "{json.dumps(EVIL)[1:-1]}": 2}}'),
    "in a header": ("x.csv", f'"{EVIL}",b,b\n1,2,3\n'),
    "in a line that is not JSON": ("x.jsonl", EVIL),
    "in the name of a file": (EVIL.replace("/", "") + ".csv", "anchor\n"),
    "nested to the recursion limit": ("x.jsonl", f'{{"anchor": {DEEP}, "positive": "b"}}'),
    "nested, and not an object": ("x.jsonl", DEEP),
}


def exit_lines(config, folder, capsys):
    """Load data that must be refused; return the lines on stderr."""
    with pytest.raises(SystemExit) as exited, exit_codes():
        load_collection(config, folder)
    assert exited.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    for line in lines:
        check_message(line)
    return lines


@pytest.mark.parametrize("case", FILES)
def test_hostile_file_of_pairs(tmp_path, capsys, case):
    name, text = FILES[case]
    path = tmp_path / name
    path.write_text(text, "utf-8", newline="")
    config = FilesConfig(kind="files", pairs=str(path), anchor="anchor", positive="positive", split=SPLIT)
    lines = exit_lines(config, tmp_path, capsys)
    assert not any(line.startswith("- forged") for line in lines)
    times = [re.search(r"\((\d+) times", line) for line in lines[1:]]
    assert int(lines[0].split()[0]) == sum(int(found[1]) if found else 1 for found in times)


def test_hostile_ids_and_keys_of_a_beir_folder(tmp_path, capsys):
    entry = json.dumps({"_id": EVIL, EVIL: 1})
    (tmp_path / "corpus.jsonl").write_text(entry)
    (tmp_path / "queries.jsonl").write_text(entry)
    (tmp_path / "qrels.tsv").write_text("\x1b[2J\t\x1b[2J\t\x1b[2J\n\x1b[31m\tx\t1\n")
    assert exit_lines(BeirConfig(kind="beir", path=str(tmp_path), split=SPLIT), tmp_path, capsys)[1:]
