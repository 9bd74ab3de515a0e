"""SavedModels: the part of one that a serving signature needs, and how its variables get their values.

A SavedModel holds operations that write files, namely those that saved it, so
only what can be reached from the signature, from the initialiser and from the
operation that restores the variables is taken over; all of it is checked, and
the last may read nothing but the variables of this very SavedModel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorflow.core.framework import graph_pb2
from tensorflow.core.protobuf import saved_model_pb2

from redisai_py.backend import BackendError

from . import operations
from .programs import Program, choose, import_graph, keep_functions, no_input, no_output
from .references import node_of, reachable

SERVING = "serving_default"
INITIALISER = "__saved_model_init_op"
INITIALISERS_OF_1 = ("saved_model_main_op", "legacy_init_op")
CALLS = ("PartitionedCall", "StatefulPartitionedCall")
HANDLES = ("VarHandleOp", "HashTableV2", "MutableHashTableV2", "MutableHashTableOfTensorsV2", "MutableDenseHashTableV2")


def program_of_saved_model(directory: Path, inputs: Sequence[str], outputs: Sequence[str]) -> Program:
    meta = meta_graph(directory / "saved_model.pb")
    if meta.asset_file_def:
        raise BackendError("ERR SavedModels with assets are not supported: a model may not read files")
    signature = serving_signature(meta.signature_def)
    fed = choose(inputs, tensors(signature.inputs), no_input)
    fetched = choose(outputs, tensors(signature.outputs), no_output)
    if not fed or not fetched:
        raise BackendError("ERR the SavedModel's signature has no inputs, or no outputs")
    start = []
    restore = meta.saver_def.restore_op_name
    if restore and (directory / "variables" / "variables.index").is_file():
        start.append((node_of(restore), {meta.saver_def.filename_tensor_name: str(directory / "variables/variables")}))
    initialiser = initialiser_of(meta)
    if initialiser:
        start.append((node_of(initialiser), {}))
    graph = import_graph(needed(meta, [*fed.values(), *fetched.values(), initialiser], restore if start else ""))
    program = Program(graph, fed, fetched, start)
    program.refuse_other_outputs()
    return program


def meta_graph(file: Path) -> Any:
    """The graph for serving: the one with that tag, or the only one."""
    saved = saved_model_pb2.SavedModel()
    try:
        saved.ParseFromString(file.read_bytes())
    except DecodeError as error:
        raise BackendError("ERR saved_model.pb is not a valid SavedModel") from error
    for meta in saved.meta_graphs:
        if "serve" in meta.meta_info_def.tags or len(saved.meta_graphs) == 1:
            return meta
    raise BackendError('ERR the SavedModel has no graph with the tag "serve"')


def serving_signature(signatures: Any) -> Any:
    """The signature named serving_default, or the only one that is not TensorFlow's own."""
    names = [name for name in signatures if not name.startswith("__")]
    if SERVING in names:
        return signatures[SERVING]
    if len(names) == 1:
        return signatures[names[0]]
    raise BackendError(f'ERR the SavedModel has no signature "{SERVING}"')


def tensors(infos: Any) -> dict[str, str]:
    """Tensor names by the signature's names."""
    if not all(info.WhichOneof("encoding") == "name" for info in infos.values()):
        raise BackendError("ERR a signature with sparse or ragged tensors is not supported")
    return {name: info.name for name, info in infos.items()}


def initialiser_of(meta: Any) -> str:
    """The name of what initialises tables, or nothing."""
    if INITIALISER in meta.signature_def:
        return str(meta.signature_def[INITIALISER].outputs[INITIALISER].name)
    for key in INITIALISERS_OF_1:
        for name in meta.collection_def[key].node_list.value if key in meta.collection_def else ():
            return str(name)
    return ""


def needed(meta: Any, roots: Iterable[str], restore: str) -> Any:
    """The part of the graph that can run, checked."""
    graph_def = meta.graph_def
    nodes = {node.name: node for node in graph_def.node}
    library = {function.signature.name: function for function in graph_def.library.function}
    filename = node_of(meta.saver_def.filename_tensor_name)
    serving = reachable(nodes, filter(None, roots))
    restoring = reachable(nodes, [restore] if restore else ()) - serving
    for name in sorted((serving | restoring) - nodes.keys()):
        raise BackendError(f'ERR the SavedModel refers to a node "{name}" that it does not have')

    def may_restore(node: Any) -> bool:
        return node.name in restoring and restores(node, nodes, library, filename)

    called = operations.check((nodes[name] for name in serving), library)
    called |= operations.check((nodes[name] for name in restoring), library, may_restore)
    part = graph_pb2.GraphDef(versions=graph_def.versions, library=graph_def.library)
    part.node.extend(node for node in graph_def.node if node.name in serving or node.name in restoring)
    keep_functions(part, called)
    return part


def restores(node: Any, nodes: dict[str, Any], library: operations.Library, filename: str) -> bool:
    """Whether a node reads the variables, and can read nothing else: from the file whose name is fed.

    TensorFlow 1 has RestoreV2 in the graph, TensorFlow 2 in one function, which
    gets the file's name and the variables' handles.
    """
    if node.op == "RestoreV2":
        return bool(node.input) and node_of(node.input[0]) == filename
    if node.op not in CALLS:
        return False
    function = library.get(node.attr["f"].func.name)
    if function is None or not any(inner.op == "RestoreV2" for inner in function.node_def):
        return False
    arguments = {argument.name for argument in function.signature.input_arg}
    for inner in function.node_def:
        if inner.op == "RestoreV2" and inner.input[0] not in arguments:
            return False
    operations.check((inner for inner in function.node_def if inner.op != "RestoreV2"), {})
    given = [node_of(reference) for reference in node.input]
    return all(name == filename or nodes[name].op in HANDLES for name in given)
