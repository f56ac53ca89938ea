"""Aliases, lock and history in a real sqlite registry; the versions have no files, as they are not loaded."""

import json
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest import mock

import pytest
from tests.refusals import raises_code, raises_diagnostics

from embsweep.core.errors import GateRefused
from embsweep.tracking.registry.aliases import (
    ModelAliases,
    open_registry,
    promote_version,
    read_aliases,
    restore_champion,
)
from embsweep.tracking.registry.champion import find_unrecorded_champion
from embsweep.tracking.registry.decisions import Decision, record_decision
from embsweep.tracking.registry.lock import LOCK_SUFFIX, hold_lock
from embsweep.tracking.registry.register import PROMOTED_TAG

pytestmark = pytest.mark.slow


@pytest.fixture
def name(identity):
    return f"legal-{identity.study_id}"


@pytest.fixture
def run_id(sweep):
    return sweep.run_id


@pytest.fixture
def register(client, name, run_id):
    """`register()`: register a version and make it challenger; returns its number."""
    client.create_registered_model(name)

    def make():
        version = client.create_model_version(name, source="/nowhere", run_id=run_id)
        client.set_registered_model_alias(name, "challenger", version.version)
        return int(version.version)

    return make


@pytest.fixture
def promote(store, name, register):
    """`promote()`: register a version and make it champion; returns its number."""

    def make():
        number = register()
        promote_version(store, read_aliases(store, name), Decision("promoted", number, {}))
        return number

    return make


def roll_back(store, name):
    aliases = read_aliases(store, name)
    target = next(number for number in reversed(aliases.earlier) if number != aliases.champion)
    restored, removed = Decision("restored", target, {}), Decision("rolled back", aliases.champion, {})
    return restore_champion(store, aliases, restored, removed)


def aliases(client, name):
    return {alias: int(version) for alias, version in client.get_registered_model(name).aliases.items()}


def locks(client):
    return [model.name for model in client.search_registered_models() if model.name.endswith(LOCK_SUFFIX)]


def test_the_challenger_becomes_champion_and_loses_the_alias_challenger(store, client, name, register):
    number = register()
    decision = Decision("promoted", number, {"rule": {"margin": 0.0}})
    path = promote_version(store, read_aliases(store, name), decision)
    assert aliases(client, name) == {"champion": number}
    assert read_aliases(store, name) == ModelAliases(name, None, number)
    tags = client.get_model_version(name, str(number)).tags
    assert tags["embsweep.decision"] == "promoted"
    assert (tags[PROMOTED_TAG], tags["embsweep.decision_file"]) == (decision.at, path)
    assert locks(client) == []


def test_a_decision_is_a_file_of_the_run_behind_the_version(store, client, name, register, run_id, tmp_path):
    decision = Decision("refused", register(), {"rule": {"alpha": 0.05}, "conditions": []}, ("audit", "verification"))
    path = record_decision(store, name, decision)
    found = json.loads(Path(client.download_artifacts(run_id, path, str(tmp_path))).read_text())
    assert found["model"] == name
    assert (found["version"], found["outcome"], found["at"]) == (decision.version, "refused", decision.at)
    assert (found["failed"], found["rule"]) == (["audit", "verification"], {"alpha": 0.05})
    tags = client.get_model_version(name, str(decision.version)).tags
    assert (tags["embsweep.decision"], tags["embsweep.failed"]) == ("refused", "audit, verification")
    assert path.startswith("promotion/")


def test_earlier_champions_are_recorded_and_restored_one_by_one(store, client, name, promote):
    numbers = [promote() for _ in range(3)]
    assert read_aliases(store, name).earlier == tuple(numbers[:2])
    assert client.get_model_version(name, str(numbers[1])).tags["embsweep.replaced_by"] == str(numbers[2])
    roll_back(store, name)
    assert read_aliases(store, name) == ModelAliases(name, None, numbers[1], (numbers[0],))
    tags = client.get_model_version(name, str(numbers[2])).tags
    assert (tags["embsweep.decision"], tags["embsweep.rolled_back_to"]) == ("rolled back", str(numbers[1]))
    restored_tags = client.get_model_version(name, str(numbers[1])).tags
    assert restored_tags["embsweep.decision"] == "restored"
    assert "embsweep.replaced_by" not in restored_tags
    roll_back(store, name)
    assert read_aliases(store, name) == ModelAliases(name, None, numbers[0])


def test_a_champion_that_is_promoted_again_makes_no_cycle_in_the_history(store, client, name, promote):
    first, second = promote(), promote()
    client.set_registered_model_alias(name, "challenger", str(first))
    promote_version(store, read_aliases(store, name), Decision("promoted", first, {}))
    champions = [first]
    while [number for number in read_aliases(store, name).earlier if number != champions[-1]]:
        roll_back(store, name)
        champions.append(read_aliases(store, name).champion)
        assert len(champions) < 5
    assert champions == [first, second, first]


def test_a_champion_has_a_record_if_the_latest_decision_made_it_champion(store, client, name, promote):
    numbers = [promote(), promote()]
    assert find_unrecorded_champion(store, read_aliases(store, name)) is None
    roll_back(store, name)
    assert find_unrecorded_champion(store, read_aliases(store, name)) is None
    client.set_registered_model_alias(name, "champion", str(numbers[1]))
    warning = find_unrecorded_champion(store, read_aliases(store, name))
    assert f"version {numbers[1]} " in warning and "'rolled back'" in warning
    assert f"back to version {numbers[0]}" in warning and f"embsweep promote {name}" in warning
    client.set_registered_model_alias(name, "challenger", str(numbers[0]))
    promote_version(store, read_aliases(store, name), Decision("promoted", numbers[0], {}))
    assert find_unrecorded_champion(store, read_aliases(store, name)) is None


def test_a_promotion_judged_against_another_champion_is_refused(store, client, name, promote, register):
    promote()
    register()
    judged = read_aliases(store, name)
    promote_version(store, judged, Decision("promoted", judged.challenger, {}))
    before = dict(client.get_model_version(name, str(judged.challenger)).tags)
    with raises_code(GateRefused, "overtaken") as caught:
        promote_version(store, judged, Decision("promoted", judged.challenger, {}))
    assert f"version {judged.challenger}" in str(caught.value)
    assert f"version {judged.champion}" in str(caught.value)
    assert dict(client.get_model_version(name, str(judged.challenger)).tags) == before
    assert locks(client) == []


def test_a_newer_challenger_prevents_the_promotion_of_the_judged_one(store, client, name, register):
    register()
    judged = read_aliases(store, name)
    newer = register()
    with raises_code(GateRefused, "overtaken") as caught:
        promote_version(store, judged, Decision("promoted", judged.challenger, {}))
    assert f"version {newer}" in str(caught.value)
    assert "champion" not in str(caught.value)
    assert aliases(client, name) == {"challenger": newer}


def test_a_challenger_registered_during_a_promotion_keeps_its_alias(store, client, name, register):
    number, original = register(), type(client).set_registered_model_alias
    newer = []

    def register_another(self, model, alias, version):
        original(self, model, alias, version)
        if alias == "champion":
            newer.append(register())

    with mock.patch.object(type(client), "set_registered_model_alias", register_another):
        promote_version(store, read_aliases(store, name), Decision("promoted", number, {}))
    assert aliases(client, name) == {"champion": number, "challenger": newer[0]}


@pytest.mark.parametrize(
    "broken", ["log_text", "set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_alias"]
)
def test_an_interrupted_promotion_can_be_completed_and_rolled_back(store, client, name, promote, register, broken):
    first, second = promote(), register()
    judged = read_aliases(store, name)
    with mock.patch.object(type(client), broken, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        promote_version(store, judged, Decision("promoted", second, {}))
    assert locks(client) == []
    now = read_aliases(store, name)
    if now.challenger is not None:
        promote_version(store, now, Decision("promoted", second, {}))
    assert read_aliases(store, name) == ModelAliases(name, None, second, (first,))
    roll_back(store, name)
    assert read_aliases(store, name) == ModelAliases(name, None, first)


def _race(arguments):
    store, judged = arguments
    try:
        promote_version(store, judged, Decision("promoted", judged.challenger, {}))
    except GateRefused as error:
        return f"{error.code}: {error}"
    return "won"


@pytest.mark.nightly
def test_of_two_processes_that_judged_the_same_version_one_is_refused(store, client, name, promote, register):
    first, second = promote(), register()
    judged = read_aliases(store, name)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        output = sorted(pool.map(_race, [(store, judged)] * 2))
    assert output[1] == "won"
    assert output[0].startswith(("locked: ", "overtaken: "))
    assert f"version {second} " in output[0]
    assert read_aliases(store, name) == ModelAliases(name, None, second, (first,))
    assert locks(client) == []


@pytest.mark.parametrize(
    "between",
    ["log_text", "set_registered_model_tag", "set_registered_model_alias"],
    ids=["record", "history", "alias"],
)
def test_a_promotion_between_the_check_and_the_switch_of_another_is_refused(
    store, client, name, promote, register, between
):
    """Both have judged; the second runs as a whole while the first is about to write."""
    first, second = promote(), register()
    judged, refused = read_aliases(store, name), []
    decision = Decision("promoted", second, {})
    original = getattr(type(client), between)

    def promote_too(self, *arguments, **options):
        if not refused:
            with raises_code(GateRefused, "locked") as caught:
                promote_version(store, judged, decision)
            refused.append(str(caught.value))
        return original(self, *arguments, **options)

    with mock.patch.object(type(client), between, promote_too):
        promote_version(store, judged, decision)
    assert f"version {second} becomes champion" in refused[0]
    assert f"process {os.getpid()} " in refused[0]
    assert read_aliases(store, name) == ModelAliases(name, None, second, (first,))
    with raises_code(GateRefused, "overtaken") as caught:
        promote_version(store, judged, decision)
    assert f"version {second} since" in str(caught.value)
    assert locks(client) == []


@pytest.mark.parametrize("set_by_hand", ["another", "the same"])
def test_an_alias_that_is_set_during_the_switch_stays_and_the_promotion_is_refused(
    store, client, name, promote, register, set_by_hand
):
    """Programs that do not know the lock, such as MLflow's user interface, can move the alias at any time."""
    first, third, second = promote(), register(), register()
    theirs = third if set_by_hand == "another" else first
    original = type(client).set_registered_model_alias

    def overwrite(self, model, alias, version):
        original(self, model, alias, version)
        original(self, model, "champion", str(theirs))

    with (
        mock.patch.object(type(client), "set_registered_model_alias", overwrite),
        raises_code(GateRefused, "overtaken") as caught,
    ):
        promote_version(store, read_aliases(store, name), Decision("promoted", second, {}))
    assert f"the champion is version {theirs} since" in str(caught.value)
    earlier = (first,) if theirs == third else ()
    assert read_aliases(store, name) == ModelAliases(name, second, theirs, earlier)
    assert PROMOTED_TAG not in client.get_model_version(name, str(second)).tags
    assert locks(client) == []


def test_the_lock_is_exclusive_and_tells_how_to_remove_it(store, client, name):
    with hold_lock(store, name, "a test"):
        with raises_code(GateRefused, "locked") as caught, hold_lock(store, name, "another"):
            pytest.fail("two processes hold the lock")
        assert f"process {os.getpid()} on " in str(caught.value)
        assert f"delete the registered model '{name}{LOCK_SUFFIX}'" in str(caught.value)
        with hold_lock(store, f"{name}-other", "a test"):
            pass
    assert locks(client) == []
    with hold_lock(store, name, "a test"):
        pass


def test_a_request_sent_twice_recognises_its_own_lock(store, client, name, monkeypatch):
    original = type(client).create_registered_model

    def send_twice(self, *arguments, **options):
        original(self, *arguments, **options)
        return original(self, *arguments, **options)

    monkeypatch.setattr(type(client), "create_registered_model", send_twice)
    with hold_lock(store, name, "a test"):
        assert locks(client) == [name + LOCK_SUFFIX]
    assert locks(client) == []


def test_a_lock_that_another_process_took_over_is_not_released(store, client, name):
    with hold_lock(store, name, "a test"):
        client.delete_registered_model(name + LOCK_SUFFIX)
        client.create_registered_model(name + LOCK_SUFFIX, tags={"embsweep.lock_holder": "another"})
    assert locks(client) == [name + LOCK_SUFFIX]
    client.delete_registered_model(name + LOCK_SUFFIX)


def test_an_unknown_model_is_refused_with_the_nearest_name(store, client, name, register):
    register()
    with hold_lock(store, name, "a test"), raises_diagnostics(("unknown-name", "NAME")) as caught:
        read_aliases(store, name + "x")  # more similar to `name` than any other name of the session
    assert name in caught.value.diagnostics[0].hint
    assert LOCK_SUFFIX not in str(caught.value)


def test_opening_a_missing_registry_does_not_create_it(tmp_path):
    with raises_diagnostics(("missing-file", "--uri")):
        open_registry(tmp_path, None)
    (tmp_path / "mlflow.db").write_text("not a database at all, " * 100)
    with raises_diagnostics(("unreachable", "--uri")):
        open_registry(tmp_path, None)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.parametrize("uri", ["", "  "])
def test_a_blank_address_does_not_create_a_database(tmp_path, monkeypatch, uri):
    monkeypatch.chdir(tmp_path)
    with raises_diagnostics(("empty", "--uri")):
        open_registry(tmp_path, uri)
    assert list(tmp_path.iterdir()) == []
