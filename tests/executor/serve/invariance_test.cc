// The promise of continuous batching: a request has the same answer, bit for bit of its log-probabilities, whether it runs alone, in a
// batch, from a cached prefix, in chunks of any size, or after it lost its pages. Real kernels, models with made-up weights, one
// rank and two.
#include <gtest/gtest.h>

#include <latch>
#include <nlohmann/json.hpp>
#include <thread>

#include "codegen/plan.h"
#include "executor/runtime/driver.h"
#include "executor/runtime/follower.h"
#include "executor/serve/batcher.h"
#include "executor/transport/simulated.h"
#include "executor/weight_source.h"
#include "tests/end_to_end/program.h"

namespace exo::serve {
namespace {

using nlohmann::json;
using testing::Folder;

constexpr std::chrono::milliseconds kTimeout{20'000};
constexpr int64_t kVocabulary = 777, kContext = 512;

plan::Plan compiledPlan(const std::string& quantization, int ranks, const Folder& folder) {
  const json config = {{"model_type", "qwen3"}, {"hidden_size", 192}, {"intermediate_size", 416}, {"num_hidden_layers", 2}, {"num_attention_heads", 6},
                       {"num_key_value_heads", 2}, {"head_dim", 32}, {"vocab_size", kVocabulary}, {"hidden_act", "silu"}, {"max_position_embeddings", 1024},
                       {"rms_norm_eps", 1e-6}, {"rope_theta", 10000.0}, {"tie_word_embeddings", false}, {"torch_dtype", "float32"}};
  testing::writeFile(folder / "config.json", config.dump());
  const testing::Outcome outcome =
      testing::exoc({"compile", (folder / "config.json").string(), "--out", (folder / "plan").string(), "--quant", quantization, "--nodes", std::to_string(ranks),
                     "--strategy", "tp", "--random_weights", "7", "--max_context", std::to_string(kContext), "--max_sequences", "4", "--step_tokens", "64", "--dump_ir", "none"});
  EXPECT_EQ(outcome.exit_code, 0) << testing::describe(outcome);
  auto plan = loadPlan(folder / "plan");
  EXPECT_TRUE(plan.ok()) << plan.error();
  return plan.ok() ? *plan : plan::Plan{};
}

/// All ranks of a plan in this process; the test drives rank 0.
class Ranks {
 public:
  explicit Ranks(const plan::Plan& plan) : network_(plan.programs_size(), {}), ready_(plan.programs_size() - 1) {
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
  ~Ranks() {
    if (!driver_->stop().ok()) network_.kill(0);
    for (std::thread& follower : followers_) follower.join();
  }
  runtime::Driver& driver() { return *driver_; }

 private:
  std::unique_ptr<runtime::Engine> make(const plan::Plan& plan, int rank) {
    static const std::atomic<bool> never{false};
    const auto weights = openWeights("", plan.random_seed());
    EXPECT_TRUE(weights.ok()) << weights.error();
    runtime::EngineOptions options{.threads = 2, .pin = runtime::Pin::kNo, .timeout = kTimeout};
    auto engine = runtime::Engine::create(plan.programs(rank), options, weightReader(**weights, never), plan.programs_size() > 1 ? meshes_[static_cast<size_t>(rank)].get() : nullptr);
    EXPECT_TRUE(engine.ok()) << engine.error();
    return engine.ok() ? std::move(engine).value() : nullptr;
  }

  transport::SimulatedNetwork network_;
  std::vector<std::unique_ptr<transport::Mesh>> meshes_;
  std::latch ready_;
  std::unique_ptr<runtime::Engine> engine_;
  std::unique_ptr<runtime::Driver> driver_;
  std::vector<std::thread> followers_;
};

struct Answer : TokenListener {
  bool token(const Choice& choice) override {
    tokens.push_back(choice.token.id);
    logprobs.push_back(choice.token.logprob);
    for (const ScoredToken& each : choice.alternatives) logprobs.push_back(each.logprob);
    return true;
  }
  void end(const TokenEnd& given) override { last = given; }
  std::vector<int32_t> tokens;
  std::vector<float> logprobs;
  std::optional<TokenEnd> last;
};

TokenRequest request(int32_t length, int32_t prefix, float temperature) {
  TokenRequest request{.max_tokens = 20, .logprobs = 4};
  for (int32_t i = 0; i < length; ++i) request.prompt.push_back((i * 37 + (i < 150 ? prefix : length) * 11) % static_cast<int32_t>(kVocabulary));
  request.sampling.temperature = temperature;
  request.sampling.seed = 5;
  return request;
}

/// Some of them have their beginning in common.
std::vector<TokenRequest> requests() {
  std::vector<TokenRequest> all;
  for (const int32_t length : {1, 2, 31, 64, 65, 130, 170, 200}) all.push_back(request(length, length >= 130 ? 3 : length, length % 2 == 0 ? 0.0f : 0.8f));
  return all;
}

/// Runs them all, a new one every `every` steps; 0: all at once.
std::vector<std::shared_ptr<Answer>> together(Batcher& batcher, const std::vector<TokenRequest>& all, int every) {
  static uint64_t next_id = 0;
  std::vector<std::shared_ptr<Answer>> answers;
  for (const TokenRequest& each : all) {
    batcher.add(++next_id, each, answers.emplace_back(std::make_shared<Answer>()));
    for (int i = 0; i < every; ++i) EXPECT_TRUE(batcher.step().ok());
  }
  while (!batcher.idle()) {
    const Status status = batcher.step();
    EXPECT_TRUE(status.ok()) << status.error();
    if (!status.ok()) break;
  }
  return answers;
}

void expectSame(const std::vector<std::shared_ptr<Answer>>& got, const std::vector<std::shared_ptr<Answer>>& expected, const char* how) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_TRUE(got[i]->last) << how;
    EXPECT_EQ(got[i]->last->reason, FinishReason::kLength) << how << ", request " << i;
    EXPECT_EQ(got[i]->tokens, expected[i]->tokens) << how << ", request " << i;
    EXPECT_EQ(got[i]->logprobs, expected[i]->logprobs) << how << ", request " << i;
  }
}

class Invariance : public ::testing::TestWithParam<std::tuple<const char*, int>> {};

TEST_P(Invariance, AnswersDoNotDependOnWhatElseRuns) {
  const auto& [quantization, world] = GetParam();
  const Folder folder;
  plan::Plan plan = compiledPlan(quantization, world, folder);
  ASSERT_EQ(plan.programs_size(), world);
  const std::vector<TokenRequest> all = requests();
  std::vector<std::shared_ptr<Answer>> alone;
  {
    Ranks ranks(plan);
    for (const TokenRequest& each : all) {
      Batcher batcher(ranks.driver());
      alone.push_back(together(batcher, {each}, 0)[0]);
    }
    Batcher batcher(ranks.driver());
    expectSame(together(batcher, all, 0), alone, "together");
    const uint64_t cached = batcher.metrics().cached_prompt_tokens;
    expectSame(together(batcher, all, 3), alone, "one after the other, from cached prefixes");
    EXPECT_GT(batcher.metrics().cached_prompt_tokens, cached + 300);
    // A clock by which prompts are dear: small chunks beside whoever decodes.
    Clock::time_point now{};
    int64_t calls = 0;
    Batcher slow(ranks.driver(), [&] { return now += std::chrono::milliseconds(++calls < 4 ? 1 : 100); });
    expectSame(together(slow, all, 2), alone, "in small chunks");
  }
  for (program::Program& program : *plan.mutable_programs()) program.set_num_pages(5);
  Ranks ranks(plan);
  Batcher batcher(ranks.driver());
  expectSame(together(batcher, all, 1), alone, "in a cache too small for all");
  EXPECT_GT(batcher.metrics().preemptions + batcher.metrics().evicted_pages, 0u);
}

INSTANTIATE_TEST_SUITE_P(Plans, Invariance, ::testing::Combine(::testing::Values("f32", "q8", "q4"), ::testing::Values(1, 2)),
                         [](const auto& info) { return std::string(std::get<0>(info.param)) + "_" + std::to_string(std::get<1>(info.param)); });

}  // namespace
}  // namespace exo::serve
