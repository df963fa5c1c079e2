"""How many steps a prototype needs to sound as it would with endlessly many.

    python benchmarks/sampling.py [--output docs] [--prototypes 20] [--guidance-scale 2] [--guidance-stop 0.5] [--quick]

Decodes prototypes with every sampler and number of steps and measures the distance to the trajectory of 1 000 DDIM steps from
the same noise. Writes the curve (sampling.png), the table (sampling.md) and all figures (sampling.json), and prints the fewest
steps of each sampler that are no worse than the 40 DDIM steps of the reference schedule.
"""

import argparse
import os
import sys
from pathlib import Path

import torch

from measurements.fidelity import Sampler, measure
from measurements.fidelity_report import verdicts, write
from measurements.subjects import load_subject
from measurements.table import command_line
from pecmae.autoencoder.sampling import ALGORITHM_TYPES
from pecmae.hub.resolve import resolve_model

STEPS = (2, 4, 6, 7, 8, 9, 10, 15, 20, 30, 40, 100)
QUICK_STEPS = (4, 8, 16)


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", metavar="M", help="directory or Hub id (default: the embedded pecmae-mini)")
    parser.add_argument("--prototypes", type=int, default=20, metavar="N", help="how many are decoded (default: 20)")
    parser.add_argument(
        "--guidance-stop", type=float, action="append", default=[], metavar="SHARE",
        help="measure the unconditional branch in this share of the steps only, too; may be repeated",
    )  # fmt: skip
    parser.add_argument("--guidance-scale", type=float, metavar="SCALE", help="(default: the model's own)")
    parser.add_argument("--quick", action="store_true", help="3 prototypes, few steps, 100 steps count as converged")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of torch (default: one a core)")
    parser.add_argument("--output", type=Path, default=Path("docs"), metavar="DIR", help="where to write (default: docs)")
    return parser.parse_args()


def main() -> None:
    """Measure, write, print."""
    args = arguments()
    torch.set_num_threads(args.threads)
    subject = load_subject(args.model or "pecmae-mini", resolve_model(args.model))
    scale = subject.config.guidance_scale if args.guidance_scale is None else args.guidance_scale
    count, converged = (3, 100) if args.quick else (args.prototypes, 1000)
    default = subject.models["float32"].solver.algorithm_type
    samplers = [Sampler(algorithm) for algorithm in ALGORITHM_TYPES]
    if subject.fastest != "float32":
        samplers.append(Sampler(default, precision=subject.fastest))
    shares = [subject.config.guidance_stop, *args.guidance_stop]
    samplers += [Sampler(default, guidance_stop=share, precision=subject.fastest) for share in shares]
    points = measure(
        subject.models, subject.reference, samplers, QUICK_STEPS if args.quick else STEPS,
        count=count, converged_steps=converged, guidance_scale=scale,
        progress=lambda text: print(text, "…", file=sys.stderr, flush=True),
    )  # fmt: skip
    facts = {
        "model": subject.name,
        "guidance_scale": scale,
        "prototypes": count,
        "converged_steps": converged,
        "threads": args.threads,
        "torch": torch.__version__,
    }
    write(points, facts, command_line(), args.output)
    print("\n".join(verdicts(points)))


if __name__ == "__main__":
    main()
