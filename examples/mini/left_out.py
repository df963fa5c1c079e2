"""Whether heads like those of the embedded models call a class strange that they never met.

    python examples/mini/left_out.py [mini mini-instruments mini-styles] --data DIR [--steps N]

DIR is what render_music.py and real_audio.py wrote. Each class is left out of fitting in turn; prints JSON: how well its tracks
are told from the others by strangeness, in the split that the model is calibrated on and in its test sets.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from models import MODELS, Embedded

from pecmae import PECMAE
from pecmae.core.files import cache_root
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.tracks import embed_files
from pecmae.errors import PecmaeError
from pecmae.evaluation.leave_one_out import leave_one_class_out, mean_auroc
from pecmae.prototypes.fitting import HEAD_SETTINGS

STEPS = 800


def measure(embedded: Embedded, data: Path, cache: Path, steps: int) -> dict[str, Any]:
    """`leave_one_class_out` on each set of tracks, with the mean over classes."""
    model = PECMAE.from_pretrained(embedded.name)
    store = EmbeddingCache(cache, model.autoencoder, model.preparation)
    splits = embedded.collection(data).splits
    sets = {embedded.calibrated_on: splits[embedded.calibrated_on], **embedded.test_clips(data)}
    train, validation = (embed_files(store, splits[name], model.labels, progress=True)[0] for name in ("train", "validation"))
    tests = {name: embed_files(store, clips, model.labels, progress=True)[0] for name, clips in sets.items()}
    settings = replace(HEAD_SETTINGS, steps=steps)
    reports = leave_one_class_out(model.head.config, model.labels, train, tests, validation=validation, settings=settings)
    return {name: {"mean_auroc": mean_auroc(found), "classes": found} for name, found in reports.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="NAME", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--data", type=Path, required=True, help="folder that render_music.py and real_audio.py wrote")
    parser.add_argument("--cache", type=Path, default=cache_root() / "embeddings", help="where embeddings are kept")
    parser.add_argument("--steps", type=int, default=STEPS, metavar="N", help=f"of fitting each head (default: {STEPS})")
    args = parser.parse_args(argv)
    try:
        found = {name: measure(MODELS[name], args.data, args.cache, args.steps) for name in args.models or MODELS}
    except (PecmaeError, FileNotFoundError) as error:
        sys.exit(str(error))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
