"""Fit the heads of the embedded models as docs/heads.json says, and put them into the package.

    python examples/mini/fit_heads.py mini mini-instruments mini-styles --data DIR

DIR holds what render_music.py and real_audio.py wrote; only training and validation tracks are read. The autoencoder stays the
one that is embedded, in the directory of mini; the other models refer to it.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from choose_head import DOCS, EVALUATE_EVERY, SETTINGS, chosen
from models import LEARNED, MODELS, Embedded

from pecmae import Autoencoder, fit
from pecmae.core.files import atomic_write, cache_root
from pecmae.errors import PecmaeError
from pecmae.hub.zoo import SHARED_AUTOENCODER, embedded_directory
from pecmae.prototypes.calibration import calibrate
from pecmae.prototypes.fitting import HeadFit

DTYPE = "float16"


def fit_model(model: Embedded, rows: Sequence[dict[str, Any]], data: Path, runs: Path, cache: Path) -> Path:
    """Fit the head that was chosen among `rows`; returns the model's directory."""
    head = HeadFit(**chosen(rows)["choice"], evaluate_every=EVALUATE_EVERY)
    frozen = Autoencoder.from_pretrained(SHARED_AUTOENCODER, device="cpu")
    run = runs / model.card
    result = fit(
        model.collection(data), run, autoencoder=frozen, head=head, settings=SETTINGS, cache=cache, check=False, dtype=DTYPE,
        calibration_share=0, progress=True,
    )  # fmt: skip
    if model.calibrated_on in LEARNED:  # fit takes a split of its own
        calibrate(result.model.head, result.embedded[model.calibrated_on], result.embedded["train"]).save(run / "model")
    print(f"{model.name}: {result.evaluations['validation'].title} on validation", file=sys.stderr)
    return run / "model"


def install(source: Path, target: Path, *, shared: bool) -> None:
    """Put a fitted model into the package: all but its autoencoder, which is there already.

    Parameters
    ----------
    source, target : path
        The model's directory, and where it goes.
    shared : bool
        Whether its autoencoder is in the directory of another embedded model, which it then refers to.
    """
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        if path.name == "scheduler":
            shutil.copytree(path, target / path.name, dirs_exist_ok=True)
        elif path.is_file() and path.name != "README.md":  # hub_cards/render.py writes the card
            shutil.copyfile(path, target / path.name)
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    config["autoencoder"] = {"repo_id": SHARED_AUTOENCODER, "revision": None} if shared else None
    with atomic_write(target / "config.json") as temporary:
        temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Fit and install."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", choices=list(MODELS), metavar="NAME", help=f"{', '.join(MODELS)}")
    parser.add_argument("--data", type=Path, required=True, help="folder that render_music.py and real_audio.py wrote")
    parser.add_argument("--heads", type=Path, default=DOCS / "heads.json", help="what choose_head.py wrote")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs, which continue (default: runs)")
    parser.add_argument("--cache", type=Path, default=cache_root() / "embeddings", help="where embeddings are kept")
    args = parser.parse_args(argv)
    families = json.loads(args.heads.read_text(encoding="utf-8"))
    try:
        for name in args.models:
            model = MODELS[name]
            fitted = fit_model(model, families[model.folder]["rows"], args.data, args.runs, args.cache)
            install(fitted, embedded_directory(name), shared=name != SHARED_AUTOENCODER)
    except (PecmaeError, FileNotFoundError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
