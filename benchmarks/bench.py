"""Run the benchmarks, each in a process of its own, and keep their results.

    make bench                  # every row, at a size of at most four minutes
    make bench-full             # at the stated sizes
    make bench BENCH_ARGS="scoring --data DIR"   # only the commands that contain this; DIR: LCBench, for the search

Results go to benchmarks/results.json, a row as soon as it is measured; `--resume` measures only the rows that are not
there at this size. `--table` only rewrites the table in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks/results.json"
PAGE = ROOT / "docs/performance.md"
BEGIN, END = "<!-- benchmarks/results.json -->\n", "<!-- end -->\n"


@dataclass(frozen=True)
class Row:
    """A figure of a benchmark: `key` in its output, and the ratio that is wanted, None if it is only reported."""

    key: str
    name: str
    better: Literal["higher", "lower"]
    wanted: float | None = None


@dataclass(frozen=True)
class Benchmark:
    """A command with its arguments at either size, and the figures that it measures."""

    command: str
    bench: str
    full: str
    rows: tuple[Row, ...]

    def line(self, *, full: bool) -> str:
        """Return the command line."""
        return f"python benchmarks/{self.command} {self.full if full else self.bench}"


def _scoring(bench: str, full: str) -> Benchmark:
    name = "rank 1,000 queries at six dimensions up to 1,024"
    return Benchmark(
        "scoring.py",
        f"--passages {bench}",
        f"--passages {full}",
        (
            Row("against_tiled", f"{name}, against plain tiled top-k per dimension", "higher", 2.0),
            Row("against_product", f"{name}, over one matrix product of the largest dimension", "lower"),
            Row("memory", f"{name}, peak memory over the embeddings", "lower", 1.2),
        ),
    )


BENCHMARKS = (
    Benchmark(
        "encode_once.py",
        "--model minilm --queries 60 --passages 300",
        "--model minilm --queries 400 --passages 2000",
        (Row("gain", "evaluate six dimensions, MiniLM, against a SequentialEvaluator of six", "higher", 5.5),),
    ),
    Benchmark(
        "encode_once.py",
        "--model static --queries 1000 --passages 5000",
        "--model static --queries 4000 --passages 20000",
        (Row("gain", "evaluate six dimensions, static model, against a SequentialEvaluator of six", "higher", 3.0),),
    ),
    _scoring("200000", "200000"),
    _scoring("300000 --rounds 1", "1000000 --rounds 1"),
    Benchmark(
        "many_queries.py",
        "--queries 10000",
        "--queries 35000",
        (
            Row("time", "rank and score many queries, static model, over the code before", "lower", 0.5),
            Row("memory", "evaluate many queries, static model, peak growth over 1 GB", "lower", 1.0),
        ),
    ),
    Benchmark(
        "stored_embeddings.py --model static",
        "--queries 500 --passages 5000",
        "--queries 2000 --passages 50000",
        (Row("time", "score stored embeddings too, static model, over encoding and evaluating alone", "lower"),),
    ),
    Benchmark(
        "search.py --data DIR --workers 2 --quantile 0.99",
        "--tasks 2 --seeds 2",
        "--tasks 189354,189862,189865,189866,189873,189906,189908,189909,34539 --seeds 3",
        (Row("speedup", "epochs to the 99th percentile, over random search without stopping", "higher", 6.0),),
    ),
)


def is_ok(ratio: float, better: str, wanted: float | None, *, equal: bool) -> bool:
    """Return whether the results were equal and the ratio is what is wanted."""
    reached = wanted is None or (ratio >= wanted if better == "higher" else ratio <= wanted)
    return equal and reached


def describe(results: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of the results in Markdown."""
    lines = ["| what | ratio | wanted | measured |", "| --- | --- | --- | --- |"]
    for row in results:
        sign = "≥" if row["better"] == "higher" else "≤"
        wanted = "–" if row["wanted"] is None else f"{sign} {row['wanted']:g}{'' if row['ok'] else ', missed'}"
        measured = f"{row['date']}, {row['machine']}: `{row['command']}`"
        lines.append(f"| {row['name']} | {row['ratio']:.2f} | {wanted} | {measured} |")
    return "\n".join(lines) + "\n"


def measure(benchmark: Benchmark, data: Path | None, *, full: bool) -> list[dict[str, Any]]:
    """Run a benchmark and return its results, one for each row; `data` stands for DIR in its command.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    line = benchmark.line(full=full)
    threads = str(len(os.sched_getaffinity(0)))
    environment = {**os.environ, "OMP_NUM_THREADS": threads, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    command = [sys.executable, *(str(data) if word == "DIR" else word for word in shlex.split(line)[1:])]
    output = subprocess.run(  # noqa: S603 - the commands above
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    found = json.loads(output.splitlines()[-1])
    equal = bool(found["equal"])
    ratios = {row: round(found[row.key], 3) for row in benchmark.rows}
    return [
        {
            "name": row.name,
            "ratio": ratios[row],
            "better": row.better,
            "wanted": row.wanted,
            "ok": is_ok(ratios[row], row.better, row.wanted, equal=equal),
            "equal": equal,
            "machine": f"{platform.machine()}, {threads} threads",
            "date": time.strftime("%Y-%m-%d"),
            "command": f"OMP_NUM_THREADS={threads} {line}",
        }
        for row in benchmark.rows
    ]


def read_results() -> list[dict[str, Any]]:
    """Return the recorded results."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else []


def write_table() -> None:
    """Write the table of the results into the page."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + describe(read_results()) + END + rest.partition(END)[2])


def main() -> None:
    """Run the chosen benchmarks; exit with 1 if a figure is missed or results differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("only", nargs="?", default="", help="part of a command, e.g. scoring")
    parser.add_argument("--data", type=Path, help="folder of LCBench; without it the search is left out")
    parser.add_argument("--full", action="store_true", help="the stated sizes")
    parser.add_argument("--resume", action="store_true", help="skip what is recorded at this size")
    parser.add_argument("--table", action="store_true", help="only write the table")
    options = parser.parse_args()
    missed = 0
    for benchmark in () if options.table else BENCHMARKS:
        line = benchmark.line(full=options.full)
        is_recorded = any(row["command"].endswith(line) for row in read_results())
        if options.only not in line or (options.resume and is_recorded):
            continue
        if "DIR" in line and options.data is None:
            sys.stdout.write(f"{line}\n  left out: --data DIR is not given\n")
            continue
        sys.stdout.write(f"{line}\n")
        measured = measure(benchmark, options.data, full=options.full)
        others = [row for row in read_results() if not row["command"].endswith(line)]
        RESULTS.write_text(json.dumps(_in_order([*others, *measured]), indent=2, ensure_ascii=False) + "\n")
        for row in measured:
            sys.stdout.write(f"  {row['name']}: {row['ratio']:.2f}{'' if row['ok'] else ', MISSED'}\n")
            missed += not row["ok"]
    write_table()
    sys.exit(int(missed > 0))


def _in_order(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the results in the order of the benchmarks above, each at its sizes."""
    lines = [b.line(full=full) for b in BENCHMARKS for full in (False, True)]
    return sorted(results, key=lambda row: lines.index(row["command"].partition(" ")[2]))


if __name__ == "__main__":
    main()
