"""Diagnostics of a cluster's nodes from facts about them, without Ray."""

import http.server
import sys
import threading
import types

import pytest

from embsweep.runners.cluster.auth import has_token, restrict_token_permissions
from embsweep.runners.cluster.node_checks import (
    ClockSample,
    Node,
    check_authentication,
    check_clock,
    check_shared_storage,
    check_tracking,
    check_versions,
    compute_skew_s,
    describe_mixed_gpus,
    find_health_url,
    name_nodes,
    usable_gpus,
    without_credentials,
)
from embsweep.runners.cluster.node_probe import (
    NONCE_FILE,
    StorageProbe,
    digest_sources,
    list_gpus,
    probe,
    probe_tracking_server,
)
from embsweep.runners.cluster.survey import open_storage_probe

NAME = "gpu1 (10.0.0.3)"
VERSIONS = {
    "embsweep": "0.1.0",
    "ray": "2.60.0",
    "torch": "2.13.0",
    "sentence-transformers": "6.2",
    "transformers": "5",
}


def facts(source="ab" * 32, python="3.11.7", folder=None, tracking_error=None, **versions):
    packages = {**VERSIONS, **{name.replace("_", "-"): version for name, version in versions.items()}}
    return {
        "python": python,
        "packages": packages,
        "source": source,
        "gpus": [],
        "folder": folder,
        "tracking_error": tracking_error,
    }


def texts(diagnostics):
    return [str(diagnostic) for diagnostic in diagnostics]


def test_equal_versions_give_no_diagnostic():
    assert texts(check_versions(NAME, facts(), facts())) == []


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ({"python": "3.12.1"}, "node gpu1 (10.0.0.3) has another Python; got '3.12.1'; accepted: 3.11.7"),
        ({"ray": "2.59.0"}, "node gpu1 (10.0.0.3) has another ray; got '2.59.0'; accepted: 2.60.0"),
        ({"torch": None}, "node gpu1 (10.0.0.3) has no torch; accepted: 2.13.0"),
        ({"source": None, "embsweep": None}, "node gpu1 (10.0.0.3) has no embsweep; accepted: 0.1.0"),
        ({"source": None}, "node gpu1 (10.0.0.3) has no embsweep; accepted: 0.1.0"),
        ({"embsweep": "0.0.9", "source": "cd" * 32}, "has another embsweep; got '0.0.9'; accepted: 0.1.0"),
        ({"source": "cd" * 32}, "other source files of the same embsweep; got 'sha256 cdcdcdcdcdcd'; accepted: sha256"),
        ({"source": "cd" * 32, "embsweep": None}, "has other source files of the same embsweep"),
    ],
)
def test_another_version_is_one_diagnostic_with_node_and_both_values(remote, expected):
    (text,) = texts(check_versions(NAME, facts(**remote), facts()))
    assert expected in text


@pytest.mark.parametrize(
    "remote",
    [
        {"python": "3.11.9"},  # Ray itself checks the patch version
        {"torch": "2.13.0+cu130"},  # the same release, built for another device
        {"embsweep": None},  # shipped by a runtime environment: the same files
    ],
)
def test_check_versions_allows_equivalent_versions(remote):
    assert texts(check_versions(NAME, facts(**remote), facts())) == []


@pytest.mark.parametrize(
    ("folder", "has_arrived", "expected"),
    [
        (StorageProbe(exists=False, nonce=None, error="No such file or directory"), False, "has no such folder"),
        (
            StorageProbe(exists=True, nonce=None, error="No such file or directory"),
            False,
            "the driver's file is not in it",
        ),
        (
            StorageProbe(exists=True, nonce="x", error="Read-only file system"),
            False,
            "cannot write to it (Read-only file",
        ),
        (StorageProbe(exists=True, nonce="x", error=None), False, "what it writes does not reach the driver"),
    ],
)
def test_a_folder_that_is_not_shared_is_reported(folder, has_arrived, expected):
    (text,) = texts(check_shared_storage(NAME, facts(folder=folder), storage="/shared", has_arrived=has_arrived))
    assert text.startswith("storage.path: node gpu1 (10.0.0.3)")
    assert expected in text
    assert "got '/shared'" in text


@pytest.mark.parametrize("folder", [None, StorageProbe(exists=True, nonce="x", error=None)])
def test_a_shared_folder_or_an_unchecked_one_gives_no_diagnostic(folder):
    assert texts(check_shared_storage(NAME, facts(folder=folder), storage="/shared", has_arrived=True)) == []


def test_a_tracking_diagnostic_hides_credentials_and_explains_loopback():
    uri = "http://ann:hunter2@localhost:5000/?token=hunter2"
    (text,) = texts(check_tracking(f"node {NAME}", facts(tracking_error="refused"), uri))
    assert text.startswith("tracking.uri: does not answer from node gpu1 (10.0.0.3) (refused); got 'http://localhost")
    assert "as other machines see it" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (None, None),
        ("sqlite:///mlflow.db", None),
        ("http://ann:pw@mlflow:5000/", "http://mlflow:5000/health"),
        ("https://[::1]:5000/ml?x=1", "https://[::1]:5000/ml/health"),
    ],
)
def test_only_a_server_has_a_health_url(uri, expected):
    assert find_health_url(uri) == expected


def test_credentials_are_stripped():
    assert without_credentials("https://a:b@c@host/p?q#f") == "https://host/p"


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (ClockSample(100.0, 100.5, 101.0), 0.0),
        (ClockSample(100.0, 108.0, 101.0), 7.0),  # answered at 101 at the latest
        (ClockSample(100.0, 91.0, 101.0), -9.0),  # answered at 100 at the earliest
        (ClockSample(100.0, 119.0, 120.0), 0.0),  # a slow round trip may explain it
    ],
)
def test_skew_is_what_the_round_trip_cannot_explain(sample, expected):
    assert compute_skew_s(sample) == pytest.approx(expected)


@pytest.mark.parametrize(("node_time", "side"), [(107.3, "6.3 s ahead of"), (92.0, "8.0 s behind")])
def test_a_wrong_clock_is_reported_with_skew_and_node(node_time, side):
    (text,) = texts(check_clock(NAME, ClockSample(100.0, node_time, 101.0)))
    assert f"the clock of node gpu1 (10.0.0.3) is {side} the driver's; accepted: within 5 s" in text


def test_a_skew_of_five_seconds_is_allowed():
    assert texts(check_clock(NAME, ClockSample(100.0, 105.9, 101.0))) == []


def test_name_nodes_distinguishes_nodes_on_one_host():
    hosts = {"a" * 56: ("one", "10.0.0.1"), "b" * 56: ("two", "10.0.0.2"), "c" * 56: ("two", "10.0.0.2")}
    assert list(name_nodes(hosts).values()) == [
        "one (10.0.0.1)",
        "two (10.0.0.2, node bbbbbbbb)",
        "two (10.0.0.2, node cccccccc)",
    ]


@pytest.mark.parametrize(
    ("requires_token", "remote", "count"), [(True, ["x"], 0), (False, [], 0), (False, ["x", "y"], 1)]
)
def test_an_open_cluster_is_refused_only_across_machines(requires_token, remote, count):
    diagnostics = texts(check_authentication(requires_token, remote))
    assert len(diagnostics) == count
    assert all("x, y can be reached over the network" in text and "RAY_AUTH_MODE=token" in text for text in diagnostics)


def test_usable_gpus_of_a_node_with_a_part_of_its_machine():
    seen = [("A100", 80), ("L4", 24), ("L4", 24)]
    assert usable_gpus(seen, 3) == seen
    assert usable_gpus(seen, 2) == [("L4", 24), ("L4", 24)]
    assert usable_gpus([], 4) == [], "logical GPUs without devices"


def node(*gpus):
    return Node(NAME, "10.0.0.3", 8.0, len(gpus), tuple(k for k, _ in gpus), tuple(m * 2**30 for _, m in gpus))


def test_mixed_gpus_are_described_once():
    nodes = (node(("A100", 40), ("A100", 40)), node(("A100", 80)), node())
    assert describe_mixed_gpus(nodes).startswith(
        "GPUs of several kinds: 2 × A100 with 40 GiB, 1 × A100 with 80 GiB; trials' times"
    )
    assert describe_mixed_gpus(nodes[:1]) is None


def test_list_gpus_uses_nvml_and_ignores_cuda_visible_devices(monkeypatch, set_env):
    set_env(CUDA_VISIBLE_DEVICES="")
    nvml = types.ModuleType("ray._private.thirdparty.pynvml")
    nvml.nvmlInit = lambda: None
    nvml.nvmlDeviceGetCount = lambda: 2
    nvml.nvmlDeviceGetHandleByIndex = lambda index: index
    nvml.nvmlDeviceGetName = lambda handle: ["NVIDIA L4", b"NVIDIA T4"][handle]
    nvml.nvmlDeviceGetMemoryInfo = lambda handle: types.SimpleNamespace(total=(handle + 1) * 2**34)
    parent = types.ModuleType("ray._private.thirdparty")
    parent.pynvml = nvml
    for name in ("ray", "ray._private"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, parent.__name__, parent)
    monkeypatch.setitem(sys.modules, nvml.__name__, nvml)
    assert list_gpus() == [("NVIDIA L4", 2**34), ("NVIDIA T4", 2**35)]


def test_digest_sources_depends_on_names_and_contents(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "digested"
    package.mkdir()
    assert digest_sources("digested") is None, "a bare folder is no package"
    (package / "__init__.py").write_text("")
    sys.path_importer_cache.clear()
    seen = [digest_sources("digested")]
    for name, text in (("a.py", "x = 1"), ("a.py", "x = 2"), ("b.py", "")):
        (package / name).write_text(text)
        seen.append(digest_sources("digested"))
    assert None not in seen
    assert len(set(seen)) == 4
    (package / "a.pyc").write_text("compiled")
    assert digest_sources("digested") == seen[-1]


def test_storage_probe_is_one_folder_for_driver_and_node_and_is_removed(tmp_path):
    with open_storage_probe(tmp_path / "new") as storage_probe:
        result = probe(str(storage_probe.folder), "node1", None)
        assert result["folder"] == StorageProbe(exists=True, nonce=storage_probe.nonce, error=None)
        assert storage_probe.is_visible_from("node1")
        assert not storage_probe.is_visible_from("node2")
    assert list(tmp_path.iterdir()) == []


def test_storage_probe_keeps_existing_files(tmp_path):
    (tmp_path / "sweeps" / "mine").mkdir(parents=True)
    with open_storage_probe(tmp_path) as storage_probe:
        (storage_probe.folder / NONCE_FILE).unlink()
        assert probe(str(storage_probe.folder), "node1", None)["folder"]["nonce"] is None
    assert [path.name for path in (tmp_path / "sweeps").iterdir()] == ["mine"]


def test_storage_probe_in_a_folder_that_is_not_writable_is_a_diagnostic(tmp_path):
    (tmp_path / "file").write_text("")
    with open_storage_probe(tmp_path / "file") as storage_probe:
        assert storage_probe.folder is None
    assert "storage.path: the driver cannot write to it (Not a directory)" in str(storage_probe.diagnostic)


class StatusHandler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(self.path.split("/")[1]))
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), StatusHandler) as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize(("status", "error"), [(200, None), (401, None), (404, None), (502, "HTTP 502")])
def test_probe_accepts_any_status_but_that_of_a_gateway(server, status, error):
    assert probe_tracking_server(f"{server}/{status}/health") == error


def test_probe_reports_a_refused_connection(server):
    assert "refused" in probe_tracking_server("http://127.0.0.1:1/health")


@pytest.fixture
def token_file(tmp_path, set_env):
    path = tmp_path / "token"
    set_env(RAY_AUTH_TOKEN_PATH=str(path), RAY_AUTH_TOKEN=None)
    return path


def test_a_token_file_that_others_can_read_is_made_private(token_file, caplog):
    restrict_token_permissions()
    assert not has_token()
    token_file.write_text("abc")
    token_file.chmod(0o644)
    restrict_token_permissions()
    assert token_file.stat().st_mode & 0o777 == 0o600
    assert "its mode is 0600 now" in caplog.text
    assert has_token()
    caplog.clear()
    restrict_token_permissions()
    assert caplog.text == ""


def test_a_token_file_of_another_user_is_not_changed(token_file, monkeypatch, caplog):
    token_file.write_text("abc")
    token_file.chmod(0o640)
    monkeypatch.setattr("os.getuid", lambda: 4711)
    restrict_token_permissions()
    assert token_file.stat().st_mode & 0o777 == 0o640
    assert "it is not ours to change" in caplog.text
