"""The models that are measured: full size with random weights, and the embedded mini; loaded as a user loads them."""

import os
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from measurements.products import codec_flop, encoder_products, summarizer_products, total_flop
from measurements.reference import ReferenceAutoencoder
from pecmae import PECMAE, Autoencoder, AutoencoderConfig, PrototypeHead, PrototypeHeadConfig, VDiffusionScheduler
from pecmae.hub.resolve import resolve_model

# A setting of glibc's allocator in the environment, though it is the default one, and the library sets none.
DEFAULT_ALLOCATOR = {"GLIBC_TUNABLES": "glibc.malloc.perturb=0"}
TOLERANCE = 1e-4  # of the largest value, in float32
NUM_CLASSES, PER_CLASS = 10, 2
CLIP = Path(__file__).parents[2] / "examples" / "audio" / "jazz.ogg"


@dataclass(frozen=True, eq=False)
class Subject:
    """One size of the model: the library's in several precisions, and the reference with the same weights."""

    name: str
    directory: Path
    reference: ReferenceAutoencoder
    # By the name of what `dtype=` was given; "auto" only where it differs from float32.
    models: dict[str, PECMAE]
    # Counted once, by what they are asked for.
    _flop: dict[str, int] = field(default_factory=dict)

    @property
    def config(self) -> AutoencoderConfig:
        """Sizes."""
        return self.reference.config

    @property
    def fastest(self) -> str:
        """The name of the precision that a user gets who asks for "auto"."""
        return "auto" if "auto" in self.models else "float32"

    def label(self, precision: str) -> str:
        """The name of a precision with what it stands for on this machine."""
        dtype = str(self.models[precision].autoencoder.dtype).removeprefix("torch.")
        return dtype if precision == dtype else f"{precision} ({dtype})"

    def dtype(self, precision: str) -> torch.dtype:
        """Of the weights."""
        return self.models[precision].autoencoder.dtype

    def wav(self, batch: int) -> Tensor:
        """Segments of noise [shape=(B, N)]."""
        generator = torch.Generator().manual_seed(0)
        return 0.1 * torch.randn(batch, self.config.segment_samples, generator=generator)

    def codec_flop(self, half: str) -> int:
        """Of the codec's "encoder" or "decoder", for one segment."""
        if half not in self._flop:
            codec = self.reference.codec_encoder if half == "encoder" else self.reference.codec_decoder
            shape = (1, 1, self.config.segment_samples), (1, self.config.feature_dim, self.config.segment_frames)
            self._flop[half] = codec_flop(codec, torch.zeros(shape[half == "decoder"]))
        return self._flop[half]

    @property
    def embedding_flop(self) -> int:
        """From one segment to its z."""
        products = encoder_products(self.config) + summarizer_products(self.config)
        return self.codec_flop("encoder") + total_flop(products)


class Subjects:
    """Both sizes, each loaded when it is first asked for."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="pecmae-benchmark-")

    @cached_property
    def full(self) -> Subject:
        """The sizes of the published 4-second autoencoder."""
        return random_subject("full size", AutoencoderConfig(), Path(self._folder.name) / "full")

    @cached_property
    def mini(self) -> Subject:
        """The embedded model."""
        return load_subject("mini", resolve_model(None))


def random_subject(name: str, config: AutoencoderConfig, directory: Path) -> Subject:
    """A model of random weights with NUM_CLASSES × PER_CLASS prototypes, written to `directory` and loaded from there."""
    torch.manual_seed(0)
    head = PrototypeHeadConfig(embedding_dim=config.embedding_dim, num_classes=NUM_CLASSES, prototypes_per_class=PER_CLASS)
    labels = [f"class {index}" for index in range(NUM_CLASSES)]
    PECMAE(Autoencoder(config), PrototypeHead(head), labels).save_pretrained(directory)
    return load_subject(name, directory)


def load_subject(name: str, directory: Path) -> Subject:
    """A model directory with its autoencoder inside."""
    models = {precision: load(directory, precision) for precision in ("float32", "auto")}
    if models["auto"].autoencoder.dtype == torch.float32:
        del models["auto"]
    return Subject(name, directory, ReferenceAutoencoder.from_directory(directory / "autoencoder"), models)


def load(directory: Path, precision: str) -> PECMAE:
    """The library's own way of loading, but that the allocator stays as it is: it is the reference's, too."""
    with mock.patch.dict(os.environ, DEFAULT_ALLOCATOR):
        return PECMAE.from_pretrained(directory, device="cpu", dtype=precision)


def check_against_reference(subject: Subject) -> dict[str, float]:
    """Compare the library in float32 with the reference schedule.

    Returns
    -------
    dict of str to float
        Largest difference of each result, as a share of its largest value.

    Raises
    ------
    RuntimeError
        A difference is above TOLERANCE: the two do not compute the same, so their times must not be compared.
    """
    autoencoder, reference = subject.models["float32"].autoencoder, subject.reference
    config, generator = subject.config, torch.Generator().manual_seed(1)
    wav, lengths = subject.wav(2), torch.tensor([config.segment_samples, config.segment_samples * 2 // 3])
    wav[1, lengths[1] :] = 0.0
    latents = autoencoder.draw_latents(2, generator)
    z = torch.cat([reference.encode(row[None], int(length)) for row, length in zip(wav, lengths, strict=True)])
    with torch.no_grad():
        found = {
            "codec features": autoencoder.extract_features(wav, lengths),
            "z": autoencoder.encode(wav, lengths),
            "v": autoencoder.denoise(latents, torch.tensor([0.3, 0.3]), z),
            "generated features": autoencoder.generate(
                z,
                num_inference_steps=4,
                guidance_scale=2.0,
                guidance_stop=1.0,
                latents=latents,
                scheduler=VDiffusionScheduler("ddim"),
            ),
        }
        found["waveform"] = autoencoder.features_to_wav(found["generated features"])
    rows = [(z[row : row + 1], latents[row : row + 1]) for row in range(2)]
    features = torch.cat([reference.generate(*row, 2.0, steps=4) for row in rows])
    wanted = {
        "codec features": reference.extract_features(wav),
        "z": z,
        "v": torch.cat([reference.denoise(noise, 0.3, row) for row, noise in rows]),
        "generated features": features,
        "waveform": reference.features_to_wav(features),
    }
    return compared(subject.name, found, wanted)


def rounding(subject: Subject) -> dict[str, float]:
    """How much of z the precision that "auto" chooses rounds away, on a clip of music: 1 - cosine similarity, the largest."""
    exact, found = (torch.from_numpy(subject.models[name].embed(CLIP)) for name in ("float32", subject.fastest))
    cosine = torch.cosine_similarity(exact, found).min()
    return {f"{subject.name}: z in {subject.label(subject.fastest)}, 1 - cosine to float32": max(0.0, 1 - float(cosine))}


def compared(name: str, found: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, float]:
    """Differences as `check_against_reference` returns and judges them."""
    differences = {
        f"{name}: {what}": float((found[what] - value).abs().max() / value.abs().max()) for what, value in wanted.items()
    }
    for what, difference in differences.items():
        if not difference <= TOLERANCE:
            raise RuntimeError(f"{what} differs from the reference schedule by {difference:.1e}; do not compare their times.")
    return differences
