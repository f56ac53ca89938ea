"""Sweep folders: private to the user; links and folders of other users are refused."""

import os
import stat

import pytest

from embsweep.core.files import data_cache
from embsweep.sweep.folder import SweepFolder, check_ownership
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


@pytest.mark.parametrize("name", ["sweeps", "sweeps/legal", "sweeps/.cache"])
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


def test_a_world_writable_folder_is_refused(tmp_path):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps").chmod(0o777)
    with raises_diagnostics(("unsafe-folder", "storage.path")), SweepFolder(tmp_path, "legal").hold():
        pytest.fail("the folder was accepted")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can change the owner of a folder")
@pytest.mark.parametrize("name", ["sweeps", "sweeps/legal"])
def test_another_users_folder_is_refused(tmp_path, name):
    folder = SweepFolder(tmp_path, "legal")
    folder.root.mkdir(parents=True)
    os.chown(tmp_path / name, 12345, 12345)
    with raises_diagnostics(("unsafe-folder", "storage.path")) as caught, folder.hold():
        folder.create()
    assert "12345" in caught.value.diagnostics[0].message


def test_a_file_instead_of_a_folder_is_refused(tmp_path):
    (tmp_path / "x").write_text("")
    with raises_diagnostics(("unsafe-folder", "storage.path")):
        check_ownership(tmp_path / "x")
