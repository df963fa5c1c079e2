"""From MIDI to audio: the ``fluidsynth`` program plays, then the effects of a recording chain follow."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr

from .patterns import chance, pick, uniform
from .score import Song

__all__ = ["SAMPLE_RATE", "Chain", "apply_chain", "draw_chain", "play_midi", "render_song"]

SAMPLE_RATE = 24_000
SYNTH_RATE = 48_000  # the synthesiser aliases less here; soxr halves it
SYNTH_GAIN = 0.35
LOW_RATES = (8_000, 11_025, 16_000)


@dataclass(frozen=True)
class Chain:
    """What happens to a clip after the synthesiser.

    Attributes
    ----------
    peak_db : float
        Peak level of the result, dB below full scale.
    tilt_db : float
        Equaliser: gain in dB an octave, zero at 1 kHz.
    source_rate : int or None
        Rate in Hz the clip is reduced to on its way, as if it came from an old file; None for the full band.
    noise_db : float or None
        Level of the noise floor relative to the clip's RMS, in dB; None for no noise.
    noise_colour : float
        Slope of the noise: 0 is white, 1 pink.
    drive : float
        Saturation; 0 for none.
    echo : float
        Level of a second, synthetic reverberation; 0 for none.
    echo_seconds : float
        Its decay time.
    """

    peak_db: float
    tilt_db: float = 0.0
    source_rate: int | None = None
    noise_db: float | None = None
    noise_colour: float = 0.0
    drive: float = 0.0
    echo: float = 0.0
    echo_seconds: float = 1.0


def draw_chain(rng: np.random.Generator, *, unseen: bool) -> Chain:
    """Draw the effects of one clip. ``unseen`` adds what no training clip has: saturation, a second room, more noise."""
    chain = Chain(
        peak_db=uniform(rng, -20, -1),
        tilt_db=uniform(rng, -1.2, 1.0),
        source_rate=pick(rng, LOW_RATES) if chance(rng, 0.25) else None,
        noise_db=uniform(rng, -60, -36) if chance(rng, 0.6) else None,
        noise_colour=uniform(rng, 0, 1),
    )
    if not unseen:
        return chain
    return Chain(
        peak_db=chain.peak_db,
        tilt_db=uniform(rng, -1.6, 1.4),
        source_rate=chain.source_rate,
        noise_db=uniform(rng, -42, -24),
        noise_colour=chain.noise_colour,
        drive=uniform(rng, 0.5, 2.0) if chance(rng, 0.6) else 0.0,
        echo=uniform(rng, 0.1, 0.35) if chance(rng, 0.6) else 0.0,
        echo_seconds=uniform(rng, 0.4, 2.2),
    )


def play_midi(midi: bytes, sound_font: Path, *, room: float, wet: float) -> np.ndarray:
    """Play a MIDI file.

    Returns
    -------
    np.ndarray [shape=(samples,)], float32
        Mono at ``SAMPLE_RATE``.

    Raises
    ------
    RuntimeError
        If ``fluidsynth`` fails.
    """
    with tempfile.TemporaryDirectory(prefix="render_music_") as folder:
        score, wav = Path(folder, "song.mid"), Path(folder, "song.wav")
        score.write_bytes(midi)
        settings = {
            "synth.reverb.active": 1,
            "synth.reverb.room-size": round(room, 3),
            "synth.reverb.level": round(wet, 3),
            "synth.dynamic-sample-loading": 1,
            "synth.cpu-cores": 1,
        }
        options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
        command = [
            "fluidsynth", "-q", "-ni", "-g", str(SYNTH_GAIN), "-r", str(SYNTH_RATE), "-O", "float", "-T", "wav", "-F", str(wav),
            *options, str(sound_font), str(score),
        ]  # fmt: skip
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode or not wav.exists():
            raise RuntimeError(f"fluidsynth could not play a song with {sound_font}: {result.stderr.strip() or 'no output'}")
        stereo, _ = sf.read(wav, dtype="float32", always_2d=True)
    mono: np.ndarray = soxr.resample(stereo.mean(axis=1), SYNTH_RATE, SAMPLE_RATE).astype(np.float32)
    return mono


def apply_chain(samples: np.ndarray, chain: Chain, rng: np.random.Generator) -> np.ndarray:
    """Send a clip through a chain: (samples,) in, (samples,) out, peak at ``chain.peak_db``."""
    wave = samples / max(1e-9, float(np.abs(samples).max()))
    if chain.echo:
        wave = _echo(wave, chain, rng)
    if chain.drive:
        wave = np.tanh(wave * (1 + chain.drive)) / np.tanh(1 + chain.drive)
    wave = _tilt(wave, chain.tilt_db)
    if chain.source_rate is not None:
        low = soxr.resample(wave, SAMPLE_RATE, chain.source_rate)
        wave = soxr.resample(low, chain.source_rate, SAMPLE_RATE)
    if chain.noise_db is not None:
        floor = _noise(len(wave), chain.noise_colour, rng)
        wave = wave + floor * np.sqrt(np.mean(wave**2)) * 10 ** (chain.noise_db / 20)
    fade = min(len(wave) // 2, SAMPLE_RATE // 200)  # 5 ms, against a click at the cut
    wave[:fade] *= np.linspace(0, 1, fade)
    wave[len(wave) - fade :] *= np.linspace(1, 0, fade)
    peak: np.ndarray = wave * (10 ** (chain.peak_db / 20) / max(1e-9, float(np.abs(wave).max())))
    return peak.astype(np.float32)


def render_song(
    song: Song, midi: bytes, sound_font: Path, seconds: float, chain: Chain, rng: np.random.Generator
) -> np.ndarray:
    """Play a song, cut the clip out after the preroll and apply the effects: (seconds x SAMPLE_RATE,) float32."""
    length = round(seconds * SAMPLE_RATE)
    start = round(song.preroll_seconds * SAMPLE_RATE)
    clip = play_midi(midi, sound_font, room=song.room, wet=song.wet)[start : start + length]
    clip = np.pad(clip, (0, length - len(clip)))
    return apply_chain(clip.astype(np.float64), chain, rng)[:length]


def _tilt(wave: np.ndarray, decibels_an_octave: float) -> np.ndarray:
    spectrum = np.fft.rfft(wave)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(wave), 1 / SAMPLE_RATE), 40.0) / 1000)
    tilted: np.ndarray = np.fft.irfft(spectrum * 10 ** (decibels_an_octave * octaves / 20), len(wave))
    return tilted


def _noise(length: int, colour: float, rng: np.random.Generator) -> np.ndarray:
    """Noise of unit RMS whose power falls with frequency to the power ``colour``."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    frequency = np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE), 20.0)
    noise: np.ndarray = np.fft.irfft(spectrum * frequency ** (-colour / 2), length)
    noise /= np.sqrt(np.mean(noise**2))
    return noise


def _echo(wave: np.ndarray, chain: Chain, rng: np.random.Generator) -> np.ndarray:
    """Convolve with decaying noise: a room that the synthesiser does not have."""
    tail = round(chain.echo_seconds * SAMPLE_RATE)
    impulse = rng.standard_normal(tail) * 10 ** (-3 * np.arange(tail) / tail)
    impulse /= np.sqrt(np.sum(impulse**2))
    size = len(wave) + tail
    wet: np.ndarray = np.fft.irfft(np.fft.rfft(wave, size) * np.fft.rfft(impulse, size), size)[: len(wave)]
    wet *= chain.echo * np.sqrt(np.mean(wave**2)) / max(1e-9, float(np.sqrt(np.mean(wet**2))))
    wet += wave
    return wet
