"""Scripts that are nested too deeply for TorchScript's compiler, which is recursive and overflows its stack.

With 16 MiB it copes with several thousand levels of anything. Python's own parser gives up
below that, with an error.
"""

from __future__ import annotations

import ast
import warnings

from redisai_py.backend import BackendError

LONGEST_CHAIN = 5000  # of what is one level for Python, but one for each part for TorchScript
TOO_DEEP = "ERR the script is nested too deeply"
GIVES_UP = ("too many nested parentheses", "too many levels of indentation")


def refuse_deep_nesting(source: str) -> None:
    """Raises BackendError. What Python does not understand passes: TorchScript has the words for it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of escapes in strings
            tree = ast.parse(source)
    except (RecursionError, MemoryError):
        raise BackendError(TOO_DEEP) from None
    except (SyntaxError, ValueError) as error:
        if str(error).startswith(GIVES_UP):
            raise BackendError(TOO_DEEP) from None
        return
    if any(length_of_chain(node) > LONGEST_CHAIN for node in ast.walk(tree)):
        raise BackendError(TOO_DEEP)


def length_of_chain(node: ast.AST) -> int:
    """How many parts an ``and``, an ``or`` or a comparison joins."""
    if isinstance(node, ast.BoolOp):
        return len(node.values)
    return len(node.ops) if isinstance(node, ast.Compare) else 0
