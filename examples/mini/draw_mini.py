"""Draw the pictures of docs/pecmae-mini.md.

    python examples/mini/draw_mini.py --data DIR [--model MODEL] [--output docs]

DIR is what render_music.py writes. Drawn are spectrograms of a test clip of some classes, after the codec, after the whole
autoencoder, and of the nearest prototype; the linear layer; a map of test segments and prototypes; and, from the evidence
beside the cards, where sound loses its class and its pulse. Needs matplotlib.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from evidence import STAGES
from mini_plots import plot_chains, plot_map, plot_spectrograms, plot_weights

from pecmae import PECMAE
from pecmae.core.files import cache_root
from pecmae.data.collection import Clip
from pecmae.data.embedding_cache import EmbeddingCache
from pecmae.data.load import load_collection
from pecmae.data.tracks import embed_files
from pecmae.errors import PecmaeError
from pecmae.evaluation.listener import file_segments, spread, through_codec
from pecmae.evaluation.plots import save_small

CARDS = Path(__file__).parents[2] / "hub_cards"
COLUMNS = ("test clip", "after the codec", "decoded from z", "nearest prototype")
# More points do not make the map clearer.
MAP_SEGMENTS = 1200


@torch.no_grad()
def sounds_of(model: PECMAE, clip: Clip) -> tuple[list[np.ndarray], list[str]]:
    """A segment of a clip, what becomes of it, and the sound of its nearest prototype; and a title for each."""
    autoencoder = model.autoencoder
    (wave,) = spread(file_segments(clip.path, autoencoder.config.segment_seconds, model.sampling_rate), 1)
    z = autoencoder.encode(wave[None]).float()
    decoded = autoencoder.decode(z, generator=torch.Generator().manual_seed(0), scheduler=model.scheduler)
    label, number = divmod(int(model.head.similarities(z).argmax()), model.head.config.prototypes_per_class)
    nearest = model.sonify(model.labels[label], prototype=number)[0]
    waves = [wave, through_codec(autoencoder)(wave[None])[0], decoded[0].float().cpu(), torch.from_numpy(nearest)]
    heard = [model.labels[int(model.head(autoencoder.encode(sound[None]).float()).argmax())] for sound in waves]
    names = [clip.path.stem, "", "", f"{model.labels[label]} {number}"]
    titles = [f"{name}, labelled {found}".removeprefix(", ") for name, found in zip(names, heard, strict=True)]
    return [sound.numpy() for sound in waves], titles


def map_of(model: PECMAE, z: np.ndarray, prototypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places in the plane of embeddings and of prototypes, in z as the head normalises it (t-SNE)."""
    from sklearn.manifold import TSNE

    points = np.concatenate([z, prototypes])
    flat = TSNE(init="pca", perplexity=min(30, (len(points) - 1) / 3), random_state=0).fit_transform(points)
    return flat[: len(z)], flat[len(z) :]


def read_chains(evidence: Path) -> dict[str, Any]:
    """What ears heard of each embedded model, from the files that mini_evidence.py wrote."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(evidence.glob("*.evidence.json"))]
    return {one["name"]: one["ear"] for one in found if one["ear"]}


def draw(model: PECMAE, data: Path, output: Path, cache: Path, classes: Sequence[str], evidence: Path) -> list[Path]:
    """Write the pictures; returns their paths."""
    clips = load_collection(data / "genres" / "other").clips
    chosen = [next(clip for clip in clips if clip.label == label) for label in classes]
    rows = [sounds_of(model, clip) for clip in chosen]
    figures = {
        "sounds": plot_spectrograms(
            [waves for waves, _ in rows], [titles for _, titles in rows], model.sampling_rate, columns=COLUMNS, rows=classes
        ),
        "weights": plot_weights(model.head.linear.weight.detach().cpu().numpy(), model.labels),
    }
    tracks, _ = embed_files(EmbeddingCache(cache, model.autoencoder, model.preparation), clips, model.labels, progress=True)
    shown = np.sort(np.random.default_rng(0).permutation(len(tracks.z))[:MAP_SEGMENTS])
    places, stars = map_of(model, tracks.z.numpy()[shown], model.head.projected_prototypes().cpu().numpy())
    figures["map"] = plot_map(places, tracks.labels.numpy()[shown], stars, model.labels)
    if chains := read_chains(evidence):
        figures["ear"] = plot_chains(chains, STAGES)
    paths = []
    for name, figure in figures.items():
        paths.append(output / f"pecmae-mini-{name}.png")
        # Spectrograms are all texture, which does not compress.
        save_small(figure, paths[-1], **({"dpi": 80, "colours": 32} if name == "sounds" else {}))
    return paths


def main(argv: list[str] | None = None) -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that render_music.py wrote")
    parser.add_argument("--model", help="model directory or Hub id (default: the embedded pecmae-mini)")
    parser.add_argument("--classes", nargs="*", help="classes whose spectrograms are drawn (default: four, evenly spaced)")
    parser.add_argument("--output", type=Path, default=Path(__file__).parents[2] / "docs", help="folder (default: docs)")
    parser.add_argument("--cache", type=Path, default=cache_root() / "embeddings", help="where embeddings are kept")
    parser.add_argument("--evidence", type=Path, default=CARDS, help="folder of what was measured (default: hub_cards)")
    args = parser.parse_args(argv)
    try:
        model = PECMAE.from_pretrained(args.model)
        for path in draw(model, args.data, args.output, args.cache, args.classes or spread(model.labels, 4), args.evidence):
            print(path)
    except (PecmaeError, FileNotFoundError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
