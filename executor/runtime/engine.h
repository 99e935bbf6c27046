// Runs one rank's program: create() checks it, gets memory, loads weights, compiles kernels and turns every call into a flat
// struct; step() walks that list on all threads. Nothing is allocated, parsed or looked up in a step.
// Threads: step() from one thread at a time (it becomes thread 0 of the pool).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "codegen/kernel.h"
#include "codegen/program.pb.h"
#include "executor/runtime/step.h"
#include "executor/runtime/threads.h"
#include "executor/runtime/weights.h"
#include "ir/base/result.h"

namespace exo::transport {
class Mesh;
}

namespace exo::runtime {

struct EngineOptions {
  int threads = 0;                              // 0: one per physical core allowed to the process
  Pin pin = Pin::kYes;
  codegen::Isa isa = codegen::Isa::kAuto;
  std::string object_cache_dir;                 // compiled kernels; empty: none
  WeightCacheOptions weight_cache;              // packed weights; none by default
  codegen::Jit* jit = nullptr;                  // compiles instead of one made from isa and object_cache_dir; outlives the engine
  std::chrono::milliseconds timeout{30'000};    // of one collective: longer means a peer is lost
  LoadProgress progress;                        // of the weights; may be empty
};

enum class Profiling { kOff, kOn };

/// What one thread did in one call of a step; nanoseconds of the steady clock. What lies between two events of a thread is
/// waiting for the other threads.
struct ProfileEvent {
  static constexpr int16_t kNoPeer = -1;
  int32_t step = 0;       // counts from 0 since profiling was switched on
  int32_t call = 0;       // index in program().calls()
  int32_t rows = 0;       // of the call in this step
  int16_t thread = 0;
  int16_t peer = kNoPeer; // a rank: not work, but until when the collective waited for it
  int64_t begin_ns = 0, end_ns = 0;
};

/// Bytes the engine holds.
struct EngineMemory {
  uint64_t weights = 0, caches = 0, arena = 0, scratch = 0;
};

class Engine {
 public:
  /// Reads every weight through `weights` (from several threads). `mesh` connects the world_size ranks of the program and
  /// outlives the engine; null for one rank. Errors: kInvalidInput for a damaged program (naming what is wrong),
  /// kDoesNotFit with numbers when memory is lacking, those of the reader, the compiler and the mesh.
  static Result<std::unique_ptr<Engine>> create(program::Program program, const EngineOptions& options, const WeightReader& weights,
                                                transport::Mesh* mesh);
  ~Engine();

  /// Errors: kInvalidInput for an input out of range (the engine is as before); those of a collective, with the call's
  /// name (the ranks are then out of step, and every later step fails with the same error).
  Status step(const StepInput& input, StepOutput* output);

  const program::Program& program() const;
  const StepLimits& limits() const;
  codegen::Isa isa() const;
  int threads() const;
  EngineMemory memory() const;
  /// Seconds that collectives waited for each rank, in all steps so far; waits for several ranks overlap.
  std::span<const double> peerWaits() const;

  /// Off by default; switching clears the profile.
  void setProfiling(Profiling profiling);
  /// Thread by thread, each in order of time, the first kMaxProfileEvents of each.
  std::vector<ProfileEvent> profile() const;
  static constexpr size_t kMaxProfileEvents = size_t{1} << 20;

 private:
  class Implementation;
  explicit Engine(std::unique_ptr<Implementation> implementation);
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace exo::runtime
