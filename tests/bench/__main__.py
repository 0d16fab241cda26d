"""`python -m tests.bench tunnel|status`."""

from __future__ import annotations

import argparse

from tests.bench import status, tunnel


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Paired measurements.")
    parser.add_argument("what", choices=["tunnel", "status"])
    parser.add_argument("--rounds", type=int, default=5, help="paired rounds (default 5)")
    parser.add_argument("--small", action="store_true", help="a hundredth of the data, to see it work")
    given = parser.parse_args()
    if given.what == "tunnel":
        tunnel.main(given.rounds, small=given.small)
    else:
        status.main(given.rounds)


if __name__ == "__main__":
    main()
