"""Sweep folders: private to the user; links and folders of other users are refused."""

import os
import stat
from pathlib import Path

import pytest

from embsweep.cli.status import find_sweep
from embsweep.core import ownership
from embsweep.core.files import data_cache
from embsweep.core.ownership import check_folder, open_lock
from embsweep.sweep.checks.inputs import validate_storage
from embsweep.sweep.folder import SweepFolder
from embsweep.tracking.store import existing_store_uri
from tests.refusals import raises_diagnostics


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_folders_are_private_with_any_umask(tmp_path):
    before = os.umask(0)
    try:
        folder = SweepFolder(tmp_path, "legal")
        (tmp_path / "sweeps").mkdir(0o755)
        folder.root.mkdir(0o775)
        with folder.hold():
            folder.create()
    finally:
        os.umask(before)
    assert (mode(folder.root), mode(data_cache(tmp_path))) == (0o700, 0o700)
    assert mode(tmp_path / "sweeps" / ".legal.lock") == 0o600


@pytest.mark.parametrize("name", ["sweeps", "sweeps/legal", "sweeps/.cache", "mlruns"])
def test_a_link_is_refused_and_not_followed(tmp_path, name):
    outside = tmp_path / "outside"
    outside.mkdir(0o755)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to(outside)
    folder = SweepFolder(tmp_path, "legal")
    with raises_diagnostics(("unsafe-folder", "storage.path")) as caught, folder.hold():
        folder.create()
    assert caught.value.diagnostics[0].value == str(tmp_path / name)
    assert list(outside.iterdir()) == []
    assert mode(outside) == 0o755


def test_a_lock_that_is_a_link_overwrites_nothing(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps/.legal.lock").symlink_to(precious)
    with raises_diagnostics(("not-writable", "storage.path")), SweepFolder(tmp_path, "legal").hold():
        pytest.fail("followed the link")
    assert precious.read_text() == "mine"


@pytest.mark.parametrize("make", [os.mkfifo, Path.mkdir, lambda path: path.symlink_to(path.with_name("target"))])
def test_a_lock_is_neither_a_pipe_nor_a_folder_nor_a_link(tmp_path, make):
    path = tmp_path / ".mlflow.db.lock"
    make(path)
    with raises_diagnostics(("not-writable", "storage.path")):
        open_lock(path)
    assert not (tmp_path / "target").exists()


FOLDERS = ["", "sweeps", "sweeps/legal", "sweeps/.cache", "mlruns"]


def use(storage, **options):
    folder = SweepFolder(storage, "legal", **options)
    with folder.hold():
        folder.create()


@pytest.fixture
def storage(tmp_path):
    """Return a storage folder below one like `/tmp`, with everything that a sweep shares with others."""
    tmp_path.chmod(0o1777)
    for name in FOLDERS:
        (tmp_path / "storage" / name).mkdir(0o755, exist_ok=True)
    return tmp_path / "storage"


@pytest.mark.parametrize("name", FOLDERS)
@pytest.mark.parametrize(("bits", "fix"), [(0o777, "chmod go-w"), (0o1777, "chmod go-w"), (0o775, "chmod g-w")])
def test_a_folder_that_others_can_write_to_is_refused_with_the_command_that_mends_it(
    storage, monkeypatch, name, bits, fix
):
    monkeypatch.setattr(ownership, "_is_private_group", lambda gid: False)
    use(storage)
    (storage / name).chmod(bits)
    with raises_diagnostics(("unsafe-folder", "storage.path")) as caught:
        use(storage)
    (diagnostic,) = caught.value.diagnostics
    assert f"mode {bits:04o}" in diagnostic.message
    assert diagnostic.hint.startswith(f"{fix} {storage / name}".rstrip("/"))
    (storage / name).chmod(bits & 0o755)
    use(storage)


def test_a_shared_storage_may_be_written_to_by_its_group_but_not_by_all(storage, monkeypatch):
    monkeypatch.setattr(ownership, "_is_private_group", lambda gid: False)
    for name in ("", "sweeps", "mlruns"):
        (storage / name).chmod(0o2775)
    use(storage, is_shared=True)
    assert stat.S_IMODE((storage / "sweeps/legal").stat().st_mode) & 0o77 == 0, "a sweep's own folder stays private"
    (storage / "sweeps").chmod(0o2777)
    with raises_diagnostics(("unsafe-folder", "storage.path")):
        use(storage, is_shared=True)


def test_the_preflight_reports_an_unsafe_storage(storage):
    (storage / "sweeps").chmod(0o777)
    for values in ({}, {"storage": {"shared": True}}):
        (diagnostic,) = validate_storage(values, storage)
        assert diagnostic.code == "unsafe-folder"


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("", lambda storage: find_sweep(storage, "legal")),
        ("sweeps", lambda storage: find_sweep(storage, "legal")),
        ("", lambda storage: existing_store_uri(storage, None, "--uri")),
        ("mlruns", lambda storage: existing_store_uri(storage, None, "--uri")),
    ],
)
def test_what_only_reads_refuses_a_storage_that_all_can_write_to(storage, name, read):
    (storage / "sweeps/legal/study.db").touch()
    (storage / "mlflow.db").touch()
    read(storage)
    (storage / name).chmod(0o777)
    with raises_diagnostics(("unsafe-folder", "storage.path")):
        read(storage)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/hostname")])
def test_a_ledger_that_is_no_file_of_this_user_is_refused(storage, make):
    make(storage / "sweeps/legal/study.db")
    with raises_diagnostics(("unsafe-folder", "storage.path")):
        use(storage)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the owner of a folder")
@pytest.mark.parametrize("name", [*FOLDERS, "sweeps/legal/study.db"])
def test_what_belongs_to_another_user_is_refused(storage, name):
    (storage / "sweeps/legal/study.db").touch()
    os.chown(storage / name, 12345, 12345)
    for options in ({}, {"is_shared": True}):
        with raises_diagnostics(("unsafe-folder", "storage.path")) as caught:
            use(storage, **options)
    assert "12345" in caught.value.diagnostics[0].message


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the owner of a folder")
def test_a_shared_storage_may_belong_to_another_member_of_the_group(storage):
    os.chown(storage, 12345, os.getegid())
    storage.chmod(0o2775)
    use(storage, is_shared=True)


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "x").write_text("")
    with raises_diagnostics(("unsafe-folder", "storage.path")):
        check_folder(tmp_path / "x")
