"""Train the diffusion autoencoder: the summarizer that makes z and the denoiser that reads it.

    python examples/train_autoencoder.py --data DIR --codec A/codec --encodecmae B/encodecmae --output OUT [--preset mini]

The codec and the EnCodecMAE stay as they are. OUT/autoencoder is the result, which `pecmae.Autoencoder.from_pretrained` loads.
"""

import argparse
import json
from pathlib import Path

import torch
from accelerate import Accelerator

from arguments import (
    add_data_arguments,
    add_segment_arguments,
    add_training_arguments,
    collection_from_arguments,
    training_segments,
    training_settings,
)
from endings import ending_in_words
from pecmae import Autoencoder, AutoencoderConfig
from pecmae.core.configs import read_json_config
from pecmae.core.files import write_json
from pecmae.core.weights import load_into, weights_key
from pecmae.errors import ConfigError
from pecmae.training.codec_widening import Codec
from pecmae.training.diffusion import DiffusionObjective
from pecmae.training.loop import evaluate, train
from pecmae.training.runs import start_from
from pecmae.training.segments import segment_batches
from pecmae.training.settings import TrainingSettings

PRESETS = {
    "toy": (
        {"num_summarizer_layers": 1, "num_denoiser_layers": 1, "num_heads": 2},
        TrainingSettings(steps=4, batch_size=2, learning_rate=1e-3, betas=(0.9, 0.95), weight_decay=0.05, ema_decay=0.9),
    ),
    "mini": (
        {"num_summarizer_layers": 2, "num_denoiser_layers": 6, "num_heads": 6},
        TrainingSettings(
            steps=4600, batch_size=24, learning_rate=1e-3, warmup_steps=100, final_fraction=0.05, betas=(0.9, 0.95),
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


def build_autoencoder(codec: Codec, encodecmae: Path, **sizes: float) -> Autoencoder:
    """An autoencoder with random summarizer and denoiser around a codec and an EnCodecMAE."""
    stored = read_json_config(encodecmae / "config.json", format_version=1)
    if stored["codec"] != weights_key(codec):
        raise ConfigError(f"{encodecmae}: it was trained on another codec; give the one it belongs to.")
    config = AutoencoderConfig(
        sampling_rate=codec.config.sampling_rate,
        feature_dim=codec.config.hidden_size,
        codec_num_filters=codec.config.num_filters,
        codec_decoder_num_filters=codec.decoder_num_filters,
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


def main(argv: list[str] | None = None) -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, checks=False)
    add_segment_arguments(parser)
    parser.add_argument("--encodecmae", required=True, help="folder of the EnCodecMAE, as pretrain_encodecmae.py writes it")
    parser.add_argument("--dtype", choices=["float32", "float16"], help="stored precision of the result (default: float32)")
    parser.add_argument("--start-from", metavar="RUN", help="begin with the weights of this run, the OUTPUT of an earlier one")
    add_training_arguments(parser, presets=PRESETS)
    args = parser.parse_args(argv)
    with ending_in_words(args.output):
        run(args)


def run(args: argparse.Namespace) -> None:
    """Cache features and embeddings, train, measure, save."""
    sizes, defaults = PRESETS[args.preset]
    settings, output = training_settings(args, defaults), Path(args.output)

    accelerator = Accelerator(mixed_precision=settings.mixed_precision)
    codec = Codec.from_pretrained(args.codec).to(accelerator.device)
    torch.manual_seed(settings.seed)
    autoencoder = build_autoencoder(codec, Path(args.encodecmae), segment_seconds=args.segment_seconds, **sizes).to(
        accelerator.device
    )
    files = collection_from_arguments(args).splits
    with accelerator.main_process_first():
        segments = training_segments(args, codec, files)
        data = {
            split: segment_batches(found, found.embeddings(autoencoder.encodecmae), settings.batch_size)
            for split, found in segments.items()
        }

    objective = DiffusionObjective(autoencoder)
    description = {"stage": "autoencoder", "preset": args.preset, "data": segments["train"].key, "sizes": sizes}
    description["encodecmae"] = weights_key(autoencoder.encodecmae)
    if args.start_from:
        description |= start_from(objective, Path(args.start_from))
    result = train(
        objective, data["train"], settings, output, description=description, stop_after=args.stop_after, progress=True,
        accelerator=accelerator,
    )  # fmt: skip
    if accelerator.is_main_process:
        report = {"step": result.step, **evaluate(objective, data["validation"], settings, 16, accelerator)}
        autoencoder.cpu().eval().save_pretrained(output / "autoencoder", dtype=args.dtype)
        write_json(output / "report.json", report)
        print(json.dumps(report))


if __name__ == "__main__":
    main()
