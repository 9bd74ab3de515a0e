"""Finds speech in several streams of sound at once, chunk by chunk. Uses the client `redisai`."""

import argparse

import numpy as np
import redisai

import sound

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, default=6379)
parser.add_argument("wav", nargs="*", help="16 kHz, one channel, 16 bits; two voices are made up if none is given")
arguments = parser.parse_args()
client = redisai.Client(host="127.0.0.1", port=arguments.port)

client.modelstore("vad", "ONNX", "CPU", sound.model())
client.tensorset("rate", np.array(sound.RATE, np.int64))


def begin(call):
    """A stream begins: its state is a tensor of zeros, under a key of its own."""
    client.tensorset(f"state:{call}", np.zeros((2, 1, 128), np.float32))
    client.delete(f"speech:{call}")


def probability_of_speech(call, chunk):
    """Runs the network on a chunk; what it remembers of the stream stays on the server."""
    state = f"state:{call}"
    dag = client.dag(load=[state, "rate"], persist=[state])
    dag.tensorset("chunk", chunk)
    dag.modelexecute("vad", ["chunk", state, "rate"], ["probability", state])
    dag.tensorget("probability")
    return dag.execute()[-1][0, 0]


streams = {call: sound.chunks(samples) for call, samples in sound.calls(arguments.wav).items()}
speaking = dict.fromkeys(streams, False)
for call in streams:
    begin(call)

seconds = 0.0
while streams:
    for call, stream in list(streams.items()):
        chunk = next(stream, None)
        if chunk is None:
            del streams[call]
            continue
        probability = probability_of_speech(call, chunk)
        # Two thresholds, so that one unclear chunk does not end a word.
        now = probability > (0.35 if speaking[call] else 0.5)
        if now != speaking[call]:
            client.xadd(f"speech:{call}", {"event": "begins" if now else "ends", "seconds": f"{seconds:.2f}"})
        speaking[call] = now
    seconds += sound.SECONDS_OF_A_CHUNK

for call in speaking:
    for _, event in client.xrange(f"speech:{call}"):
        print(f"{call}: speech {event[b'event'].decode()} at {event[b'seconds'].decode()} s")
