"""RedisAI, as flow files use it: ``import redisAI``. docs/flows.md is the guide.

The functions in camel case are those of the module redisAI of RedisGears 1.2, with its argument orders and error
texts; their arguments are positional. Errors are raised as GearsError. Those below are ours: they register flows, and
run commands.
"""

from __future__ import annotations

from redisai_py.flows.errors import GearsError
from redisai_py.flows.loop import Event
from redisai_py.flows.streams import Entry

from .dags import PyDAGRunner, createDAGRunner
from .runners import (
    PyGraphRunner,
    PyTorchScriptRunner,
    createModelRunner,
    createScriptRunner,
    modelRunnerAddInput,
    modelRunnerAddOutput,
    modelRunnerRun,
    modelRunnerRunAsync,
    scriptRunnerAddInput,
    scriptRunnerAddInputList,
    scriptRunnerAddOutput,
    scriptRunnerRun,
    scriptRunnerRunAsync,
)
from .tensors import (
    PyTensor,
    createTensorFromArray,
    createTensorFromBlob,
    createTensorFromValues,
    getTensorFromKey,
    mgetTensorsFromKeyspace,
    msetTensorsInKeyspace,
    setTensorInKey,
    tensorGetDataAsBlob,
    tensorGetDims,
    tensorToFlatList,
)
from .triggers import execute, flow, log, on_event, on_stream

__all__ = [
    "Entry",
    "Event",
    "GearsError",
    "PyDAGRunner",
    "PyGraphRunner",
    "PyTensor",
    "PyTorchScriptRunner",
    "createDAGRunner",
    "createModelRunner",
    "createScriptRunner",
    "createTensorFromArray",
    "createTensorFromBlob",
    "createTensorFromValues",
    "execute",
    "flow",
    "getTensorFromKey",
    "log",
    "mgetTensorsFromKeyspace",
    "modelRunnerAddInput",
    "modelRunnerAddOutput",
    "modelRunnerRun",
    "modelRunnerRunAsync",
    "msetTensorsInKeyspace",
    "on_event",
    "on_stream",
    "scriptRunnerAddInput",
    "scriptRunnerAddInputList",
    "scriptRunnerAddOutput",
    "scriptRunnerRun",
    "scriptRunnerRunAsync",
    "setTensorInKey",
    "tensorGetDataAsBlob",
    "tensorGetDims",
    "tensorToFlatList",
]
