"""The `embsweep` command: evaluate, audit, status, report, sync, recipe, promote, rollback, ui and doctor.

Typer shows the docstrings as help, so they have no `Args:`; parameters are described in their `help=`. A subcommand
imports its module when it runs: `quiet_environment` must precede these imports, and `--help` does not need them.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from embsweep.cli.console import console, exit_codes, quiet_environment
from embsweep.cli.paths import default_storage


class _Commands(TyperGroup):
    """The subcommands; their errors become messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        """Run a subcommand as `TyperGroup.invoke` does."""
        with exit_codes():
            return super().invoke(ctx)


app = typer.Typer(
    cls=_Commands,
    help="Hyperparameter sweeps for Matryoshka embedding models. Sweeps run with: python run_sweep.py +sweep=bgem3",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Storage = Annotated[
    Path | None, typer.Option("--storage", help="Folder with sweeps/ and mlflow.db; default: the repository's root.")
]
_STORE = "MLflow store, as in tracking.uri"
Registry = Annotated[
    str | None, typer.Option("--uri", envvar="MLFLOW_TRACKING_URI", help=f"{_STORE}; default: mlflow.db.")
]
OwnStore = Annotated[str | None, typer.Option("--uri", help=f"{_STORE}; default: the one that the sweep has used.")]
RecipeName = Annotated[str, typer.Argument(help="es_boe, ca_procedures or de_tax.")]


def main() -> None:
    """Run the `embsweep` command, without warnings of libraries unless the user asks for them (`PYTHONWARNINGS`)."""
    quiet_environment()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    app()


@app.command()
def evaluate(
    overrides: Annotated[list[str] | None, typer.Argument(help="As for a sweep: model=minilm data=beir …")] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write every metric at every dimension to this file.")
    ] = None,
    split: Annotated[str, typer.Option(help="all, or a side of a sweep's split: validation, test.")] = "all",
) -> None:
    """Evaluate any model on any data at every dimension, and BM25 for comparison. Nothing is trained or recorded."""
    from embsweep.cli import evaluate

    evaluate.evaluate(overrides or [], split=split, json_file=json, console=console())


@app.command()
def audit(
    overrides: Annotated[list[str] | None, typer.Argument(help="As for a sweep: +sweep=bgem3 data=beir …")] = None,
    json: Annotated[
        Path | None, typer.Option("--json", help="Write findings and figures, without texts, to this file.")
    ] = None,
    model: Annotated[bool, typer.Option("--model", help="Rank with the base model too, not only with BM25.")] = False,
) -> None:
    """Check the data for errors before anything is trained. Exit code 2 if a sweep would not start with it."""
    from embsweep.cli import audit

    may_start = audit.audit(overrides or [], with_model=model, json_file=json, console=console())
    raise typer.Exit(0 if may_start else 2)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="Name of a sweep; without it, all sweeps are listed.")] = None,
    importance: Annotated[
        bool, typer.Option("--importance", help="Show which parameters of the sweep mattered, not its trials.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Show a sweep's trials, which were stopped, and the best score. Reads only the ledger and the local registry."""
    from embsweep.cli.status import show_status

    show_status(storage or default_storage(), name, console(), importance=importance)


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="Name of a sweep.")],
    other: Annotated[str | None, typer.Argument(help="A second sweep, to put beside it.")] = None,
    no_texts: Annotated[bool, typer.Option("--no-texts", help="Show no text of the data.")] = False,
    output: Annotated[
        Path | None, typer.Option("--output", help="The file; default: report.html in the sweep's folder.")
    ] = None,
    storage: Storage = None,
) -> None:
    """Write what a sweep has found, in whatever state it is, as one HTML file; with two names, side by side."""
    from embsweep.cli.report import report_request

    report_request(
        name, other, storage=storage or default_storage(), output=output, texts=not no_texts, console=console()
    )


@app.command()
def sync(
    name: Annotated[str, typer.Argument(help="Name of a sweep.")],
    uri: OwnStore = None,
    experiment: Annotated[str | None, typer.Option(help="Experiment, if not the sweep's own.")] = None,
    storage: Storage = None,
) -> None:
    """Make MLflow say what a sweep's ledger says, also an empty or another MLflow, and register its winner there."""
    from embsweep.cli.sync import sync_request

    sync_request(name, storage=storage or default_storage(), uri=uri, experiment=experiment, console=console())


recipe = typer.Typer(
    help="Presets that reproduce published fine-tunes, and facts on their cards.", no_args_is_help=True
)
app.add_typer(recipe, name="recipe")


@recipe.command("list")
def list_recipes() -> None:
    """List the recipes."""
    from embsweep.cli import recipe

    recipe.list_recipes(console())


@recipe.command("show")
def show_recipe(name: RecipeName) -> None:
    """Show the composed recipe, and what the training log on its card shows about the published weights."""
    from embsweep.cli import recipe

    recipe.show_recipe(name, console())


@recipe.command("diff")
def diff_recipe(
    name: RecipeName,
    overrides: Annotated[list[str] | None, typer.Argument(help="Your changes to it: train.epochs=3 …")] = None,
) -> None:
    """Compare every fact of a card with the value in the recipe, or in your variant of the recipe."""
    from embsweep.cli import recipe

    recipe.diff_recipe(name, overrides or [], console())


ModelName = Annotated[str, typer.Argument(help="Name of a registered model, as in embsweep ui.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check every condition; change and record nothing.")]


def _say_store(uri: str | None) -> None:
    """Say if the environment has chosen the store."""
    from embsweep.tracking.location import URI, environment_uri

    if uri is not None and uri.strip() == environment_uri():
        console().print(f"MLflow: {uri} (from {URI}; --uri names another)", soft_wrap=True, highlight=False)


@app.command()
def promote(
    name: ModelName,
    overrides: Annotated[list[str] | None, typer.Argument(help="gate.against_base=higher data.pairs=… …")] = None,
    dry_run: DryRun = False,
    uri: Registry = None,
    storage: Storage = None,
) -> None:
    """Make the challenger champion if it passes the gate. Exit code 4 if it is refused."""
    from embsweep.cli.promote import promote_request

    _say_store(uri)
    promote_request(
        name, overrides or [], storage=storage or default_storage(), uri=uri, dry_run=dry_run, console=console()
    )


@app.command()
def rollback(name: ModelName, dry_run: DryRun = False, uri: Registry = None, storage: Storage = None) -> None:
    """Restore the previous champion; each further call restores the one before. Exit code 4 if there is none."""
    from embsweep.cli.promote import roll_back_request

    _say_store(uri)
    roll_back_request(name, storage=storage or default_storage(), uri=uri, dry_run=dry_run, console=console())


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="0 chooses a free port.")] = 5000,
    uri: Registry = None,
    storage: Storage = None,
    write: Annotated[bool, typer.Option("--write", help="Allow changes in the browser, past the gate too.")] = False,
) -> None:
    """Serve the MLflow UI, which only reads, on this machine's loopback address until Ctrl-C."""
    from embsweep.tracking.ui import run_ui

    _say_store(uri)
    run_ui(
        storage or default_storage(),
        uri,
        port=port,
        writes=write,
        # not with the console, which masks tokens: this one is for the reader
        on_ready=lambda link: typer.echo(f"MLflow UI: {link}   (Ctrl-C stops it)"),
    )


@app.command()
def doctor(
    every: Annotated[
        bool, typer.Option("--all", help="Run all eleven steps (up to ten minutes), not only the quick ones.")
    ] = False,
    storage: Storage = None,
) -> None:
    """Check this machine and its GPUs, and print what a bug report needs. Exit code 1 if something is wrong."""
    from embsweep.cli.doctor import check_machine

    raise typer.Exit(0 if check_machine(storage or default_storage(), console(), is_all=every) else 1)


if __name__ == "__main__":
    main()
