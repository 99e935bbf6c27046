// Chooses by the clock how the loops of matrix products are laid out on this machine (target.h, MatMulLoops), and remembers it in
// the cache directory. No choice changes a bit of any result: every candidate keeps the order in which each element is summed up.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "codegen/kernel.h"
#include "codegen/target.h"

namespace exo::codegen {

enum class Tune {
  kOff,   // as target.cc says
  kAuto,  // as remembered; else measured if that takes a second at most, for the weights with the most bytes, and can be remembered
  kFull,  // measured now, for all weights of the program: some seconds
};
Result<Tune> parseTune(const std::string& text);

/// One thing to choose for one class of weights, and what there is to choose from.
struct TunerChoice {
  program::Encoding weight;
  int64_t rows;                   // of the product that is measured; 1: decode
  const char* name;
  int MatMulLoops::* field;
  std::vector<int> values;
};
/// The only table of candidates.
const std::vector<TunerChoice>& tunerChoices();

struct TunerOptions {
  Isa isa = Isa::kAuto;
  Tune mode = Tune::kAuto;
  int threads = 1;                // that will compute
  std::string cache_dir;          // compiled objects and choices; empty: none
};

struct TunedJit {
  std::unique_ptr<Jit> jit;
  std::vector<std::string> report;  // a line per class of weights: what was chosen, and how it was known
};

/// A Jit whose loops are as tuned for `kernels`. Uses memory (64 to 256 MiB) and `threads` threads while it measures, nothing afterwards.
Result<TunedJit> createTunedJit(const TunerOptions& options, std::span<const program::Kernel* const> kernels);

}  // namespace exo::codegen
