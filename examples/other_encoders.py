"""Prototypes over the embeddings of other models: MERT, CLAP, or any that you add here.

    python examples/other_encoders.py clap --data DIR --output OUT [--model HUB_ID] [--prototypes K]

DIR is labelled audio, as `pecmae fit` takes it. OUT is the model's directory: load it with
`pecmae.EmbeddingModel.from_pretrained(OUT, encoder=…)`. The encoders come from the Hub through transformers; MERT's repository
holds code of its own, which runs on your machine.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoFeatureExtractor, AutoModel

from pecmae import EmbeddingModel, PecmaeError, fit_embeddings
from pecmae.interop import embed_collection
from pecmae.prototypes.fitting import HeadFit


class MERT:
    """MERT (Li et al. 2023, arXiv 2306.00107): one hidden layer, averaged over time.

    Parameters
    ----------
    model : str
        Hub id or directory.
    layer : int
        Which of the hidden states; its authors recommend one in the middle for music's character.
    """

    segment_seconds = 5.0

    def __init__(self, model: str = "m-a-p/MERT-v1-95M", layer: int = 7) -> None:
        self.name, self.layer = model, layer
        self.features = AutoFeatureExtractor.from_pretrained(model, trust_remote_code=True)
        self.model = AutoModel.from_pretrained(model, trust_remote_code=True).eval()
        self.sampling_rate = self.features.sampling_rate

    def __call__(self, wav: Tensor) -> Tensor:
        """Embeddings (B, D) of waveforms (B, N)."""
        inputs = self.features(list(wav.numpy()), sampling_rate=self.sampling_rate, return_tensors="pt")
        return self.model(**inputs, output_hidden_states=True).hidden_states[self.layer].mean(1)


class CLAP:
    """CLAP (Wu et al. 2022, arXiv 2211.06687): the audio side of a space of sound and text.

    Parameters
    ----------
    model : str
        Hub id or directory.
    """

    def __init__(self, model: str = "laion/clap-htsat-unfused") -> None:
        self.name = model
        self.features = AutoFeatureExtractor.from_pretrained(model)
        self.model = AutoModel.from_pretrained(model).eval()
        self.sampling_rate, self.segment_seconds = self.features.sampling_rate, float(self.features.max_length_s)

    def __call__(self, wav: Tensor) -> Tensor:
        """Embeddings (B, D) of waveforms (B, N)."""
        inputs = self.features(list(np.asarray(wav)), sampling_rate=self.sampling_rate, return_tensors="pt")
        found = self.model.get_audio_features(**inputs)
        # A tensor before transformers 5, a record since.
        return found if isinstance(found, Tensor) else found.pooler_output


ENCODERS: dict[str, Callable[..., Any]] = {"mert": MERT, "clap": CLAP}


def fit(encoder: Any, data: str, head: HeadFit, *, progress: bool = True) -> EmbeddingModel:
    """Embed labelled audio and fit prototypes to it; says how well the test split is told."""
    found = embed_collection(encoder, data, progress=progress)
    for path, why in found.failed.items():
        print(f"{path} is left out: {why}", file=sys.stderr)
    model = fit_embeddings(
        found.z, found.labels, tracks=found.tracks, splits=found.splits, audio=found.audio, offsets=found.offsets,
        encoder=encoder, head=head, progress=progress,
    )  # fmt: skip
    rows = [row for row, split in enumerate(found.splits) if split == "test"]
    labels, tracks = ([names[row] for row in rows] for names in (found.labels, found.tracks))
    if rows:
        print(model.evaluate(found.z[rows], labels, tracks=tracks))
    return model


def main(argv: Sequence[str] | None = None) -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", choices=sorted(ENCODERS))
    parser.add_argument("--data", required=True, help="labelled audio, as pecmae fit takes it")
    parser.add_argument("--output", required=True, help="directory of the model")
    parser.add_argument("--model", help="Hub id or directory of the encoder (default: its authors')")
    parser.add_argument("--prototypes", type=int, default=10, metavar="K", help="of each class (default: 10)")
    args = parser.parse_args(argv)
    torch.manual_seed(0)
    encoder = ENCODERS[args.encoder](*([args.model] if args.model else []))
    try:
        model = fit(encoder, args.data, HeadFit(prototypes_per_class=args.prototypes))
        model.save_pretrained(args.output)
    except (PecmaeError, FileNotFoundError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
