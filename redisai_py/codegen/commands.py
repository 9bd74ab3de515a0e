"""The command table: one row per ``AI.*`` command.

Everything that is said about a command is said here once; the registration
with redis-server is generated from it, and COMMAND DOCS and the reference page
will be. The flags and key positions are those of RedisAI, since clients and
proxies read them from COMMAND INFO. All commands are registered with arity -1:
RedisAI checks argument counts inside the command, and so do we.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """One command as redis-server sees it.

    ``handler`` names the function of ``redisai_py.eventloop`` that serves it.
    ``keys`` is (first, last, step) as in COMMAND INFO; (0, 0, 0) has no keys.
    """

    name: str
    handler: str
    flags: tuple[str, ...]
    keys: tuple[int, int, int]
    summary: str
    syntax: str


NO_KEYS = (0, 0, 0)
FIRST_KEY = (1, 1, 1)

WRITE_OOM = ("write", "deny-oom")
READ = ("readonly",)

COMMANDS = (
    Command(
        "ai.tensorset",
        "tensorset",
        WRITE_OOM,
        FIRST_KEY,
        "Stores a tensor as the value of a key.",
        "key dtype [dim ...] [BLOB data | VALUES value [value ...]]",
    ),
    Command(
        "ai.tensorget",
        "tensorget",
        READ,
        FIRST_KEY,
        "Returns a tensor's dtype, shape and data.",
        "key [META] [BLOB | VALUES]",
    ),
    Command(
        "ai.modelstore",
        "modelstore",
        WRITE_OOM,
        FIRST_KEY,
        "Loads a model and stores it as the value of a key.",
        "key backend device [TAG tag] [BATCHSIZE n [MINBATCHSIZE m [MINBATCHTIMEOUT t]]] "
        "[INPUTS n name [name ...] OUTPUTS n name [name ...]] BLOB chunk [chunk ...]",
    ),
    Command(
        "ai.modelset",
        "modelset",
        WRITE_OOM,
        FIRST_KEY,
        "Deprecated: use AI.MODELSTORE.",
        "key backend device [TAG tag] [BATCHSIZE n [MINBATCHSIZE m [MINBATCHTIMEOUT t]]] "
        "[INPUTS name [name ...]] [OUTPUTS name [name ...]] BLOB chunk [chunk ...]",
    ),
    Command(
        "ai.modelget", "modelget", READ, FIRST_KEY, "Returns a model's properties and its blob.", "key [META] [BLOB]"
    ),
    Command("ai.modeldel", "modeldel", ("write",), FIRST_KEY, "Deletes a model.", "key"),
    Command(
        "ai.modelexecute",
        "modelexecute",
        (*WRITE_OOM, "getkeys-api"),
        (4, 4, 1),
        "Runs a model on tensors and stores its outputs.",
        "key INPUTS n input [input ...] OUTPUTS m output [output ...] [TIMEOUT t]",
    ),
    Command(
        "ai.modelrun",
        "modelrun",
        (*WRITE_OOM, "getkeys-api"),
        (3, 3, 1),
        "Deprecated: use AI.MODELEXECUTE.",
        "key [TIMEOUT t] INPUTS input [input ...] OUTPUTS output [output ...]",
    ),
    Command("ai._modelscan", "modelscan", READ, NO_KEYS, "Lists the keys and tags of all models.", ""),
    Command(
        "ai.scriptstore",
        "scriptstore",
        WRITE_OOM,
        FIRST_KEY,
        "Compiles a TorchScript script and stores it as the value of a key.",
        "key device [TAG tag] ENTRY_POINTS n function [function ...] SOURCE source",
    ),
    Command(
        "ai.scriptset",
        "scriptset",
        WRITE_OOM,
        FIRST_KEY,
        "Stores a script without entry points (deprecated: AI.SCRIPTSTORE).",
        "key device [TAG tag] SOURCE source",
    ),
    Command(
        "ai.scriptget",
        "scriptget",
        READ,
        FIRST_KEY,
        "Returns a script's properties and its source.",
        "key [META] [SOURCE]",
    ),
    Command("ai.scriptdel", "scriptdel", ("write",), FIRST_KEY, "Deletes a script.", "key"),
    Command(
        "ai.scriptexecute",
        "scriptexecute",
        (*WRITE_OOM, "getkeys-api"),
        (5, 5, 1),
        "Runs a function of a script on tensors and stores its results.",
        "key function [KEYS n key [key ...]] [INPUTS n input [input ...]] [ARGS n arg [arg ...]] "
        "[OUTPUTS n output [output ...]] [TIMEOUT t]",
    ),
    Command(
        "ai.scriptrun",
        "scriptrun",
        (*WRITE_OOM, "getkeys-api"),
        (4, 4, 1),
        "Runs a function of a script (deprecated: AI.SCRIPTEXECUTE).",
        "key function [TIMEOUT t] INPUTS input [input ...] [$ input [input ...]] OUTPUTS output [output ...]",
    ),
    Command("ai._scriptscan", "scriptscan", READ, NO_KEYS, "Lists the keys and tags of all scripts.", ""),
    Command(
        "ai.dagexecute",
        "dagexecute",
        (*WRITE_OOM, "getkeys-api"),
        (3, 3, 1),
        "Runs a graph of operations on tensors of its own, and stores some of them.",
        "[LOAD n key [key ...]] [PERSIST n key [key ...]] [ROUTING key] [TIMEOUT t] |> operation [|> operation ...]",
    ),
    Command(
        "ai.dagexecute_ro",
        "dagexecute_ro",
        (*READ, "getkeys-api"),
        (3, 3, 1),
        "Runs a graph of operations without scripts, and stores nothing.",
        "[LOAD n key [key ...]] [ROUTING key] [TIMEOUT t] |> operation [|> operation ...]",
    ),
    Command(
        "ai.dagrun",
        "dagrun",
        (*WRITE_OOM, "getkeys-api"),
        (3, 3, 1),
        "Deprecated: use AI.DAGEXECUTE.",
        "[LOAD n key [key ...]] [PERSIST n key [key ...]] [ROUTING key] [TIMEOUT t] |> operation [|> operation ...]",
    ),
    Command(
        "ai.dagrun_ro",
        "dagrun_ro",
        (*READ, "getkeys-api"),
        (3, 3, 1),
        "Deprecated: use AI.DAGEXECUTE_RO.",
        "[LOAD n key [key ...]] [ROUTING key] [TIMEOUT t] |> operation [|> operation ...]",
    ),
    Command(
        "ai.flow",
        "flow",
        WRITE_OOM,
        NO_KEYS,
        "Calls a function of a flow file and replies with what it returns.",
        "name [argument ...]",
    ),
    Command(
        "ai.info",
        "info",
        READ,
        FIRST_KEY,
        "Returns or resets the run statistics of a model or script; without a key, the versions in use.",
        "[key [RESETSTAT]]",
    ),
    Command(
        "ai.config",
        "config",
        ("write",),
        NO_KEYS,
        "Reads or changes the module's configuration.",
        "<LOADBACKEND backend path | BACKENDSPATH path | MODEL_CHUNK_SIZE bytes | GET option>",
    ),
)
