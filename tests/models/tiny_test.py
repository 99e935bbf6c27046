"""tiny_test.py EXOC FOLDER: makes the model in FOLDER and asks it for every line of its text."""
import pathlib
import shutil
import subprocess
import sys

exoc, folder = sys.argv[1], pathlib.Path(sys.argv[2])
tiny = pathlib.Path(__file__).resolve().parents[2] / "models" / "tiny"
failures = 0


def make(name):
    subprocess.run([sys.executable, tiny / "make.py", folder / name], check=True, timeout=60)
    return {file.name: file.read_bytes() for file in sorted((folder / name).iterdir())}


def expect(what, got, wanted):
    global failures
    if got != wanted:
        failures += 1
        print(f"FAILED {what}\n  expected {wanted!r}\n  got      {got!r}")


def answer(prompt, *flags):
    command = [exoc, "run", folder / "a", "--prompt", prompt, *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    if done.returncode:
        print(done.stderr)
    expect(f"exit code of {' '.join(map(str, command))}", done.returncode, 0)
    return done.stdout.rstrip("\n")


shutil.rmtree(folder, ignore_errors=True)
first = make("a")
expect("files", sorted(first), ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"])
expect("the second making's bytes", make("b") == first, True)

lines = (tiny / "text.txt").read_text("utf-8").splitlines()
for line in lines:
    prompt = " ".join(line.split()[:2])
    expect(f"continuation of {prompt!r}", prompt + answer(prompt), line)
# Words it has never seen: the text from its beginning.
expect("answer to strange words", answer("Zürich 42"), " " + lines[0])
# The same on more nodes and with coarser weights (zeros and ones survive 4 bits).
for flags in (["--nodes", "2"], ["--nodes", "3", "--quant", "q4"], ["--nodes", "4", "--quant", "bf16"], ["--quant", "q8"]):
    expect(f"with {' '.join(flags)}", "Once upon" + answer("Once upon", *flags), lines[2])

# What verify proves must hold for quantised plans too, in which select_kernels has added operations.
for quantization in ("keep", "q4"):
    plan = folder / f"plan_{quantization}"
    for command in ([exoc, "compile", folder / "a", "--nodes", "2", "--quant", quantization, "--out", plan],
                    [exoc, "verify", plan, "--static_only"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        expect(f"exit code of {' '.join(map(str, command))}: {done.stdout}{done.stderr}", done.returncode, 0)

sys.exit(1 if failures else 0)
