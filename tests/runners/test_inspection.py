"""Diagnostics of a cluster's nodes from facts about them, without Ray."""

import json
import logging
import subprocess
import types
from dataclasses import asdict

import pytest

from embsweep.core.errors import InputError
from embsweep.core.gpus import Accelerator, DriverView, TorchView
from embsweep.runners.cluster import inspection, probe
from embsweep.runners.cluster.inspection import check_node, check_token, find_address, inspect_cluster
from embsweep.runners.resources import Machine
from tests.refusals import codes_and_locations, raises_diagnostics

VERSIONS = {
    "Python": "3.11.7",
    "embsweep": "0.1.0",
    "ray": "2.60.0",
    "torch": "2.13.0",
    "sentence-transformers": "6.2",
    "transformers": "5",
}


def facts(requires_token=True, gpus="", folder_error=None, **versions):
    given = {name.replace("_", "-"): version for name, version in versions.items()}
    return {
        "versions": {**VERSIONS, **given},
        "requires_token": requires_token,
        "gpus": gpus,
        "folder_error": folder_error,
    }


def answer(there, address="127.0.0.1", gpus=0):
    return {
        "name": f"gpu1 ({address})",
        "address": address,
        "cpus": 8,
        "gpus": gpus,
        "facts": there,
        "problem": None if there else "did not answer in 25 s",
    }


def texts(there):
    return [str(diagnostic) for diagnostic in check_node(answer(there), facts(), "/shared")]


@pytest.mark.parametrize("there", [facts(), facts(Python="3.11.9"), facts(torch="2.13.0+cu130")])
def test_equivalent_versions_give_no_diagnostic(there):
    assert texts(there) == []


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (
            facts(Python="3.12.1"),
            "runner.address: node gpu1 (127.0.0.1) has another Python; got '3.12.1'; accepted: 3.11",
        ),
        (facts(ray="2.59.0"), "runner.address: node gpu1 (127.0.0.1) has another ray; got '2.59.0'; accepted: 2.60.0"),
        (facts(torch=None), "runner.address: node gpu1 (127.0.0.1) has no torch; accepted: 2.13.0"),
        (facts(embsweep=None), "runner.address: node gpu1 (127.0.0.1) has no embsweep; accepted: 0.1.0"),
        (facts(folder_error="Read-only file system"), "storage.path: node gpu1 (127.0.0.1) does not share it"),
        (None, "runner.address: node gpu1 (127.0.0.1) did not answer in 25 s"),
    ],
)
def test_a_problem_of_a_node_is_one_diagnostic_with_its_name(there, expected):
    (text,) = texts(there)
    assert text.startswith(expected)


@pytest.mark.parametrize(
    ("addresses", "mode", "expected"),
    [
        (["127.0.0.1", "198.51.100.7"], "disabled", "gpu1 (198.51.100.7) can be reached over the network"),
        (["127.0.0.1"], "token", "RAY_AUTH_MODE=disabled joins this one"),
    ],
)
def test_an_open_cluster_is_refused(addresses, mode, expected, set_env):
    set_env(RAY_AUTH_MODE=mode)
    (diagnostic,) = check_token([answer(facts(requires_token=False), address) for address in addresses])
    assert diagnostic.code == "open-cluster"
    assert expected in str(diagnostic)


def test_an_open_cluster_on_this_machine_alone_is_joined_without_a_token_and_with_a_warning(set_env, caplog):
    set_env(RAY_AUTH_MODE="disabled")
    with caplog.at_level(logging.WARNING):
        assert list(check_token([answer(facts(requires_token=False))])) == []
    assert "RAY_AUTH_MODE=token closes it" in caplog.text


def test_a_cluster_that_requires_a_token_may_span_machines():
    assert list(check_token([answer(facts(), "198.51.100.7"), answer(None, "198.51.100.8")])) == []


@pytest.mark.parametrize(
    ("given", "variable", "code"),
    [
        (None, None, "missing-value"),
        *((address, None, "bad-address") for address in ("auto", "local", "http://head:8265", "10.0.0.1:6379/x")),
        (None, "ray://head:10001", "bad-address"),
    ],
)
def test_a_missing_or_invalid_address_is_refused(given, variable, code, set_env):
    set_env(RAY_ADDRESS=variable)
    with raises_diagnostics((code, "runner.address")):
        find_address(given)


def test_the_address_may_come_from_the_environment(set_env):
    set_env(RAY_ADDRESS="head:6379")
    assert find_address(None) == "head:6379"
    assert find_address("other:1") == "other:1"


def test_an_address_where_nothing_answers_is_refused_and_no_file_is_left(tmp_path):
    with raises_diagnostics(("unreachable", "runner.address")):
        inspect_cluster("127.0.0.1:1", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_storage_folder_that_is_not_writable_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with raises_diagnostics(("not-writable", "storage.path")):
        inspect_cluster("127.0.0.1:1", tmp_path / "file")


@pytest.mark.parametrize(
    ("stderr", "expected"),
    [
        ("x] RPC error: InvalidAuthToken: it is wrong\nConnectionError: failed", "(InvalidAuthToken: it is wrong)"),
        ("Traceback\nRuntimeError: Version mismatch: Ray 2.59.0", "(RuntimeError: Version mismatch: Ray 2.59.0)"),
        ("", "(exit code 1)"),
    ],
)
def test_a_cluster_that_cannot_be_joined_is_one_diagnostic_with_the_reason(stderr, expected, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise subprocess.CalledProcessError(1, "probe", stderr=stderr)

    monkeypatch.setattr(inspection.socket, "create_connection", lambda *_, **__: types.SimpleNamespace(close=print))
    monkeypatch.setattr(inspection.subprocess, "run", fail)
    with pytest.raises(InputError) as caught:
        inspection._ask("head:6379", str(tmp_path))
    (diagnostic,) = caught.value.diagnostics
    assert codes_and_locations([diagnostic]) == [("unreachable", "runner.address")]
    assert expected in diagnostic.message


def test_facts_of_this_machine(tmp_path, monkeypatch, set_env):
    """A task without GPUs sees none; the process that looks at them sees all."""
    asked = []

    def run(command, *, env, **_):
        asked.append("CUDA_VISIBLE_DEVICES" in env)
        return types.SimpleNamespace(stdout="printed")

    monkeypatch.setattr(probe.subprocess, "run", run)
    set_env(CUDA_VISIBLE_DEVICES="")
    here = probe.collect_facts(str(tmp_path), "node", True)
    assert (here["gpus"], asked) == ("printed", [False])
    assert here["folder_error"] is None
    assert here["versions"].keys() == VERSIONS.keys()
    assert [path.name for path in tmp_path.iterdir()] == ["node"]
    elsewhere = probe.collect_facts(str(tmp_path / "elsewhere"), "node")
    assert (elsewhere["gpus"], elsewhere["folder_error"]) == ("", "No such file or directory")


LARGE, SMALL = Accelerator("H100", (9, 0), 80), Accelerator("A10", (8, 6), 24)


def printed(driver, *seen, **view):
    return json.dumps(
        {"driver": driver and asdict(driver), "torch": asdict(TorchView("2.13.0", "13.0", (), seen, **view))}
    )


def test_all_gpus_of_a_node_are_known():
    there = facts(gpus=printed(None, LARGE, SMALL))
    assert inspection._to_machine(answer(there, gpus=2)) == Machine(8, 2, (LARGE, SMALL))
    assert inspection._to_machine(answer(facts(), gpus=4)) == Machine(8, 4), "logical GPUs without devices"


def test_a_node_whose_torch_cannot_use_its_gpus_is_refused_by_name():
    driver = DriverView("535.104.05", "12.2", (SMALL, SMALL))
    (text,) = texts(facts(gpus=printed(driver, problem="RuntimeError: the driver is too old")))
    assert "sees 2 GPUs on node gpu1 (127.0.0.1)" in text
    assert "the driver is too old" in text
    assert texts(facts(gpus=printed(driver, SMALL, SMALL))) == []
