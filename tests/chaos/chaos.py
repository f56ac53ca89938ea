"""The chaos run: faults at random over one scripted sweep, which must end as if nothing had happened.

`python -m tests.chaos.chaos --seed 7 --trials 30 --runs 15` (or `make chaos SEED=7`). Exit code 1 where an invariant
does not hold; what happened is printed, and the folder stays.
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
from tests.chaos.sandbox import make_world


def run_chaos(root, fork_server, *more, seed, trials, runs, make=make_world):
    """What is wrong after at most `lives` faults and a last undisturbed life, and what happened on the way.

    `more` are arguments of every start; `make` makes a world.
    """
    rng = random.Random(seed)
    plan, arguments = draw_plan(rng, trials), (f"search.trials={trials}", *more)
    reference = make(root / "unbroken")
    left = fork_server.run(reference, *arguments, plan=plan)
    problems = [f"unbroken: {problem}" for problem in check_invariants(reference, code=left.code, trials=trials)]
    if problems:
        return problems, [left.output]
    chaos = Chaos(rng, make(root / "chaos"), fork_server, arguments, {"plan": plan})
    for _ in range(runs):
        fault = rng.choice(FAULTS)
        left = fault(chaos)
        chaos.note(f"{fault.__name__}: exit code {left.code} after {left.lived_s:.1f} s")
        if left.code not in (0, -9, 130, 143) or has_traceback(left.output):
            problems.append(f"{fault.__name__} left with {left.code}:\n{left.output}")
        if left.code == 0:
            break
    left = chaos.run()
    found = check_invariants(chaos.sandbox, read_facts(reference), code=left.code, trials=trials)
    return [*problems, *found, *([left.output] if left.code else [])], chaos.events


def main():
    """Run it from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--runs", type=int, default=15)
    asked = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix=f"chaos-{asked.seed}-"))
    say = sys.stdout.write
    say(f"seed {asked.seed}: {asked.trials} trials, up to {asked.runs} faults, in {root}\n")
    try:
        with ForkServer() as fork_server:
            problems, events = run_chaos(root, fork_server, seed=asked.seed, trials=asked.trials, runs=asked.runs)
    except KeyboardInterrupt:
        sys.exit(130)
    say("".join(f"  {event}\n" for event in events))
    if problems:
        say("".join(f"BROKEN: {problem}\n" for problem in problems))
        sys.exit(1)
    say("every invariant holds\n")
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
