"""Pre-train an EnCodecMAE: predict the codec's tokens of hidden frames from the visible ones.

    python examples/pretrain_encodecmae.py --data DIR --codec OUT1/codec --output OUT2 [--preset mini]

DIR is the folder of audio that the codec was trained on, or another; its labels are not used. OUT2/encodecmae is the result.
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
from pecmae.autoencoder.encodecmae import EncodecMAE
from pecmae.core.files import write_json
from pecmae.core.weights import save_weights, weights_key
from pecmae.training.codec_widening import Codec
from pecmae.training.encodecmae import MaskedTokenModel, MaskedTokenObjective
from pecmae.training.loop import evaluate, train
from pecmae.training.runs import start_from
from pecmae.training.segments import segment_batches
from pecmae.training.settings import TrainingSettings

PRESETS = {
    "toy": (
        {"dim": 16, "feed_forward_dim": 32, "num_layers": 1, "num_heads": 2},
        TrainingSettings(steps=4, batch_size=2, learning_rate=1e-3, betas=(0.9, 0.95), weight_decay=0.05),
    ),
    "mini": (
        {"dim": 192, "feed_forward_dim": 768, "num_layers": 5, "num_heads": 3},
        TrainingSettings(
            steps=2800, batch_size=48, learning_rate=1e-3, warmup_steps=100, final_fraction=0.02, betas=(0.9, 0.95),
            weight_decay=0.05, max_grad_norm=1.0, mixed_precision="bf16", checkpoint_every=100,
        ),
    ),
    "base": (
        {"dim": 768, "feed_forward_dim": 4096, "num_layers": 10, "num_heads": 12},
        TrainingSettings(
            steps=500_000, batch_size=128, learning_rate=1e-4, betas=(0.9, 0.95), weight_decay=0.05, schedule="constant",
            mixed_precision="bf16", checkpoint_every=5000,
        ),
    ),
}  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, checks=False)
    add_segment_arguments(parser)
    parser.add_argument("--start-from", metavar="RUN", help="begin with the weights of this run, the OUTPUT of an earlier one")
    add_training_arguments(parser, presets=PRESETS)
    args = parser.parse_args(argv)
    with ending_in_words(args.output):
        run(args)


def run(args: argparse.Namespace) -> None:
    """Cache features and tokens, train, measure, save."""
    sizes, defaults = PRESETS[args.preset]
    settings, output = training_settings(args, defaults), Path(args.output)

    accelerator = Accelerator(mixed_precision=settings.mixed_precision)
    codec = Codec.from_pretrained(args.codec).to(accelerator.device)
    files = collection_from_arguments(args).splits
    with accelerator.main_process_first():
        segments = training_segments(args, codec, files)
        data = {split: segment_batches(found, found.tokens(codec), settings.batch_size) for split, found in segments.items()}

    torch.manual_seed(settings.seed)
    encodecmae = EncodecMAE(feature_dim=codec.config.hidden_size, **sizes)
    books = {"num_codebooks": codec.config.num_quantizers, "codebook_size": codec.config.codebook_size}
    frame_rate = codec.config.sampling_rate / codec.config.hop_length
    objective = MaskedTokenObjective(MaskedTokenModel(encodecmae, num_decoder_layers=2, **books), frame_rate)
    description = {"stage": "encodecmae", "preset": args.preset, "data": segments["train"].key, "sizes": sizes}
    if args.start_from:
        description |= start_from(objective, Path(args.start_from))
    result = train(
        objective, data["train"], settings, output, description=description, stop_after=args.stop_after, progress=True,
        accelerator=accelerator,
    )  # fmt: skip
    if not accelerator.is_main_process:
        return
    report = {"step": result.step, **evaluate(objective, data["validation"], settings, 8, accelerator)}
    folder = output / "encodecmae"
    folder.mkdir(exist_ok=True)
    digest = save_weights(encodecmae, folder / "model.safetensors")
    config = {"format_version": 1, "feature_dim": codec.config.hidden_size, **sizes, "codec": weights_key(codec)}
    write_json(folder / "config.json", {**config, "sha256": {"model.safetensors": digest}})
    write_json(folder / "report.json", report)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
