// Several ranks in one process, one thread each, over simulated links: the same answers as one rank; lost ranks are errors.
#include <gtest/gtest.h>

#include <chrono>
#include <cmath>
#include <functional>
#include <latch>
#include <thread>

#include "executor/runtime/driver.h"
#include "executor/runtime/follower.h"
#include "executor/serve/generation.h"
#include "executor/transport/simulated.h"
#include "tests/executor/runtime/tiny_model.h"

namespace exo::runtime {
namespace {

using namespace std::chrono_literals;
using serve::Generator;
using serve::SamplingParameters;
using testing::Ffn;
using transport::Mesh;
using transport::SimulatedNetwork;

const std::vector<int32_t> kPrompt = {3, 14, 15, 92, 65, 35, 89, 79, 32, 38, 46, 26, 43, 38, 32, 79, 50, 28, 84, 19, 71, 69, 39, 93, 75, 10, 58};
constexpr std::chrono::milliseconds kTimeout{5000};

Result<std::unique_ptr<Engine>> makeEngine(const std::string& program, Mesh* mesh, std::chrono::milliseconds timeout = kTimeout) {
  EngineOptions options;
  options.threads = 2;
  options.timeout = timeout;
  return Engine::create(testing::loadProgram(program), options, testing::readWeight, mesh);
}

/// Ranks 1.. follow on threads; the test is rank 0.
class Job {
 public:
  Job(const std::string& program, int world, std::chrono::milliseconds timeout = kTimeout, transport::RingShape ring = {})
      : network_(world, ring), followed_(world), compiled_(world - 1) {
    for (int rank = 0; rank < world; ++rank) meshes_.push_back(network_.mesh(rank));
    for (int rank = 1; rank < world; ++rank)
      threads_.emplace_back([this, rank, timeout, name = program + std::to_string(rank)] {
        auto engine = makeEngine(name, meshes_[rank].get(), timeout);
        compiled_.count_down();
        followed_[rank] = engine.ok() ? follow(**engine, *meshes_[rank], timeout) : Status(engine.error());
        if (!followed_[rank].ok()) network_.kill(rank);   // as the process would end
      });
    auto engine = makeEngine(program + "0", meshes_[0].get(), timeout);
    EXPECT_TRUE(engine.ok()) << engine.error();
    engine_ = std::move(engine).value();
    auto driver = Driver::create(*engine_, meshes_[0].get(), timeout);
    EXPECT_TRUE(driver.ok()) << driver.error();
    driver_ = std::move(driver).value();
    compiled_.wait();  // the timeouts are of steps, not of the JIT
  }
  ~Job() { (void)end(); }

  Driver& driver() { return *driver_; }
  SimulatedNetwork& network() { return network_; }
  Status end() {
    Status stopped = driver_->stop();
    if (!stopped.ok()) network_.kill(0);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
    return stopped;
  }
  const Status& followed(int rank) const { return followed_[rank]; }

 private:
  SimulatedNetwork network_;
  std::vector<std::unique_ptr<Mesh>> meshes_;
  std::vector<Status> followed_;
  std::latch compiled_;
  std::unique_ptr<Engine> engine_;
  std::unique_ptr<Driver> driver_;
  std::vector<std::thread> threads_;
};

std::vector<float> promptLogits(Driver& driver) {
  std::vector<float> all;
  Generator generator(driver);
  auto result = generator.generate({.prompt = kPrompt, .on_prompt_logits = [&](int64_t, std::span<const float> logits) {
                                      all.insert(all.end(), logits.begin(), logits.end());
                                    }});
  EXPECT_TRUE(result.ok()) << result.error();
  return all;
}

std::vector<int32_t> answer(Driver& driver, SamplingParameters sampling = {}) {
  Generator generator(driver);
  auto result = generator.generate({.prompt = kPrompt, .sampling = sampling, .max_tokens = 40});
  EXPECT_TRUE(result.ok()) << result.error();
  return result.ok() ? result->tokens : std::vector<int32_t>{};
}

struct Cut {
  const char* name;
  const char* program;      // + rank
  const char* alone;
  int world;
  Ffn ffn;
};
void PrintTo(const Cut& cut, std::ostream* out) { *out << cut.name; }

class MultiRank : public ::testing::TestWithParam<Cut> {};

TEST_P(MultiRank, AnswersAsOneRankDoes) {
  const Cut& cut = GetParam();
  auto alone_engine = makeEngine(cut.alone, nullptr);
  ASSERT_TRUE(alone_engine.ok());
  auto alone = Driver::create(**alone_engine, nullptr, kTimeout);
  ASSERT_TRUE(alone.ok());
  Job job(cut.program, cut.world);

  // Sums over ranks are rounded in another order: not the same bits, but the same to rounding.
  const auto logits = promptLogits(job.driver()), expected = promptLogits(**alone);
  const auto reference = testing::referenceLogits(kPrompt, cut.ffn);
  ASSERT_EQ(logits.size(), reference.size() * testing::kVocabulary);
  ASSERT_EQ(expected.size(), logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    ASSERT_NEAR(logits[i], expected[i], 3e-5) << i;
    ASSERT_NEAR(logits[i], reference[i / testing::kVocabulary][i % testing::kVocabulary], 3e-5) << i;
  }
  EXPECT_EQ(answer(job.driver()), answer(**alone));
  const SamplingParameters sampling{.temperature = 1.5f, .top_p = 0.95f, .seed = 11};
  EXPECT_EQ(answer(job.driver(), sampling), answer(**alone, sampling));

  const Status ended = job.end();
  EXPECT_TRUE(ended.ok()) << ended.error();
  for (int rank = 1; rank < cut.world; ++rank) EXPECT_TRUE(job.followed(rank).ok()) << rank << ": " << job.followed(rank).error();
}

INSTANTIATE_TEST_SUITE_P(Cuts, MultiRank,
                         ::testing::Values(Cut{"tensor_parallel", "tiny_llama_tp2_rank", "tiny_llama", 2, Ffn::kDense},
                                           Cut{"experts", "tiny_moe_tp2_rank", "tiny_moe", 2, Ffn::kExpertsInLayer1},
                                           // rank 0 has no logits and gets them from ranks 1 and 2, the last stage
                                           Cut{"pipeline", "tiny_llama_pp2_rank", "tiny_llama", 3, Ffn::kDense}),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(MultiRankFailure, MessagesLongerThanASlotTravelInPieces) {
  Job job("tiny_llama_tp2_rank", 2, kTimeout, {.slot_bytes = 256, .num_slots = 2});
  EXPECT_EQ(promptLogits(job.driver()).size(), kPrompt.size() * testing::kVocabulary);
  EXPECT_TRUE(job.end().ok());
}

// bf16_above_bytes of the program: half the bytes, other bits, the same on both.
TEST(MultiRank, Bf16OnTheWireRoundsPromptsAndIsAgreedUpon) {
  const auto run = [](uint64_t rank0_above_bytes, uint64_t rank1_above_bytes, Status& followed) {
    SimulatedNetwork network(2);
    const auto create = [&](int rank, Mesh* mesh, uint64_t above_bytes) {
      program::Program program = testing::loadProgram("tiny_llama_tp2_rank" + std::to_string(rank));
      program.set_bf16_above_bytes(above_bytes);
      EngineOptions options;
      options.threads = 1;
      options.timeout = kTimeout;
      return Engine::create(program, options, testing::readWeight, mesh);
    };
    const auto mesh0 = network.mesh(0), mesh1 = network.mesh(1);
    std::thread follower([&] {
      const auto engine = create(1, mesh1.get(), rank1_above_bytes);
      followed = engine.ok() ? follow(**engine, *mesh1, kTimeout) : Status(engine.error());
      if (!followed.ok()) network.kill(1);
    });
    std::vector<float> logits;
    {
      const auto engine = create(0, mesh0.get(), rank0_above_bytes);
      EXPECT_TRUE(engine.ok()) << engine.error();
      const auto driver = Driver::create(**engine, mesh0.get(), kTimeout);
      EXPECT_TRUE(driver.ok()) << driver.error();
      Generator generator(**driver);
      const auto result = generator.generate({.prompt = kPrompt, .on_prompt_logits = [&](int64_t, std::span<const float> more) { logits.insert(logits.end(), more.begin(), more.end()); }});
      if (!result.ok()) {
        EXPECT_EQ(result.error().code(), ErrorCode::kMismatch) << result.error();
        logits.clear();
        network.kill(0);
      } else {
        EXPECT_TRUE((*driver)->stop().ok());
      }
    }
    follower.join();
    return logits;
  };
  Status followed;
  const std::vector<float> plain = run(0, 0, followed), rounded = run(1024, 1024, followed), again = run(1024, 1024, followed), above = run(1 << 30, 1 << 30, followed);
  ASSERT_TRUE(followed.ok()) << followed.error();
  ASSERT_FALSE(plain.empty());
  EXPECT_EQ(rounded, again);
  EXPECT_EQ(above, plain) << "no message is that large";
  ASSERT_EQ(rounded.size(), plain.size());
  EXPECT_NE(rounded, plain);
  for (size_t i = 0; i < plain.size(); ++i) ASSERT_NEAR(rounded[i], plain[i], 0.1) << i;
  EXPECT_TRUE(run(1024, 0, followed).empty()) << "ranks that disagree must end with an error";
  EXPECT_FALSE(followed.ok());
}

TEST(MultiRankFailure, IdlingIsNoError) {
  Job job("tiny_llama_tp2_rank", 2, 300ms);
  std::this_thread::sleep_for(1200ms);   // longer than every timeout
  EXPECT_FALSE(answer(job.driver()).empty());
  EXPECT_TRUE(job.end().ok());
}

TEST(MultiRankFailure, ARefusedStepDisturbsNobody) {
  Job job("tiny_llama_tp2_rank", 2);
  Generator generator(job.driver());
  EXPECT_FALSE(generator.generate({.prompt = {100}, .max_tokens = 1}).ok());
  const testing::Batch batch = testing::Batch(1).add({1}, 0, {7}, testing::Batch::Rows::kLast);
  EXPECT_FALSE(job.driver().step(batch.input(), GatherLogits::kNo, nullptr).ok());
  EXPECT_FALSE(answer(job.driver()).empty());
  EXPECT_TRUE(job.end().ok());
}

TEST(MultiRankFailure, APeerKilledInTheMiddleIsAnErrorWithinTheTimeout) {
  for (const int victim : {1, 2}) {
    Job job("tiny_llama_pp2_rank", 3, 2000ms);
    Generator generator(job.driver());
    int tokens = 0;
    const auto begin = std::chrono::steady_clock::now();
    auto result = generator.generate({.prompt = kPrompt, .max_tokens = 100, .on_token = [&](int32_t) {
                                        if (++tokens == 5) job.network().kill(victim);
                                      }});
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 4s);
    ASSERT_FALSE(result.ok());
    EXPECT_TRUE(result.error().code() == ErrorCode::kPeerLost || result.error().code() == ErrorCode::kTimeout) << result.error();
    EXPECT_EQ(tokens, 5);
    // The job is broken from then on, at once and with the same error.
    auto again = generator.generate({.prompt = kPrompt, .max_tokens = 1});
    ASSERT_FALSE(again.ok());
    EXPECT_EQ(again.error().message(), result.error().message());
    EXPECT_EQ(generator.pages().used(), 0);
    (void)job.end();
    for (int rank = 1; rank < 3; ++rank) EXPECT_FALSE(job.followed(rank).ok()) << rank;
  }
}

TEST(MultiRankFailure, AFollowerOfADeadDriverEnds) {
  Job job("tiny_llama_tp2_rank", 2, 1000ms);
  ASSERT_FALSE(answer(job.driver()).empty());
  job.network().kill(0);
  (void)job.end();
  ASSERT_FALSE(job.followed(1).ok());
  EXPECT_EQ(job.followed(1).error().code(), ErrorCode::kPeerLost) << job.followed(1).error();
}

}  // namespace
}  // namespace exo::runtime
