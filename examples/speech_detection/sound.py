"""Sound for the detector: a WAV file, or a voice made of vowels; and how silero-vad wants to have it."""

import importlib.util
import wave
from pathlib import Path

import numpy as np

RATE = 16_000
CHUNK = 512
CONTEXT = 64
"""Samples: a chunk is 32 ms, and the network gets the end of the chunk before it, too."""

SECONDS_OF_A_CHUNK = CHUNK / RATE

FORMANTS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
BANDWIDTHS = (60, 90, 150)


def model():
    """The ONNX file that the package silero-vad brings; importing the package would import PyTorch."""
    package = Path(importlib.util.find_spec("silero_vad").origin).parent
    return (package / "data" / "silero_vad.onnx").read_bytes()


def read(path):
    """float32 samples from -1 to 1 of a WAV file: 16 kHz, one channel, 16 bits."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            raise ValueError(f"{path}: 16 kHz, one channel and 16 bits are needed")
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


def chunks(samples):
    """What the network gets, one after another: float32[1, CONTEXT + CHUNK]."""
    padded = np.concatenate([np.zeros(CONTEXT, np.float32), samples])
    for start in range(0, len(samples) - CHUNK + 1, CHUNK):
        yield padded[None, start : start + CONTEXT + CHUNK]


# ---- a voice, for those who have no WAV file at hand --------------------------------------


def silence(seconds):
    return np.zeros(int(seconds * RATE))


def resonate(sound, frequency, bandwidth):
    """A resonance of the vocal tract."""
    radius = np.exp(-np.pi * bandwidth / RATE)
    first, second = 2 * radius * np.cos(2 * np.pi * frequency / RATE), -radius * radius
    result = np.zeros_like(sound)
    last = before_last = 0.0
    for i, value in enumerate(sound):
        result[i] = (1 - first - second) * value + first * last + second * before_last
        last, before_last = result[i], last
    return result


def syllable(vowel, pitch, noise):
    """A breath of noise, and a vowel: pulses of the vocal cords through three resonances."""
    consonant = 0.02 * np.diff(noise.standard_normal(RATE // 20), prepend=0)
    time = np.arange(int(0.16 * RATE)) / RATE
    phase = np.cumsum(pitch * (1 + 0.08 * np.sin(2 * np.pi * 2.5 * time))) / RATE
    sound = np.diff(np.floor(phase), prepend=0) + 0.01 * noise.standard_normal(len(time))
    for frequency, bandwidth in zip(FORMANTS[vowel], BANDWIDTHS, strict=True):
        sound = resonate(sound, frequency, bandwidth)
    sound = np.diff(sound, prepend=0) * np.minimum(1, np.minimum(time, time[-1] - time) / 0.03)
    return np.concatenate([consonant, sound, silence(0.06)])


def speak(vowels, pitch, pauses):
    """Says the vowels once in each gap between pauses, which are given in seconds; float32 samples."""
    noise = np.random.default_rng(0)
    said = np.concatenate([syllable(vowel, pitch, noise) for vowel in vowels])
    said *= 0.4 / np.abs(said).max()
    parts = [silence(pauses[0])]
    for pause in pauses[1:]:
        parts += [said, silence(pause)]
    sound = np.concatenate(parts)
    return (sound + 0.001 * noise.standard_normal(len(sound))).astype(np.float32)


def calls(wav_files):
    """The sound of each call, by name."""
    if wav_files:
        return {Path(path).stem: read(path) for path in wav_files}
    return {
        "anna": speak("aiueoai", pitch=210, pauses=(1.0, 1.0, 0.5)),
        "bob": speak("oaeui", pitch=120, pauses=(0.5, 1.5, 0.8, 0.5)),
    }
