"""Finds speech in several streams of sound at once, chunk by chunk. Uses the plain client `redis`."""

import argparse

import numpy as np
import redis

import sound

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--port", type=int, default=6379)
parser.add_argument("wav", nargs="*", help="16 kHz, one channel, 16 bits; two voices are made up if none is given")
arguments = parser.parse_args()
client = redis.Redis(port=arguments.port)

client.execute_command("AI.MODELSTORE", "vad", "ONNX", "CPU", "BLOB", sound.model())
client.execute_command("AI.TENSORSET", "rate", "INT64", "VALUES", sound.RATE)


def begin(call):
    """A stream begins: its state is a tensor of zeros, under a key of its own."""
    client.execute_command("AI.TENSORSET", f"state:{call}", "FLOAT", 2, 1, 128)
    client.delete(f"speech:{call}")


def probability_of_speech(call, chunk):
    """Runs the network on a chunk; what it remembers of the stream stays on the server."""
    state = f"state:{call}"
    replies = client.execute_command(
        *("AI.DAGEXECUTE", "LOAD", 2, state, "rate", "PERSIST", 1, state),
        *("|>", "AI.TENSORSET", "chunk", "FLOAT", *chunk.shape, "BLOB", chunk.tobytes()),
        *("|>", "AI.MODELEXECUTE", "vad", "INPUTS", 3, "chunk", state, "rate", "OUTPUTS", 2, "probability", state),
        *("|>", "AI.TENSORGET", "probability", "BLOB"),
    )
    return np.frombuffer(replies[-1], np.float32)[0]


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
