"""LitServe, whose requests are JSON; the tensor in it is base64, since numbers as text take longer."""

import base64
import sys

import litserve
import numpy as np
import onnxruntime


class Onnx(litserve.LitAPI):
    def setup(self, device: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options)

    def decode_request(self, request: dict[str, str]) -> np.ndarray:
        return np.frombuffer(base64.b64decode(request["x"]), np.float32).reshape(shape)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.session.run(["y"], {"x": x})[0]

    def encode_response(self, y: np.ndarray) -> dict[str, str]:
        return {"y": base64.b64encode(y.tobytes()).decode()}


port, model, shape_text = sys.argv[1:]
shape = [int(dim) for dim in shape_text.split(",")]

if __name__ == "__main__":
    server = litserve.LitServer(Onnx(), accelerator="cpu", workers_per_device=1)  # two were slower on two cores
    server.run(host="127.0.0.1", port=int(port), generate_client_file=False, log_level="warning")
