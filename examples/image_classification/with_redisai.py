"""Stores the network twice, as ONNX and as TorchScript, and has both classify images. Uses the client `redisai`."""

import argparse

import redisai

import network

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, default=6379)
client = redisai.Client(host="127.0.0.1", port=parser.parse_args().port)

train_images, test_images, train_labels, test_labels = network.images_and_labels()
trained = network.train(train_images, train_labels)

# batch lets the server run the images of several clients together.
client.modelstore("digits:onnx", "ONNX", "CPU", network.as_onnx(trained), tag="v1", batch=64)
client.modelstore("digits:torch", "TORCH", "CPU", network.as_torchscript(trained))

client.tensorset("images", test_images)

for key in ("digits:onnx", "digits:torch"):
    client.modelexecute(key, ["images"], ["probabilities"])
    accuracy = (client.tensorget("probabilities").argmax(1) == test_labels).mean()
    print(f"{key}: {len(test_labels)} images, {accuracy:.1%} right")
