"""expect.py EXOC FOLDER: asks the model in FOLDER, and writes FOLDER/expected.json: prompts, and how their answers begin. For demo_test.cc."""
import json
import pathlib
import subprocess
import sys

PROMPTS = [("What is a shard?", True), ("How do I serve a model?", True), ("Is there a dashboard?", True), ("What does exo-exec do?", True), ("Tell me a story about a fox.", True),
           ("Hello!", True), ("What is the weather today?", True), ("Once upon a time there was", False)]
BEGINNING = 60  # bytes of an answer that are compared: the likeliest words, far from ties


def main():
    if len(sys.argv) != 3:
        raise SystemExit("usage: expect.py EXOC FOLDER")
    cases = []
    for prompt, is_chat in PROMPTS:
        words = [sys.argv[1], "run", sys.argv[2], "--prompt", prompt] + (["--chat"] if is_chat else [])
        text = subprocess.run(words, check=True, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL).stdout.rstrip("\n")
        print(f"{prompt}\n  {text}")
        cases.append({"prompt": prompt, "chat": is_chat, "begins": text[:BEGINNING]})
    (pathlib.Path(sys.argv[2]) / "expected.json").write_text(json.dumps(cases, ensure_ascii=False, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
