"""An HTTP service of one's own: Starlette on uvicorn, raw bytes in and out, one process for each core."""

import os
import sys

import numpy as np
import onnxruntime
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


def application() -> Starlette:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(os.environ["MODEL"], options)
    shape = [int(dim) for dim in os.environ["SHAPE"].split(",")]

    async def run(request: Request) -> Response:
        x = np.frombuffer(await request.body(), np.float32).reshape(shape)
        [y] = session.run(["y"], {"x": x})
        return Response(y.tobytes(), media_type="application/octet-stream")

    return Starlette(routes=[Route("/run", run, methods=["POST"])])


if __name__ == "__main__":
    port, os.environ["MODEL"], os.environ["SHAPE"] = sys.argv[1:]
    uvicorn.run(
        "uvicorn_server:application",
        factory=True,
        host="127.0.0.1",
        port=int(port),
        workers=len(os.sched_getaffinity(0)),
        log_level="warning",
    )
