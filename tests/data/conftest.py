"""Shared fixtures of the data tests: splits, file writers, diagnostics of a failed load, real data sets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from embsweep.config.data import BeirConfig, FilesConfig, HubConfig, SplitConfig
from embsweep.core.errors import Diagnostic, InputError
from embsweep.data.sources.load import load_collection

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
SPLIT = SplitConfig(seed=13, validation=0.1, test=0.1)


@pytest.fixture
def split_config() -> SplitConfig:
    return SPLIT


@pytest.fixture
def files_config() -> Callable[..., FilesConfig]:
    def make(path: Path | str, **changes: Any) -> FilesConfig:
        values = {"kind": "files", "anchor": "anchor", "positive": "positive", "split": SPLIT} | changes
        return FilesConfig(pairs=str(path), **values)

    return make


@pytest.fixture
def hub_config() -> Callable[..., HubConfig]:
    def make(**changes: Any) -> HubConfig:
        values = {"kind": "hub", "id": "owner/name", "revision": "abc123", "part": "train", "split": SPLIT}
        return HubConfig(**(values | {"anchor": "anchor", "positive": "positive"} | changes))

    return make


@pytest.fixture
def write_beir(tmp_path: Path) -> Callable[..., BeirConfig]:
    """Return a function that writes a valid BEIR folder: two passages, two queries.

    Each argument replaces one file; None omits it.
    """

    def write(
        corpus: Sequence[Any] | str | None = ({"_id": "d1", "text": "one"}, {"_id": "d2", "text": "two"}),
        queries: Sequence[Any] | str | None = ({"_id": "q1", "text": "1?"}, {"_id": "q2", "text": "2?"}),
        qrels: str | None = "q1\td1\t1\nq2\td2\t1\n",
        *,
        qrels_name: str = "qrels.tsv",
    ) -> BeirConfig:
        folder = tmp_path / "my_set"
        folder.mkdir()
        for name, content in (("corpus.jsonl", corpus), ("queries.jsonl", queries), (qrels_name, qrels)):
            if content is not None:
                text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(text, encoding="utf-8")
        return BeirConfig(kind="beir", path=str(folder), split=SPLIT)

    return write


@pytest.fixture
def diagnostics_of(tmp_path: Path) -> Callable[[Any], tuple[Diagnostic, ...]]:
    """Return a function that returns the diagnostics of a load; the test fails if the load raises no InputError."""

    def load(config: Any) -> tuple[Diagnostic, ...]:
        with pytest.raises(InputError) as caught:
            load_collection(config, tmp_path / "cache")
        return caught.value.diagnostics

    return load


@pytest.fixture
def real_set() -> Callable[[str], BeirConfig]:
    def find(name: str) -> BeirConfig:
        if not (SHARED / name).is_dir():
            pytest.skip(f"the real data set {name} is absent (../shared/data)")
        return BeirConfig(kind="beir", path=str(SHARED / name), split=SPLIT)

    return find
