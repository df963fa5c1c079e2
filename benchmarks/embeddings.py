"""How long prototypes over embeddings of another model take to fit.

    python benchmarks/embeddings.py [--rows 20000] [--width 768] [--classes 10] [--prototypes 10]

Prints JSON. Rows lie around three places of each class, so that there is something to learn.
"""

import argparse
import json
import time
from collections.abc import Sequence

import numpy as np
import torch

from pecmae import fit_embeddings

PLACES, NOISE = 3, 2.0


def measure(rows: int, width: int, classes: int, prototypes: int) -> dict[str, float]:
    """Seconds that fitting takes, and the accuracy on as many rows that it has not met."""
    draws = np.random.default_rng(0)
    places = draws.normal(size=(classes, PLACES, width))

    def drawn() -> tuple[np.ndarray, list[str]]:
        numbers = draws.integers(classes, size=rows)
        z = places[numbers, draws.integers(PLACES, size=rows)] + NOISE * draws.normal(size=(rows, width))
        return z.astype(np.float32), [f"class {number}" for number in numbers]

    z, labels = drawn()
    start = time.perf_counter()
    model = fit_embeddings(z, labels, prototypes_per_class=prototypes)
    seconds = time.perf_counter() - start
    return {"seconds": round(seconds, 1), "accuracy": model.evaluate(*drawn()).mean_recall, "threads": torch.get_num_threads()}


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--prototypes", type=int, default=10, help="of each class")
    args = parser.parse_args(argv)
    print(json.dumps(measure(args.rows, args.width, args.classes, args.prototypes)))


if __name__ == "__main__":
    main()
