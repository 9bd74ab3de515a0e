"""Running several requests as one: concatenation along the first dimension, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from redisai_py.backend import BackendError, Outputs, Run, as_array

WRONG_BATCH_SIZE = {
    "TF": "ERR Tensorflow batching error: model did not generate the expected batch size",
}
WRONG_BATCH_SIZE_OF_OTHERS = "ERR Model did not generate the expected batch size"


def execute_merged(
    session: Any, requests: list[list[Any]], rows: list[int], run: Run, backend: str
) -> list[Outputs | Exception]:
    """Runs requests as one batch and gives each its rows; an error is everybody's error.

    As RedisAI has it, a scalar output of TF is nobody's, while it is an error of the others.
    """
    columns = zip(*requests, strict=True)
    merged = [np.concatenate([as_array(tensor) for tensor in column]) for column in columns]
    (result,) = session.execute([merged], run)
    if isinstance(result, Exception):
        return [result] * len(requests)
    total = sum(rows)
    for position, output in enumerate(result):
        shape = getattr(output, "shape", None)
        if backend == "TF" and shape == ():
            result[position] = None
        elif not shape or shape[0] != total:
            error = BackendError(WRONG_BATCH_SIZE.get(backend, WRONG_BATCH_SIZE_OF_OTHERS))
            return [error] * len(requests)
    answers: list[Outputs | Exception] = []
    start = 0
    for count in rows:
        answers.append([None if output is None else output[start : start + count] for output in result])
        start += count
    return answers
