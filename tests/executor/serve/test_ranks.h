// A small model with made-up weights and real kernels, all its ranks in one process.
#pragma once

#include <latch>
#include <memory>
#include <thread>
#include <vector>

#include "codegen/plan.h"
#include "executor/runtime/driver.h"
#include "executor/transport/simulated.h"
#include "tests/end_to_end/program.h"

namespace exo::serve::testing {

using exo::testing::Folder;

struct PlanOptions {
  std::string quantization = "f32";
  int ranks = 1;
  int64_t vocabulary = 777, context = 512;
};
/// A Qwen3 of two layers; at most four sequences, steps of 64 tokens. Written below `folder`.
plan::Plan randomPlan(const PlanOptions& options, const Folder& folder);

/// The test drives rank 0.
class Ranks {
 public:
  explicit Ranks(const plan::Plan& plan);
  ~Ranks();
  runtime::Driver& driver() { return *driver_; }

 private:
  std::unique_ptr<runtime::Engine> make(const plan::Plan& plan, int rank);

  transport::SimulatedNetwork network_;
  std::vector<std::unique_ptr<transport::Mesh>> meshes_;
  std::latch ready_;
  std::unique_ptr<runtime::Engine> engine_;
  std::unique_ptr<runtime::Driver> driver_;
  std::vector<std::thread> followers_;
};

}  // namespace exo::serve::testing
