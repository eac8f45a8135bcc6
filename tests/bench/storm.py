"""40 workers start and cancel 2,000 statements each, in every way there is; others read back what is theirs."""

import argparse
import asyncio
import logging
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import servers  # noqa: E402
import storm  # noqa: E402


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/cancel_storm", description=__doc__)
    parser.add_argument("--each", type=int, default=2000, metavar="N", help="statements of each worker")
    parser.add_argument("--only", choices=servers.NAMES, help="one server instead of all")
    options = parser.parse_args()
    servers.end_in_order()
    bad = 0
    # The drivers say a lot about each connection that goes from under them.
    logging.disable()
    print(f"{'server':<12}{'statements':>11}{'given up':>10}{'answered':>10}{'read':>8}{'foreign rows':>14}"
          f"{'foreign cancels':>17}{'errors':>8}{'seconds':>9}", flush=True)
    for name in servers.NAMES if options.only is None else [options.only]:
        with servers.running(name) as side, servers.weir(storm.ini(side, 8)) as weir:
            count, took = asyncio.run(storm.storm(weir, side, 40, options.each, 8))
        print(f"{name:<12}{40 * options.each:>11}{count.n_given_up:>10}{count.n_answered:>10}{count.n_read:>8}"
              f"{len(count.foreign_rows):>14}{len(count.foreign_cancels):>17}{len(count.errors):>8}{took:>9.0f}", flush=True)
        for what in (*count.foreign_rows, *count.foreign_cancels, *count.errors)[:10]:
            print("  ", what)
        bad += len(count.foreign_rows) + len(count.foreign_cancels) + len(count.errors)
    print("the servers had the same connections before and after, and nothing was left running")
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()
