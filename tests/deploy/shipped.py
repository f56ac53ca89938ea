"""The files of deploy/, and the commands in them and in docs/cluster.md."""

import re
import shlex
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = ("embsweep-ray-head.service", "embsweep-ray-worker.service")
SHELLCHECK = Path(sys.executable).with_name("shellcheck")


def read(name):
    return (DEPLOY / name).read_text()


def rayjob_documents():
    """Return the manifest's documents by kind."""
    documents = list(yaml.safe_load_all(read("kuberay-rayjob.yaml")))
    return {document["kind"]: document for document in documents}


def cluster_config():
    return yaml.safe_load(read("ray-cluster.yaml"))


def joined_lines(text):
    """Return the lines of a text; a line that ends in a backslash is joined with the next one."""
    return re.sub(r"\\\n\s*", " ", text).splitlines()


def code_lines(markdown):
    """Return the commands in the indented and fenced code of a Markdown text, without comments."""
    inside, lines = False, []
    for line in joined_lines(markdown):
        if line.strip().startswith("```"):
            inside = not inside
        elif inside or line.startswith("    "):
            lines.append(re.sub(r"\s+# .*$", "", line).strip())
    return [line for line in lines if line and not line.startswith("#")]


def commands(program):
    """Return the arguments of every command line of `program` (`ray start`, `run_sweep.py`) shown to users."""
    lines = [line for name in ("docs/cluster.md", "deploy/README.md") for line in code_lines((ROOT / name).read_text())]
    lines += [line.removeprefix("ExecStart=") for name in UNITS for line in joined_lines(read(name))]
    config = cluster_config()
    lines += [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    lines.append(rayjob_documents()["RayJob"]["spec"]["entrypoint"])
    unique = {tuple(arguments): None for line in lines if (arguments := _arguments(line, program)) is not None}
    return list(unique)


def _arguments(line, program):
    before = "^" if program == "embsweep" else r"(?:^|[\s/])"  # also the name of a user and of a folder
    match = re.search(rf"{before}{re.escape(program)}(?=\s|$)(.*)", line)
    return shlex.split(match[1]) if match else None
