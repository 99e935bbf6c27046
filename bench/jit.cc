// Compiling a whole model's kernels for this machine: cold (the cache of objects is empty) and warm (all are in it). Every
// sample is a process of its own, as a node's start is: nothing is warm in memory, LLVM's own start included.
#include <gflags/gflags.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <vector>

#include "bench/flags.h"
#include "bench/statistics.h"
#include "codegen/kernel.h"
#include "frontend/driver/compile.h"
#include "frontend/driver/plan_source.h"
#include "frontend/topology/topology.h"

DEFINE_string(cards, "llama-3.2-1b,qwen3-30b-a3b", "cards");
DEFINE_string(quants, "q4,bf16", "quantisations");
DEFINE_string(isa, "auto", "kernels for: auto, avx512-vnni, avx-vnni, avx2, neon-i8mm, neon-dotprod, generic");
DEFINE_int64(repeat, 5, "processes of which the median is taken");

namespace exo::bench {
namespace {

using Clock = std::chrono::steady_clock;

Result<double> secondsToCompile(const program::Program& program, const codegen::JitOptions& options) {
  std::vector<const program::Kernel*> kernels;
  for (const program::Kernel& kernel : program.kernels()) kernels.push_back(&kernel);
  const Clock::time_point start = Clock::now();
  EXO_ASSIGN(const auto jit, codegen::Jit::create(options));
  EXO_TRY(jit->compile(kernels));
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// secondsToCompile in a child. Nothing here has threads, so that forking is safe.
Result<double> inNewProcess(const program::Program& program, const codegen::JitOptions& options) {
  int ends[2];
  if (::pipe(ends) != 0) return makeError(ErrorCode::kIo, "cannot make a pipe");
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const auto seconds = secondsToCompile(program, options);
    if (!seconds.ok()) std::cerr << seconds.error() << std::endl;
    const bool told = seconds.ok() && ::write(ends[1], &*seconds, sizeof(double)) == sizeof(double);
    std::_Exit(told ? 0 : 1);
  }
  ::close(ends[1]);
  double seconds = 0;
  const bool heard = child > 0 && ::read(ends[0], &seconds, sizeof seconds) == sizeof seconds;
  ::close(ends[0]);
  if (child > 0) ::waitpid(child, nullptr, 0);
  if (!heard) return makeError(ErrorCode::kIo, "the process that compiles kernels has failed");
  return seconds;
}

struct CacheSize {
  int objects = 0;
  uint64_t bytes = 0;
};

CacheSize sizeOf(const std::filesystem::path& directory) {
  CacheSize size;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(directory, error)) {
    if (!entry.is_regular_file(error)) continue;
    ++size.objects;
    size.bytes += entry.file_size(error);
  }
  return size;
}

Status measure(const std::string& card, const std::string& quant, codegen::Isa isa) {
  CompileOptions options;
  EXO_ASSIGN(options.quantization, parseQuantization(quant));
  options.topology = loopbackTopology(1);
  EXO_ASSIGN(const Model model, openModel(card));
  EXO_ASSIGN(const Compiled compiled, compile(model, options));
  const program::Program& program = compiled.plan.programs(0);
  EXO_ASSIGN(const TemporaryDirectory temporary, TemporaryDirectory::create());
  std::vector<double> cold, warm;
  std::string directory;
  for (int64_t run = 0; run < FLAGS_repeat; ++run) {
    directory = temporary.path() / std::to_string(run);
    EXO_ASSIGN(cold.emplace_back(), inNewProcess(program, {isa, directory}));
    EXO_ASSIGN(warm.emplace_back(), inNewProcess(program, {isa, directory}));
  }
  const CacheSize cache = sizeOf(directory);
  std::printf("%-16s %-5s %3d kernels, %3d objects of %5.0f KiB  cold %s s\n", card.c_str(), quant.c_str(), program.kernels_size(), cache.objects,
              static_cast<double>(cache.bytes) / 1024, text(spreadOf(cold), 3).c_str());
  std::printf("%-16s %-5s %3d kernels, %3d objects of %5.0f KiB  warm %s s\n", card.c_str(), quant.c_str(), program.kernels_size(), cache.objects,
              static_cast<double>(cache.bytes) / 1024, text(spreadOf(warm), 3).c_str());
  std::fflush(stdout);
  return {};
}

Status run() {
  EXO_TRY(checkRange("repeat", FLAGS_repeat, 1, 1000));
  EXO_ASSIGN(const auto cards, listFlag("cards", FLAGS_cards));
  EXO_ASSIGN(const auto quants, listFlag("quants", FLAGS_quants));
  EXO_ASSIGN(const codegen::Isa isa, codegen::parseIsa(FLAGS_isa));
  std::printf("isa: %s\n", codegen::name(isa == codegen::Isa::kAuto ? codegen::hostIsa() : isa));
  for (const std::string& card : cards) {
    for (const std::string& quant : quants) EXO_TRY(measure(card, quant, isa));
  }
  return {};
}

}  // namespace
}  // namespace exo::bench

int main(int argc, char** argv) {
  return exo::bench::runBenchmark(argc, argv, "bench_jit: time to compile a model's kernels", {"cards", "quants", "isa", "repeat"}, exo::bench::run);
}
