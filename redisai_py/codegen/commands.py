"""The command table: one row per ``AI.*`` command.

Everything that is said about a command is said here once: its registration with
redis-server, COMMAND DOCS, the key specifications that ACL rules and clients use,
and the reference page are made from it. The flags and key positions are those of
RedisAI, since clients and proxies read them from COMMAND INFO. All commands are
registered with arity -1: RedisAI checks argument counts inside the command, and so
do we.
"""

from __future__ import annotations

from typing import NamedTuple


class KeySpec(NamedTuple):
    """Where keys stand in a command, and what it does with them.

    ``begin`` is a position, or the word before the keys: behind a word stands their
    number, unless ``counted`` says otherwise (then all that follows may be keys).
    """

    access: str
    begin: int | str
    counted: bool = True


class Command(NamedTuple):
    """One command as redis-server sees it.

    ``handler`` names the function of ``redisai_py.eventloop`` that serves it.
    ``keys`` is (first, last, step) as in COMMAND INFO; (0, 0, 0) has no keys.
    ``syntax`` is read by ``syntax.parse``. ``since`` is a version of RedisAI, or of
    this module from 2.0.0 on, and so are those of ``history``.
    """

    name: str
    handler: str
    flags: tuple[str, ...]
    keys: tuple[int, int, int]
    summary: str
    syntax: str
    complexity: str
    specs: tuple[KeySpec, ...] = ()
    since: str = "1.2.7"
    history: tuple[tuple[str, str], ...] = ()
    tips: str = ""

    @property
    def categories(self) -> str:
        """ACL categories (Redis 7.4), as those of Redis' own commands follow from their flags."""
        return " ".join(["ai", "slow", "write" if "write" in self.flags else "read"])

    @property
    def reports_keys(self) -> bool:
        """Whether the command itself tells where its keys are, with RedisModule_KeyAtPosWithFlags."""
        return "getkeys-api" in self.flags


# What a command does with a key, as flags of its key specification. ACL rules: access
# needs %R~, update, insert and delete need %W~.
ACCESS = {
    "read": ("RO", "ACCESS"),
    "write": ("OW", "UPDATE"),
    "delete": ("RM", "DELETE"),
    "any": ("RW", "ACCESS", "UPDATE"),
}

NO_KEYS = (0, 0, 0)
FIRST_KEY = (1, 1, 1)

READS = (KeySpec("read", 1),)
WRITES = (KeySpec("write", 1),)
DELETES = (KeySpec("delete", 1),)
EXECUTES = (KeySpec("read", 1), KeySpec("read", "INPUTS"), KeySpec("write", "OUTPUTS"))
EXECUTES_UNCOUNTED = (KeySpec("read", 1), KeySpec("any", "INPUTS", counted=False))

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
        "O(n), n being the bytes of the tensor",
        WRITES,
    ),
    Command(
        "ai.tensorget",
        "tensorget",
        READ,
        FIRST_KEY,
        "Returns a tensor's dtype, shape and data.",
        "key [META] [BLOB | VALUES]",
        "O(n), n being the bytes of the tensor",
        READS,
    ),
    Command(
        "ai.modelstore",
        "modelstore",
        WRITE_OOM,
        FIRST_KEY,
        "Loads a model and stores it as the value of a key.",
        "key backend device [TAG tag] [BATCHSIZE n [MINBATCHSIZE m [MINBATCHTIMEOUT t]]] [WARMUP n] "
        "[INPUTS n name [name ...] OUTPUTS n name [name ...]] BLOB chunk [chunk ...]",
        "O(n), n being the bytes of the model, on a worker thread",
        WRITES,
        history=(("2.0.0", "WARMUP."),),
    ),
    Command(
        "ai.modelset",
        "modelset",
        WRITE_OOM,
        FIRST_KEY,
        "Deprecated: use AI.MODELSTORE.",
        "key backend device [TAG tag] [BATCHSIZE n [MINBATCHSIZE m [MINBATCHTIMEOUT t]]] "
        "[INPUTS name [name ...]] [OUTPUTS name [name ...]] BLOB chunk [chunk ...]",
        "O(n), n being the bytes of the model, on a worker thread",
        WRITES,
    ),
    Command(
        "ai.modelget",
        "modelget",
        READ,
        FIRST_KEY,
        "Returns a model's properties and its blob.",
        "key [META] [BLOB]",
        "O(n), n being the bytes of the model",
        READS,
    ),
    Command(
        "ai.modeldel",
        "modeldel",
        ("write",),
        FIRST_KEY,
        "Deletes a model.",
        "key",
        "O(1)",
        DELETES,
    ),
    Command(
        "ai.modelalias",
        "modelalias",
        (*WRITE_OOM, "getkeys-api"),
        (2, 3, 1),
        "Has a key stand for a model, wherever a model's key is expected.",
        "<SET alias key | GET alias | DEL alias>",
        "O(1)",
        (KeySpec("write", 2), KeySpec("read", 3)),
        since="2.0.0",
    ),
    Command(
        "ai.modelexecute",
        "modelexecute",
        (*WRITE_OOM, "getkeys-api"),
        (4, 4, 1),
        "Runs a model on tensors and stores its outputs.",
        "key INPUTS n input [input ...] OUTPUTS m output [output ...] [TIMEOUT t] [PRIORITY <HIGH | NORMAL>]",
        "That of the model, on a worker thread",
        EXECUTES,
        history=(("2.0.0", "PRIORITY."),),
    ),
    Command(
        "ai.modelrun",
        "modelrun",
        (*WRITE_OOM, "getkeys-api"),
        (3, 3, 1),
        "Deprecated: use AI.MODELEXECUTE.",
        "key [TIMEOUT t] INPUTS input [input ...] OUTPUTS output [output ...]",
        "That of the model, on a worker thread",
        EXECUTES_UNCOUNTED,
    ),
    Command(
        "ai._modelscan",
        "modelscan",
        READ,
        NO_KEYS,
        "Lists the keys and tags of all models.",
        "",
        "O(n), n being the number of models",
        tips="nondeterministic_output_order request_policy:all_shards",
    ),
    Command(
        "ai.scriptstore",
        "scriptstore",
        WRITE_OOM,
        FIRST_KEY,
        "Compiles a TorchScript script and stores it as the value of a key.",
        "key device [TAG tag] ENTRY_POINTS n function [function ...] SOURCE source",
        "O(n), n being the bytes of the source, on a worker thread",
        WRITES,
    ),
    Command(
        "ai.scriptset",
        "scriptset",
        WRITE_OOM,
        FIRST_KEY,
        "Stores a script without entry points (deprecated: AI.SCRIPTSTORE).",
        "key device [TAG tag] SOURCE source",
        "O(n), n being the bytes of the source, on a worker thread",
        WRITES,
    ),
    Command(
        "ai.scriptget",
        "scriptget",
        READ,
        FIRST_KEY,
        "Returns a script's properties and its source.",
        "key [META] [SOURCE]",
        "O(n), n being the bytes of the source",
        READS,
    ),
    Command(
        "ai.scriptdel",
        "scriptdel",
        ("write",),
        FIRST_KEY,
        "Deletes a script.",
        "key",
        "O(1)",
        DELETES,
    ),
    Command(
        "ai.scriptexecute",
        "scriptexecute",
        (*WRITE_OOM, "getkeys-api"),
        (5, 5, 1),
        "Runs a function of a script on tensors and stores its results.",
        "key function [KEYS n key [key ...]] [INPUTS n input [input ...]] [ARGS n arg [arg ...]] "
        "[OUTPUTS n output [output ...]] [PRIORITY <HIGH | NORMAL>] [TIMEOUT t]",
        "That of the function, on a worker thread",
        (KeySpec("any", "KEYS"), *EXECUTES),
        history=(("2.0.0", "PRIORITY."),),
    ),
    Command(
        "ai.scriptrun",
        "scriptrun",
        (*WRITE_OOM, "getkeys-api"),
        (4, 4, 1),
        "Runs a function of a script (deprecated: AI.SCRIPTEXECUTE).",
        "key function [TIMEOUT t] INPUTS input [input ...] [$ input [input ...]] OUTPUTS output [output ...]",
        "That of the function, on a worker thread",
        EXECUTES_UNCOUNTED,
    ),
    Command(
        "ai._scriptscan",
        "scriptscan",
        READ,
        NO_KEYS,
        "Lists the keys and tags of all scripts.",
        "",
        "O(n), n being the number of scripts",
        tips="nondeterministic_output_order request_policy:all_shards",
    ),
    Command(
        "ai.dagexecute",
        "dagexecute",
        (*WRITE_OOM, "getkeys-api"),
        (3, 3, 1),
        "Runs a graph of operations on tensors of its own, and stores some of them.",
        "[LOAD n key [key ...]] [PERSIST n key [key ...]] [ROUTING key] [TIMEOUT t] [PRIORITY <HIGH | NORMAL>] "
        "|> operation [|> operation ...]",
        "That of its operations, on worker threads",
        (KeySpec("read", "LOAD"), KeySpec("write", "PERSIST"), KeySpec("read", "ROUTING", counted=False)),
        history=(("2.0.0", "PRIORITY."),),
    ),
    Command(
        "ai.dagexecute_ro",
        "dagexecute_ro",
        (*READ, "getkeys-api"),
        (3, 3, 1),
        "Runs a graph of operations without scripts, and stores nothing.",
        "[LOAD n key [key ...]] [ROUTING key] [TIMEOUT t] [PRIORITY <HIGH | NORMAL>] |> operation [|> operation ...]",
        "That of its operations, on worker threads",
        (KeySpec("read", "LOAD"), KeySpec("read", "ROUTING", counted=False)),
        history=(("2.0.0", "PRIORITY."),),
    ),
    Command(
        "ai.dagrun",
        "dagrun",
        (*WRITE_OOM, "getkeys-api"),
        (3, 3, 1),
        "Deprecated: use AI.DAGEXECUTE.",
        "[LOAD n key [key ...]] [PERSIST n key [key ...]] [ROUTING key] [TIMEOUT t] [PRIORITY <HIGH | NORMAL>] "
        "|> operation [|> operation ...]",
        "That of its operations, on worker threads",
        (KeySpec("read", "LOAD"), KeySpec("write", "PERSIST"), KeySpec("read", "ROUTING", counted=False)),
        history=(("2.0.0", "PRIORITY."),),
    ),
    Command(
        "ai.dagrun_ro",
        "dagrun_ro",
        (*READ, "getkeys-api"),
        (3, 3, 1),
        "Deprecated: use AI.DAGEXECUTE_RO.",
        "[LOAD n key [key ...]] [ROUTING key] [TIMEOUT t] [PRIORITY <HIGH | NORMAL>] |> operation [|> operation ...]",
        "That of its operations, on worker threads",
        (KeySpec("read", "LOAD"), KeySpec("read", "ROUTING", counted=False)),
        history=(("2.0.0", "PRIORITY."),),
    ),
    Command(
        "ai.flow",
        "flow",
        WRITE_OOM,
        NO_KEYS,
        "Calls a function of a flow file and replies with what it returns.",
        "name [argument ...]",
        "O(1), and what the function takes, on a thread of its own",
        since="2.0.0",
        tips="nondeterministic_output",
    ),
    Command(
        "ai.info",
        "info",
        READ,
        FIRST_KEY,
        "Returns or resets the run statistics of a model or script; without a key, the versions in use.",
        "[key [RESETSTAT | LATENCY]]",
        "O(1)",
        READS,
        history=(("2.0.0", "LATENCY. Without a key: the versions in use."),),
        tips="nondeterministic_output",
    ),
    Command(
        "ai.config",
        "config",
        ("write",),
        NO_KEYS,
        "Reads or changes the module's configuration.",
        "<LOADBACKEND backend path | BACKENDSPATH path | MODEL_CHUNK_SIZE bytes | MAX_QUEUE_DEPTH n "
        "| DEFAULT_BATCH_DELAY n | GET option>",
        "O(1)",
        tips="request_policy:all_nodes",
    ),
)
