"""Finds sentences by what they mean, with all vectors in Redis. Uses the client `redisai`."""

import argparse
from pathlib import Path

import redisai

import sentence_encoder
import texts

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, default=6379)
client = redisai.Client(host="127.0.0.1", port=parser.parse_args().port)

client.modelstore("encoder", "TORCH", "CPU", sentence_encoder.traced())
client.scriptstore("search", "CPU", Path(__file__).with_name("search.py").read_text(), ["nearest"])

# All sentences become one tensor of a row each; it is stored, and no sentence is encoded again.
client.delete("sentences")
client.rpush("sentences", *texts.SENTENCES)
ids, mask = sentence_encoder.tokenize(texts.SENTENCES)
dag = client.dag(persist=["vectors"])
dag.tensorset("ids", ids)
dag.tensorset("mask", mask)
dag.modelexecute("encoder", ["ids", "mask"], ["vectors"])
dag.execute()


def search(question):
    """The nearest sentences and their cosines; in one round trip, of which only these come back."""
    ids, mask = sentence_encoder.tokenize([question])
    dag = client.dag(load=["vectors"])
    dag.tensorset("ids", ids)
    dag.tensorset("mask", mask)
    dag.modelexecute("encoder", ["ids", "mask"], ["question"])
    dag.scriptexecute("search", "nearest", inputs=["vectors", "question"], args=["3"], outputs=["cosines", "numbers"])
    dag.tensorget("cosines")
    dag.tensorget("numbers")
    *_, cosines, numbers = dag.execute()
    sentences = [client.lindex("sentences", int(number)).decode() for number in numbers]
    return list(zip(cosines, sentences, strict=True))


for question in texts.QUESTIONS:
    print(question)
    for cosine, sentence in search(question):
        print(f"  {cosine:.2f}  {sentence}")
