"""A small network that reads handwritten digits, trained in seconds, as ONNX and as TorchScript."""

import io
import warnings

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

EPOCHS = 12


def images_and_labels():
    """Training images, test images, their labels: float32[n, 1, 8, 8] from 0 to 1, int64[n]."""
    digits = load_digits()
    images = (digits.images / 16).astype(np.float32)[:, None]
    return train_test_split(images, digits.target, test_size=0.2, random_state=0)


def train(images, labels):
    """A network that makes ten probabilities of each image."""
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * 4 * 4, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(layers.parameters(), lr=0.003)
    images, labels = torch.from_numpy(images), torch.from_numpy(labels)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(128):
            optimizer.zero_grad()
            nn.functional.cross_entropy(layers(images[batch]), labels[batch]).backward()
            optimizer.step()
    return nn.Sequential(layers, nn.Softmax(1)).eval()


def as_onnx(network):
    """The bytes of an ONNX file, for any number of images."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (torch.zeros(1, 1, 8, 8),),
            file,
            input_names=["images"],
            output_names=["probabilities"],
            dynamic_axes={"images": {0: "n"}, "probabilities": {0: "n"}},
            dynamo=False,
        )
    return file.getvalue()


def as_torchscript(network):
    """The bytes of a TorchScript archive."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(network, torch.zeros(1, 1, 8, 8)), file)
    return file.getvalue()
