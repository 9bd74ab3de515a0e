"""Every error text of redisAI: ``AI.FLOW "gears errors"`` replies with [what was tried, what was raised] pairs."""

from __future__ import annotations

import redisAI
from redisgears import GearsError

T = redisAI


def tensor():
    return T.createTensorFromValues("FLOAT", [1], [1.0])


def used_up(runner):
    """A runner that was run, and failed or not."""
    try:
        T.modelRunnerRun(runner)
    except GearsError:
        pass
    return runner


def attempts():
    model, script = T.createModelRunner("m"), T.createScriptRunner("s", "double")
    text, dag = "x", T.createDAGRunner
    yield T.createTensorFromValues, ("FLOAT", [1])
    yield T.createTensorFromValues, (1, [1], [1.0])
    yield T.createTensorFromValues, ("FLOAT", 1, [1.0])
    yield T.createTensorFromValues, ("FLOAT", ["1"], [1.0])
    yield T.createTensorFromValues, ("REAL", [1], [1.0])
    yield T.createTensorFromValues, ("FLOAT", [1], 1.0)
    yield T.createTensorFromValues, ("FLOAT", [1], ["1"])
    yield T.createTensorFromValues, ("FLOAT", [2], [1.0])
    yield T.createTensorFromValues, ("INT8", [1], [300])
    yield T.createTensorFromBlob, ("FLOAT", [1])
    yield T.createTensorFromBlob, (1, [1], b"1234")
    yield T.createTensorFromBlob, ("FLOAT", 1, b"1234")
    yield T.createTensorFromBlob, ("FLOAT", [1.5], b"1234")
    yield T.createTensorFromBlob, ("REAL", [1], b"1234")
    yield T.createTensorFromBlob, ("FLOAT", [1], "1234")
    yield T.createTensorFromBlob, ("FLOAT", [1], b"12345")
    yield T.createTensorFromBlob, ("BOOL", [1], b"\x02")
    yield T.setTensorInKey, ("k",)
    yield T.setTensorInKey, (1, tensor())
    yield T.setTensorInKey, ("k", 1)
    yield T.setTensorInKey, ("string", tensor())
    yield T.msetTensorsInKeyspace, ()
    yield T.msetTensorsInKeyspace, ([],)
    yield T.msetTensorsInKeyspace, ({1: tensor()},)
    yield T.msetTensorsInKeyspace, ({"k": 1},)
    yield T.msetTensorsInKeyspace, ({"fresh": tensor(), "string": tensor()},)
    yield T.getTensorFromKey, ()
    yield T.getTensorFromKey, (1,)
    yield T.getTensorFromKey, ("absent",)
    yield T.getTensorFromKey, ("string",)
    yield T.mgetTensorsFromKeyspace, ()
    yield T.mgetTensorsFromKeyspace, (1,)
    yield T.mgetTensorsFromKeyspace, (["a", "absent"],)
    yield T.tensorToFlatList, ()
    yield T.tensorToFlatList, (1,)
    yield T.tensorToFlatList, (T.createTensorFromValues("STRING", [1], ["x"]),)
    yield T.tensorGetDataAsBlob, ()
    yield T.tensorGetDims, ()
    yield T.createModelRunner, ()
    yield T.createModelRunner, (1,)
    yield T.createModelRunner, ("absent",)
    yield T.createModelRunner, ("a",)
    yield T.modelRunnerAddInput, (model, "x")
    yield T.modelRunnerAddInput, (1, "x", tensor())
    yield T.modelRunnerAddInput, (used_up(T.createModelRunner("m")), "x", tensor())
    yield T.modelRunnerAddInput, (model, 1, tensor())
    yield T.modelRunnerAddInput, (model, "x", 1)
    yield T.modelRunnerAddOutput, (model,)
    yield T.modelRunnerAddOutput, (model, 1)
    yield T.modelRunnerRun, ()
    yield T.modelRunnerRun, (model,)
    yield T.modelRunnerRun, (model,)
    yield T.modelRunnerRunAsync, ()
    yield T.createScriptRunner, ("s",)
    yield T.createScriptRunner, (1, "double")
    yield T.createScriptRunner, ("s", 1)
    yield T.createScriptRunner, ("m", "double")
    yield T.scriptRunnerAddInput, (script,)
    yield T.scriptRunnerAddInput, (model, tensor())
    yield T.scriptRunnerAddInput, (script, 1)
    yield T.scriptRunnerAddInputList, (script,)
    yield T.scriptRunnerAddInputList, (script, 1)
    yield T.scriptRunnerAddOutput, ()
    yield T.scriptRunnerRun, (T.createScriptRunner("s", "absent"),)
    yield dag().Input, ("x",)
    yield dag().Input, (1, tensor())
    yield dag().Input, ("x", 1)
    yield dag().TensorSet, ("x",)
    yield dag().TensorGet, ()
    yield dag().TensorGet, (1,)
    yield dag().OpsFromString, ()
    yield dag().OpsFromString, (1,)
    yield dag().OpsFromString, (text,)
    yield dag().OpsFromString, ("|> AI.MODELEXECUTE absent INPUTS 1 x OUTPUTS 1 y",)
    yield dag().Run, ()
    yield dag().TensorGet("x").Run, ()


def keyword_attempts():
    dag = T.createDAGRunner
    yield dag().ModelRun, {}
    yield dag().ModelRun, {"name": 1}
    yield dag().ModelRun, {"name": "absent"}
    yield dag().ModelRun, {"name": "m"}
    yield dag().ModelRun, {"name": "m", "inputs": 1, "outputs": ["c"]}
    yield dag().ModelRun, {"name": "m", "inputs": [1], "outputs": ["c"]}
    yield dag().ModelRun, {"name": "m", "inputs": ["a", "b"]}
    yield dag().ModelRun, {"name": "m", "inputs": ["a", "b"], "outputs": 1}
    yield dag().ModelRun, {"name": "m", "inputs": ["a", "b"], "outputs": [1]}
    yield dag().ModelRun, {"name": "m", "inputs": ["a"], "outputs": ["c"]}
    yield dag().ModelRun, {"name": "m", "inputs": ["a", "b"], "outputs": ["c", "d"]}
    yield dag().ScriptRun, {}
    yield dag().ScriptRun, {"name": 1}
    yield dag().ScriptRun, {"name": "s"}
    yield dag().ScriptRun, {"name": "s", "func": 1}
    yield dag().ScriptRun, {"name": "absent", "func": "double"}
    yield dag().ScriptRun, {"name": "s", "func": "double", "inputs": 1}
    yield dag().ScriptRun, {"name": "s", "func": "double", "outputs": 1}


@redisAI.flow("gears errors")
def gears_errors():
    tries = [(function, arguments, {}) for function, arguments in attempts()]
    tries += [(function, (), keywords) for function, keywords in keyword_attempts()]
    texts = []
    for function, arguments, keywords in tries:
        try:
            function(*arguments, **keywords)
            texts.append("nothing was raised")
        except GearsError as error:
            texts.append(f"{type(error).__name__}: {error}")
    return texts


@redisAI.flow("gears values")
async def gears_values():
    """Things that work, as [name, value] pairs."""
    flat, make = redisAI.tensorToFlatList, redisAI.createTensorFromValues
    runner, dag = redisAI.createModelRunner("m"), redisAI.createDAGRunner()
    dag.TensorSet("x", tensor()).TensorGet("x")
    (output,) = await dag.Run()
    try:
        dag.TensorGet("x")
    except GearsError as error:
        used = str(error)
    blob = bytearray(b"\x01\x00\x02\x00\x03\x00\x04\x00")
    try:
        await redisAI.createDAGRunner().ScriptRun(name="s", func="no_func").Run()
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    return {
        "floats": flat(make("DOUBLE", (2,), (1.5, -2.0))),
        "integers": flat(make("INT32", [3], [1.0, 2.9, -3])),
        "booleans": flat(make("BOOL", [3], [0.0, 1, True])),
        "halves": flat(make("FLOAT16", [2], [1.5, -2.0])) + flat(make("BFLOAT16", [2], [1.5, -2.0])),
        "large": flat(make("UINT64", [1], [2**63])),
        "scalar": flat(make("FLOAT", [], [4.0])),
        "strings": bytes(redisAI.tensorGetDataAsBlob(make("STRING", [2], ["a", b"b"]))),
        "blob": flat(redisAI.createTensorFromBlob("UINT16", [2, 2], blob)),
        "strided": flat(redisAI.createTensorFromBlob("UINT8", [4], memoryview(blob)[::2])),
        "dims": redisAI.tensorGetDims(redisAI.createTensorFromBlob("INT16", [2, 2], blob)),
        "data": bytes(redisAI.tensorGetDataAsBlob(make("INT8", [2], [1.0, 2.0]))),
        "text of a tensor": str(make("FLOAT", [2], [1.0, 2.0])),
        "texts of runners": [str(runner), str(redisAI.createScriptRunner("s", "double")), str(dag)],
        "added": [
            redisAI.modelRunnerAddInput(runner, "a", tensor()),
            redisAI.modelRunnerAddInput(runner, tensor(), "a"),
            redisAI.modelRunnerAddOutput(runner, "c"),
        ],
        "output of a dag": flat(output),
        "a dag that was run": used,
        "a dag that failed": failure,
        "the exception": f"{GearsError.__module__}.{GearsError.__name__}",
    }
