"""A flow file of the tests: one flow for each thing that tests/flow/test_flows.py wants to see."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import redisAI

# ---- replies, and what is no reply ---------------------------------------------------


@redisAI.flow("reply")
def reply(kind):
    values = {
        "text": "h\u00e9llo",
        "bytes": b"\x00\xff",
        "integer": -(2**62),
        "large": 2**70,
        "float": 2.5,
        "nil": None,
        "true": True,
        "list": [1, "two", [3.5, None], (4,)],
        "map": {"a": 1, "b": [True]},
        "tensor": redisAI.createTensorFromValues("INT16", [2, 1], [7, -8]),
        "array": np.array([[1, 2], [3, 4]]),
        "number": np.float32(0.5),
        "exception": redisAI.GearsError("CODE of its own"),
        "object": object(),
        "deep": None,
    }
    for _ in range(100):
        values["deep"] = [values["deep"]]
    return values[kind]


@redisAI.flow("echo")
async def echo(*words):
    return list(words)


@redisAI.flow("fail")
def fail(kind):
    if kind == "value":
        raise ValueError("a text\nof two lines")
    if kind == "redis":
        redisAI.execute("INCR", "a list")
    if kind == "exit":
        raise SystemExit("out")
    deeper()


def deeper():
    raise RuntimeError


@redisAI.flow("exit")
async def leave():
    raise SystemExit("out")


# ---- time ------------------------------------------------------------------------------


@redisAI.flow("spin")
def spin(seconds):
    """Pure Python, and nothing but."""
    end = time.monotonic() + float(seconds)
    turns = 0
    while time.monotonic() < end:
        turns += 1
    return turns


@redisAI.flow("nap")
def nap(seconds):
    """A thread that does nothing."""
    time.sleep(float(seconds))


@redisAI.flow("sleep")
async def sleep(seconds):
    try:
        await asyncio.sleep(float(seconds))
    except asyncio.CancelledError:
        redisAI.log("sleep was cancelled")
        raise
    return "slept"


# ---- keys -------------------------------------------------------------------------------


@redisAI.flow("execute")
def execute(*words):
    return redisAI.execute(*words)


@redisAI.flow("raw")
def raw(*words):
    return redisAI.execute(*words, raw=True)


@redisAI.flow("copy")
def copy(source, target):
    redisAI.setTensorInKey(target, redisAI.getTensorFromKey(source))


@redisAI.flow("copy many")
def copy_many(*keys):
    tensors = redisAI.mgetTensorsFromKeyspace(keys)
    redisAI.msetTensorsInKeyspace({f"copy:{key}": tensor for key, tensor in zip(keys, tensors, strict=True)})
    return len(tensors)


# ---- models, scripts, DAGs ---------------------------------------------------------------


@redisAI.flow("model")
async def model(key, *inputs):
    runner = redisAI.createModelRunner(key)
    for number, tensor in enumerate(redisAI.mgetTensorsFromKeyspace(inputs)):
        redisAI.modelRunnerAddInput(runner, f"input {number}", tensor)
    redisAI.modelRunnerAddOutput(runner, "output")
    (output,) = await redisAI.modelRunnerRunAsync(runner)
    return output


@redisAI.flow("model in place")
def model_in_place(key, *inputs):
    runner = redisAI.createModelRunner(key)
    for tensor in redisAI.mgetTensorsFromKeyspace(inputs):
        redisAI.modelRunnerAddInput(runner, tensor, "the documented order")
    redisAI.modelRunnerAddOutput(runner, "output")
    return redisAI.modelRunnerRun(runner)


@redisAI.flow("script")
async def script(key, function, *inputs):
    runner = redisAI.createScriptRunner(key, function)
    tensors = redisAI.mgetTensorsFromKeyspace(inputs)
    redisAI.scriptRunnerAddInput(runner, tensors[0])
    redisAI.scriptRunnerAddInputList(runner, tensors[1:])
    redisAI.scriptRunnerAddOutput(runner)
    return await redisAI.scriptRunnerRunAsync(runner)


@redisAI.flow("script in place")
def script_in_place(key, function, first):
    runner = redisAI.createScriptRunner(key, function)
    redisAI.scriptRunnerAddInput(runner, redisAI.getTensorFromKey(first), "the documented order")
    redisAI.scriptRunnerAddOutput(runner, "output")
    return redisAI.scriptRunnerRun(runner)


@redisAI.flow("dag")
async def dag(model, script, source):
    """2 * (x * x), and x."""
    x = redisAI.getTensorFromKey(source)
    runner = redisAI.createDAGRunner()
    runner.Input("x", x).TensorSet(x, "y")
    runner.ModelRun(name=model, inputs=["x", "y"], outputs=["product"])
    runner.ScriptRun(name=script, func="double", inputs=["product"], outputs=["product"])
    runner.TensorGet("product").TensorGet("x")
    return await runner.Run()


@redisAI.flow("dag in words")
async def dag_in_words(words):
    return await redisAI.createDAGRunner().OpsFromString(words).Run()


@redisAI.flow("many")
async def many(key, source, count):
    """Runs at once, so that they are batched."""
    x = redisAI.getTensorFromKey(source)

    def start():
        runner = redisAI.createModelRunner(key)
        redisAI.modelRunnerAddInput(runner, "x", x)
        redisAI.modelRunnerAddOutput(runner, "y")
        return redisAI.modelRunnerRunAsync(runner)

    outputs = await asyncio.gather(*[start() for _ in range(int(count))])
    return [redisAI.tensorToFlatList(output) for (output,) in outputs]


# ---- events and streams ---------------------------------------------------------------------


@redisAI.on_event("user:[0-9]*")
def changed(event):
    redisAI.execute("RPUSH", "changes", f"{event.event} {event.key} {event.database}")


@redisAI.on_event("counted:*", event="incrby", at_once=3)
async def counted(event):
    await asyncio.sleep(0.01)
    redisAI.execute("RPUSH", "counts", event.key)


@redisAI.on_event("image:*", event="tensorset")
def stored(event):
    redisAI.setTensorInKey(f"seen:{event.key}", redisAI.getTensorFromKey(event.key))


@redisAI.on_event("broken:*")
def broken(event):
    raise ValueError(event.key)


@redisAI.on_stream("orders:*", batch=4)
def orders(entries):
    ids = [entry.fields["n"] for entry in entries]
    redisAI.execute("RPUSH", "batches", f"{entries[0].key}/{entries[0].database}: " + " ".join(ids))


@redisAI.on_stream("bad", name="skips")
def skips(entries):
    if entries[0].fields["n"] == "1":
        raise ValueError("the first")
    redisAI.execute("RPUSH", "after", entries[0].fields["n"])


@redisAI.on_stream("bad", name="tries again", retry=0.01)
def tries_again(entries):
    if redisAI.execute("INCR", "tries") < 4:
        raise ValueError("not yet")
    redisAI.execute("RPUSH", "tried", entries[0].fields["n"])
