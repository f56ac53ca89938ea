"""Promotion and rollback in a real registry, with hand-made models; one test evaluates them in a new process."""

import os
import pickle
import re
import shutil
import threading
import warnings

import pytest
from typer.testing import CliRunner

import embsweep
from embsweep.cli.commands import app
from embsweep.core.errors import GateRefused
from embsweep.core.subprocess import run_in_subprocess
from embsweep.promotion import case as gate_case
from embsweep.promotion.evaluate import evaluate_models
from embsweep.promotion.promote import PromotionRequest, promote
from embsweep.promotion.rollback import roll_back
from embsweep.selection.evidence import WINNER, FindingRecord
from embsweep.tracking.registry.load import load_registered
from embsweep.tracking.store import open_store
from tests.promotion.promotion_sandbox import GATE, Sandbox, make_table, write_pairs
from tests.refusals import raises_code, raises_diagnostics

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def store(storage, seed_storage, heavy_imports):
    seed_storage(storage)
    return open_store(storage, uri=None, experiment="promotion")


@pytest.fixture
def make_sandbox(store, storage, tmp_path):
    def make(**changes):
        folder = tmp_path / f"sandbox{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        return Sandbox(store, folder, storage, **changes)

    return make


@pytest.fixture
def sandbox(make_sandbox):
    return make_sandbox()


@pytest.fixture
def in_process(monkeypatch):
    """Evaluate the models in this process: the same function, without the seconds that a new process takes."""
    monkeypatch.setattr(gate_case, "run_in_subprocess", lambda function, *arguments: function(*arguments))


def run_promotion(sandbox, **changes):
    return promote(PromotionRequest(sandbox.name, sandbox.storage, **changes))


def failed(done):
    return [condition.name for condition in done.gate_result.failed]


def condition(done, name):
    return next(c for c in done.gate_result.conditions if c.name == name)


def text_of(done, name):
    return condition(done, name).text


# -- accepted ------------------------------------------------------------------------------------------------


@pytest.fixture
def subprocess_calls(monkeypatch):
    """Replace the new process by a call here with pickled arguments and result; return the functions called."""
    functions = []

    def run(function, *arguments):
        functions.append(function)
        return pickle.loads(pickle.dumps(function(*pickle.loads(pickle.dumps(arguments)))))

    monkeypatch.setattr(gate_case, "run_in_subprocess", run)
    return functions


@pytest.mark.nightly
def test_models_are_evaluated_in_a_separate_process(sandbox, monkeypatch):
    pids = []
    monkeypatch.setattr(gate_case, "evaluate_models", _evaluate_with_process_id)
    monkeypatch.setattr(
        gate_case, "run_in_subprocess", lambda *given: pids.append(run_in_subprocess(*given)) or pids[0][1]
    )
    sandbox.register()
    assert run_promotion(sandbox, dry_run=True).gate_result.passed
    assert pids[0][0] != os.getpid()


def _evaluate_with_process_id(*arguments):
    return os.getpid(), evaluate_models(*arguments)


def test_a_challenger_that_passes_is_promoted_and_recorded(sandbox, subprocess_calls):
    version = sandbox.register()
    done = run_promotion(sandbox)
    assert done.gate_result.passed, done.gate_result.failed
    assert subprocess_calls == [evaluate_models]
    assert sandbox.aliases == {"champion": version}
    assert condition(done, "beats champion").dims == ()
    (decision,) = sandbox.decisions(version)
    assert (decision["outcome"], decision["champion"], decision["overrides"]) == ("promoted", None, {})
    assert decision["rule"]["against_base"] == "significant"
    assert {(c["reference"], c["dim"]) for c in decision["comparisons"]} == {
        ("base model table", dim) for dim in (16, 8, None)
    }
    assert all(condition["passed"] for condition in decision["conditions"])
    assert sandbox.tags(version)["embsweep.decision"] == "promoted"
    load_registered(sandbox.store, sandbox.name, "champion")


def test_after_a_promotion_there_is_no_challenger(sandbox, in_process):
    version = sandbox.register()
    run_promotion(sandbox)
    with raises_code(GateRefused, "no-challenger") as caught:
        run_promotion(sandbox)
    assert f"version {version} " in str(caught.value)
    assert len(sandbox.decisions(version)) == 1


def test_a_better_challenger_replaces_the_champion_which_is_evaluated_again(sandbox, in_process):
    first = sandbox.register(noise=1.2)
    run_promotion(sandbox)
    second = sandbox.register(noise=0.1)
    done = run_promotion(sandbox)
    assert done.gate_result.passed
    assert f"(version {first})" in text_of(done, "beats champion")
    assert sandbox.aliases == {"champion": second}
    references = {c["reference"] for c in sandbox.decisions(second)[0]["comparisons"]}
    assert references == {"base model table", f"champion (version {first})"}


def test_a_rehearsal_is_promoted_under_its_own_name(sandbox, in_process):
    version = sandbox.register(rehearsal=True)
    sandbox.name += "-rehearsal"
    assert run_promotion(sandbox).gate_result.passed
    assert sandbox.aliases == {"champion": version}


# -- refused -------------------------------------------------------------------------------------------------

LEAK = FindingRecord(name="leaked-passages", severity="error", message="4 passages on two sides")


def shift_scores(sandbox, noise=0.3):
    """Return test scores that other weights would have."""
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
def test_each_condition_can_refuse_and_no_alias_changes(sandbox, in_process, name):
    given, named = CASES[name]
    changes = {key: value for key, value in given.items() if key in ("complete", "counts", "audit", "noise")}
    if "floors" in given:
        objective = sandbox.make_evidence(make_table(0.3), (16, 8)).objective
        changes["objective"] = objective.model_copy(update={"floors": given["floors"]})
    if "off" in given:
        changes["test"] = shift_scores(sandbox)
    version = register_as_real(sandbox) if "evidence_rehearsal" in given else sandbox.register(**changes)
    done = run_promotion(sandbox)
    assert failed(done) == [name]
    assert named in text_of(done, name)
    assert sandbox.aliases == {"challenger": version}
    (decision,) = sandbox.decisions(version)
    assert (decision["outcome"], decision["failed"]) == ("refused", [name])
    tags = sandbox.tags(version)
    assert (tags["embsweep.decision"], tags["embsweep.failed"]) == ("refused", name)
    assert done.record == tags["embsweep.decision_file"]


def register_as_real(sandbox):
    """Register a rehearsal's evidence with the tags of a real sweep."""
    evidence = sandbox.make_evidence(make_table(0.3), (16, 8), rehearsal=True)
    sandbox.make_evidence = lambda *_, **__: evidence
    return sandbox.register()


def test_a_challenger_no_better_than_the_champion_is_refused_with_the_differences(sandbox, in_process):
    first = sandbox.register(noise=0.5)
    run_promotion(sandbox)
    second = sandbox.register(noise=0.5)
    done = run_promotion(sandbox)
    assert failed(done) == ["beats champion"]
    checks = condition(done, "beats champion").dims
    assert [(check.dim, check.passed) for check in checks] == [(16, False), (8, False)]
    assert {number for check in checks for number in re.findall(r"[\d.]+", check.text)} == {"0.0000"}
    assert sandbox.aliases == {"champion": first, "challenger": second}


def test_another_rule_is_applied_and_recorded(sandbox, in_process):
    sandbox.register(noise=0.5)
    run_promotion(sandbox)
    second = sandbox.register(noise=0.5)
    done = run_promotion(sandbox, rule={"against_champion": "not_worse", "margin": 0.01})
    assert done.gate_result.passed
    assert len(done.notes) == 1
    decision = sandbox.decisions(second)[0]
    assert decision["overrides"] == {"gate.against_champion": "not_worse", "gate.margin": 0.01}
    assert decision["rule"]["margin"] == 0.01


def test_a_rule_that_was_recorded_looser_than_the_standard_is_noted(sandbox, in_process):
    version = sandbox.register(noise=0.5, gate=GATE.model_copy(update={"against_base": "not_worse", "margin": 0.99}))
    done = run_promotion(sandbox, standard=GATE)
    assert done.gate_result.passed
    expected = [
        'gate.against_base="not_worse" (recorded with the sweep) is looser than "significant" of ',
        "gate.margin=0.99 (recorded with the sweep) is looser than 0.0 of ",
    ]
    assert [note.split("conf/")[0] for note in done.notes] == expected
    assert sandbox.decisions(version)[0]["notes"] == list(done.notes)


@pytest.mark.parametrize(
    ("rule", "code", "location", "hint"),
    [
        ({"margin": 2.0}, "out-of-range", "gate.margin", ""),
        ({"against_base": "hihger"}, "unknown-option", "gate.against_base", ""),
        ({"alhpa": 0.1}, "unknown-key", "gate.alhpa", "'alpha'"),
        ({"dims": []}, "empty", "gate.dims", ""),
    ],
)
def test_an_invalid_rule_is_bad_input(sandbox, in_process, rule, code, location, hint):
    version = sandbox.register()
    with raises_diagnostics((code, location)) as caught:
        run_promotion(sandbox, rule=rule)
    assert hint in (caught.value.diagnostics[0].hint or "")
    assert sandbox.decisions(version) == []


@pytest.mark.parametrize(("device", "tolerance"), [("cpu", "1e-06"), ("cuda", "0.001")])
def test_scores_of_a_sweep_on_gpus_have_their_tolerance_on_a_cpu(sandbox, in_process, device, tolerance):
    verification = sandbox.make_evidence(make_table(0.3), (16, 8)).verification.model_copy(update={"device": device})
    sandbox.register(verification=verification)
    assert f"tolerance {tolerance} on cpu" in text_of(run_promotion(sandbox, dry_run=True), "verification")


def test_altered_weights_fail_the_verification_and_are_not_evaluated(sandbox, in_process):
    version = sandbox.register()
    alter_weights(sandbox, version)
    done = run_promotion(sandbox)
    assert failed(done) == ["verification", "beats base"]
    assert "model.safetensors" in text_of(done, "verification")
    assert sandbox.aliases == {"challenger": version}


def test_a_champion_with_altered_weights_does_not_count_as_beaten(sandbox, in_process):
    first = sandbox.register(noise=1.2)
    run_promotion(sandbox)
    sandbox.register(noise=0.1)
    alter_weights(sandbox, first)
    done = run_promotion(sandbox)
    assert failed(done) == ["beats champion"]
    assert "model.safetensors" in text_of(done, "beats champion")


def test_a_champion_with_fewer_dimensions_is_compared_at_those(sandbox, in_process):
    sandbox.register(noise=1.0, dim=8)
    run_promotion(sandbox)
    sandbox.register(noise=0.1)
    done = run_promotion(sandbox, dry_run=True)
    assert failed(done) == ["beats champion"]
    check = condition(done, "beats champion").dims[0]
    assert (check.dim, check.passed) == (16, False)
    assert re.search(r"\(version 1\) .*\b8 ", check.text)
    assert run_promotion(sandbox, rule={"dims": [8]}).gate_result.passed


def test_a_version_without_evidence_is_refused(sandbox, in_process):
    version = sandbox.register()
    sandbox.client.delete_model_version_tag(sandbox.name, str(version), "embsweep.manifest")
    done = run_promotion(sandbox)
    assert failed(done) == ["evidence"]
    assert f"{sandbox.name} version {version} " in text_of(done, "evidence")


# -- the data ------------------------------------------------------------------------------------------------


def test_other_data_are_refused_with_both_fingerprints(sandbox, in_process):
    version = sandbox.register()
    then = sandbox.splits.fingerprint[:12]
    write_pairs(sandbox.pairs, last="p58 p59")
    now = sandbox.splits.fingerprint[:12]
    done = run_promotion(sandbox)
    assert failed(done) == ["same test set", "verification", "beats base"]
    assert re.findall("[0-9a-f]{12}", text_of(done, "same test set")) == [now, then]
    assert sandbox.aliases == {"challenger": version}


def test_moved_data_can_be_given_by_an_override(sandbox, in_process):
    version = sandbox.register()
    moved = sandbox.pairs.rename(sandbox.folder / "moved.jsonl")
    with raises_diagnostics(("missing-file", "data.pairs"), ("data-moved", "data")) as caught:
        run_promotion(sandbox)
    assert "data.pairs=" in str(caught.value.diagnostics[1])
    assert run_promotion(sandbox, data={"pairs": str(moved)}).gate_result.passed
    assert sandbox.decisions(version)[0]["overrides"] == {"data.pairs": str(moved)}


def test_the_same_rows_in_another_order_are_the_same_test_set(sandbox, in_process):
    sandbox.register()
    write_pairs(sandbox.pairs, order=list(reversed(range(60))))
    assert run_promotion(sandbox).gate_result.passed


def test_a_missing_base_model_is_replaced_by_its_recorded_scores(sandbox, in_process):
    sandbox.register()
    read_again = text_of(run_promotion(sandbox, dry_run=True), "beats base")
    shutil.rmtree(sandbox.base.source)
    done = run_promotion(sandbox)
    assert done.gate_result.passed
    assert text_of(done, "beats base").startswith(f"{read_again}; "), "a note adds that these are the recorded scores"


def test_recorded_scores_of_the_base_model_in_another_order_are_not_used(sandbox, in_process):
    test = sandbox.make_evidence(make_table(1.5), (16, 8)).test
    reversed_test = {
        name: record.model_copy(update={"values": {dim: values[::-1] for dim, values in record.values.items()}})
        for name, record in test.items()
    }
    sandbox.register(noise=1.5, test=reversed_test)
    shutil.rmtree(sandbox.base.source)
    done = run_promotion(sandbox)
    assert failed(done) == ["beats base"]
    assert condition(done, "beats base").passed is None, "it cannot be decided"


# -- dry runs, rollback, two promotions at once ---------------------------------------------------------------


def test_a_dry_run_changes_nothing(sandbox, in_process):
    version = sandbox.register()
    before = (sandbox.aliases, sandbox.tags(version), dict(sandbox.client.get_registered_model(sandbox.name).tags))
    done = run_promotion(sandbox, dry_run=True)
    assert done.gate_result.passed
    assert done.record is None
    assert (
        sandbox.aliases,
        sandbox.tags(version),
        dict(sandbox.client.get_registered_model(sandbox.name).tags),
    ) == before
    assert sandbox.decisions(version) == []
    sandbox.register(noise=2.0)
    assert not run_promotion(sandbox, dry_run=True).gate_result.passed
    assert sandbox.decisions(2) == []


def test_rollback_restores_one_champion_at_a_time(sandbox, in_process):
    for noise in (1.5, 0.8, 0.1):
        sandbox.register(noise=noise)
        assert run_promotion(sandbox, rule={"against_champion": "higher"}).gate_result.passed
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


def test_an_altered_champion_is_not_restored(sandbox, in_process):
    for noise in (1.5, 0.1):
        sandbox.register(noise=noise)
        run_promotion(sandbox)
    alter_weights(sandbox, 1)
    with raises_code(GateRefused, "altered-file") as caught:
        roll_back(sandbox.name, sandbox.storage)
    assert all(named in str(caught.value) for named in ("version 1 ", "model.safetensors"))
    assert sandbox.aliases == {"champion": 2}


def test_a_deleted_champion_is_skipped(sandbox, in_process):
    for noise in (1.5, 0.8, 0.1):
        sandbox.register(noise=noise)
        assert run_promotion(sandbox, rule={"against_champion": "higher"}).gate_result.passed
    sandbox.client.delete_model_version(sandbox.name, "2")
    done = roll_back(sandbox.name, sandbox.storage)
    assert done.restored == 1
    assert [re.findall(r"\d+", note) for note in done.notes] == [["2"]]


def test_rollback_without_a_champion_is_refused(sandbox):
    sandbox.register()
    with raises_code(GateRefused, "no-champion"):
        roll_back(sandbox.name, sandbox.storage)


def test_of_two_promotions_at_once_one_is_refused(sandbox, in_process, monkeypatch):
    version = sandbox.register()
    both_ready = threading.Barrier(2)
    original = gate_case.build_case

    def build_and_wait(*arguments):
        case = original(*arguments)
        both_ready.wait(60)
        return case

    monkeypatch.setattr("embsweep.promotion.promote.build_case", build_and_wait)
    results = []

    def run():
        try:
            results.append(run_promotion(sandbox).record)
        except GateRefused as error:
            results.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (error,) = [found for found in results if isinstance(found, GateRefused)]
    assert error.code in ("locked", "overtaken")
    assert f"version {version} " in str(error)
    assert sandbox.aliases == {"champion": version}
    assert sorted(d["outcome"] for d in sandbox.decisions(version)) == ["promoted", "refused"]
    assert sandbox.tags(version)["embsweep.decision"] == "promoted"


# -- champions without a record --------------------------------------------------------------------------------


def test_a_champion_set_by_hand_is_named_by_promote_rollback_and_load_champion(sandbox, in_process):
    first, second = sandbox.register(noise=1.5), sandbox.register(noise=0.3)
    run_promotion(sandbox)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        embsweep.load_champion(sandbox.name, storage=sandbox.storage)
    sandbox.client.set_registered_model_alias(sandbox.name, "champion", str(first))
    named = f"version {first} is champion without a record"
    with pytest.warns(UserWarning, match=named):
        embsweep.load_champion(sandbox.name, storage=sandbox.storage)
    for refuse in (run_promotion, lambda _: roll_back(sandbox.name, sandbox.storage)):
        with pytest.raises(GateRefused, match=f"{named}.* back to version {second}"):
            refuse(sandbox)
    sandbox.register(noise=0.1)
    done = run_promotion(sandbox)
    assert named in done.notes[0]
    back = roll_back(sandbox.name, sandbox.storage, dry_run=True)
    assert (back.restored, back.notes) == (first, ())


# -- the command -----------------------------------------------------------------------------------------------


def command(sandbox, *arguments):
    return CliRunner().invoke(app, [*map(str, arguments), "--storage", str(sandbox.storage)])


def test_the_command_prints_the_decision_and_exits_with_its_code(sandbox, in_process):
    sandbox.register(noise=2.0)
    refused = command(sandbox, "promote", sandbox.name)
    assert refused.exit_code == 4
    assert "1 of 8" in refused.stderr
    assert re.search(r"^  - beats base: .* 0 of 2 ", refused.stderr, re.M)
    assert re.findall(r"^ +(\d+): ", refused.stderr, re.M) == ["16", "8"]
    sandbox.register(noise=1.2)
    dry = command(sandbox, "promote", sandbox.name, "--dry-run")
    assert (dry.exit_code, sandbox.aliases) == (0, {"challenger": 2})
    assert "version 2 " in dry.output
    done = command(sandbox, "promote", sandbox.name, "gate=not_worse", "gate.against_base=higher")
    assert done.exit_code == 0, done.output
    assert f"models:/{sandbox.name}@champion" in done.output
    assert f"embsweep rollback {sandbox.name}" in done.output
    looser = [line for line in done.output.splitlines() if "looser than" in line]
    assert [line.split("gate.")[1].split(" ")[0] for line in looser] == [
        'against_base="higher"', 'against_champion="not_worse"', "margin=0.01",
    ]  # fmt: skip
    assert [note for note in sandbox.decisions(2)[0]["notes"] if "looser than" in note] == [
        line.removeprefix("Note: ").removesuffix(".") for line in looser
    ]
    assert command(sandbox, "promote", sandbox.name).exit_code == 4
    assert command(sandbox, "rollback", sandbox.name).exit_code == 4
    assert command(sandbox, "promote", "nonsense").exit_code == 2
    sandbox.register(noise=0.1)
    assert command(sandbox, "promote", sandbox.name, "gate.against_champion=higher").exit_code == 0
    back = command(sandbox, "rollback", sandbox.name)
    assert back.exit_code == 0
    assert re.search(r"version 2 .* version 3", back.output)
