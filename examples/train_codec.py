"""Train a small EnCodec from random weights on a folder of audio.

    python examples/train_codec.py --data DIR --output OUT [--preset mini]

DIR holds LABEL/*.wav or train/LABEL/*.wav (labels are not used here). OUT/codec is the result, a transformers
`EncodecModel` whose features have zero mean and falling scales; OUT also holds the curves (history.json) and what continues
an interrupted run.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from transformers import EncodecConfig

from arguments import add_data_arguments, add_training_arguments, collection_from_arguments, training_settings
from endings import ending_in_words
from pecmae.core.files import write_json
from pecmae.core.weights import weights_key
from pecmae.data.waveforms import WaveformStore
from pecmae.training.codec import CodecObjective, codec_config, reset_codebooks
from pecmae.training.codec_calibration import (
    feature_statistics,
    match_level,
    reconstruction_report,
    scale_initial_weights,
    standardise_features,
)
from pecmae.training.codec_decoder import DecoderObjective, EncodecDecoder, EncodecEncoder
from pecmae.training.codec_widening import Codec, with_wider_decoder
from pecmae.training.loop import StepContext, train
from pecmae.training.settings import TrainingSettings

SEGMENT_SECONDS = 1.0
PRESETS: dict[str, tuple[EncodecConfig, TrainingSettings]] = {
    "toy": (
        codec_config(num_filters=2, hidden_size=8, upsampling_ratios=(4, 4, 5, 8), num_codebooks=2, codebook_size=16),
        TrainingSettings(steps=4, batch_size=2, learning_rate=1e-3, betas=(0.8, 0.99), max_grad_norm=1.0),
    ),
    "mini": (
        codec_config(num_filters=16, hidden_size=32, upsampling_ratios=(4, 4, 5, 8), num_codebooks=4, codebook_size=512),
        TrainingSettings(
            steps=4800, batch_size=16, learning_rate=8e-4, warmup_steps=50, final_fraction=0.02, betas=(0.8, 0.99),
            max_grad_norm=1.0, mixed_precision="bf16", checkpoint_every=250,
        ),
    ),
    "base": (
        codec_config(
            num_filters=32, hidden_size=128, upsampling_ratios=(8, 5, 4, 2), num_codebooks=32, codebook_size=1024,
            num_lstm_layers=2,
        ),
        TrainingSettings(
            steps=300_000, batch_size=64, learning_rate=3e-4, warmup_steps=1000, betas=(0.8, 0.99), max_grad_norm=1.0,
            mixed_precision="bf16", checkpoint_every=1000,
        ),
    ),
}  # fmt: skip
# Of --refine: the decoder against a critic. Two networks that learn from each other want small, even steps.
REFINEMENT = {
    "toy": TrainingSettings(steps=4, batch_size=2, learning_rate=2e-4, betas=(0.8, 0.99), ema_decay=0.9),
    "mini": TrainingSettings(
        steps=6000, batch_size=8, learning_rate=2e-4, warmup_steps=50, final_fraction=0.05, betas=(0.8, 0.99), ema_decay=0.999,
        mixed_precision="bf16", checkpoint_every=200,
    ),
    "base": TrainingSettings(
        steps=300_000, batch_size=64, learning_rate=2e-4, warmup_steps=1000, betas=(0.8, 0.99), ema_decay=0.9999,
        mixed_precision="bf16", checkpoint_every=1000,
    ),
}  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_data_arguments(parser, checks=False)
    parser.add_argument("--cache", help="where decoded audio is kept (default: OUTPUT/cache)")
    parser.add_argument(
        "--refine", metavar="CODEC", help="train the decoder of this codec further, against a critic; features stay"
    )
    parser.add_argument("--widen", action="store_true", help="with --refine: double the filters of the decoder first")
    add_training_arguments(parser, presets=PRESETS)
    args = parser.parse_args(argv)
    if args.widen and not args.refine:
        parser.error("--widen needs --refine CODEC, whose decoder it doubles.")
    with ending_in_words(args.output):
        run(args)


def run(args: argparse.Namespace) -> None:
    """Train, standardise the features, measure, save."""
    config, defaults = PRESETS[args.preset]
    if args.refine:
        defaults = REFINEMENT[args.preset]
    settings, output = training_settings(args, defaults), Path(args.output)

    files = collection_from_arguments(args).splits
    accelerator = Accelerator(mixed_precision=settings.mixed_precision)
    with accelerator.main_process_first():
        store = WaveformStore(files["train"], args.cache or output / "cache", config.sampling_rate, progress=True)
    length = round(SEGMENT_SECONDS * config.sampling_rate)

    def make_batch(context: StepContext) -> torch.Tensor:
        crops = store.random_crops(context.draws, settings.batch_size, length, context.rows)
        gain = 10 ** context.draws.uniform(-0.5, 0.15, settings.batch_size)[context.rows, None]  # -10 to +3 dB
        return torch.from_numpy((crops * gain).astype(np.float32)).to(context.device)

    torch.manual_seed(settings.seed)
    if args.refine:
        model = Codec.from_pretrained(args.refine)
        if args.widen:
            model = with_wider_decoder(model, torch.Generator().manual_seed(settings.seed))
        model.train()
    else:
        model = Codec(config)
        reset_codebooks(model)
        scale_initial_weights(model, torch.from_numpy(store.random_crops(np.random.default_rng(settings.seed), 16, length)))
    description = {"stage": "codec", "preset": args.preset, "data": store.key, "codec": model.config.to_dict()}
    if args.refine:
        description |= {"stage": "codec decoder", "refined": weights_key(model)}
    result = train(
        DecoderObjective(EncodecEncoder(model), EncodecDecoder(model), config.sampling_rate)
        if args.refine
        else CodecObjective(model),
        make_batch,
        settings,
        output,
        description=description,
        stop_after=args.stop_after,
        progress=True,
        accelerator=accelerator,
    )
    if accelerator.is_main_process:
        held_out = files.get("validation") or files["train"]
        check = WaveformStore(held_out, args.cache or output / "cache", config.sampling_rate)
        model.eval()
        if not args.refine:
            standardise_features(model, *feature_statistics(model, store))
        match_level(model, store)
        report = {"step": result.step, "hours": store.seconds / 3600, **reconstruction_report(model, check)}
        model.save_pretrained(output / "codec")
        write_json(output / "codec" / "report.json", report)
        print(report)


if __name__ == "__main__":
    main()
