"""Several runs in one call of TorchScript's interpreter, which takes as long to enter as a tiny model to run.

The runs stay runs of one request each: this is a loop, no batching.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from .tensors import to_array

NAME = "redisai_for_each"  # of the method that is added to a loaded module


class Each:
    """A function of tensors that returns a tensor or a tuple of tensors, called for each of several requests.

    It is run again, request by request, after an error: it must have no effects.
    """

    def __init__(self, schema: Any, called: str, owner: str = "") -> None:
        """``called`` is how the source calls the function; ``owner`` is ``self`` in a method. Raises ValueError."""
        parameters = schema.arguments[1:] if owner else schema.arguments
        result = schema.returns[0].type
        self._is_tuple = result.kind() == "TupleType"
        types = result.elements() if self._is_tuple else [result]
        if not parameters or any(kind.kind() != "TensorType" for kind in [*(p.type for p in parameters), *types]):
            raise ValueError("the function has other parameters or results than tensors")
        self.input_count, self.output_count = len(parameters), len(types)
        self.source = self._source(called, owner)
        self.compiled: Callable[..., list[torch.Tensor]]

    def _source(self, called: str, owner: str) -> str:
        names = [f"input{number}" for number in range(self.input_count)]
        parameters = ", ".join([*filter(None, [owner]), *(f"{name}: List[Tensor]" for name in names)])
        results = [f"result[{number}]" for number in range(self.output_count)] if self._is_tuple else ["result"]
        return "\n".join(
            [
                f"def {NAME}({parameters}) -> List[Tensor]:",
                "    results: List[Tensor] = []",
                f"    for i in range(len({names[0]})):",
                f"        result = {called}({', '.join(f'{name}[i]' for name in names)})",
                *(f"        results.append({result})" for result in results),
                "    return results",
                "",
            ]
        )

    def run(self, requests: list[list[Any]], to_input: Callable[[Any], torch.Tensor]) -> list[Any]:
        """The outputs of each request, or the error of any of them."""
        columns = [list(map(to_input, column)) for column in zip(*requests, strict=True)]
        arrays = list(map(to_array, self.compiled(*columns)))
        count = self.output_count
        return [arrays[first : first + count] for first in range(0, len(arrays), count)]


def each_of_module(module: Any) -> Each | None:
    """``forward`` for each of several requests, as a new method of the module; None if it does not fit."""
    try:
        each = Each(module._c._get_method("forward").schema, "self.forward", "self")
        # The public define() looks for names in the frame that called it, and so makes the model refer to itself.
        module._c._define(module._concrete_type, each.source, lambda name: None)
        each.compiled = module._c._get_method(NAME)
    except (AttributeError, RuntimeError, ValueError):
        return None
    return each


def each_of_function(compiled: Any) -> Each | None:
    """A function of a script for each of several requests; None if it does not fit. The function must outlive it."""
    try:
        each = Each(compiled.schema, "function")
    except ValueError:
        return None
    unit = torch._C.CompilationUnit()
    unit.define(each.source, {"function": compiled}.get)
    each.compiled = unit.find_function(NAME)
    return each
