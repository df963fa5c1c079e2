"""`pecmae evaluate`, for those who call scripts: the report as JSON, on standard output or in a file.

    python examples/evaluate.py --data DIR [--model MODEL] [--split test] [--output report.json] [--picture confusion.png]

All other options are those of `pecmae evaluate --help`.
"""

import argparse
import sys

from pecmae.cli import main as pecmae


def main(argv: list[str] | None = None) -> None:
    """Give the options to the console."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--data", required=True, help="what `pecmae evaluate` takes as DATA")
    args, others = parser.parse_known_args(argv)
    shown = [] if "--output" in others else ["--json"]
    pecmae(["evaluate", args.data, *others, *shown])


if __name__ == "__main__":
    main(sys.argv[1:])
