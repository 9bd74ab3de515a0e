"""Stores the network twice, as ONNX and as TorchScript, and has both classify images. Uses the plain client `redis`."""

import argparse

import numpy as np
import redis

import network

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, default=6379)
client = redis.Redis(port=parser.parse_args().port)

train_images, test_images, train_labels, test_labels = network.images_and_labels()
trained = network.train(train_images, train_labels)

# BATCHSIZE lets the server run the images of several clients together.
store = ("AI.MODELSTORE", "digits:onnx", "ONNX", "CPU", "TAG", "v1", "BATCHSIZE", 64, "BLOB")
client.execute_command(*store, network.as_onnx(trained))
client.execute_command("AI.MODELSTORE", "digits:torch", "TORCH", "CPU", "BLOB", network.as_torchscript(trained))

# A tensor is its dtype, its shape and its bytes.
client.execute_command("AI.TENSORSET", "images", "FLOAT", *test_images.shape, "BLOB", test_images.tobytes())

for key in ("digits:onnx", "digits:torch"):
    client.execute_command("AI.MODELEXECUTE", key, "INPUTS", 1, "images", "OUTPUTS", 1, "probabilities")
    reply = client.execute_command("AI.TENSORGET", "probabilities", "META", "BLOB")
    fields = dict(zip(reply[::2], reply[1::2], strict=True))
    probabilities = np.frombuffer(fields[b"blob"], np.float32).reshape(fields[b"shape"])
    accuracy = (probabilities.argmax(1) == test_labels).mean()
    print(f"{key}: {len(test_labels)} images, {accuracy:.1%} right")
