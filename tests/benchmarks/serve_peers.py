"""Minimal services of other prediction servers, for `serve.py`; each in an environment of its own.

    PYTHON serve_peers.py NAME FOLDER PORT

FOLDER holds `small.onnx`. They do what their documentation shows for a model like it.
"""

import json
import os
import sys
from pathlib import Path


def session(folder: str):
    """Load the model as `gl serve` does."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(os.path.join(folder, "small.onnx"), options)


LITSERVE = """
import sys
sys.path.insert(0, {here!r})
import litserve, numpy as np
from serve_peers import session

class Api(litserve.LitAPI):
    def setup(self, device):
        self.session = session({folder!r})

    def decode_request(self, request):
        return np.array([request["image"]], dtype=np.float32)

    def predict(self, image):
        return self.session.run(None, {{"image": image}})[0]

    def encode_response(self, output):
        return {{"prediction": output.tolist()}}

if __name__ == "__main__":
    server = litserve.LitServer(Api(), accelerator="cpu")
    server.run(host="127.0.0.1", port={port}, generate_client_file=False, log_level="error")
"""


def litserve(folder: str, port: int) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    # Its workers import the file anew, so that it has to be one.
    path = Path(folder, "lit_bench.py")
    path.write_text(LITSERVE.format(here=here, folder=folder, port=port))
    os.execv(sys.executable, [sys.executable, str(path)])


BENTO = """
import bentoml, numpy as np, sys
sys.path.insert(0, {here!r})
from serve_peers import session

@bentoml.service(workers=1)
class Bench:
    def __init__(self):
        self.session = session({folder!r})

    @bentoml.api
    def predict(self, image: list[float]) -> list[list[float]]:
        rows = np.array([image], dtype=np.float32)
        return self.session.run(None, {{"image": rows}})[0].tolist()
"""


def bentoml(folder: str, port: int) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    Path(folder, "bento_bench.py").write_text(BENTO.format(here=here, folder=folder))
    os.chdir(folder)
    words = ["-m", "bentoml", "serve", "bento_bench:Bench", "--port", str(port)]
    os.execv(sys.executable, [sys.executable, *words, "--host", "127.0.0.1"])


MLSERVER = """
import sys
sys.path.insert(0, {here!r})
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse
from serve_peers import session

class Bench(MLModel):
    async def load(self):
        self.session = session({folder!r})
        return True

    async def predict(self, payload):
        image = NumpyCodec.decode_input(payload.inputs[0])
        rows = self.session.run(None, {{"image": image}})[0]
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("prediction", rows)]
        )
"""


def mlserver(folder: str, port: int) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    place = Path(folder, "mlserver")
    place.mkdir(exist_ok=True)
    (place / "bench_model.py").write_text(MLSERVER.format(here=here, folder=folder))
    model = {"name": "bench", "implementation": "bench_model.Bench"}
    (place / "model-settings.json").write_text(json.dumps(model))
    settings = {
        "http_port": port, "grpc_port": port + 1, "metrics_port": port + 2,
        "host": "127.0.0.1", "parallel_workers": 0, "debug": False,
    }  # fmt: skip
    (place / "settings.json").write_text(json.dumps(settings))
    os.chdir(place)
    script = os.path.join(os.path.dirname(sys.executable), "mlserver")
    os.execv(sys.executable, [sys.executable, script, "start", "."])


def mlflow(folder: str, port: int) -> None:
    import mlflow
    import numpy as np
    import onnx

    path = os.path.join(folder, "mlflow-model")
    if not os.path.exists(path):
        image = np.zeros((1, 784), dtype=np.float32)
        answer = np.zeros((1, 10), dtype=np.float32)
        signature = mlflow.models.infer_signature({"image": image}, {"prediction": answer})
        model = onnx.load(os.path.join(folder, "small.onnx"))
        mlflow.onnx.save_model(model, path, signature=signature)
    # It starts `uvicorn` by name.
    os.environ["PATH"] = f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"
    words = ["-m", "mlflow", "models", "serve", "-m", path, "--env-manager", "local"]
    words += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, *words])


if __name__ == "__main__":
    name, folder, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
    {"litserve": litserve, "bentoml": bentoml, "mlserver": mlserver, "mlflow": mlflow}[name](
        folder, port
    )
