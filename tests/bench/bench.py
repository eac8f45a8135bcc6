"""What pooling costs: the same load through weir, through PgBouncer, and through a relay that looks at nothing.

Processor time is the proxy's own, of all its threads, as the kernel accounts for it. Rounds are interleaved, so that a
noisy neighbour meets everyone; what is printed are medians, and ratios to the relay of the same round.
"""

import argparse
import contextlib
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import bench_mysql  # noqa: E402
import bench_pgsql  # noqa: E402


def run(field, cases, options):
    with contextlib.closing(field):
        for name, case in cases.items():
            if options.only in (None, name):
                case(field, options)
                print(flush=True)


def main():
    names = [*bench_pgsql.CASES, *bench_mysql.CASES]
    parser = argparse.ArgumentParser(prog="tests/bench/run", description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=names, metavar="NAME", help="one of: " + ", ".join(names))
    parser.add_argument("--quick", action="store_true", help="shorter and fewer rounds")
    options = parser.parse_args()
    options.rounds, options.seconds = (3, 2) if options.quick else (5, 6)
    base = pathlib.Path(tempfile.mkdtemp())
    base.chmod(0o755)
    try:
        if options.only in (None, *bench_pgsql.CASES):
            run(bench_pgsql.Field(base), bench_pgsql.CASES, options)
        if options.only in (None, *bench_mysql.CASES):
            for kind in bench_mysql.kinds():
                run(bench_mysql.Field(base, kind), bench_mysql.CASES, options)
    finally:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
