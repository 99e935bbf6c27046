"""The reference against logits it had no part in: models whose expected.safetensors other implementations computed.
check.py FOLDER...; prints the largest difference and fails above 1e-4 of the logits' range."""
import json
import pathlib
import sys

import decoder
import tensors


def check(folder):
    config = json.loads((folder / "config.json").read_text())
    weights = {}
    for file in sorted(folder.glob("model*.safetensors")):
        weights.update(tensors.read(file))
    expected = tensors.read(folder / "expected.safetensors")
    model = decoder.Decoder(config, weights, config["max_position_embeddings"])
    worst = 0.0
    for prompt in range(3):
        wanted = expected[f"prompt_{prompt}.logits"]
        got = model.logits(expected[f"prompt_{prompt}.input_ids"])
        worst = max(worst, abs(got - wanted).max() / (wanted.max() - wanted.min()))
    print(f"{folder.name}: {worst:.2e} of the range")
    return worst <= 1e-4


if __name__ == "__main__":
    sys.exit(0 if all([check(pathlib.Path(folder)) for folder in sys.argv[1:]]) else 1)
