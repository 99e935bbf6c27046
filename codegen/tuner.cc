// Candidates are compiled side by side, run in turns on memory larger than the caches (decode) or on some panels (prefill), and
// compared by their best times. A choice is remembered as an object of the object cache is: written beside and renamed, with its
// key and a checksum in the file; one that is damaged, foreign or of another table of candidates counts as none.
// Thread-safe; two processes that tune at once disturb each other's clocks and nothing else.
#include "codegen/tuner.h"

#include <unistd.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <map>
#include <optional>
#include <sstream>
#include <thread>

#include "codegen/compile.h"
#include "codegen/layout.h"
#include "codegen/object_cache.h"
#include "ir/base/machine.h"

namespace exo::codegen {
namespace {

using program::Encoding;
using program::Kernel;
using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

constexpr Seconds kAutoBudget{1.0};
constexpr Seconds kMeasuring{0.15};             // what running the candidates of one choice takes, about
constexpr int64_t kWorthTuning = int64_t{64} << 20;  // bytes of weights from which kAuto cares: smaller ones stay in the caches
constexpr int kRepeats = 7;
constexpr double kClearlyBetter = 0.97;         // of the time of what target.cc says: less is noise
constexpr int64_t kColumns = 2048;
constexpr int64_t kPrefillRowsOfWeight = 512;   // per thread

// ---- which weights

bool isProduct(const Kernel& kernel) { return kernel.op() == Kernel::MATMUL || kernel.op() == Kernel::EXPERT_MATMUL; }

bool hasChoice(Encoding weight) {
  return std::any_of(tunerChoices().begin(), tunerChoices().end(), [&](const TunerChoice& choice) { return choice.weight == weight; });
}

/// Encodings with something to choose, those with the most bytes first.
std::vector<Encoding> weightsToTune(std::span<const Kernel* const> kernels, Tune mode) {
  std::map<Encoding, int64_t> bytes;
  for (const Kernel* kernel : kernels) {
    if (!isProduct(*kernel) || !hasChoice(kernel->weight())) continue;
    bytes[kernel->weight()] += packedBytes(kernel->weight(), static_cast<int64_t>(kernel->n()), static_cast<int64_t>(kernel->k())) * static_cast<int64_t>(std::max<uint64_t>(kernel->experts(), 1));
  }
  std::vector<Encoding> order;
  for (const auto& [weight, count] : bytes) {
    if (mode == Tune::kFull || count >= kWorthTuning) order.push_back(weight);
  }
  std::sort(order.begin(), order.end(), [&](Encoding a, Encoding b) { return bytes[a] > bytes[b]; });
  if (mode == Tune::kAuto && order.size() > 1) order.resize(1);
  return order;
}

/// The choices that make a difference on this target.
std::vector<TunerChoice> choicesFor(Encoding weight, const Target& target) {
  std::vector<TunerChoice> choices;
  for (const TunerChoice& choice : tunerChoices()) {
    const bool by_matrix = choice.rows > 1 && target.matrix != MatrixUnit::kNone;
    if (choice.weight == weight && !by_matrix) choices.push_back(choice);
  }
  return choices;
}

// ---- running candidates

struct Free {
  void operator()(std::byte* data) const { std::free(data); }
};
using Bytes = std::unique_ptr<std::byte, Free>;

Bytes allocate(int64_t bytes) {
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t size = (static_cast<size_t>(bytes) + kHugePage) / kHugePage * kHugePage;
  Bytes memory(static_cast<std::byte*>(std::aligned_alloc(kHugePage, size)));
  if (memory) std::memset(memory.get(), 1, size);
  return memory;
}

/// Twice the last cache, within bounds.
int64_t streamBytes() {
  return std::clamp<int64_t>(2 * ::sysconf(_SC_LEVEL3_CACHE_SIZE), int64_t{64} << 20, int64_t{256} << 20);
}

Kernel productFor(const TunerChoice& choice, int threads) {
  Kernel kernel;
  kernel.set_op(Kernel::MATMUL);
  kernel.set_weight(choice.weight);
  kernel.set_input(program::X8);
  kernel.set_k(kColumns);
  const int64_t rows = choice.rows == 1 ? streamBytes() * kPanelRows / panelBytes(choice.weight, kColumns) : kPrefillRowsOfWeight * threads;
  kernel.set_n(static_cast<uint64_t>(rows / 64 * 64));
  return kernel;
}

/// One way to lay out the loops, compiled.
struct Candidate {
  Target target;
  std::unique_ptr<Jit> jit;
  CompiledKernel compiled;
  double seconds = 1e9;  // the best of its runs
};

Status compile(Candidate& candidate, const Kernel& kernel, const std::string& cache_dir) {
  EXO_ASSIGN(candidate.jit, createJit(candidate.target, cache_dir));
  const Kernel* one[] = {&kernel};
  EXO_ASSIGN(const std::vector<CompiledKernel> compiled, candidate.jit->compile(one));
  candidate.compiled = compiled[0];
  return {};
}

Status compileAll(std::span<Candidate> candidates, const Kernel& kernel, const std::string& cache_dir) {
  std::vector<Status> results(candidates.size());
  {
    std::vector<std::jthread> compilers;
    for (size_t i = 0; i < candidates.size(); ++i) compilers.emplace_back([&, i] { results[i] = compile(candidates[i], kernel, cache_dir); });
  }
  for (Status& result : results) EXO_TRY(std::move(result));
  return {};
}

/// The memory of one product.
struct Operands {
  Bytes x, weight, out;
  std::vector<Bytes> scratch;  // per thread

  static std::optional<Operands> of(const Kernel& kernel, int64_t rows, int threads, size_t scratch_bytes) {
    const int64_t n = static_cast<int64_t>(kernel.n()), k = static_cast<int64_t>(kernel.k());
    Operands all{allocate(rows * activationRowBytes(program::X8, k)), allocate(packedBytes(kernel.weight(), n, k)), allocate(rows * n * 4), {}};
    bool complete = all.x && all.weight && all.out;
    for (int t = 0; t < threads; ++t) complete &= all.scratch.emplace_back(allocate(static_cast<int64_t>(scratch_bytes))) != nullptr;
    return complete ? std::optional(std::move(all)) : std::nullopt;
  }
};

/// One product on all threads: the time of the slowest.
double timeOf(const Candidate& candidate, const Kernel& kernel, int64_t rows, const Operands& operands) {
  const int threads = static_cast<int>(operands.scratch.size());
  const KernelArgs args{.rows = rows, .in = {operands.x.get(), operands.weight.get()}, .out = {operands.out.get()}};
  const int64_t units = workUnits(kernel, rows);
  std::barrier start(threads);
  std::vector<double> seconds(static_cast<size_t>(threads));
  {
    std::vector<std::jthread> team;
    for (int t = 0; t < threads; ++t) {
      team.emplace_back([&, t] {
        start.arrive_and_wait();
        const auto begin = Clock::now();
        candidate.compiled.function(&args, units * t / threads, units * (t + 1) / threads, operands.scratch[static_cast<size_t>(t)].get());
        seconds[static_cast<size_t>(t)] = Seconds(Clock::now() - begin).count();
      });
    }
  }
  return *std::max_element(seconds.begin(), seconds.end());
}

/// What the clock says of one choice; none where there is no time or no memory for it.
struct Verdict {
  int value;
  double seconds, usual_seconds;  // of it, and of what target.cc says
};

Result<std::optional<Verdict>> measure(const TunerChoice& choice, const Target& usual, const TunerOptions& options, Clock::time_point deadline) {
  const Kernel kernel = productFor(choice, options.threads);
  std::vector<Candidate> candidates(1);
  candidates[0].target = usual;
  std::vector<int> values{usual.loops(choice.weight).*choice.field};
  for (int value : choice.values) {
    if (value == values[0]) continue;
    values.push_back(value);
    candidates.emplace_back().target = usual;
    candidates.back().target.loops(choice.weight).*choice.field = value;
  }
  const auto begin = Clock::now();
  EXO_TRY(compileAll(std::span(candidates).first(1), kernel, options.cache_dir));
  const Seconds one = Clock::now() - begin;
  const double rounds = std::ceil(static_cast<double>(candidates.size() - 1) / static_cast<double>(std::max<size_t>(1, allowedProcessors().size())));
  if (Clock::now() + std::chrono::duration_cast<Clock::duration>(one * rounds + kMeasuring) > deadline) return std::optional<Verdict>();
  EXO_TRY(compileAll(std::span(candidates).subspan(1), kernel, options.cache_dir));
  const auto operands = Operands::of(kernel, choice.rows, options.threads, candidates[0].compiled.scratch_bytes);
  if (!operands) return std::optional<Verdict>();
  for (int repeat = 0; repeat < kRepeats; ++repeat)
    for (Candidate& candidate : candidates) candidate.seconds = std::min(candidate.seconds, timeOf(candidate, kernel, choice.rows, *operands));
  const auto best = std::min_element(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) { return a.seconds < b.seconds; });
  const bool better = best->seconds < kClearlyBetter * candidates[0].seconds;
  const size_t chosen = better ? static_cast<size_t>(best - candidates.begin()) : 0;
  return std::optional(Verdict{values[chosen], candidates[chosen].seconds, candidates[0].seconds});
}

// ---- remembering

/// Everything that a choice depends on, the candidates included.
std::string memoryKey(const std::vector<TunerChoice>& choices, const Target& target, int threads) {
  Kernel kernel;
  kernel.set_op(Kernel::MATMUL);
  kernel.set_weight(choices[0].weight);
  std::ostringstream key;
  key << "loops of " << processorName() << " with " << threads << " threads\n";
  for (const TunerChoice& choice : choices) {
    key << choice.name << " of " << choice.rows << " rows:";
    for (int value : choice.values) key << " " << value;
    key << "\n";
  }
  key << cacheKey(unitsOf(kernel)[1], target);
  return key.str();
}

std::string textOf(const std::vector<TunerChoice>& choices, const MatMulLoops& loops) {
  std::ostringstream text;
  for (const TunerChoice& choice : choices) text << (text.tellp() > 0 ? ", " : "") << choice.name << " " << loops.*choice.field;
  return text.str();
}

/// Takes what is remembered, if it is one of the candidates for every choice.
bool recall(const ObjectCache& cache, const std::string& key, const std::vector<TunerChoice>& choices, MatMulLoops& loops) {
  const auto remembered = cache.load(key);
  if (!remembered) return false;
  MatMulLoops found = loops;
  std::istringstream text(*remembered);
  for (const TunerChoice& choice : choices) {
    int value = 0;
    const bool known = text >> value && (value == loops.*choice.field || std::find(choice.values.begin(), choice.values.end(), value) != choice.values.end());
    if (!known) return false;
    found.*choice.field = value;
  }
  loops = found;
  return true;
}

void remember(const ObjectCache& cache, const std::string& key, const std::vector<TunerChoice>& choices, const MatMulLoops& loops) {
  std::ostringstream text;
  for (const TunerChoice& choice : choices) text << loops.*choice.field << "\n";
  cache.store(key, text.str());
}

// ---- all of it

/// Lays out the loops of `weight` in `target`; a line about it.
Result<std::string> tuneWeight(Encoding weight, const TunerOptions& options, Clock::time_point deadline, Target& target) {
  const std::vector<TunerChoice> choices = choicesFor(weight, target);
  const std::string title = "loops for " + program::Encoding_Name(weight) + " weights on " + std::to_string(options.threads) + " threads: ";
  const ObjectCache cache(options.cache_dir);
  const std::string key = memoryKey(choices, target, options.threads);
  const Target usual = target;
  MatMulLoops& loops = target.loops(weight);
  if (options.mode == Tune::kAuto && recall(cache, key, choices, loops)) return title + textOf(choices, loops) + " (remembered)";
  std::ostringstream how;
  for (const TunerChoice& choice : choices) {
    EXO_ASSIGN(const std::optional<Verdict> verdict, measure(choice, usual, options, deadline));
    if (!verdict) {
      loops = usual.loops(weight);
      return title + textOf(choices, loops) + " (untuned: there was no time or memory to measure; --tune full takes it)";
    }
    loops.*choice.field = verdict->value;
    how << (how.tellp() > 0 ? ", " : "") << choice.name << " " << verdict->value;
    if (verdict->value != usual.loops(weight).*choice.field) how << " (" << static_cast<int>((verdict->usual_seconds / verdict->seconds - 1) * 100) << " % faster than " << usual.loops(weight).*choice.field << ")";
  }
  remember(cache, key, choices, loops);
  return title + how.str() + " (measured)";
}

}  // namespace

Result<Tune> parseTune(const std::string& text) {
  if (text == "off") return Tune::kOff;
  if (text == "auto") return Tune::kAuto;
  if (text == "full") return Tune::kFull;
  return invalid("--tune: expected off, auto or full, got \"", text, "\"");
}

const std::vector<TunerChoice>& tunerChoices() {
  static const std::vector<TunerChoice> kChoices = {
      {program::Q4, 1, "stream_prefetch", &MatMulLoops::stream_prefetch, {1024, 2048, 4096}},
      {program::Q8, 1, "stream_prefetch", &MatMulLoops::stream_prefetch, {1024, 2048, 4096}},
      {program::Q4, 96, "unpack", &MatMulLoops::unpack, {0, 1}},
  };
  return kChoices;
}

Result<TunedJit> createTunedJit(const TunerOptions& options, std::span<const Kernel* const> kernels) {
  TunedJit tuned;
  EXO_ASSIGN(Target target, Target::forHost(options.isa));
  const auto deadline = options.mode == Tune::kAuto ? Clock::now() + std::chrono::duration_cast<Clock::duration>(kAutoBudget) : Clock::time_point::max();
  const bool tunes = options.mode == Tune::kFull || (options.mode == Tune::kAuto && !options.cache_dir.empty());
  for (Encoding weight : tunes ? weightsToTune(kernels, options.mode) : std::vector<Encoding>()) {
    EXO_ASSIGN(std::string line, tuneWeight(weight, options, deadline, target));
    tuned.report.push_back(std::move(line));
  }
  EXO_ASSIGN(tuned.jit, createJit(std::move(target), options.cache_dir));
  return tuned;
}

}  // namespace exo::codegen
