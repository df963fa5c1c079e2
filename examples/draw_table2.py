"""Write the results page of reproduce_table2.py.

    python examples/draw_table2.py OUT/results.json [OUT/results.json …] --page docs/table2.md

Tables of the same data are put together; the figure lies beside the page.
"""

import argparse
from pathlib import Path

from pecmae.core.files import write_text
from table2.page import draw, merged, page


def main(argv: list[str] | None = None) -> None:
    """Read the results, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, help="results.json of one table or several")
    parser.add_argument("--page", required=True, type=Path, help="Markdown file to write")
    parser.add_argument("--note", default="", help="what a reader has to know of the data")
    args = parser.parse_args(argv)
    found, figure = merged(args.results), args.page.with_suffix(".png")
    draw(found, figure)
    write_text(args.page, page(found, figure.name, args.note))


if __name__ == "__main__":
    main()
