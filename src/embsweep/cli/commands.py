"""The `embsweep` command: evaluate a model, see how a sweep stands, open the MLflow UI."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embsweep.cli.console import console, exit_codes, quiet_environment
from embsweep.cli.paths import default_storage

app = typer.Typer(
    help="Hyperparameter sweeps for Matryoshka embedding models. Sweeps run with: python run_sweep.py +sweep=bgem3",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Storage = Annotated[
    Path | None, typer.Option("--storage", help="Folder of sweeps/ and mlflow.db; default: the repository's root.")
]
RecipeName = Annotated[str, typer.Argument(help="es_boe, ca_procedures or de_tax.")]


def main() -> None:
    """Entry point of the `embsweep` command."""
    quiet_environment()
    app()


@app.command()
def evaluate(
    overrides: Annotated[list[str] | None, typer.Argument(help="As for a sweep: model=minilm data=beir …")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write every metric at every dimension there.")] = None,
    split: Annotated[str, typer.Option(help="all, or one side of the sweep's split: validation, test.")] = "all",
) -> None:
    """Score any model on any data at every dimension, BM25 beside it. Trains nothing, records nothing."""
    from embsweep.cli.evaluate import evaluate_request

    with exit_codes():
        evaluate_request(overrides or [], split=split, json_file=json, console=console())


@app.command()
def audit(
    overrides: Annotated[list[str] | None, typer.Argument(help="As for a sweep: +sweep=bgem3 data=beir …")] = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write findings and figures there, no texts.")] = None,
    model: Annotated[bool, typer.Option("--model", help="Let the base model rank too, beside BM25.")] = False,
) -> None:
    """Say what is wrong with the data, before anything is trained. Exit code 2 where a sweep would not start."""
    from embsweep.cli.audit import audit_request

    with exit_codes():
        may_start = audit_request(overrides or [], with_model=model, json_file=json, console=console())
    raise typer.Exit(0 if may_start else 2)


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="A sweep's name; without one, all sweeps are listed.")] = None,
    storage: Storage = None,
) -> None:
    """Show how a sweep stands: its trials, what was stopped, the best so far. Reads the ledger only."""
    from embsweep.cli.status import show_status

    with exit_codes():
        show_status(storage or default_storage(), name, console())


recipe = typer.Typer(help="The published fine-tunes, as sweeps: what their cards say.", no_args_is_help=True)
app.add_typer(recipe, name="recipe")


@recipe.command("list")
def list_recipes() -> None:
    """List the recipes."""
    from embsweep.cli import recipe

    with exit_codes():
        recipe.list_recipes(console())


@recipe.command("show")
def show_recipe(name: RecipeName) -> None:
    """Show a recipe as it is composed, and what the log of its card says about the weights it ships."""
    from embsweep.cli import recipe

    with exit_codes():
        recipe.show_recipe(name, console())


@recipe.command("diff")
def diff_recipe(
    name: RecipeName,
    overrides: Annotated[list[str] | None, typer.Argument(help="Your own variant: train.epochs=3 …")] = None,
) -> None:
    """Set every fact of a card beside the recipe's value, or beside that of your variant of it."""
    from embsweep.cli import recipe

    with exit_codes():
        recipe.diff_recipe(name, overrides or [], console())


ModelName = Annotated[str, typer.Argument(help="A registered model, as in embsweep ui.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Judge everything, change and record nothing.")]
Registry = Annotated[str | None, typer.Option("--uri", help="Another store than mlflow.db, as in tracking.uri.")]


@app.command()
def promote(
    name: ModelName,
    overrides: Annotated[list[str] | None, typer.Argument(help="gate.against_base=higher data.pairs=… …")] = None,
    dry_run: DryRun = False,
    uri: Registry = None,
    storage: Storage = None,
) -> None:
    """Make the challenger champion if it passes the gate. Exit code 4 where it is refused."""
    from embsweep.cli.promote import promote_request

    folder = storage or default_storage()
    with exit_codes():
        promote_request(name, overrides or [], storage=folder, uri=uri, dry_run=dry_run, console=console())


@app.command()
def rollback(name: ModelName, dry_run: DryRun = False, uri: Registry = None, storage: Storage = None) -> None:
    """Restore the previous champion; again, the one before it. Exit code 4 where there is none."""
    from embsweep.cli.promote import roll_back_request

    with exit_codes():
        roll_back_request(name, storage=storage or default_storage(), uri=uri, dry_run=dry_run, console=console())


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="0 takes a free one.")] = 5000,
    uri: Annotated[str | None, typer.Option(help="Another store than mlflow.db, as in tracking.uri.")] = None,
    storage: Storage = None,
) -> None:
    """Open the MLflow UI on this machine's loopback address, until Ctrl-C."""
    from embsweep.tracking.ui import run_ui

    out = console()
    with exit_codes():
        run_ui(
            storage or default_storage(),
            uri,
            port=port,
            on_ready=lambda url: out.print(f"MLflow UI: {url}   (Ctrl-C ends it)", highlight=False),
        )


if __name__ == "__main__":
    main()
