"""From challenger to champion and back, against a real registry: hand-made models, a fresh process where it counts."""

import os
import pickle
import re
import shutil
import threading

import pytest
from typer.testing import CliRunner

from embsweep.cli.commands import app
from embsweep.core.errors import GateRefused
from embsweep.core.subprocess import run_in_subprocess
from embsweep.promotion import case as gate_case
from embsweep.promotion import evaluate
from embsweep.promotion.evaluate import evaluate_all
from embsweep.promotion.promote import PromotionRequest, promote
from embsweep.promotion.rollback import roll_back
from embsweep.selection.evidence import WINNER, FindingRecord
from embsweep.tracking.registry.load import load_registered
from embsweep.tracking.store import open_store
from tests.promotion.promotion_sandbox import Sandbox, make_table, write_pairs
from tests.refusals import raises_code, raises_diagnostics

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def store(storage, seed_storage, imports_paid):
    seed_storage(storage)
    return open_store(storage, uri=None, experiment="promotion")


@pytest.fixture
def make_world(store, storage, tmp_path):
    def make(**changes):
        folder = tmp_path / f"world{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Sandbox(store, folder, storage, **changes)

    return make


@pytest.fixture
def sandbox(make_world):
    return make_world()


@pytest.fixture
def in_process(monkeypatch):
    """Read the models in this process: the same function, without the seconds of a new one."""
    monkeypatch.setattr(gate_case, "evaluate_models", evaluate_all)


def ask(sandbox, **changes):
    return promote(PromotionRequest(sandbox.name, sandbox.storage, **changes))


def failed(done):
    return [condition.name for condition in done.gate_result.failed]


def condition(done, name):
    return next(c for c in done.gate_result.conditions if c.name == name)


def said(done, name):
    return condition(done, name).text


# -- accepted ------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh(monkeypatch):
    """What is asked of a fresh process: done here, with what has travelled as a process gets it."""
    asked = []

    def run(function, *arguments):
        asked.append(function)
        return pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(arguments)))))

    monkeypatch.setattr(evaluate, "run_in_subprocess", run)
    return asked


@pytest.mark.nightly
def test_models_are_read_in_a_process_of_their_own(sandbox, monkeypatch):
    pids = []
    monkeypatch.setattr(evaluate, "evaluate_all", _read_and_name_the_process)
    monkeypatch.setattr(
        evaluate, "run_in_subprocess", lambda *given: pids.append(run_in_subprocess(*given)) or pids[0][1]
    )
    sandbox.enter()
    assert ask(sandbox, dry_run=True).gate_result.passed
    assert pids[0][0] != os.getpid()


def _read_and_name_the_process(models, how):
    return os.getpid(), evaluate_all(models, how)


def test_a_challenger_that_passes_is_champion_on_the_record(sandbox, fresh):
    version = sandbox.enter()
    done = ask(sandbox)
    assert done.gate_result.passed, done.gate_result.failed
    assert fresh == [evaluate_all]
    assert sandbox.aliases == {"champion": version}
    assert condition(done, "beats champion").dims == ()
    (decision,) = sandbox.decisions(version)
    assert (decision["outcome"], decision["champion"], decision["overrides"]) == ("promoted", None, {})
    assert decision["rule"]["against_base"] == "significant"
    assert {(c["rival"], c["dim"]) for c in decision["comparisons"]} == {
        ("base model table", dim) for dim in (16, 8, None)
    }
    assert all(condition["passed"] for condition in decision["conditions"])
    assert sandbox.tags(version)["embsweep.decision"] == "promoted"
    load_registered(sandbox.store, sandbox.name, "champion")


def test_the_second_time_there_is_no_challenger(sandbox, in_process):
    version = sandbox.enter()
    ask(sandbox)
    with raises_code(GateRefused, "no-challenger") as caught:
        ask(sandbox)
    assert f"version {version} " in str(caught.value)
    assert len(sandbox.decisions(version)) == 1


def test_a_better_one_replaces_the_champion_which_is_read_again(sandbox, in_process):
    first = sandbox.enter(noise=1.2)
    ask(sandbox)
    second = sandbox.enter(noise=0.1)
    done = ask(sandbox)
    assert done.gate_result.passed
    assert f"(version {first})" in said(done, "beats champion")
    assert sandbox.aliases == {"champion": second}
    references = {c["rival"] for c in sandbox.decisions(second)[0]["comparisons"]}
    assert references == {"base model table", f"champion (version {first})"}


def test_a_rehearsal_goes_the_whole_way_under_its_own_name(sandbox, in_process):
    version = sandbox.enter(rehearsal=True)
    sandbox.name += "-rehearsal"
    assert ask(sandbox).gate_result.passed
    assert sandbox.aliases == {"champion": version}


# -- refused -------------------------------------------------------------------------------------------------

LEAK = FindingRecord(name="leaked-passages", severity="error", message="4 passages on two sides")


def off(sandbox, noise=0.3):
    """Test readings as recorded of other weights."""
    evidence = sandbox.make_evidence(make_table(noise), (16, 8))
    winner = evidence.test[WINNER]
    scores = {dim: {m: v + (m == "mrr@10") * 1e-5 for m, v in by.items()} for dim, by in winner.scores.items()}
    return evidence.test | {WINNER: winner.model_copy(update={"scores": scores})}


def alter_weights(sandbox, version):
    weights = next(sandbox.files(version).rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")


CASES = {
    "complete": ({"complete": False, "counts": {"complete": 3}}, "3 of 8"),
    "audit": ({"audit": (LEAK,)}, "leaked-passages"),
    "name": ({"evidence_rehearsal": True}, "rehearsal=True"),
    "floors": ({"floors": {8: 0.999}, "noise": 0.9}, "map@100"),
    "verification": ({"off": True}, "mrr@10 at 16 "),
    "beats base": ({"noise": 2.0}, "0 of 2"),
}


@pytest.mark.parametrize("name", CASES)
def test_each_condition_can_refuse_and_nothing_moves(sandbox, in_process, name):
    given, named = CASES[name]
    changes = {key: value for key, value in given.items() if key in ("complete", "counts", "audit", "noise")}
    if "floors" in given:
        objective = sandbox.make_evidence(make_table(0.3), (16, 8)).objective
        changes["objective"] = objective.model_copy(update={"floors": given["floors"]})
    if "off" in given:
        changes["test"] = off(sandbox)
    version = enter_as_real(sandbox) if "evidence_rehearsal" in given else sandbox.enter(**changes)
    done = ask(sandbox)
    assert failed(done) == [name]
    assert named in said(done, name)
    assert sandbox.aliases == {"challenger": version}
    (decision,) = sandbox.decisions(version)
    assert (decision["outcome"], decision["failed"]) == ("refused", [name])
    tags = sandbox.tags(version)
    assert (tags["embsweep.decision"], tags["embsweep.failed"]) == ("refused", name)
    assert done.record == tags["embsweep.decision_file"]


def enter_as_real(sandbox):
    """A rehearsal's evidence under the tags of the real thing."""
    evidence = sandbox.make_evidence(make_table(0.3), (16, 8), rehearsal=True)
    sandbox.make_evidence = lambda *_, **__: evidence
    return sandbox.enter()


def test_one_that_is_no_better_than_the_champion_is_refused_by_how_much(sandbox, in_process):
    first = sandbox.enter(noise=0.5)
    ask(sandbox)
    second = sandbox.enter(noise=0.5)
    done = ask(sandbox)
    assert failed(done) == ["beats champion"]
    checks = condition(done, "beats champion").dims
    assert [(check.dim, check.passed) for check in checks] == [(16, False), (8, False)]
    assert {number for check in checks for number in re.findall(r"[\d.]+", check.text)} == {"0.0000"}
    assert sandbox.aliases == {"champion": first, "challenger": second}


def test_the_rule_can_be_another_one_and_that_is_on_the_record(sandbox, in_process):
    sandbox.enter(noise=0.5)
    ask(sandbox)
    second = sandbox.enter(noise=0.5)
    done = ask(sandbox, rule={"against_champion": "not_worse", "margin": 0.01})
    assert done.gate_result.passed
    assert len(done.notes) == 1
    decision = sandbox.decisions(second)[0]
    assert decision["overrides"] == {"gate.against_champion": "not_worse", "gate.margin": 0.01}
    assert decision["rule"]["margin"] == 0.01


@pytest.mark.parametrize(
    ("rule", "code", "where", "hint"),
    [
        ({"margin": 2.0}, "out-of-range", "gate.margin", ""),
        ({"against_base": "hihger"}, "unknown-option", "gate.against_base", ""),
        ({"alhpa": 0.1}, "unknown-key", "gate.alhpa", "'alpha'"),
        ({"dims": []}, "empty", "gate.dims", ""),
    ],
)
def test_a_rule_that_is_none_is_bad_input(sandbox, in_process, rule, code, where, hint):
    version = sandbox.enter()
    with raises_diagnostics((code, where)) as caught:
        ask(sandbox, rule=rule)
    assert hint in (caught.value.diagnostics[0].hint or "")
    assert sandbox.decisions(version) == []


def test_altered_weights_fail_the_proof_and_are_not_read(sandbox, in_process):
    version = sandbox.enter()
    alter_weights(sandbox, version)
    done = ask(sandbox)
    assert failed(done) == ["verification", "beats base"]
    assert "model.safetensors" in said(done, "verification")
    assert sandbox.aliases == {"challenger": version}


def test_a_champion_with_altered_weights_is_not_beaten_by_default(sandbox, in_process):
    first = sandbox.enter(noise=1.2)
    ask(sandbox)
    sandbox.enter(noise=0.1)
    alter_weights(sandbox, first)
    done = ask(sandbox)
    assert failed(done) == ["beats champion"]
    assert "model.safetensors" in said(done, "beats champion")


def test_a_champion_with_fewer_dimensions_is_compared_where_it_has_them(sandbox, in_process):
    sandbox.enter(noise=1.0, dim=8)
    ask(sandbox)
    sandbox.enter(noise=0.1)
    done = ask(sandbox, dry_run=True)
    assert failed(done) == ["beats champion"]
    check = condition(done, "beats champion").dims[0]
    assert (check.dim, check.passed) == (16, False)
    assert re.search(r"\(version 1\) .*\b8 ", check.text)
    assert ask(sandbox, rule={"dims": [8]}).gate_result.passed


def test_a_version_without_evidence_is_refused(sandbox, in_process):
    version = sandbox.enter()
    sandbox.client.delete_model_version_tag(sandbox.name, str(version), "embsweep.manifest")
    done = ask(sandbox)
    assert failed(done) == ["evidence"]
    assert f"{sandbox.name} version {version} " in said(done, "evidence")


# -- the data ------------------------------------------------------------------------------------------------


def test_other_data_are_refused_with_both_fingerprints(sandbox, in_process):
    version = sandbox.enter()
    then = sandbox.splits.fingerprint[:12]
    write_pairs(sandbox.pairs, last="p58 p59")
    now = sandbox.splits.fingerprint[:12]
    done = ask(sandbox)
    assert failed(done) == ["same test set", "verification", "beats base"]
    assert re.findall("[0-9a-f]{12}", said(done, "same test set")) == [now, then]
    assert sandbox.aliases == {"challenger": version}


def test_data_that_moved_can_be_pointed_at(sandbox, in_process):
    version = sandbox.enter()
    moved = sandbox.pairs.rename(sandbox.folder / "elsewhere.jsonl")
    with raises_diagnostics(("missing-file", "data.pairs"), ("data-moved", "data")) as caught:
        ask(sandbox)
    assert "data.pairs=" in str(caught.value.diagnostics[1])
    assert ask(sandbox, data={"pairs": str(moved)}).gate_result.passed
    assert sandbox.decisions(version)[0]["overrides"] == {"data.pairs": str(moved)}


def test_the_same_rows_in_another_order_are_the_same_test_set(sandbox, in_process):
    sandbox.enter()
    write_pairs(sandbox.pairs, order=list(reversed(range(60))))
    assert ask(sandbox).gate_result.passed


def test_a_base_model_that_cannot_be_had_counts_as_it_was_recorded(sandbox, in_process):
    sandbox.enter()
    read_again = said(ask(sandbox, dry_run=True), "beats base")
    shutil.rmtree(sandbox.base.source)
    done = ask(sandbox)
    assert done.gate_result.passed
    assert said(done, "beats base").startswith(f"{read_again}; "), "a note says that it is the record"


def test_a_record_of_the_base_model_whose_queries_stand_in_another_order_does_not_serve(sandbox, in_process):
    test = sandbox.make_evidence(make_table(1.5), (16, 8)).test
    turned = {
        name: reading.model_copy(update={"values": {dim: values[::-1] for dim, values in reading.values.items()}})
        for name, reading in test.items()
    }
    sandbox.enter(noise=1.5, test=turned)
    shutil.rmtree(sandbox.base.source)
    done = ask(sandbox)
    assert failed(done) == ["beats base"]
    assert condition(done, "beats base").passed is None, "nothing to judge by"


# -- dry runs, rollback, two at once ---------------------------------------------------------------------------


def test_a_dry_run_judges_and_changes_nothing(sandbox, in_process):
    version = sandbox.enter()
    before = (sandbox.aliases, sandbox.tags(version), dict(sandbox.client.get_registered_model(sandbox.name).tags))
    done = ask(sandbox, dry_run=True)
    assert done.gate_result.passed
    assert done.record is None
    assert (
        sandbox.aliases,
        sandbox.tags(version),
        dict(sandbox.client.get_registered_model(sandbox.name).tags),
    ) == before
    assert sandbox.decisions(version) == []
    sandbox.enter(noise=2.0)
    assert not ask(sandbox, dry_run=True).gate_result.passed
    assert sandbox.decisions(2) == []


def test_rolling_back_goes_back_one_champion_at_a_time(sandbox, in_process):
    for noise in (1.5, 0.8, 0.1):
        sandbox.enter(noise=noise)
        assert ask(sandbox, rule={"against_champion": "higher"}).gate_result.passed
    dry = roll_back(sandbox.name, sandbox.storage, dry_run=True)
    assert (dry.rolled_back, dry.restored, dry.left) == (3, 2, (1,))
    assert sandbox.aliases == {"champion": 3}
    assert roll_back(sandbox.name, sandbox.storage).restored == 2
    assert sandbox.tags(3)["embsweep.decision"] == "rolled back"
    assert roll_back(sandbox.name, sandbox.storage).restored == 1
    assert sandbox.aliases == {"champion": 1}
    with raises_code(GateRefused, "no-earlier-champion") as caught:
        roll_back(sandbox.name, sandbox.storage)
    assert "version 1 " in str(caught.value)
    assert [d["outcome"] for d in sandbox.decisions(1)] == ["promoted", "restored", "refused"]
    assert sandbox.tags(1)["embsweep.decision"] == "restored"


def test_an_altered_champion_does_not_come_back(sandbox, in_process):
    for noise in (1.5, 0.1):
        sandbox.enter(noise=noise)
        ask(sandbox)
    alter_weights(sandbox, 1)
    with raises_code(GateRefused, "altered-file") as caught:
        roll_back(sandbox.name, sandbox.storage)
    assert all(named in str(caught.value) for named in ("version 1 ", "model.safetensors"))
    assert sandbox.aliases == {"champion": 2}


def test_a_champion_that_was_deleted_is_passed_over(sandbox, in_process):
    for noise in (1.5, 0.8, 0.1):
        sandbox.enter(noise=noise)
        assert ask(sandbox, rule={"against_champion": "higher"}).gate_result.passed
    sandbox.client.delete_model_version(sandbox.name, "2")
    done = roll_back(sandbox.name, sandbox.storage)
    assert done.restored == 1
    assert [re.findall(r"\d+", note) for note in done.notes] == [["2"]]


def test_nobody_to_roll_back(sandbox):
    sandbox.enter()
    with raises_code(GateRefused, "no-champion"):
        roll_back(sandbox.name, sandbox.storage)


def test_of_two_promotions_at_once_one_wins_and_the_other_is_told(sandbox, in_process, monkeypatch):
    version = sandbox.enter()
    both_judged = threading.Barrier(2)
    original = gate_case.build_case

    def build_and_wait(*arguments):
        case = original(*arguments)
        both_judged.wait(60)
        return case

    monkeypatch.setattr("embsweep.promotion.promote.build_case", build_and_wait)
    logged = []

    def run():
        try:
            logged.append(ask(sandbox).record)
        except GateRefused as error:
            logged.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (error,) = [one for one in logged if isinstance(one, GateRefused)]
    assert error.code == "overtaken"
    assert f"version {version} " in str(error)
    assert sandbox.aliases == {"champion": version}
    assert sorted(d["outcome"] for d in sandbox.decisions(version)) == ["promoted", "refused"]
    assert sandbox.tags(version)["embsweep.decision"] == "promoted"


# -- the command -----------------------------------------------------------------------------------------------


def command(sandbox, *arguments):
    return CliRunner().invoke(app, [*map(str, arguments), "--storage", str(sandbox.storage)])


def test_the_command_says_what_was_decided_and_leaves_with_its_code(sandbox, in_process):
    sandbox.enter(noise=2.0)
    refused = command(sandbox, "promote", sandbox.name)
    assert refused.exit_code == 4
    assert "1 of 8" in refused.stderr
    assert re.search(r"^  - beats base: .* 0 of 2 ", refused.stderr, re.M)
    assert re.findall(r"^ +(\d+): ", refused.stderr, re.M) == ["16", "8"]
    sandbox.enter(noise=1.2)
    dry = command(sandbox, "promote", sandbox.name, "--dry-run")
    assert (dry.exit_code, sandbox.aliases) == (0, {"challenger": 2})
    assert "version 2 " in dry.output
    done = command(sandbox, "promote", sandbox.name, "gate=not_worse", "gate.against_base=higher")
    assert done.exit_code == 0, done.output
    assert f"models:/{sandbox.name}@champion" in done.output
    assert f"embsweep rollback {sandbox.name}" in done.output
    assert command(sandbox, "promote", sandbox.name).exit_code == 4
    assert command(sandbox, "rollback", sandbox.name).exit_code == 4
    assert command(sandbox, "promote", "nonsense").exit_code == 2
    sandbox.enter(noise=0.1)
    assert command(sandbox, "promote", sandbox.name, "gate.against_champion=higher").exit_code == 0
    back = command(sandbox, "rollback", sandbox.name)
    assert back.exit_code == 0
    assert re.search(r"version 2 .* version 3", back.output)
