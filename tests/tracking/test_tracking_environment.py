import re
import subprocess
from importlib.metadata import version

from embsweep.tracking.environment import describe_git, describe_machine, describe_origin, describe_packages


def _git(folder, *arguments):
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_git_state_has_commit_and_changed_files_but_not_their_contents(tmp_path):
    _git(tmp_path, "init", "-q")
    (tmp_path / "a.txt").write_text("one")
    _git(tmp_path, "add", "."), _git(tmp_path, "commit", "-qm", "first")
    commit, state = describe_git(tmp_path).splitlines()
    assert re.fullmatch(r"commit: [0-9a-f]{40}", commit)
    assert state == "dirty: false"
    (tmp_path / "a.txt").write_text("secret contents")
    (tmp_path / "ü b.txt").write_text("two")
    assert describe_git(tmp_path).splitlines() == [commit, "dirty: true", "   M a.txt", "  ?? ü b.txt"]


def test_without_a_repository_or_commit_there_is_no_git_state(tmp_path):
    assert describe_git(tmp_path) == "no git repository\n"
    _git(tmp_path, "init", "-q")
    assert describe_git(tmp_path) == "no git repository\n"


def test_the_origin_is_the_user_and_the_commit_of_the_work_tree(tmp_path, monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "ann")
    assert describe_origin(tmp_path) == {"mlflow.user": "ann"}
    _git(tmp_path, "init", "-q")
    _git(tmp_path, "commit", "-qm", "first", "--allow-empty")
    clean = describe_origin(tmp_path)
    assert re.fullmatch("[0-9a-f]{40}", clean["mlflow.source.git.commit"])
    (tmp_path / "a.txt").write_text("one")
    assert describe_origin(tmp_path) == {**clean, "embsweep.git.dirty": "true"}
    assert clean["embsweep.git.dirty"] == "false"


def test_an_origin_without_account_and_git_has_no_tags(tmp_path, monkeypatch, set_env):
    def fail():
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr("getpass.getuser", fail)
    set_env(PATH=str(tmp_path))
    assert describe_origin(tmp_path) == {}


def test_packages_are_listed_like_by_pip():
    lines = describe_packages().splitlines()
    assert f"mlflow=={version('mlflow')}" in lines
    assert lines == sorted(lines, key=lambda line: line.split("==")[0].lower())


def test_the_machine_is_described_without_environment_variables(set_env):
    set_env(HF_TOKEN="hunter2")
    text = describe_machine()
    assert "python: 3." in text
    assert "torch: " in text
    assert "hunter2" not in text
