"""Thin the reference numbers of the published implementation to what the tests compare.

    python tests/data/make_parity_fixture.py REFERENCE.safetensors tests/data/parity.safetensors

Inputs stay whole; of the outputs every `FRAME_STRIDE`-th frame and every `SAMPLE_STRIDE`-th sample is kept.
"""

import sys

from safetensors.torch import load_file, save_file

INPUTS = ("wav", "wav_lens", "noise", "sigma", "x_T")
FRAME_STRIDE, SAMPLE_STRIDE = 12, 40


def main(reference: str, output: str) -> None:
    thinned = {}
    for name, tensor in load_file(reference).items():
        if name not in INPUTS and tensor.ndim == 3:
            tensor = tensor[:, ::FRAME_STRIDE]
        elif name not in INPUTS and tensor.ndim == 2 and tensor.shape[1] > 1000:
            tensor = tensor[:, ::SAMPLE_STRIDE]
        thinned[name] = tensor.contiguous()
    save_file(thinned, output)


if __name__ == "__main__":
    main(*sys.argv[1:])
