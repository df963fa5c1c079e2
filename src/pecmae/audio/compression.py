"""Sound small enough for a page or a notebook: compressed in memory."""

import base64
import io

import numpy as np
import soundfile

from pecmae.audio.level import for_playing

# Every browser plays MP3; Opus is smaller, but older iPhones and Safari don't play it. 56 kbit/s at 24 kHz.
_MP3 = {
    "format": "MP3",
    "subtype": "MPEG_LAYER_III",
    "bitrate_mode": "CONSTANT",
    "compression_level": 0.7,
}

_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)

_VORBIS = {"format": "OGG", "subtype": "VORBIS", "compression_level": 0.7}


class CompressedSound:
    """Compressed sound that grows in memory; closing it completes it."""

    def __init__(self, sampling_rate: int) -> None:
        self._buffer = io.BytesIO()
        options = _MP3 if sampling_rate in _MP3_RATES else _VORBIS
        self.media_type = "audio/mpeg" if sampling_rate in _MP3_RATES else "audio/ogg"
        self._file = soundfile.SoundFile(self._buffer, "w", samplerate=sampling_rate, channels=1, **options)

    def write(self, samples: np.ndarray) -> None:
        """Append `samples` [shape=(N,)]; what lies beyond ±1 is clipped."""
        self._file.write(np.clip(samples, -1, 1))

    def close(self) -> bytes:
        """Return the whole."""
        self._file.close()
        return self._buffer.getvalue()


def compressed(samples: np.ndarray, sampling_rate: int) -> dict[str, str]:
    """Return `samples` [shape=(N,)], at the level at which all is played, as {"type": media type, "data": base64}."""
    sound = CompressedSound(sampling_rate)
    sound.write(for_playing(samples, sampling_rate))
    return encoded(sound)


def encoded(sound: CompressedSound) -> dict[str, str]:
    """Complete `sound` and return it as {"type": media type, "data": base64}."""
    return {"type": sound.media_type, "data": base64.b64encode(sound.close()).decode()}
