"""Put the settings and the thinned curves of training runs into one small JSON file, to be kept beside a card.

python examples/mini/collect_curves.py codec=runs/codec encodecmae=runs/encodecmae --output hub_cards/pecmae-mini.training.json
"""

import argparse
import json
from pathlib import Path
from typing import Any

POINTS = 60  # of each curve
# Fields of the codec's configuration that decide its size; the others are defaults of transformers.
CODEC_FIELDS = (
    "num_filters", "decoder_num_filters", "hidden_size", "upsampling_ratios", "num_lstm_layers", "codebook_size",
    "target_bandwidths", "sampling_rate",
)  # fmt: skip


def collect(run: Path) -> dict[str, Any]:
    """Settings and curve of the run in a folder, without what names the machine's files."""
    settings = json.loads((run / "settings.json").read_text())
    settings.pop("data", None)
    if isinstance(settings.get("codec"), dict):
        settings["codec"] = {name: settings["codec"][name] for name in CODEC_FIELDS if name in settings["codec"]}
    history = json.loads((run / "history.json").read_text())
    every = max(1, len(history) // POINTS)
    points = history[every - 1 :: every]
    rounded = [{name: round(value, 5) if isinstance(value, float) else value for name, value in p.items()} for p in points]
    return {"settings": settings, "history": rounded}


def main(argv: list[str] | None = None) -> None:
    """Read the runs, write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=DIR", help="name of a stage, and the OUTPUT of its script")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="JSON file to write")
    args = parser.parse_args(argv)
    pairs = [run.partition("=") for run in args.runs]
    if bad := [run for run, (_, equals, _) in zip(args.runs, pairs, strict=True) if not equals]:
        parser.error(f"{bad[0]} is not NAME=DIR.")
    found = {name: collect(Path(folder)) for name, _, folder in pairs}
    args.output.write_text(json.dumps(found, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
