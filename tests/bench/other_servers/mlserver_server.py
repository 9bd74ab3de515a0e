"""MLServer, which speaks the V2 inference protocol (REST, JSON)."""

import asyncio
import socket
import sys

import onnxruntime
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse


class Onnx(MLModel):
    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        [y] = self.session.run(["y"], {"x": NumpyCodec.decode_input(payload.inputs[0])})
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("y", y)])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def main(port: str, model: str, shape: str) -> None:
    settings = Settings(
        host="127.0.0.1",
        http_port=int(port),
        grpc_port=free_port(),
        metrics_port=free_port(),
        parallel_workers=0,  # its worker processes do not start with a uvloop of today
        debug=False,
    )
    onnx = ModelSettings(name="model", implementation=Onnx, parameters=ModelParameters(uri=model))
    await MLServer(settings).start([onnx])


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
