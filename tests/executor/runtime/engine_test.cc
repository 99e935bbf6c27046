// The engine against a double-precision model, and against itself: any way of cutting a sequence into steps and any
// company in a batch gives the same bits.
#include "executor/runtime/engine.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/executor/runtime/tiny_model.h"

namespace exo::runtime {
namespace {

using testing::Batch;
using testing::Ffn;
using Rows = Batch::Rows;

const std::vector<int32_t> kPrompt = {3, 14, 15, 92, 65, 35, 89, 79, 32, 38, 46, 26, 43, 38, 32, 79, 50};

std::unique_ptr<Engine> makeEngine(program::Program program, int threads) {
  EngineOptions options;
  options.threads = threads;
  auto engine = Engine::create(std::move(program), options, testing::readWeight, nullptr);
  EXPECT_TRUE(engine.ok()) << engine.error();
  return engine.ok() ? std::move(engine).value() : nullptr;
}

std::unique_ptr<Engine> makeEngine(const std::string& program, int threads = 2) { return makeEngine(testing::loadProgram(program), threads); }

std::vector<float> logitsOf(Engine& engine, const Batch& batch) {
  StepOutput output;
  const Status status = engine.step(batch.input(), &output);
  EXPECT_TRUE(status.ok()) << status.error();
  return {output.logits.begin(), output.logits.end()};
}

double largestDifference(const std::vector<float>& got, const std::vector<std::vector<double>>& expected) {
  EXPECT_EQ(got.size(), expected.size() * testing::kVocabulary);
  double largest = 0;
  for (size_t i = 0; i < got.size(); ++i)
    largest = std::max(largest, std::fabs(static_cast<double>(got[i]) - expected[i / testing::kVocabulary][i % testing::kVocabulary]));
  return largest;
}

// f32 against double over two layers of width 64: logits are about 5, rounding about 1e-6 of that.
constexpr double kTolerance = 3e-5;

TEST(Engine, LogitsAreThoseOfTheModel) {
  auto engine = makeEngine("tiny_llama");
  ASSERT_TRUE(engine);
  const auto logits = logitsOf(*engine, Batch(3).add(kPrompt, 0, {4}, Rows::kAll));
  EXPECT_LT(largestDifference(logits, testing::referenceLogits(kPrompt, Ffn::kDense)), kTolerance);
}

TEST(Engine, LogitsAreThoseOfTheMixtureOfExperts) {
  auto engine = makeEngine("tiny_moe");
  ASSERT_TRUE(engine);
  const auto logits = logitsOf(*engine, Batch(3).add(kPrompt, 0, {4}, Rows::kAll));
  EXPECT_LT(largestDifference(logits, testing::referenceLogits(kPrompt, Ffn::kExpertsInLayer1)), kTolerance);
}

TEST(Engine, CandidatesAreTheBestLogits) {
  auto engine = makeEngine("tiny_llama");
  ASSERT_TRUE(engine);
  const Batch batch = Batch(3).add(kPrompt, 0, {0}, Rows::kLast);
  StepOutput output;
  ASSERT_TRUE(engine->step(batch.input(), &output).ok());
  ASSERT_EQ(output.rows, 1);
  ASSERT_EQ(output.candidates, 8);
  std::vector<float> sorted(output.logits.begin(), output.logits.end());
  std::sort(sorted.rbegin(), sorted.rend());
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(output.values[i], sorted[i]);
    EXPECT_EQ(output.logits[output.ids[i]], output.values[i]);
  }
}

TEST(Engine, PrefillInOneStepIsTokenByTokenIsAnyNumberOfThreads) {
  for (const char* program : {"tiny_llama", "tiny_moe"}) {
    auto engine = makeEngine(program);
    ASSERT_TRUE(engine);
    const auto at_once = logitsOf(*engine, Batch(3).add(kPrompt, 0, {4}, Rows::kAll));
    for (const int threads : {1, 3, 7}) {
      auto other = makeEngine(program, threads);
      ASSERT_TRUE(other);
      std::vector<float> stepwise;
      for (size_t i = 0; i < kPrompt.size(); ++i) {
        const auto logits = logitsOf(*other, Batch(3).add({kPrompt[i]}, static_cast<int32_t>(i), {2}, Rows::kAll));
        stepwise.insert(stepwise.end(), logits.begin(), logits.end());
      }
      EXPECT_EQ(at_once, stepwise) << program << " on " << threads << " threads";
    }
  }
}

/// The norms of such a step are made in blocks of rows while others are multiplied already; three threads begin at different ones.
TEST(Engine, AStepOfManyRowsIsTheSameOnAnyNumberOfThreads) {
  constexpr int64_t kLarger = 11, kTokens = 250;
  static_assert(kTokens > 2 * codegen::kRowBlock);
  for (const char* name : {"tiny_llama", "tiny_moe"}) {
    program::Program program = testing::loadProgram(name);
    for (program::Buffer& buffer : *program.mutable_buffers()) {
      buffer.set_offset_bytes(buffer.offset_bytes() * kLarger);
      buffer.set_size_bytes(buffer.size_bytes() * kLarger);
    }
    program.set_arena_bytes(program.arena_bytes() * kLarger);
    program.set_max_tokens(program.max_tokens() * kLarger);
    program.set_max_rows(program.max_rows() * kLarger);
    program.set_max_context(320);
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i < kTokens; ++i) tokens.push_back((i * 37 + 11) % 100);
    const auto all = Batch(5).add(tokens, 0, {4, 0, 6, 1, 2}, Rows::kAll);
    std::vector<float> expected;
    for (const int threads : {1, 2, 3, 7}) {
      auto engine = makeEngine(program, threads);
      ASSERT_TRUE(engine);
      for (int again = 0; again < 5; ++again) {
        const auto logits = logitsOf(*engine, all);
        if (expected.empty()) expected = logits;
        EXPECT_EQ(logits, expected) << name << " on " << threads << " threads";
      }
    }
    const Ffn ffn = std::string(name) == "tiny_moe" ? Ffn::kExpertsInLayer1 : Ffn::kDense;
    EXPECT_LT(largestDifference(expected, testing::referenceLogits(tokens, ffn)), kTolerance) << name;
  }
}

TEST(Engine, SequencesInOneBatchAreAsAlone) {
  const std::vector<int32_t> other = {7, 7, 99, 0, 21};
  auto engine = makeEngine("tiny_moe");
  ASSERT_TRUE(engine);
  const auto alone_a = logitsOf(*engine, Batch(3).add(kPrompt, 0, {0}, Rows::kAll));
  const auto alone_b = logitsOf(*engine, Batch(3).add(other, 0, {1}, Rows::kAll));
  auto together = alone_a;
  together.insert(together.end(), alone_b.begin(), alone_b.end());
  EXPECT_EQ(together, logitsOf(*engine, Batch(3).add(kPrompt, 0, {5}, Rows::kAll).add(other, 0, {6}, Rows::kAll)));

  // One decodes while the other is prefilled.
  const auto next_alone = logitsOf(*engine, Batch(3).add({11}, 17, {0}, Rows::kLast));
  const auto mixed = logitsOf(*engine, Batch(3).add(other, 0, {3}, Rows::kNone).add({11}, 17, {5}, Rows::kLast));
  EXPECT_EQ(next_alone, mixed);
}

TEST(Engine, AContextOverSeveralPagesInAnyOrder) {
  std::vector<int32_t> tokens;
  for (int i = 0; i < 150; ++i) tokens.push_back((i * 37 + 11) % 100);
  auto engine = makeEngine("tiny_llama");
  ASSERT_TRUE(engine);
  std::vector<float> logits;
  for (size_t begin = 0; begin < tokens.size(); begin += 23) {
    const size_t end = std::min(tokens.size(), begin + 23);
    logits = logitsOf(*engine, Batch(3).add({tokens.begin() + begin, tokens.begin() + end}, static_cast<int32_t>(begin), {6, 0, 3}, Rows::kLast));
  }
  const auto expected = testing::referenceLogits(tokens, Ffn::kDense);
  EXPECT_LT(largestDifference(logits, {expected.back()}), kTolerance);
}

/// Three threads split the two KV heads of a single row over positions, two do not; a prefill of 24 rows is never split.
TEST(Engine, ALongContextIsTheSameOnAnyNumberOfThreads) {
  constexpr int32_t kTokens = 2 * codegen::kAttentionChunk + 40;
  program::Program program = testing::loadProgram("tiny_llama");
  program.set_max_context(1200);
  program.set_num_pages(20);
  std::vector<int32_t> tokens, pages;
  for (int32_t i = 0; i < kTokens; ++i) tokens.push_back((i * 37 + 11) % 100);
  for (int32_t i = 0; i < 18; ++i) pages.push_back(19 - i);
  std::vector<float> expected;
  for (const int threads : {1, 2, 3, 5}) {
    auto engine = makeEngine(program, threads);
    ASSERT_TRUE(engine);
    int32_t done = 0;
    for (; done + 24 < kTokens; done += 24) logitsOf(*engine, Batch(18).add({tokens.begin() + done, tokens.begin() + done + 24}, done, pages, Rows::kNone));
    std::vector<float> logits;
    for (; done < kTokens; ++done) logits = logitsOf(*engine, Batch(18).add({tokens[done]}, done, pages, Rows::kLast));
    if (expected.empty()) expected = logits;
    EXPECT_EQ(logits, expected) << threads << " threads";
  }
  EXPECT_LT(largestDifference(expected, {testing::referenceLogits(tokens, Ffn::kDense).back()}), kTolerance);
}

TEST(Engine, AStepWithoutRowsComputesNoLogits) {
  auto engine = makeEngine("tiny_llama");
  ASSERT_TRUE(engine);
  const Batch batch = Batch(3).add(kPrompt, 0, {0}, Rows::kNone);
  StepOutput output;
  ASSERT_TRUE(engine->step(batch.input(), &output).ok());
  EXPECT_EQ(output.rows, 0);
  EXPECT_TRUE(output.values.empty());
}

TEST(Engine, ProfileCountsEveryCall) {
  auto engine = makeEngine("tiny_llama");
  ASSERT_TRUE(engine);
  engine->setProfiling(Profiling::kOn);
  for (int i = 0; i < 3; ++i) logitsOf(*engine, Batch(3).add(kPrompt, 0, {0}, Rows::kLast));
  std::vector<int> count(engine->program().calls_size());
  std::vector<int64_t> before(engine->threads());   // end of the thread's last event
  for (const ProfileEvent& event : engine->profile()) {
    ++count[event.call];
    EXPECT_GE(event.begin_ns, before[event.thread]);
    EXPECT_GE(event.end_ns, event.begin_ns);
    before[event.thread] = event.end_ns;
  }
  for (int seen : count) {
    EXPECT_GE(seen, 3);
    EXPECT_LE(seen, 3 * engine->threads());
  }
  engine->setProfiling(Profiling::kOff);
  EXPECT_TRUE(engine->profile().empty());
}

void expectRefused(Engine& engine, const Batch& batch, const std::string& words) {
  const Status status = engine.step(batch.input(), nullptr);
  ASSERT_FALSE(status.ok()) << words;
  EXPECT_NE(status.error().message().find(words), std::string::npos) << status.error();
  EXPECT_EQ(status.error().code(), ErrorCode::kInvalidInput);
}

TEST(Engine, InputsOutOfRangeAreRefusedAndHarmless) {
  auto engine = makeEngine("tiny_llama");
  ASSERT_TRUE(engine);
  expectRefused(*engine, Batch(3).add({3, 100}, 0, {0}, Rows::kLast), "token id 100");
  expectRefused(*engine, Batch(3).add({-1}, 0, {0}, Rows::kLast), "token id -1");
  expectRefused(*engine, Batch(3).add({1}, 192, {0, 1, 2}, Rows::kLast), "position 192");
  expectRefused(*engine, Batch(3).add({1}, -1, {0}, Rows::kLast), "position -1");
  expectRefused(*engine, Batch(3).add({1}, 0, {7}, Rows::kLast), "page 7");
  expectRefused(*engine, Batch(3).add({1}, 64, {0}, Rows::kLast), "page -1");
  expectRefused(*engine, Batch(1).add({1}, 64, {0}, Rows::kLast), "beyond its table");
  expectRefused(*engine, Batch(4).add({1}, 0, {0}, Rows::kLast), "page_table_stride");
  expectRefused(*engine, Batch(3).add(std::vector<int32_t>(25, 1), 0, {0}, Rows::kLast), "1 to 24 tokens, got 25");
  expectRefused(*engine, Batch(3), "got 0");
  const auto damaged = [&](auto&& change, const std::string& words) {
    Batch batch = Batch(3).add({1, 2, 3}, 0, {0}, Rows::kLast).add({4}, 0, {1}, Rows::kLast);
    change(batch);
    expectRefused(*engine, batch, words);
  };
  damaged([](Batch& b) { b.rows_[0] = 4; }, "row 4");
  damaged([](Batch& b) { b.rows_[0] = -1; }, "row -1");
  damaged([](Batch& b) { b.positions_[1] = 0; }, "ascend by one");
  damaged([](Batch& b) { b.positions_.pop_back(); }, "one per token");
  damaged([](Batch& b) { b.sequence_[0] = 1; }, "sequence_begin says 0");
  damaged([](Batch& b) { b.begin_[1] = 5; }, "has tokens [0, 5)");
  damaged([](Batch& b) { b.begin_[1] = 0; }, "has tokens [0, 0)");
  damaged([](Batch& b) { b.begin_[2] = 3; }, "sequence_begin must run");
  damaged([](Batch& b) { b.begin_ = {}; }, "sequences");
  damaged([](Batch& b) { b.pages_.pop_back(); }, "page_table must be");
  damaged([](Batch& b) { b.rows_.assign(25, 0); }, "at most 24 rows");
  EXPECT_LT(largestDifference(logitsOf(*engine, Batch(3).add(kPrompt, 0, {0}, Rows::kAll)), testing::referenceLogits(kPrompt, Ffn::kDense)), kTolerance);
}

TEST(Engine, ErrorsOfTheWeightReaderNameTheWeight) {
  const auto fail = [](const program::TensorSlice& slice, int64_t row, std::span<float> out) -> Status {
    if (slice.tensor() == "model.layers.1.mlp.up_proj.weight" && row == 70) return makeError(ErrorCode::kIo, "disk on fire");
    return testing::readWeight(slice, row, out);
  };
  EngineOptions options;
  options.threads = 3;
  auto engine = Engine::create(testing::loadProgram("tiny_llama"), options, fail, nullptr);
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.error().code(), ErrorCode::kIo);
  EXPECT_NE(engine.error().message().find("model.layers.1.mlp.up_proj"), std::string::npos) << engine.error();

  const auto not_a_number = [](const program::TensorSlice& slice, int64_t row, std::span<float> out) -> Status {
    EXO_TRY(testing::readWeight(slice, row, out));
    if (slice.tensor() == "model.norm.weight") out[5] = NAN;
    return {};
  };
  auto second = Engine::create(testing::loadProgram("tiny_llama"), options, not_a_number, nullptr);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.error().message().find("model.norm.weight"), std::string::npos) << second.error();
}

TEST(Engine, ProgressEndsAtTheTotal) {
  EngineOptions options;
  options.threads = 2;
  uint64_t last = 0, total = 0, calls = 0;
  options.progress = [&](uint64_t done, uint64_t all) {
    EXPECT_LE(done, all);
    EXPECT_GE(done, last);
    last = done;
    total = all;
    ++calls;
  };
  auto engine = Engine::create(testing::loadProgram("tiny_llama"), options, testing::readWeight, nullptr);
  ASSERT_TRUE(engine.ok()) << engine.error();
  EXPECT_GE(calls, 1u);
  EXPECT_EQ(last, total);
  EXPECT_EQ(total, (*engine)->memory().weights);
}

// An uneven split may leave a rank nothing of a layer: its projection of no columns is a sum of nothing.
TEST(Engine, AProjectionOfNoColumnsAddsZeros) {
  const std::string tensor = "model.layers.0.mlp.down_proj.weight";
  const auto zeros = [&](const program::TensorSlice& slice, int64_t row, std::span<float> out) -> Status {
    EXO_TRY(testing::readWeight(slice, row, out));
    if (slice.tensor() == tensor) std::fill(out.begin(), out.end(), 0.0f);
    return {};
  };
  auto whole = Engine::create(testing::loadProgram("tiny_llama"), {.threads = 2}, zeros, nullptr);
  ASSERT_TRUE(whole.ok()) << whole.error();

  program::Program program = testing::loadProgram("tiny_llama");
  program::Buffer& nothing = *program.add_buffers();
  nothing.set_name("nothing");
  nothing.set_rows(program::TOKENS);
  for (auto& weight : *program.mutable_weights()) {
    if (weight.slices(0).tensor() != tensor) continue;
    weight.set_columns(0);
    weight.mutable_slices(0)->set_column_end(0);
  }
  for (auto& call : *program.mutable_calls()) {
    if (call.name() != "model.layers.0.mlp.down_proj") continue;
    *program.add_kernels() = program.kernels(static_cast<int>(call.kernel()));
    program.mutable_kernels(program.kernels_size() - 1)->set_k(0);
    call.set_kernel(static_cast<uint32_t>(program.kernels_size()) - 1);
    call.mutable_in(0)->set_buffer(static_cast<uint32_t>(program.buffers_size()) - 1);
  }
  auto part = Engine::create(program, {.threads = 2}, testing::readWeight, nullptr);
  ASSERT_TRUE(part.ok()) << part.error();
  const Batch batch = Batch(3).add(kPrompt, 0, {0}, Rows::kAll);
  EXPECT_EQ(logitsOf(**part, batch), logitsOf(**whole, batch));
}

TEST(Engine, MoreMemoryThanThereIsIsRefusedWithNumbers) {
  program::Program program = testing::loadProgram("tiny_llama");
  program.set_num_pages(1 << 27);   // 2 layers x 2^27 pages x 64 positions x 2 heads x 32 floats: 4 TiB
  auto engine = Engine::create(program, {.threads = 1}, testing::readWeight, nullptr);
  ASSERT_FALSE(engine.ok());
  EXPECT_EQ(engine.error().code(), ErrorCode::kDoesNotFit);
  EXPECT_NE(engine.error().message().find("KV cache 4096.00 GiB"), std::string::npos) << engine.error();
}

TEST(Engine, APartOfAJobNeedsAMesh) {
  auto engine = Engine::create(testing::loadProgram("tiny_llama_tp2_rank0"), {.threads = 1}, testing::readWeight, nullptr);
  ASSERT_FALSE(engine.ok());
  EXPECT_NE(engine.error().message().find("mesh"), std::string::npos);
}

}  // namespace
}  // namespace exo::runtime
