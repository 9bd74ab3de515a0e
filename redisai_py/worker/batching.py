"""Running several requests as one: concatenation along the first dimension, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from redisai_py.backend import BackendError, Outputs, Run, as_array

from . import runs

WRONG_BATCH_SIZE = {
    "TF": "ERR Tensorflow batching error: model did not generate the expected batch size",
}
WRONG_BATCH_SIZE_OF_OTHERS = "ERR Model did not generate the expected batch size"


def execute_merged(session: Any, requests: list[Any], run: Run, backend: str) -> list[Outputs | Exception] | None:
    """Runs requests as one batch and gives each its rows; an error is everybody's error.

    One result for each request, or None when each has its outputs already. As RedisAI has it,
    a scalar output of TF is nobody's, while it is an error of the others.
    """
    # TensorFlow keeps the inputs of its last run until the next: arrays, then, and not tensors of ours.
    merged = None if backend == "TF" else runs.join_inputs(requests)
    if merged is None:
        columns = zip(*(request.inputs for request in requests), strict=True)
        merged = [np.concatenate([as_array(tensor) for tensor in column]) for column in columns]
    (result,) = session.execute([merged], run)
    if isinstance(result, Exception):
        return [result] * len(requests)
    total = sum(request.rows for request in requests)
    for position, output in enumerate(result):
        shape = getattr(output, "shape", None)
        if backend == "TF" and shape == ():
            result[position] = None
        elif not shape or shape[0] != total:
            error = BackendError(WRONG_BATCH_SIZE.get(backend, WRONG_BATCH_SIZE_OF_OTHERS))
            return [error] * len(requests)
    if runs.divide_outputs(requests, result):
        return None
    return divided(result, [request.rows for request in requests])


def divided(outputs: Outputs, rows: list[int]) -> list[Outputs | Exception]:
    """The rows of each request, of outputs that have to be converted."""
    answers: list[Outputs | Exception] = []
    start = 0
    for count in rows:
        answers.append([None if output is None else output[start : start + count] for output in outputs])
        start += count
    return answers
