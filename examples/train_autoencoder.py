"""Train the diffusion autoencoder: the summarizer that makes z and the denoiser that reads it.

    python examples/train_autoencoder.py --data DIR --codec A/codec --encodecmae B/encodecmae --output OUT [--preset mini]

The codec and the EnCodecMAE stay as they are. OUT/autoencoder is the result, which `pecmae.Autoencoder.from_pretrained` loads.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import EncodecModel

from pecmae import Autoencoder, AutoencoderConfig
from pecmae.collection_checks import add_data_arguments, collection_from_arguments
from pecmae.data import WaveformStore
from pecmae.errors import ConfigError
from pecmae.feature_cache import SegmentFeatures, padding_mask, segment_features, weights_key
from pecmae.objectives import DiffusionObjective
from pecmae.runs import write_json
from pecmae.storage import read_json_config
from pecmae.training import StepContext, TrainingSettings, add_training_arguments, evaluate, train, training_settings
from pecmae.weights import load_into

PRESETS = {
    "toy": (
        {"num_summarizer_layers": 1, "num_denoiser_layers": 1, "num_heads": 2},
        TrainingSettings(steps=4, batch_size=2, learning_rate=1e-3, betas=(0.9, 0.95), weight_decay=0.05, ema_decay=0.9),
    ),
    "mini": (
        {"num_summarizer_layers": 2, "num_denoiser_layers": 8, "num_heads": 6},
        TrainingSettings(
            steps=4500, batch_size=32, learning_rate=1e-3, warmup_steps=100, final_fraction=0.05, betas=(0.9, 0.95),
            weight_decay=0.05, max_grad_norm=1.0, ema_decay=0.998, mixed_precision="bf16", checkpoint_every=100,
        ),
    ),
    "base": (
        {"num_summarizer_layers": 2, "num_denoiser_layers": 8, "num_heads": 8},
        TrainingSettings(
            steps=330_000, batch_size=128, learning_rate=1e-4, schedule="constant", betas=(0.9, 0.95), weight_decay=0.05,
            ema_decay=0.9999, mixed_precision="fp16", checkpoint_every=5000,
        ),
    ),
}  # fmt: skip


def build_autoencoder(codec: EncodecModel, encodecmae: Path, **sizes: float) -> Autoencoder:
    """An autoencoder with random summarizer and denoiser around a codec and an EnCodecMAE."""
    stored = read_json_config(encodecmae / "config.json", format_version=1)
    if stored["codec"] != weights_key(codec):
        raise ConfigError(f"{encodecmae}: it was trained on another codec; give the one it belongs to.")
    config = AutoencoderConfig(
        sampling_rate=codec.config.sampling_rate,
        feature_dim=codec.config.hidden_size,
        codec_num_filters=codec.config.num_filters,
        codec_upsampling_ratios=tuple(codec.config.upsampling_ratios),
        codec_num_lstm_layers=codec.config.num_lstm_layers,
        embedding_dim=stored["dim"],
        feed_forward_dim=stored["feed_forward_dim"],
        num_encoder_layers=stored["num_layers"],
        num_encoder_heads=stored["num_heads"],
        **sizes,
    )
    autoencoder = Autoencoder(config)
    autoencoder.codec_encoder.load_state_dict(codec.encoder.state_dict())
    autoencoder.codec_decoder.load_state_dict(codec.decoder.state_dict())
    load_into(autoencoder.encodecmae, encodecmae / "model.safetensors", stored["sha256"]["model.safetensors"])
    return autoencoder


def batches(segments: SegmentFeatures, embeddings: np.ndarray, batch_size: int) -> Callable[[StepContext], tuple[Tensor, ...]]:
    """A function from the context of a step to its segments: codec features, frame embeddings, padding."""

    def make_batch(context: StepContext) -> tuple[Tensor, Tensor, Tensor | None]:
        rows = np.sort(context.draws.integers(len(segments), size=batch_size)[context.rows])
        features, frames = (
            torch.from_numpy(a[rows].astype(np.float32)).to(context.device) for a in (segments.features, embeddings)
        )
        return features, frames, padding_mask(torch.from_numpy(segments.lengths[rows]), features.shape[1], context.device)

    return make_batch


def main(argv: list[str] | None = None) -> None:
    """Cache features and embeddings, train, measure, save."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, checks=False)
    parser.add_argument("--codec", required=True, help="folder of the codec, as train_codec.py writes it")
    parser.add_argument("--encodecmae", required=True, help="folder of the EnCodecMAE, as pretrain_encodecmae.py writes it")
    parser.add_argument("--cache", help="where decoded audio and features are kept (default: OUTPUT/cache)")
    parser.add_argument("--segment-seconds", type=float, default=4.0, help="length of a segment (default: 4)")
    parser.add_argument("--stride-seconds", type=float, default=3.0, help="distance of two segments (default: 3)")
    add_training_arguments(parser, presets=PRESETS)
    args = parser.parse_args(argv)
    sizes, defaults = PRESETS[args.preset]
    settings, output = training_settings(args, defaults), Path(args.output)
    cache = Path(args.cache or output / "cache")

    accelerator = Accelerator(mixed_precision=settings.mixed_precision)
    codec = EncodecModel.from_pretrained(args.codec).to(accelerator.device)
    torch.manual_seed(settings.seed)
    autoencoder = build_autoencoder(codec, Path(args.encodecmae), segment_seconds=args.segment_seconds, **sizes).to(
        accelerator.device
    )
    files = collection_from_arguments(args).splits
    data = {}
    with accelerator.main_process_first():
        for split in ("train", "validation"):
            store = WaveformStore(files.get(split) or files["train"], cache, codec.config.sampling_rate, progress=True)
            lengths = {"segment_seconds": args.segment_seconds, "stride_seconds": args.stride_seconds}
            segments = segment_features(codec, store, cache, **lengths, progress=True)
            data[split] = batches(segments, segments.embeddings(autoencoder.encodecmae), settings.batch_size), segments.key

    objective = DiffusionObjective(autoencoder)
    description = {"stage": "autoencoder", "preset": args.preset, "data": data["train"][1], "sizes": sizes}
    description["encodecmae"] = weights_key(autoencoder.encodecmae)
    result = train(
        objective, data["train"][0], settings, output, description=description, stop_after=args.stop_after, progress=True,
        accelerator=accelerator,
    )  # fmt: skip
    if accelerator.is_main_process:
        report = {"step": result.step, **evaluate(objective, data["validation"][0], settings, 16, accelerator)}
        autoencoder.cpu().eval().save_pretrained(output / "autoencoder")
        write_json(output / "report.json", report)
        print(json.dumps(report))


if __name__ == "__main__":
    main()
