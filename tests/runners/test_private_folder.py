"""Ray's own files and runtime environments: nothing of them is readable by other users, no secret is in them."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from embsweep.runners.ray import private_folder, session
from embsweep.runners.ray.private_folder import choose_base, create_private_folder

pytestmark = pytest.mark.slow  # importing Ray takes a second


@pytest.mark.parametrize(("mode", "length", "is_kept"), [
    (0o700, 10, True), (0o1777, 10, True), (0o777, 10, False), (0o770, 10, False), (0o700, 60, False),
])  # fmt: skip
def test_the_base_is_short_and_safe(tmp_path_factory, monkeypatch, mode, length, is_kept):
    folder = Path("/tmp") / f"{os.getpid()}".ljust(length, "x")
    folder.mkdir()
    try:
        folder.chmod(mode)
        assert choose_base(str(folder)) == (folder if is_kept else Path("/tmp"))
    finally:
        folder.rmdir()


def test_a_base_that_does_not_exist_is_replaced():
    assert choose_base("/nowhere") == Path("/tmp")


@pytest.fixture
def base(tmp_path, monkeypatch):
    monkeypatch.setattr(private_folder, "choose_base", lambda _: tmp_path)
    monkeypatch.setattr(private_folder.atexit, "register", lambda *_: None)
    return tmp_path


def test_the_folder_belongs_to_its_user_alone_and_unused_ones_are_deleted(base, monkeypatch):
    used, unused, foreign = create_private_folder(), base / "esr-unused", base / "esr-link"
    unused.mkdir()
    (unused / "session").mkdir()
    foreign.symlink_to(base)
    assert stat.S_IMODE(used.stat().st_mode) == 0o700
    monkeypatch.setattr(private_folder, "_GRACE_S", -1)
    new = create_private_folder()
    assert {path.name for path in base.iterdir()} == {used.name, new.name, foreign.name}


def test_a_folder_that_was_just_created_is_not_deleted(base):
    (base / "esr-starting").mkdir()
    create_private_folder()
    assert (base / "esr-starting").is_dir()


def test_no_credential_is_put_into_a_runtime_environment(monkeypatch, set_env):
    """Tune passes `AWS_…` on, and Ray's agent writes runtime environments to a log."""
    from ray.tune.execution import class_cache

    set_env(AWS_SECRET_ACCESS_KEY="only-for-tests", AWS_SESSION_TOKEN="only-for-tests-too")
    seen = []
    monkeypatch.setattr(class_cache.ray, "remote", lambda **options: seen.append(options) or (lambda cls: cls))
    session._keep_secrets_out()
    class_cache._ActorClassCache().get(object)
    assert "PL_DISABLE_FORK" in str(seen)
    assert "AWS" not in str(seen)


CLIENT = """
import sys
from ray._raylet import GcsClient
print(len(GcsClient(address=sys.argv[1]).get_all_node_info(timeout=5)))
"""


@pytest.mark.ray
def test_a_client_without_the_token_is_refused_at_the_port(ray_session, tmp_path):
    import ray

    address = ray.get_runtime_context().gcs_address
    port = address.rpartition(":")[2]
    results = []
    for token in (os.environ["RAY_AUTH_TOKEN"], "0" * 64, None):
        environment = {**os.environ, "HOME": str(tmp_path), "RAY_AUTH_MODE": "token" if token else "disabled"}
        environment.pop("RAY_AUTH_TOKEN")
        if token:
            environment["RAY_AUTH_TOKEN"] = token
        done = subprocess.run(
            [sys.executable, "-c", CLIENT, f"127.0.0.1:{port}"],
            check=False,
            env=environment,
            capture_output=True,
            text=True,
        )
        results.append((done.returncode == 0, "Auth" in done.stderr or "UNAUTHENTICATED" in done.stderr.upper()))
    assert results == [(True, False), (False, True), (False, True)]
