"""Run a sweep from request to result: check, resume or refuse, score the baseline, search, confirm, register."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from embsweep.audit.report import summary_lines
from embsweep.core.errors import EmbsweepError, TooManyFailures
from embsweep.core.redaction import RedactingFormatter
from embsweep.reports.progress import open_progress
from embsweep.reports.view import Result
from embsweep.runners.resources import describe_idle_gpus, describe_slots
from embsweep.search.factory import open_search_ledger
from embsweep.search.importance import record_importance
from embsweep.search.promotion_ledger import PromotionLedger
from embsweep.search.read import read_studies
from embsweep.search.record import HAS_RECIPE, REDRAWN
from embsweep.search.search import RANDOM_DRAWS, SearchLedger
from embsweep.search.storage import open_storage
from embsweep.selection.objective import describe_objective
from embsweep.sweep.base_model import copy_models, describe_models, load_or_score_baseline
from embsweep.sweep.checks.preflight import PreflightResult, check_not_running, check_request
from embsweep.sweep.confirmation import confirm_finalists
from embsweep.sweep.context import SweepContext, run_phase
from embsweep.sweep.folder import SHARED_STORAGE, SweepFolder
from embsweep.sweep.holdout import count_evaluations
from embsweep.sweep.ledger_check import check_ledger
from embsweep.sweep.older_copy import check_not_older
from embsweep.sweep.projection import REPORT, project_ledger, project_sweep
from embsweep.sweep.rehearsal_notice import describe_changes, describe_headline
from embsweep.sweep.report import is_current, try_report
from embsweep.sweep.request import SweepRequest
from embsweep.sweep.run_metadata import begin_tracking, check_identity, compute_identity, describe_sweep, open_tracking
from embsweep.sweep.scheduler import rank_trials, search_phase
from embsweep.sweep.winner import finalize_sweep, load_result, update_result
from embsweep.tracking.runs import RUNNING
from embsweep.tracking.sync import count_pending
from embsweep.training.trial import TrialData

log = logging.getLogger(__name__)


def run_sweep(request: SweepRequest, console: Console) -> Result:
    """Run, resume or extend the requested sweep; return the stored result of a finished one.

    After a KeyboardInterrupt the same command resumes the sweep.

    Raises:
        InputError: If the request is invalid; nothing was started.
        SweepRefused: If another process runs the sweep, or a different sweep has its name; nothing was started.
        TooManyFailures: If too many trials failed or no winner can be chosen; nothing was registered.
    """
    check_not_running(request)
    with console.status("Checking the configuration, the space, the data and the model"):
        prepared = check_request(request)
    with contextlib.closing(prepared.runner):
        return _run(request, prepared, console)


def _run(request: SweepRequest, prepared: PreflightResult, console: Console) -> Result:
    folder = SweepFolder(prepared.storage, prepared.recipe.sweep.name, prepared.recipe.storage.shared)
    with folder.hold():
        if prepared.recipe.sweep.fresh and (archived := folder.archive()):
            console.print(f"The earlier sweep was archived as {archived}", soft_wrap=True, highlight=False)
        folder.create()
        with _libraries_to_file(folder.log):
            read_studies(folder.ledger)  # raises an error that names the file if it is damaged
            ledger = _open_ledger(request, prepared, folder)
            if not prepared.recipe.report.texts:
                _remove_texts(folder, ledger)
            check_not_older(folder, ledger.trials, count_evaluations(ledger.metadata))
            check_ledger(folder.ledger, prepared.recipe.objective)
            result = load_result(ledger, folder, prepared.recipe)
            if result is None or not ledger.is_exhausted:
                return _search(request, prepared, folder, ledger, console)
            result = update_result(result, ledger, folder, prepared.recipe, prepared.splits.test)
        ledger.set_metadata(status="FINISHED")  # an extension that was interrupted and taken back has left another
        console.print(f"Sweep '{folder.name}' is finished; this is its result.", highlight=False)
        is_due = prepared.recipe.report.at_end or REPORT in ledger.metadata  # MLflow may have one that shows too much
        if is_due and not is_current(folder, ledger.metadata, texts=prepared.recipe.report.texts):
            _report(request, prepared, folder, ledger, console.print)
        if count_pending(folder.synced, project_ledger(folder.ledger)):
            with open_tracking(prepared, folder, console.print) as tracking:
                tracking.flush()
        return _name_report(result, folder)


def _remove_texts(folder: SweepFolder, ledger: SearchLedger) -> None:
    """Delete the files with texts of the data now, not at the end of an extension."""
    folder.test_queries.unlink(missing_ok=True)
    if not is_current(folder, ledger.metadata, texts=False):
        folder.report.unlink(missing_ok=True)


def _name_report(result: Result, folder: SweepFolder) -> Result:
    return dataclasses.replace(result, report=str(folder.report) if folder.report.is_file() else None)


def _open_ledger(request: SweepRequest, prepared: PreflightResult, folder: SweepFolder) -> SearchLedger:
    recipe = prepared.recipe
    ledger = open_search_ledger(
        open_storage(folder.ledger),
        space=request.space,
        search=recipe.search,
        stopping=recipe.stopping,
        evaluations=recipe.eval.schedule(recipe.train.epochs),
        finalists=recipe.confirm.finalists,
        recipe=request.recipe,
        identify=prepared.points.identify,
    )
    identity = compute_identity(
        recipe, request.space, prepared.splits.fingerprint, epoch_factor=prepared.scale.epoch_factor
    )
    if "identity" in ledger.metadata:
        check_identity(folder.name, ledger.metadata["identity"], identity)
    ledger.set_metadata(
        name=folder.name,
        identity=identity,
        title=describe_headline(prepared.requested, recipe, prepared.scale),
        objective=describe_objective(recipe.objective),
        requested_trials=ledger.budget,
        slots=prepared.slots.count,
        **{SHARED_STORAGE: folder.is_shared, HAS_RECIPE: recipe.search.recipe_first and request.has_whole_recipe},
    )
    return ledger


def _search(
    request: SweepRequest, prepared: PreflightResult, folder: SweepFolder, ledger: SearchLedger, console: Console
) -> Result:
    begin_tracking(ledger, describe_sweep(request, prepared))
    with open_progress(console) as progress, open_tracking(prepared, folder, progress.say) as tracking:
        try:
            for line in _opening_lines(request, prepared, ledger):
                progress.say(line)
            models = copy_models(request, prepared)
            baseline = load_or_score_baseline(prepared, models, ledger, progress)
            tracking.put(project_sweep(ledger.metadata))
            context = SweepContext(request, prepared, folder, ledger, tracking, progress, baseline, models)
            _run_search(context)
            record_importance(ledger, folder.ledger)
            finalists = confirm_finalists(context)
            check_ledger(folder.ledger, prepared.recipe.objective)
            result = finalize_sweep(context, finalists)
            if prepared.recipe.report.at_end:
                _report(request, prepared, folder, ledger, progress.say)
                tracking.put(*project_ledger(folder.ledger))
                tracking.flush()
            return _name_report(result, folder)
        except BaseException as error:
            with contextlib.suppress(Exception):  # keep the original error if the disk is full
                if ledger.metadata["status"] == RUNNING:  # not if the result is stored, but MLflow has not got it
                    status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
                    ledger.set_metadata(status=status, ended_at=time.time())
                is_report_due = prepared.recipe.report.at_end and "result" not in ledger.metadata
                if is_report_due and isinstance(error, EmbsweepError):  # an interruption must not wait for it
                    progress.say(f"Report: {_report(request, prepared, folder, ledger, progress.say) or 'none'}")
                tracking.put(*project_ledger(folder.ledger))
            raise


def _report(
    request: SweepRequest,
    prepared: PreflightResult,
    folder: SweepFolder,
    ledger: SearchLedger,
    say: Callable[[str], None],
) -> Path | None:
    texts = prepared.recipe.report.texts
    return try_report(folder, ledger, default_storage=request.default_storage, texts=texts, say=say)


def _run_search(context: SweepContext) -> None:
    """Run the remaining trials of the search; raise TooManyFailures if no winner can be chosen."""
    splits = context.prepared.splits
    phase = search_phase(context.folder.trials, context.recipe, keep_recipe=context.has_recipe)
    scheduler = run_phase(
        context,
        context.ledger,
        phase,
        lambda record: context.configure(record.params),
        TrialData(splits.train, splits.validation),
    )
    for line in describe_redrawn(context.ledger):
        context.progress.say(line)
    records = context.ledger.trials
    failed = [record for record in records if record.state == "failed"]
    if scheduler.has_too_many_failures or not rank_trials(records, context.folder.trials):
        reasons = "\n".join(f"  trial {r.number}: {r.attributes.get('reason', 'no reason given')}" for r in failed)
        raise TooManyFailures(
            f"{len(failed)} of {len(records)} trials failed (sweep.max_failed_trials allows "
            f"{context.recipe.sweep.max_failed_trials}); nothing was registered.\n{reasons}"
        )


def _opening_lines(request: SweepRequest, prepared: PreflightResult, ledger: SearchLedger) -> Iterator[str]:
    recipe, splits = prepared.recipe, prepared.splits
    scaling = (prepared.requested, recipe, prepared.scale)
    yield describe_headline(*scaling)
    yield from (f"  {line}" for line in describe_changes(*scaling))
    yield from describe_models(request, prepared)
    yield (
        f"Data: {splits.name}, {len(splits.train)} training pairs, {len(splits.validation.queries)} validation and "
        f"{len(splits.test.queries)} test queries, {len(splits.validation.corpus)} passages"
    )
    yield from (f"  {note}" for note in (*splits.reading, *splits.notes))
    yield from (f"  {line}" for line in summary_lines(prepared.audit))
    yield from prepared.location.lines
    if not request.space:
        yield "One trial of this configuration, no search"
        return
    yield (
        f"Search: {recipe.search.sampler} over {len(request.space)} parameters, "
        f"{describe_budget(ledger, recipe.search.schedules)}, {describe_slots(prepared.slots)}"
    )
    if idle := describe_idle_gpus(prepared.slots, prepared.machines):
        yield f"  {idle}"
    absent = [d.key for d in request.space if d.key not in request.recipe]
    yield from (f"  {line}" for line in describe_space(request, ledger, recipe.search.trials))
    if absent and recipe.search.recipe_first:
        yield f"  trial 0 is the recipe, except for values outside the space: {', '.join(absent)}"
    if ledger.trials:
        yield describe_resumption(ledger)


def describe_space(request: SweepRequest, ledger: SearchLedger, trials: int) -> Iterator[str]:
    """Yield what limits the points of a search: keys that options do not use, and fewer configurations than trials.

    Args:
        request: The request.
        ledger: The ledger of the search.
        trials: The number of trials that is asked for.
    """
    for key, options in request.space.describe_inactive().items():
        yield f"{key} is not used with {', '.join(options)}"
    if ledger.budget < trials:
        count = f"{ledger.budget} configuration{'s' if ledger.budget != 1 else ''}"
        yield f"the space has only {count} (search.trials is {trials}): each is trained once"


def describe_redrawn(ledger: SearchLedger) -> Iterator[str]:
    """Yield how many points were drawn again, and whether the search ended for want of others; maybe nothing."""
    counts = Counter[str]()
    for record in ledger.trials:
        found = record.attributes.get(REDRAWN, {})
        counts.update({kind: found.get(kind, 0) for kind in ("impossible", "repeated")})
    parts = [
        f"{count} {text}"
        for count, text in (
            (counts["impossible"], "were combinations that are impossible"),
            (counts["repeated"], "repeated an earlier trial"),
        )
        if count
    ]
    if parts:
        yield f"Of the points drawn, {' and '.join(parts)}; others were drawn instead."
    if ledger.has_run_out:
        yield (
            f"The search ends after {ledger.budget} trials: none of {RANDOM_DRAWS:,} further points is possible and "
            "new. Widen the space, or fix the values that exclude others."
        )


def describe_budget(ledger: SearchLedger, limit: float | None) -> str:
    """Describe what a search may take: its trials, and their full schedules, `limit` if there is one."""
    if limit is None and isinstance(ledger, PromotionLedger):
        cost = f"about {math.ceil(ledger.expected_schedules)}"
    else:
        cost = f"at most {ledger.budget if limit is None else limit:g}"
    return f"{ledger.budget} trials, {cost} full schedules"


def describe_resumption(ledger: SearchLedger) -> str:
    """Describe how far a resumed search has come."""
    states = Counter(record.state for record in ledger.trials)
    done = len(ledger.trials) - states["running"] - states["paused"]
    paused = f", {states['paused']} are paused" if states["paused"] else ""
    rest = "confirmation and test follow" if ledger.is_exhausted else "the others follow"
    return f"Resuming: {done} of {ledger.budget} trials are finished{paused}, {rest}."


class _LogFile(logging.FileHandler):
    """A log file handler that ignores write errors (a full disk) instead of printing them to the terminal."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- logging's own name
        """Ignore that `record` could not be written."""


@contextmanager
def _libraries_to_file(path: Path) -> Iterator[None]:
    """Redirect log records and warnings of libraries to a file, so that they do not hide the progress lines."""
    handler = _LogFile(path, encoding="utf-8")
    handler.setFormatter(RedactingFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    before: tuple[Any, int] = (list(root.handlers), root.level)
    root.handlers, root.level = [handler], logging.INFO
    logging.captureWarnings(capture=True)
    try:
        yield
    finally:
        root.handlers, root.level = before
        logging.captureWarnings(capture=False)
        handler.close()
