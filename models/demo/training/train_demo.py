"""train_demo.py FOLDER [--steps N | --seconds S]: trains the demo model; needs PyTorch (Debian: python3-torch).

Two processes with one thread each share the parameters: each computes the gradient of half a batch, then updates half of the matrices. May
be stopped, killed and started again at any time: FOLDER/checkpoint.pt is written beside and renamed, and training goes on from it. --steps may
be another number then: the learning rate is constant up to the last 40 % of the steps, and falls to zero in them. --seconds takes as many steps as
fit at the pace of the first ones, and says how many.
"""
import argparse
import os
import pathlib
import struct
import time

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before PyTorch loads it: its threads spin, and cost more than they bring here

import torch
import torch.nn.functional as F

import llama
from batches import Batches, collate, encoded_documents, train_tokenizer

SEED, DOCUMENTS, BUDGET = 6, 20000, 2048
MUON_RATE, ADAM_RATE, WARMUP, FALL = 0.02, 3e-3, 30, 0.4
CHECKPOINT_SECONDS = 60
WORKERS = 2
PACE_STEPS = 50  # after which --seconds knows how many fit: before the rate begins to fall, so that nothing done so far depends on it


def orthogonal(matrix):
    """The nearest matrix with all singular values about 1: five Newton-Schulz steps with the coefficients of Muon (Jordan 2024)."""
    x = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.t()
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.t()
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x if matrix.shape[0] <= matrix.shape[1] else x.t()


def is_matrix(name):
    return ".layers." in name and name.endswith("_proj.weight")


class Trainer:
    """All tensors lie in shared memory; process `worker` writes gradients[worker], and updates the parameters of its share."""

    def __init__(self, documents):
        self.batches = Batches(documents, BUDGET, SEED)
        self.parameters = llama.make_parameters(SEED)
        zeros = lambda: {name: torch.zeros_like(p).share_memory_() for name, p in self.parameters.items()}
        for p in self.parameters.values():
            p.share_memory_()
            p.requires_grad_(True)
        self.gradients = [zeros() for _ in range(WORKERS)]
        self.first, self.second = zeros(), zeros()  # moments; the second for Adam only
        self.losses = torch.zeros(WORKERS).share_memory_()
        self.step = 0
        by_work = sorted(self.parameters, key=lambda name: (not is_matrix(name), -self.parameters[name].numel(), name))
        self.shares = [by_work[worker::WORKERS] for worker in range(WORKERS)]

    def compute_gradient(self, worker, step):
        documents = self.batches[step]
        wanted = sum(sum(flags[1:]) for _, flags in documents)
        own = documents[worker::WORKERS]
        loss = torch.zeros(())
        if own:
            tokens, targets = collate(own)
            hidden = llama.hidden_states(self.parameters, tokens)
            at = targets.view(-1) >= 0
            loss = F.cross_entropy(llama.logits(self.parameters, hidden.view(-1, llama.H)[at]), targets.view(-1)[at], reduction="sum") / wanted
            loss.backward()
        self.losses[worker] = loss.item()
        for name, p in self.parameters.items():
            self.gradients[worker][name].copy_(p.grad) if p.grad is not None else self.gradients[worker][name].zero_()
            p.grad = None

    @torch.no_grad()
    def update(self, worker, step, rate):
        for name in self.shares[worker]:
            gradient = sum(gradients[name] for gradients in self.gradients)
            first, p = self.first[name], self.parameters[name]
            if is_matrix(name):
                first.mul_(0.95).add_(gradient)
                p.add_(orthogonal(gradient + 0.95 * first), alpha=-MUON_RATE * rate * max(1, p.shape[0] / p.shape[1]) ** 0.5)
                continue
            second = self.second[name]
            first.lerp_(gradient, 0.1)
            second.lerp_(gradient * gradient, 0.05)
            mean, square = first / (1 - 0.9 ** (step + 1)), second / (1 - 0.95 ** (step + 1))
            p.add_(mean / (square.sqrt() + 1e-8), alpha=-ADAM_RATE * rate)

    def save(self, path):
        state = {"step": self.step, "parameters": {n: p.detach() for n, p in self.parameters.items()}, "first": self.first, "second": self.second}
        beside = path.with_suffix(".new")
        torch.save(state, beside)
        os.replace(beside, path)

    @torch.no_grad()
    def load(self, path):
        state = torch.load(path)
        self.step = state["step"]
        for mine, saved in ((self.parameters, state["parameters"]), (self.first, state["first"]), (self.second, state["second"])):
            for name, tensor in mine.items():
                tensor.copy_(saved[name])


class Helper:
    """The second process. It waits for one letter and a step; when the pipe ends it ends."""

    MESSAGE = struct.Struct("=cqd")

    def __init__(self, trainer, worker):
        to_read, self.to_helper = os.pipe()
        self.from_helper, to_write = os.pipe()
        if os.fork() == 0:
            os.close(self.to_helper)
            self.serve(trainer, worker, to_read, to_write)
        os.close(to_read)
        os.close(to_write)

    def serve(self, trainer, worker, to_read, to_write):
        while message := os.read(to_read, self.MESSAGE.size):
            what, step, rate = self.MESSAGE.unpack(message)
            trainer.compute_gradient(worker, step) if what == b"g" else trainer.update(worker, step, rate)
            os.write(to_write, b".")
        os._exit(0)

    def begin(self, what, step, rate=0.0):
        os.write(self.to_helper, self.MESSAGE.pack(what, step, rate))

    def wait(self):
        if not os.read(self.from_helper, 1):
            raise SystemExit("train_demo: the second process has ended")


def rate_at(step, steps):
    return min(1, (step + 1) / WARMUP, max(0, (steps - step) / (FALL * steps)))


@torch.no_grad()
def held_out_loss(parameters, documents):
    total = count = 0
    for begin in range(0, len(documents), 32):
        tokens, targets = collate(documents[begin:begin + 32])
        hidden, at = llama.hidden_states(parameters, tokens), targets.view(-1) >= 0
        total += F.cross_entropy(llama.logits(parameters, hidden.view(-1, llama.H)[at]), targets.view(-1)[at], reduction="sum").item()
        count += at.sum().item()
    return total / count


def steps_in(seconds, begun, first_step, step):
    """As many as fit, at the pace since `first_step`."""
    return first_step + int((step - first_step) * seconds / (time.time() - begun))


def train(trainer, helper, folder, steps, seconds, validation):
    saved, begun, first_step, tokens, mean = time.time(), time.time(), trainer.step, 0, None
    while trainer.step < steps:
        if seconds and trainer.step == first_step + PACE_STEPS:
            steps = max(trainer.step, steps_in(seconds, begun, first_step, trainer.step))
            print(f"{steps} steps fit into {seconds:.0f} s: --steps {steps} makes the same model", flush=True)
        helper.begin(b"g", trainer.step)
        trainer.compute_gradient(0, trainer.step)
        helper.wait()
        rate = rate_at(trainer.step, steps)
        helper.begin(b"u", trainer.step, rate)
        trainer.update(0, trainer.step, rate)
        helper.wait()
        loss = trainer.losses.sum().item()
        mean = loss if mean is None else 0.95 * mean + 0.05 * loss
        tokens += sum(len(ids) for ids, _ in trainer.batches[trainer.step])
        trainer.step += 1
        if trainer.step % 10 == 0 or trainer.step == steps:
            print(f"step {trainer.step} of {steps}, loss {mean:.4f}, rate {rate:.2f}, {tokens / (time.time() - begun):.0f} tok/s", flush=True)
        if trainer.step % 200 == 0 or trainer.step == steps:
            print(f"step {trainer.step}: loss of conversations not trained on {held_out_loss(trainer.parameters, validation):.4f}", flush=True)
        if time.time() - saved > CHECKPOINT_SECONDS or trainer.step == steps:
            trainer.save(folder / "checkpoint.pt")
            saved = time.time()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--seconds", type=float)
    arguments = parser.parse_args()
    if arguments.seconds:
        arguments.steps = 1 << 30  # until the pace is known
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    tokenizer = train_tokenizer(SEED, llama.V)
    documents = encoded_documents(tokenizer, SEED + 1, DOCUMENTS, 960)
    validation = encoded_documents(tokenizer, SEED + 2, 256, 960)
    trainer = Trainer(documents)
    if (arguments.folder / "checkpoint.pt").exists():
        trainer.load(arguments.folder / "checkpoint.pt")
    print(f"{sum(p.numel() for p in trainer.parameters.values())} parameters, {sum(len(ids) for ids, _ in documents)} tokens in {DOCUMENTS} documents, from step {trainer.step}", flush=True)
    train(trainer, Helper(trainer, 1), arguments.folder, arguments.steps, arguments.seconds, validation)


if __name__ == "__main__":
    main()
