"""Finds sentences by what they mean, with all vectors in Redis. Uses the plain client `redis`."""

import argparse
from pathlib import Path

import numpy as np
import redis

import sentence_encoder
import texts

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, default=6379)
client = redis.Redis(port=parser.parse_args().port)

client.execute_command("AI.MODELSTORE", "encoder", "TORCH", "CPU", "BLOB", sentence_encoder.traced())
source = Path(__file__).with_name("search.py").read_text()
client.execute_command("AI.SCRIPTSTORE", "search", "CPU", "ENTRY_POINTS", 1, "nearest", "SOURCE", source)


def tensorset(name, array):
    return "AI.TENSORSET", name, "INT64", *array.shape, "BLOB", array.tobytes()


# All sentences become one tensor of a row each; it is stored, and no sentence is encoded again.
client.delete("sentences")
client.rpush("sentences", *texts.SENTENCES)
ids, mask = sentence_encoder.tokenize(texts.SENTENCES)
client.execute_command(
    *("AI.DAGEXECUTE", "PERSIST", 1, "vectors"),
    *("|>", *tensorset("ids", ids)),
    *("|>", *tensorset("mask", mask)),
    *("|>", "AI.MODELEXECUTE", "encoder", "INPUTS", 2, "ids", "mask", "OUTPUTS", 1, "vectors"),
)


def search(question):
    """The nearest sentences and their cosines; in one round trip, of which only these come back."""
    ids, mask = sentence_encoder.tokenize([question])
    replies = client.execute_command(
        *("AI.DAGEXECUTE", "LOAD", 1, "vectors"),
        *("|>", *tensorset("ids", ids)),
        *("|>", *tensorset("mask", mask)),
        *("|>", "AI.MODELEXECUTE", "encoder", "INPUTS", 2, "ids", "mask", "OUTPUTS", 1, "question"),
        *("|>", "AI.SCRIPTEXECUTE", "search", "nearest"),
        *("INPUTS", 2, "vectors", "question", "ARGS", 1, 3, "OUTPUTS", 2, "cosines", "numbers"),
        *("|>", "AI.TENSORGET", "cosines", "BLOB"),
        *("|>", "AI.TENSORGET", "numbers", "BLOB"),
    )
    cosines, numbers = np.frombuffer(replies[-2], np.float32), np.frombuffer(replies[-1], np.int64)
    sentences = [client.lindex("sentences", int(number)).decode() for number in numbers]
    return list(zip(cosines, sentences, strict=True))


for question in texts.QUESTIONS:
    print(question)
    for cosine, sentence in search(question):
        print(f"  {cosine:.2f}  {sentence}")
