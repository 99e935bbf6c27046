#include "tests/executor/serve/test_ranks.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "executor/runtime/follower.h"
#include "executor/weight_source.h"

namespace exo::serve::testing {
namespace {

constexpr std::chrono::milliseconds kTimeout{20'000};

}  // namespace

plan::Plan randomPlan(const PlanOptions& options, const Folder& folder) {
  const nlohmann::json config = {{"model_type", "qwen3"}, {"hidden_size", 192}, {"intermediate_size", 416}, {"num_hidden_layers", 2}, {"num_attention_heads", 6},
                                 {"num_key_value_heads", 2}, {"head_dim", 32}, {"vocab_size", options.vocabulary}, {"hidden_act", "silu"}, {"max_position_embeddings", 1024},
                                 {"rms_norm_eps", 1e-6}, {"rope_theta", 10000.0}, {"tie_word_embeddings", false}, {"torch_dtype", "float32"}};
  exo::testing::writeFile(folder / "config.json", config.dump());
  const exo::testing::Outcome outcome =
      exo::testing::exoc({"compile", (folder / "config.json").string(), "--out", (folder / "plan").string(), "--quant", options.quantization, "--nodes", std::to_string(options.ranks), "--strategy", "tp",
                          "--random_weights", "7", "--max_context", std::to_string(options.context), "--max_sequences", "4", "--step_tokens", "64", "--dump_ir", "none"});
  EXPECT_EQ(outcome.exit_code, 0) << exo::testing::describe(outcome);
  auto plan = loadPlan(folder / "plan");
  EXPECT_TRUE(plan.ok()) << plan.error();
  return plan.ok() ? *plan : plan::Plan{};
}

Ranks::Ranks(const plan::Plan& plan) : network_(plan.programs_size(), {}), ready_(plan.programs_size() - 1) {
  const int world = plan.programs_size();
  for (int rank = 0; rank < world; ++rank) meshes_.push_back(network_.mesh(rank));
  for (int rank = 1; rank < world; ++rank)
    followers_.emplace_back([this, &plan, rank] {
      const auto engine = make(plan, rank);
      ready_.count_down();
      if (engine == nullptr || !runtime::follow(*engine, *meshes_[static_cast<size_t>(rank)], kTimeout).ok()) network_.kill(rank);
    });
  engine_ = make(plan, 0);
  ready_.wait();
  auto driver = runtime::Driver::create(*engine_, world > 1 ? meshes_[0].get() : nullptr, kTimeout);
  EXPECT_TRUE(driver.ok()) << driver.error();
  driver_ = std::move(driver).value();
}

Ranks::~Ranks() {
  if (!driver_->stop().ok()) network_.kill(0);
  for (std::thread& follower : followers_) follower.join();
}

std::unique_ptr<runtime::Engine> Ranks::make(const plan::Plan& plan, int rank) {
  static const std::atomic<bool> never{false};
  const auto weights = openWeights("", plan.random_seed());
  EXPECT_TRUE(weights.ok()) << weights.error();
  runtime::EngineOptions options{.threads = 2, .pin = runtime::Pin::kNo, .timeout = kTimeout};
  auto engine = runtime::Engine::create(plan.programs(rank), options, weightReader(**weights, never), plan.programs_size() > 1 ? meshes_[static_cast<size_t>(rank)].get() : nullptr);
  EXPECT_TRUE(engine.ok()) << engine.error();
  return engine.ok() ? std::move(engine).value() : nullptr;
}

}  // namespace exo::serve::testing
