"""Measure a model on labelled audio, and on the sound of its own prototypes.

    python examples/evaluate.py --data DIR [--model MODEL] [--split test] [--output report.json]

DIR holds SPLIT/LABEL/… or LABEL/…. The report goes to standard output, or to a file.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from pecmae import PECMAE
from pecmae.data import find_labelled_files
from pecmae.evaluation import check_round_trip, check_sonification, evaluate_tracks


def main(argv: list[str] | None = None) -> None:
    """Evaluate and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of audio, one sub-folder for each class, or for each split")
    parser.add_argument("--model", help="directory or Hub id (default: the embedded pecmae-mini)")
    parser.add_argument("--split", default="test", help="which split, where DIR has splits (default: test)")
    parser.add_argument("--seeds", type=int, default=8, help="sounds of each prototype; 0 leaves them out (default: 8)")
    parser.add_argument("--round-trips", type=int, default=120, help="segments decoded and encoded again (default: 120)")
    parser.add_argument("--output", type=Path, help="JSON file (default: standard output)")
    args = parser.parse_args(argv)

    root = Path(args.data)
    found = find_labelled_files(root / args.split if (root / args.split).is_dir() else root)
    files = found.get(args.split) or found["train"]
    model = PECMAE.from_pretrained(args.model)
    report = {"tracks": evaluate_tracks(model, files).to_dict()}
    if args.round_trips:
        chosen = np.random.default_rng(0).permutation(len(files))[: args.round_trips]
        report["round_trip"] = check_round_trip(model, [files[i] for i in chosen])
    if args.seeds:
        report["sonification"] = check_sonification(model, range(args.seeds)).to_dict()
    text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
    if args.output:
        args.output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
