"""The chaos run: inject random faults into one scripted sweep, whose results must not change.

`python -m tests.chaos.chaos --seed 7 --trials 30 --runs 15` (or `make chaos SEED=7`). If an invariant is violated, the
exit code is 1, the faults are printed, and the folder is kept.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.faults import FAULTS, Chaos, draw_plan, has_traceback
from tests.chaos.fork_server import ForkServer
from tests.chaos.invariants import check_invariants, read_facts
from tests.chaos.sandbox import make_sandbox


def run_chaos(root, fork_server, *more, seed, trials, runs, make=make_sandbox):
    """Inject at most `runs` faults, then run without a fault; return the violated invariants and the events.

    Args:
        root: Folder for the sandboxes of both sweeps: with faults, and the reference without.
        fork_server: Starts the drivers.
        more: Additional arguments of every start.
        seed: Seed of the faults.
        trials: Number of trials of the sweep.
        runs: Maximum number of runs with a fault; there are fewer if the sweep is finished before.
        make: Makes a sandbox in a folder.
    """
    rng = random.Random(seed)
    plan, arguments = draw_plan(rng, trials), (f"search.trials={trials}", *more)
    reference = make(root / "reference")
    result = fork_server.run(reference, *arguments, plan=plan)
    problems = [f"reference: {problem}" for problem in check_invariants(reference, code=result.code, trials=trials)]
    if problems:
        return problems, [result.output]
    chaos = Chaos(rng, make(root / "chaos"), fork_server, arguments, {"plan": plan})
    for _ in range(runs):
        fault = rng.choice(FAULTS)
        result = fault(chaos)
        chaos.note(f"{fault.__name__}: exit code {result.code} after {result.duration_s:.1f} s")
        if result.code not in (0, -9, 130, 143) or has_traceback(result.output):
            problems.append(f"{fault.__name__} exited with {result.code}:\n{result.output}")
        if result.code == 0:
            break
    result = chaos.run()
    violated = check_invariants(chaos.sandbox, read_facts(reference), code=result.code, trials=trials)
    return [*problems, *violated, *([result.output] if result.code else [])], chaos.events


def main():
    """Start a chaos run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--runs", type=int, default=15)
    options = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix=f"chaos-{options.seed}-"))
    write = sys.stdout.write
    write(f"seed {options.seed}: {options.trials} trials, up to {options.runs} faults, in {root}\n")
    try:
        with ForkServer() as fork_server:
            problems, events = run_chaos(root, fork_server, seed=options.seed, trials=options.trials, runs=options.runs)
    except KeyboardInterrupt:
        sys.exit(130)
    write("".join(f"  {event}\n" for event in events))
    if problems:
        write("".join(f"VIOLATED: {problem}\n" for problem in problems))
        sys.exit(1)
    write("every invariant holds\n")
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
