"""The wording of messages, compared in one place: `messages.txt` has the message for each of these inputs.

All other tests assert codes, locations and numbers. After a change of wording,
`EMBSWEEP_UPDATE_MESSAGES=1 python -m pytest tests/test_messages.py` rewrites the file; review its diff.
"""

import contextlib
import dataclasses
import difflib
import errno
import io
import os
from pathlib import Path

import pytest

from embsweep.audit.run import audit_data
from embsweep.cli.composition.overrides import parse_command_line
from embsweep.config.data import BeirConfig, FilesConfig, SplitConfig
from embsweep.config.sweep import AuditConfig
from embsweep.core.errors import InputError
from embsweep.data.collection import Collection
from embsweep.data.sources.load import load_collection
from embsweep.recipes.cards import count_steps, load_cards, read_queries
from embsweep.recipes.comparison import describe_log, describe_queries, describe_schedule
from embsweep.reports.progress import describe_view
from embsweep.selection.gate import check_comparison, describe_rule, evaluate_gate
from embsweep.selection.gate_input import ModelEvaluation, Reference
from embsweep.sweep.checks.gpu_memory import check_memory
from embsweep.training.memory import describe_failure
from tests.audit.made_up import ABSENT, TRAIN, as_splits, valid_sides
from tests.cli.test_console import ERRORS, exit_code_of
from tests.config.test_diagnostics import CASES as CONFIG_CASES
from tests.data.test_data_files import INVALID as FILE_CASES
from tests.reports.evidence_samples import typical
from tests.reports.test_progress import VIEWS
from tests.reports.test_summary import NOT_SURE, lines_of
from tests.selection.test_gate import COMPARED, ERROR, OBJECTIVE, WINNER, make_case, make_evidence, read
from tests.selection.test_verdict import MEAN, QUERIES, decide
from tests.selection.test_verdict import make as candidate
from tests.sweep.test_gpu_memory_check import TOO_LARGE
from tests.training.test_memory import OUT_OF_MEMORY

SNAPSHOT = Path(__file__).with_name("messages.txt")

COMMAND_LINE = [
    "+sweep=bgem", "+model=minilm", "model=minilm6", "loss=mnrl,cached_mnlr", "modle=minilm", "train.learnig_rate=3",
    "learning_rate=3", "+train.extra=3", "trials=0", "data.pairs=my.jsonl", "train.epochs=range(1", "~train.epochs",
    "~model", "nonsense", "", "=3", "sweep=bgem3", "model@here=minilm", "train.epochs=range(3,3)",
    "train.learning_rate=interval(1e-4,1e-6)", "hydra/sweeper=basic", "hydra.foo=1", "hydra.mode=FOO",
]  # fmt: skip

BEIR = {  # file → contents to replace the valid one; the other files are valid
    "corpus.jsonl": ['{"_id": "a"}\n', '{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n', ""],
    "queries.jsonl": ['{"text": "q"}\n', '{"_id": "q", "text": 3}\n'],
    "qrels.tsv": ["q\tunknown\t1\n", "unknown\tp\t1\n", "q\n", "q\tp\tmuch\n"],
}
VALID = {
    "corpus.jsonl": '{"_id": "p", "text": "a passage"}\n',
    "queries.jsonl": '{"_id": "q", "text": "a query"}\n',
    "qrels.tsv": "q\tp\t1\n",
}
SPLIT = SplitConfig(seed=13, validation=0.1, test=0.1)


@pytest.mark.slow  # the diagnostics of the command line alone take two seconds
def test_messages_equal_the_snapshot(make_config, loader, tmp_path):
    sections = {
        "Configuration": configuration_messages(make_config),
        "Command line": [(" ".join(COMMAND_LINE), command_line_messages(loader))],
        "Files of pairs": file_messages(tmp_path),
        "BEIR folders": folder_messages(tmp_path),
        "Gate": gate_messages(),
        "Exit": exit_messages(),
        "GPU memory": [(str(measured), str(check_memory(measured, 4)[0])) for measured, *_ in TOO_LARGE],
        "Out of memory": memory_messages(make_config),
        "Audit": audit_messages(),
        "Rules of the gate": rule_messages(),
        "Verdicts": verdict_messages(),
        "Progress": [(name, describe_view(view)) for name, (view, _) in VIEWS.items()],
        "Result of a sweep": result_messages(),
        "Recipes": [(name, "\n".join(recipe_messages(card))) for name, card in load_cards().items()],
    }
    blocks = (
        f"# {title}\n\n" + "\n".join(f"> {given}\n{message}\n" for given, message in s) for title, s in sections.items()
    )
    current = "\n".join(blocks)
    if os.environ.get("EMBSWEEP_UPDATE_MESSAGES"):
        SNAPSHOT.write_text(current, "utf-8")
    kept = SNAPSHOT.read_text("utf-8")
    if current != kept:
        pytest.fail(
            "\n".join(difflib.unified_diff(kept.splitlines(), current.splitlines(), "messages.txt", "now", n=1))
        )


def configuration_messages(make_config):
    overrides = dict.fromkeys(override for override, *_ in CONFIG_CASES)
    return [(override, diagnostics_of(lambda override=override: make_config(override))) for override in overrides]


def command_line_messages(loader):
    return "\n".join(map(str, parse_command_line(loader, COMMAND_LINE).diagnostics))


def file_messages(folder):
    def load(name, content):
        path = folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        config = FilesConfig(kind="files", pairs=str(path), anchor="anchor", positive="positive", split=SPLIT)
        return diagnostics_of(lambda: load_collection(config, folder)).replace(f"{folder}/", "")

    return [(f"{name}: {content[:60]!r}", load(name, content)) for name, content, *_ in FILE_CASES]


def folder_messages(folder):
    def load(changed):
        beir = folder / "beir"
        beir.mkdir(exist_ok=True)
        for name, content in {**VALID, **changed}.items():
            (beir / name).write_text(content)
        config = BeirConfig(kind="beir", path=str(beir), split=SPLIT)
        return diagnostics_of(lambda: load_collection(config, folder)).replace(f"{folder}/", "")

    return [(f"{name}: {content!r}", load({name: content})) for name, contents in BEIR.items() for content in contents]


def gate_messages():
    evidence_error = ModelEvaluation(reason_missing="not evaluated: this is not the sweep's test set")
    base, champion = (Reference(label, read(WINNER)) for label in ("base model minilm", "champion (version 1)"))
    cases = {
        "all conditions hold": make_case(),
        "unfinished": make_case(make_evidence(complete=False, counts={"complete": 5})),
        "an error of the audit": make_case(make_evidence(audit=(ERROR,))),
        "a waived error of the audit": make_case(make_evidence(audit=(ERROR.model_copy(update={"waived": True}),))),
        "a rehearsal's name": make_case(name="legal-rehearsal"),
        "a floor": make_case(make_evidence(objective=OBJECTIVE.model_copy(update={"floors": {64: 0.99}}))),
        "equal to its base and the champion": make_case(base=base, champion=champion),
        "no champion": make_case(champion=None),
        "other data": make_case(found_fingerprint="0" * 64, challenger=evidence_error),
        "a champion of fewer dimensions": make_case(
            champion=dataclasses.replace(champion, evaluation=dataclasses.replace(champion.evaluation, dim=64))
        ),
    }
    return [
        (name, "\n".join(f"{c.name}: {c.text}" for c in evaluate_gate(case).conditions)) for name, case in cases.items()
    ]


def memory_messages(make_config):
    import torch

    errors = torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")
    cases = [(errors[0], overrides) for overrides, *_ in OUT_OF_MEMORY] + [(errors[1], ())]
    return [
        (" ".join([type(error).__name__, *overrides]), describe_failure(error, make_config(*overrides).trial))
        for error, overrides in cases
    ]


def audit_messages():
    train, validation, test = valid_sides()
    leaky = [*train[:-3], (train[0][0], validation[0][1]), ("so?", "—"), (train[1][1], train[1][1])]
    near = f"{train[2][0][:-1]} xyz?"
    cases = {
        "valid": (train, validation, test),
        "leaks and meaningless rows": (leaky, validation, [(near, test[0][1]), *test[1:40]]),
        "swapped columns": [[(passage, query) for query, passage in side] for side in (train, validation, test)],
    }
    return [(name, "\n".join(_describe_findings(as_splits(*sides)))) for name, sides in cases.items()]


def _describe_findings(splits):
    merged = (("duplicate queries", 3), ("normalised duplicate passages", 1200))
    collection = Collection(splits.name, (), (), (), merged)
    config = AuditConfig(waive=(), near_duplicate_similarity=0.8)
    for finding in audit_data(collection, splits, config=config, model=ABSENT, train=TRAIN).findings:
        yield f"{finding.severity} {finding.name}: {finding.message}"


def rule_messages():
    return [
        (f"{name}, margin {rule.margin:g}", f"{describe_rule(name, rule)}: {check_comparison(found, name, rule)[1]}")
        for found, name, rule, *_ in COMPARED
    ]


def recipe_messages(card):
    yield from describe_log(card)
    yield from describe_schedule(card, count_steps(card))
    yield from describe_queries(card, read_queries(card))


def verdict_messages():
    cases = {
        "a clear winner": (candidate(0, [0.40, 0.41]), candidate(5, [0.60, 0.61])),
        "a tie and a failed candidate": (
            candidate(0, [0.5, 0.51]),
            candidate(1, [0.5, 0.52]),
            candidate(2, [0.9], failures=1),
        ),
        "only one candidate": (candidate(0, [0.5, 0.52]), candidate(1, [0.6], failures=1)),
        "one run per candidate": (candidate(0, [0.4]), candidate(1, [0.9])),
        "a candidate without confirmation runs": (candidate(0, [0.4, 0.41]), candidate(1, [], searched=0.9)),
        "no confirmation runs": (candidate(0, [], searched=0.4), candidate(1, [], searched=0.9)),
    }
    verdicts = {name: decide(*candidates) for name, candidates in cases.items()}
    verdicts["few passage groups"] = decide(*cases["a clear winner"], groups=[number % 4 for number in range(QUERIES)])
    verdicts["a missed floor"] = decide(
        *cases["only one candidate"], objective=MEAN.model_copy(update={"floors": {128: 0.6}})
    )
    return [(name, "\n".join([verdict.rule, *verdict.warnings])) for name, verdict in verdicts.items()]


def result_messages():
    """Return all lines of a typical result; of other results, only the lines that the typical one does not have."""
    usual = lines_of(typical())
    others = [(name, lines_of(evidence)) for name, (evidence, _) in NOT_SURE.items()]
    return [("typical", "\n".join(map(str.rstrip, usual)))] + [
        (name, "\n".join(line.rstrip() for line in lines if line not in usual)) for name, lines in others
    ]


def exit_messages():
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    cases = [(error, None) for error, *_ in ERRORS] + [(KeyboardInterrupt(), "the command"), (full, "the command")]
    return [(f"{type(error).__name__}, {command}", stderr_of(error, command)) for error, command in cases]


def stderr_of(error, command):
    with contextlib.redirect_stderr(io.StringIO()) as output:
        exit_code_of(error, command)
    return output.getvalue().rstrip("\n")


def diagnostics_of(call):
    """Return the diagnostics that `call` raises, one per line."""
    with pytest.raises(InputError) as caught:
        call()
    return "\n".join(map(str, caught.value.diagnostics))
