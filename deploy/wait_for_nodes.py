"""Wait until a Ray cluster has COUNT nodes: `python deploy/wait_for_nodes.py HOST:PORT COUNT [TIMEOUT_S]`."""

from __future__ import annotations

import socket
import sys
import time

_POLL_S = 1.0
_TIMEOUT_S = 120.0
_CONNECT_S = 5.0


def main(arguments: list[str]) -> None:
    """Return once COUNT nodes are alive; raise SystemExit with a message if they are not within TIMEOUT_S."""
    address, count = arguments[0], int(arguments[1])
    deadline = time.monotonic() + (float(arguments[2]) if len(arguments) > 2 else _TIMEOUT_S)
    alive = 0
    while alive < count:
        alive = count_alive(address)
        if time.monotonic() > deadline:
            sys.exit(f"{alive} of {count} nodes have joined {address}; check the logs of the others")
        time.sleep(_POLL_S if alive < count else 0)


def count_alive(address: str) -> int:
    """Return the number of living nodes of the cluster at `address`, 0 while its head does not answer."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError:
        return 0  # Ray itself would wait for it for minutes
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError):
        return 0  # this machine's own node has not joined yet
    try:
        return sum(node["Alive"] for node in ray.nodes())
    finally:
        ray.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
