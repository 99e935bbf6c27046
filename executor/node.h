// The engine as a member of a cluster: connects the data plane, loads the model, and then drives the steps (rank 0) or
// follows them.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "codegen/kernel.h"
#include "codegen/tuner.h"
#include "executor/cluster/run.h"
#include "executor/runtime/driver.h"
#include "executor/runtime/engine.h"
#include "executor/serve/serving_engine.h"
#include "executor/transport/listener.h"
#include "executor/transport/mesh.h"
#include "frontend/checkpoint/tensor_source.h"
#include "ir/base/result.h"

namespace exo {

struct EngineWorkerOptions {
  int threads = 0;                      // 0: one per physical core, each pinned
  codegen::Isa isa = codegen::Isa::kAuto;
  std::string cache_dir;                // compiled kernels; empty: none
  codegen::Tune tune = codegen::Tune::kAuto;
  std::string weight_cache_dir;         // packed weights; empty: none
  std::function<void(const std::string&)> warn;   // a line for the user; may be empty
  std::function<void(const std::string&)> note;   // a line for the log; may be empty
  transport::Choice transport = transport::Choice::kAuto;
  transport::verbs::DeviceChoice rdma_device;  // for verbs
  /// What a link came to, and why, once all are made.
  std::function<void(const std::string& node, transport::Kind kind, const std::string& why)> on_link;
  std::chrono::milliseconds step_timeout{30'000};
  bool profile = false;                 // for writeProfile(); measures the machine before the first step
};

class EngineWorker final : public cluster::Worker {
 public:
  /// `model` is rank 0's to serve. `weights` are let go once they are loaded; null: they come from a node that has them
  /// (weight_exchange.h). `stop` outlives the worker.
  EngineWorker(program::Program program, serve::ModelInfo model, std::unique_ptr<TensorSource> weights, EngineWorkerOptions options,
               cluster::StopSignal& stop);

  Result<std::string> openDataEndpoint(const std::string& host) override;
  Status load(const cluster::Session& session, const Progress& progress) override;
  uint64_t memoryBytes() const override;
  cluster::EngineReport report() const override;
  Status serve() override;
  void finish(const Error& error) override;
  Result<uint64_t> submit(std::shared_ptr<cluster::GenerateJob> job) override;
  void cancel(uint64_t request) override;
  cluster::ServeCounts counts() const override;
  Status follow() override;

  /// Rank 0's, for the worker's life: what dialects submit to. It takes requests from the start and begins with them in serve().
  serve::CompletionEngine& completions() { return serving_; }
  /// Rank 0, from any thread, in serve(): takes no more requests, finishes those it has, and then ends the cluster in order.
  void drain() { serving_.drain(); }

  /// After the last step: a trace of all of them (runtime/profile.h).
  Status writeProfile(const std::filesystem::path& path) const;

 private:
  Status connect(const cluster::Session& session);
  Status createJit();
  Status createEngine(const Progress& progress);
  Status exchangeWeights(const Progress& progress);
  Status startProfile();

  program::Program program_;
  serve::ServingEngine serving_;
  std::unique_ptr<TensorSource> weights_;        // until load() is over
  const EngineWorkerOptions options_;
  cluster::StopSignal& stop_;
  std::optional<transport::Listener> listener_;  // until connect()
  // In this order: each uses those before it.
  std::unique_ptr<transport::Mesh> mesh_;        // null for one rank
  codegen::TunedJit jit_;
  std::unique_ptr<runtime::Engine> engine_;
  std::unique_ptr<runtime::Driver> driver_;      // rank 0
  double read_bytes_per_s_ = 0;                  // of the machine, when it profiles
  mutable std::mutex report_mutex_;              // of what follows: what report() tells
  std::optional<cluster::EngineReport::Memory> memory_;
  std::vector<const transport::Connection*> links_;   // of mesh_
};

}  // namespace exo
