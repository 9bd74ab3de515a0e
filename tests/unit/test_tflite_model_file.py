"""What is looked at before the TFLite runtime gets a model."""

from __future__ import annotations

import random

import pytest

import damaged_lite_models as damaged
from backends.redisai_tflite import model_file


@pytest.mark.parametrize("name", damaged.GOOD)
def test_sound_models(name: str) -> None:
    model_file.check(damaged.GOOD[name]())


@pytest.mark.parametrize("name", damaged.DAMAGED)
def test_damaged_models(name: str) -> None:
    with pytest.raises(model_file.Unreadable):
        model_file.check(damaged.DAMAGED[name]())


@pytest.mark.parametrize("blob", [b"", b"\0" * 3, b"\0" * 100, b"\xff" * 100, b"no model"])
def test_blobs_that_are_none(blob: bytes) -> None:
    with pytest.raises(model_file.Unreadable):
        model_file.check(blob)


def test_every_beginning_of_a_model_is_refused() -> None:
    blob = damaged.sign()
    refused = 0
    for length in range(len(blob)):
        try:
            model_file.check(blob[:length])
        except model_file.Unreadable:
            refused += 1
    assert refused >= len(blob) - 8  # the last bytes may be padding


def test_a_changed_byte_is_never_anything_but_unreadable() -> None:
    chance = random.Random(7)
    models = [make() for make in damaged.GOOD.values()]
    for _ in range(3000):
        blob = bytearray(chance.choice(models))
        for _ in range(chance.choice((1, 1, 3))):
            blob[chance.randrange(len(blob))] = chance.choice((0, 1, 127, 128, 255, chance.randrange(256)))
        try:
            model_file.check(bytes(blob))
        except model_file.Unreadable:
            pass
