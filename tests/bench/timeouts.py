"""How exact each clock of weir is: by how much it was late, of some tries at each server."""

import argparse
import contextlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import clocks  # noqa: E402
import servers  # noqa: E402


def main():
    parser = argparse.ArgumentParser(prog="tests/bench/timeouts", description=__doc__)
    parser.add_argument("--tries", type=int, default=5, metavar="N", help="measurements of each")
    parser.add_argument("--only", choices=servers.NAMES, help="one server instead of all")
    options = parser.parse_args()
    servers.end_in_order()
    print(f"each clock set to {clocks.T * 1000:.0f} ms; late by, in ms: best, median and worst of {options.tries}\n")
    print(f"{'':<14}{'clock':<38}{'best':>8}{'median':>8}{'worst':>8}", flush=True)
    for name in servers.NAMES if options.only is None else [options.only]:
        with (servers.running(name) as side, contextlib.closing(clocks.Silent()) as silent,
              servers.weir(clocks.ini(side, silent)) as weir):
            measure = clocks.Measure(side, weir, silent)
            for clock in clocks.CLOCKS:
                late = sorted(1000 * seconds for seconds in clocks.lateness(getattr(measure, clock), options.tries))
                print(f"{name:<14}{clock:<38}{late[0]:>8.1f}{late[len(late) // 2]:>8.1f}{late[-1]:>8.1f}", flush=True)


if __name__ == "__main__":
    main()
