"""Docstrings as pairs: selection of docstrings, discovery of packages, and the cache."""

from __future__ import annotations

import errno
import logging
import sys
import textwrap
from pathlib import Path

import pytest
from tests.refusals import codes_and_locations

from embsweep.config.data import DocstringsConfig
from embsweep.data.sources import docstrings
from embsweep.data.sources import docstrings as docstring_cache
from embsweep.data.sources.docstrings import Package, find_packages
from embsweep.data.sources.load import load_collection

BODY = "This is the longer explanation of the function. " * 6
SUMMARY = "Return the number of something."


def docstring(summary: str = SUMMARY, body: str = BODY) -> str:
    return f'"""{summary}\n\n    {body}\n    """'


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write a package `embsweep_toy` that fails if it is imported."""
    root = tmp_path / "site" / "embsweep_toy"
    (root / "tests").mkdir(parents=True)
    monkeypatch.syspath_prepend(root.parent)
    (root / "__init__.py").write_text(f'"""About the whole package.\n\n{BODY}"""\nraise RuntimeError("imported")\n')
    (root / "b.py").write_text(
        textwrap.dedent(
            """
            class Shown:
                DOC1
                def method(self):
                    DOC2
                def _hidden(self):
                    DOC3
            async def later():
                DOC4
            """
        )
        .replace("DOC1", docstring("A class that is shown."))
        .replace("DOC2", docstring("A method that is shown."))
        .replace("DOC3", docstring("A method that is hidden."))
        .replace("DOC4", docstring("A coroutine that is shown."))
    )
    (root / "a.py").write_text(f"def first():\n    {docstring('Comes first of them all.  ')}\n")
    for name in ("tests/inner.py", "test_b.py", "conftest.py"):
        (root / name).write_text(f"def tested():\n    {docstring('This is only a test.')}\n")
    (root / "broken.py").write_text("def broken(:\n")
    (root / "nul.py").write_bytes(b"\0")
    return root


def config_of(split_config, *packages: str) -> DocstringsConfig:
    return DocstringsConfig(kind="docstrings", packages=packages, split=split_config)


@pytest.mark.slow
def test_public_docstrings_in_the_order_of_files_and_lines(package, tmp_path, split_config):
    collection = load_collection(config_of(split_config, "embsweep_toy"), tmp_path / "cache")
    assert collection.name == "docstrings"
    assert collection.queries == (
        "About the whole package.",
        "Comes first of them all.",
        "A class that is shown.",
        "A method that is shown.",
        "A coroutine that is shown.",
    )
    assert "embsweep_toy" not in sys.modules


def test_places_name_file_and_line(package):
    pairs = list(docstrings.read_package(Package("embsweep_toy", "1", (package,))))
    assert [pair.place for pair in pairs][:3] == [
        "embsweep_toy/__init__.py:1",
        "embsweep_toy/a.py:1",
        "embsweep_toy/b.py:2",
    ]


def test_summary_in_one_line_and_body_dedented():
    text = f"Return the\n    number of something.\n\n    {BODY}\n        deeper\n\n    end  \n    "
    pair = docstrings.split_docstring(text)
    assert pair is not None
    assert pair.anchor == "Return the number of something."
    assert pair.positive == f"{BODY}\n    deeper\n\nend"


@pytest.mark.parametrize(
    "text",
    [
        "",
        SUMMARY,
        BODY,
        f"Short.\n\n{BODY}",
        f"Twowordsthatarelong enough\n\n{BODY}",
        f"{'word ' * 60}\n\n{BODY}",
        f"{SUMMARY}\n\nNot much.",
        f"{SUMMARY}\n\n{BODY}\0",
        f"{SUMMARY}\n\n{BODY}\ud800",
    ],
)
def test_docstrings_that_are_not_a_pair(text):
    assert docstrings.split_docstring(text) is None


@pytest.mark.parametrize("name", ["no_such_thing", "os.path", "", "a/b", "sys", "__main__", "numpyy"])
def test_a_name_that_is_not_a_package_is_a_diagnostic(diagnostics_of, split_config, name):
    (diagnostic,) = diagnostics_of(config_of(split_config, "json", name))
    assert (diagnostic.code, diagnostic.location, diagnostic.value) == ("not-installed", "data.packages", name)


def test_a_loaded_module_without_a_spec_is_a_diagnostic(diagnostics_of, split_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "embsweep_ghost", type(sys)("embsweep_ghost"))
    (diagnostic,) = diagnostics_of(config_of(split_config, "embsweep_ghost"))
    assert diagnostic.value == "embsweep_ghost"


def test_every_unknown_package_is_reported_with_the_nearest_name(diagnostics_of, split_config):
    diagnostics = diagnostics_of(config_of(split_config, "numpyy", "pandsa"))
    assert len(diagnostics) == 2
    assert all(
        f"'{name}'" in str(diagnostic.hint) for diagnostic, name in zip(diagnostics, ("numpy", "pandas"), strict=True)
    )


@pytest.mark.parametrize(("names", "code"), [((), "empty"), (("this",), "no-rows")])
def test_packages_without_docstrings(diagnostics_of, split_config, names, code):
    assert codes_and_locations(diagnostics_of(config_of(split_config, *names))) == [(code, "data.packages")]


def test_packages_are_found_with_their_versions(package):
    import numpy

    found = {entry.name: entry for entry in find_packages(("stdlib", "numpy", "numpy", "embsweep_toy", "json"))}
    assert list(found) == ["stdlib", "numpy", "embsweep_toy", "json"]
    assert found["numpy"].version == f"numpy=={numpy.__version__}"
    assert found["stdlib"].version == found["json"].version == ".".join(map(str, sys.version_info[:3]))
    assert found["embsweep_toy"].roots == (package,)
    before = found["embsweep_toy"].version
    (package / "a.py").write_text("changed = 1\n")
    assert find_packages(("embsweep_toy",))[0].version != before


class TestCache:
    @pytest.fixture
    def packages(self, package):
        return find_packages(("embsweep_toy",))

    def load(self, cache: Path):
        return docstrings.load_docstrings(("embsweep_toy",), cache)

    def test_second_load_reads_the_cache_alone(self, packages, tmp_path, monkeypatch):
        first = self.load(tmp_path / "cache")
        assert [file.name for file in (tmp_path / "cache").iterdir()] == [
            docstring_cache.find_cache(tmp_path / "cache", packages).name
        ]
        monkeypatch.setattr(docstrings, "read_package", lambda package: pytest.fail("the package was read again"))
        assert self.load(tmp_path / "cache") == first

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: b"",
            lambda data: b"\xff\0 garbage \n[1, 2",
            lambda data: data[: len(data) // 2],
            lambda data: data[:-1],
        ],
    )
    def test_a_damaged_cache_is_rebuilt_with_a_warning(self, packages, tmp_path, caplog, damage):
        first = self.load(tmp_path)
        path = docstring_cache.find_cache(tmp_path, packages)
        intact = path.read_bytes()
        path.write_bytes(damage(intact))
        with caplog.at_level(logging.WARNING):
            assert self.load(tmp_path) == first
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert path.read_bytes() == intact

    def test_another_version_or_format_has_another_cache(self, packages, tmp_path, monkeypatch):
        (entry,) = packages
        other = Package(entry.name, "2", entry.roots)
        paths = {docstring_cache.find_cache(tmp_path, chosen) for chosen in ([entry], [other], [entry, other])}
        monkeypatch.setattr(docstring_cache, "FORMAT", docstring_cache.FORMAT + 1)
        paths.add(docstring_cache.find_cache(tmp_path, [entry]))
        assert len(paths) == 4

    def test_a_crash_while_writing_leaves_the_old_cache(self, packages, tmp_path, monkeypatch, caplog):
        path = docstring_cache.find_cache(tmp_path, packages)
        path.write_bytes(b"old")

        def crash(handle):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("embsweep.core.files.os.fsync", crash)
        assert len(self.load(tmp_path).queries) == 5
        assert path.read_bytes() == b"old"
        assert [file.name for file in tmp_path.iterdir() if file.suffix == ".tmp"] == []
        error = caplog.records[-1].args[1]
        assert error.errno == errno.ENOSPC

    def test_a_folder_that_cannot_be_created_is_only_a_warning(self, package, tmp_path, caplog):
        (tmp_path / "file").write_text("x")
        assert len(self.load(tmp_path / "file" / "cache").queries) == 5
        assert str(tmp_path / "file" / "cache") in caplog.text


@pytest.mark.slow
def test_the_standard_library_gives_many_pairs_and_no_tests(tmp_path, split_config):
    collection = load_collection(config_of(split_config, "json", "logging", "argparse", "unittest"), tmp_path)
    assert len(collection.queries) > 50
    assert load_collection(config_of(split_config, "json", "logging", "argparse", "unittest"), tmp_path) == collection
    assert not any("\n" in query for query in collection.queries)
