"""Sweep folders: their owner's alone, and never somebody else's."""

import os
import stat

import pytest

from embsweep.core.files import data_cache
from embsweep.sweep.folder import SweepFolder, check_ownership
from tests.refusals import raises_diagnostics


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_can_enter_whatever_the_umask(tmp_path):
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


@pytest.mark.parametrize("what", ["sweeps", "sweeps/legal", "sweeps/.cache"])
def test_a_link_is_refused_and_not_followed(tmp_path, what):
    empty_cwd = tmp_path / "elsewhere"
    empty_cwd.mkdir(0o755)
    (tmp_path / what).parent.mkdir(exist_ok=True)
    (tmp_path / what).symlink_to(empty_cwd)
    folder = SweepFolder(tmp_path, "legal")
    with raises_diagnostics(("unsafe-folder", "storage.path")) as caught, folder.hold():
        folder.create()
    assert caught.value.diagnostics[0].value == str(tmp_path / what)
    assert list(empty_cwd.iterdir()) == []
    assert mode(empty_cwd) == 0o755


def test_a_lock_that_is_a_link_overwrites_nothing(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps/.legal.lock").symlink_to(precious)
    with raises_diagnostics(("not-writable", "storage.path")), SweepFolder(tmp_path, "legal").hold():
        pytest.fail("went through the link")
    assert precious.read_text() == "mine"


def test_a_folder_that_all_may_write_is_refused(tmp_path):
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps").chmod(0o777)
    with raises_diagnostics(("unsafe-folder", "storage.path")), SweepFolder(tmp_path, "legal").hold():
        pytest.fail("began")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("what", ["sweeps", "sweeps/legal"])
def test_another_users_folder_is_refused(tmp_path, what):
    folder = SweepFolder(tmp_path, "legal")
    folder.root.mkdir(parents=True)
    os.chown(tmp_path / what, 12345, 12345)
    with raises_diagnostics(("unsafe-folder", "storage.path")) as caught, folder.hold():
        folder.create()
    assert "12345" in caught.value.diagnostics[0].message


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "x").write_text("")
    with raises_diagnostics(("unsafe-folder", "storage.path")):
        check_ownership(tmp_path / "x")
