#include "executor/serve/serving_engine.h"

#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>

#include "tests/executor/serve/fake_runner.h"

namespace exo::serve {
namespace {

using namespace std::chrono_literals;
using testing::FakeRunner;

class Recorder : public CompletionSink {
 public:
  void progress(const PromptProgress&) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(end_);
    began_ = true;
    changed_.notify_all();
  }
  void chunk(CompletionChunk chunk) override {
    {
      const std::lock_guard lock(mutex_);
      EXPECT_FALSE(end_) << "a chunk after the end";
      text_ += chunk.text;
      for (const GeneratedToken& token : chunk.tokens) tokens_.push_back(token.token.id);
    }
    if (on_chunk) on_chunk();
  }
  void end(CompletionEnd end) override {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(end_) << "ended twice";
    end_ = std::move(end);
    changed_.notify_all();
  }
  CompletionEnd wait() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 20s, [&] { return end_.has_value(); })) << "the request does not end";
    return end_.value_or(CompletionEnd{});
  }
  void waitBegun() {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, 20s, [&] { return began_; }));
  }
  std::vector<int32_t> tokens() {
    const std::lock_guard lock(mutex_);
    return tokens_;
  }
  std::string text() {
    const std::lock_guard lock(mutex_);
    return text_;
  }
  std::function<void()> on_chunk;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool began_ = false;
  std::string text_;
  std::vector<int32_t> tokens_;
  std::optional<CompletionEnd> end_;
};

class ServingEngineTest : public ::testing::Test {
 protected:
  static std::shared_ptr<const tokenizer::Tokenizer> tokenizer() {
    auto loaded = tokenizer::Tokenizer::load(std::string(EXO_TEST_DATA) + "/tokenizer_llama3");
    EXPECT_TRUE(loaded.ok()) << loaded.error();
    return std::make_shared<const tokenizer::Tokenizer>(std::move(loaded).value());
  }
  void start(ServingOptions options = {}, std::chrono::milliseconds step_time = 0ms) {
    ModelInfo model{.name = "fake", .context_length = 4096, .tokenizer = tokenizer()};
    model.vocab_size = model.tokenizer->vocabSize();
    limits_ = {.max_tokens = 32, .max_rows = 64, .max_context = 4096, .page_tokens = 16, .num_pages = 400, .vocab_size = model.vocab_size};
    runner_.emplace(limits_);
    if (step_time.count() > 0) runner_->before_step = [step_time]() -> Status {
      std::this_thread::sleep_for(step_time);
      return {};
    };
    engine_.emplace(std::move(model), limits_, options);
  }
  void runInThread() {
    result_ = std::async(std::launch::async, [this] {
      Status status = engine_->run(*runner_);
      engine_->finish(status.ok() ? std::nullopt : std::optional<Error>(status.error()));
      return status;
    });
  }
  void TearDown() override {
    if (!result_.valid()) return;
    engine_->stop();
    EXPECT_EQ(result_.wait_for(20s), std::future_status::ready);
  }
  RequestId submit(CompletionRequest request, const std::shared_ptr<Recorder>& sink) {
    auto taken = engine_->submit(std::move(request), sink);
    if (const auto* refusal = std::get_if<Refusal>(&taken)) ADD_FAILURE() << refusal->message;
    return std::holds_alternative<RequestId>(taken) ? std::get<RequestId>(taken) : 0;
  }
  Refusal refused(CompletionRequest request) {
    auto taken = engine_->submit(std::move(request), std::make_shared<Recorder>());
    EXPECT_TRUE(std::holds_alternative<Refusal>(taken));
    return std::holds_alternative<Refusal>(taken) ? std::get<Refusal>(taken) : Refusal{};
  }
  std::vector<int32_t> reference(std::vector<int32_t> tokens, size_t count) const {
    std::vector<int32_t> answer;
    while (answer.size() < count) tokens.push_back(answer.emplace_back(runner_->next(tokens)));
    return answer;
  }

  runtime::StepLimits limits_;
  std::optional<FakeRunner> runner_;
  std::optional<ServingEngine> engine_;
  std::future<Status> result_;
};

TEST_F(ServingEngineTest, ManyThreadsAskAndEachGetsItsAnswer) {
  start();
  runInThread();
  std::vector<std::future<void>> clients;
  for (int32_t client = 0; client < 8; ++client) {
    clients.push_back(std::async(std::launch::async, [&, client] {
      for (int32_t i = 0; i < 10; ++i) {
        const std::vector<int32_t> prompt = {1, 2, client, i, 5};
        const auto sink = std::make_shared<Recorder>();
        submit({.prompt = prompt, .sampling = {}, .max_tokens = 12}, sink);
        const CompletionEnd end = sink->wait();
        EXPECT_EQ(end.reason, FinishReason::kLength);
        EXPECT_EQ(end.usage.generated_tokens, 12);
        EXPECT_EQ(sink->tokens(), reference(prompt, 12));
        EXPECT_EQ(sink->text(), engine_->model().tokenizer->decode(sink->tokens(), tokenizer::SkipSpecial::kYes));
        EXPECT_LE(engine_->requests().size(), 8u);
        EXPECT_EQ(engine_->metrics().failed, 0u);
      }
    }));
  }
  for (auto& client : clients) client.get();
  EXPECT_EQ(engine_->metrics().accepted, 80u);
  for (int i = 0; i < 5000 && engine_->metrics().finished < 80; ++i) std::this_thread::sleep_for(1ms);   // they follow the step
  EXPECT_EQ(engine_->metrics().finished, 80u);
  EXPECT_TRUE(engine_->requests().empty());
}

TEST_F(ServingEngineTest, CancellingEndsAtTheNextToken) {
  start({}, 2ms);
  runInThread();
  const auto sink = std::make_shared<Recorder>();
  const RequestId id = submit({.prompt = {1, 2, 3}, .max_tokens = {}}, sink);
  sink->waitBegun();
  engine_->cancel(id);
  engine_->cancel(id);
  engine_->cancel(12345);
  EXPECT_EQ(sink->wait().reason, FinishReason::kCancelled);
  EXPECT_LT(sink->tokens().size(), 4000u);
}

TEST_F(ServingEngineTest, ASinkMayCancelItself) {
  start();
  runInThread();
  const auto sink = std::make_shared<Recorder>();
  std::atomic<RequestId> id{0};
  sink->on_chunk = [&] { engine_->cancel(id); };
  id = submit({.prompt = {1, 2, 3}, .max_tokens = {}}, sink);
  EXPECT_EQ(sink->wait().reason, FinishReason::kCancelled);
}

TEST_F(ServingEngineTest, AStopStringEndsAndSaysWhich) {
  start();
  runInThread();
  const auto free = std::make_shared<Recorder>();
  submit({.prompt = {1, 2, 3}, .max_tokens = 30, .special_text = true}, free);
  free->wait();
  const std::string text = free->text();
  // Some whole characters from the middle of the answer.
  size_t begin = text.size() / 2;
  while ((static_cast<unsigned char>(text[begin]) & 0xC0) == 0x80) ++begin;
  size_t end = begin + 1;
  while (end < text.size() && (end < begin + 3 || (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80)) ++end;
  const std::string stop = text.substr(begin, end - begin);
  const auto stopped = std::make_shared<Recorder>();
  submit({.prompt = {1, 2, 3}, .max_tokens = 30, .stop_strings = {"no such text", stop}, .special_text = true}, stopped);
  const CompletionEnd last = stopped->wait();
  EXPECT_EQ(last.reason, FinishReason::kStopString);
  EXPECT_EQ(last.stop_string, stop);
  EXPECT_EQ(stopped->text(), text.substr(0, text.find(stop)));
}

TEST_F(ServingEngineTest, AFullQueueRefusesWithATimeToComeBack) {
  start({.max_waiting = 2});
  const auto sink = std::make_shared<Recorder>();
  submit({.prompt = {1}, .max_tokens = 1}, sink);   // nobody runs yet: they wait
  submit({.prompt = {2}, .max_tokens = 1}, std::make_shared<Recorder>());
  const Refusal refusal = refused({.prompt = {3}, .max_tokens = 1});
  EXPECT_EQ(refusal.reason, Refusal::Reason::kQueueFull);
  EXPECT_GE(refusal.retry_after, 1s);
  EXPECT_EQ(engine_->metrics().refused, 1u);
  EXPECT_EQ(engine_->metrics().waiting, 2);
  EXPECT_EQ(engine_->requests().size(), 2u);
  runInThread();
  EXPECT_EQ(sink->wait().reason, FinishReason::kLength);
}

TEST_F(ServingEngineTest, BadRequestsAreRefusedBeforeTheyCostAnything) {
  start();
  EXPECT_EQ(refused({.prompt = {}}).reason, Refusal::Reason::kInvalid);
  const Refusal too_long = refused({.prompt = std::vector<int32_t>(5000, 1)});
  EXPECT_EQ(too_long.reason, Refusal::Reason::kPromptTooLong);
  EXPECT_EQ(too_long.prompt_tokens, 5000);
  EXPECT_EQ(too_long.context_length, 4096);
  EXPECT_EQ(refused({.prompt = {1}, .stop_strings = {""}}).message, "a stop string is empty");
  EXPECT_EQ(refused({.prompt = {1}, .stop_strings = {"\xff"}}).message, "a stop string is not valid UTF-8");
  EXPECT_EQ(refused({.prompt = {1}, .sampling = {.temperature = -1}}).reason, Refusal::Reason::kInvalid);
}

TEST_F(ServingEngineTest, DrainingFinishesWhatRunsAndTakesNothingMore) {
  start({}, 1ms);
  runInThread();
  const auto sink = std::make_shared<Recorder>();
  submit({.prompt = {1, 2, 3}, .max_tokens = 50}, sink);
  sink->waitBegun();
  engine_->drain();
  EXPECT_EQ(refused({.prompt = {1}}).reason, Refusal::Reason::kStopping);
  EXPECT_EQ(sink->wait().reason, FinishReason::kLength);
  EXPECT_EQ(result_.wait_for(20s), std::future_status::ready);
  EXPECT_EQ(engine_->state(), EngineState::kStopped);
}

TEST_F(ServingEngineTest, StoppingCancelsWhatRunsAndWhatWaits) {
  start({}, 1ms);
  runInThread();
  std::vector<std::shared_ptr<Recorder>> sinks;
  for (int32_t i = 0; i < 4; ++i) submit({.prompt = {1, i}, .max_tokens = {}}, sinks.emplace_back(std::make_shared<Recorder>()));
  sinks[0]->waitBegun();
  engine_->stop();
  for (const auto& sink : sinks) EXPECT_EQ(sink->wait().reason, FinishReason::kCancelled);
}

TEST_F(ServingEngineTest, ABrokenJobIsEverybodysError) {
  start();
  std::atomic<int> steps{0};
  runner_->before_step = [&]() -> Status {
    if (++steps == 5) return makeError(ErrorCode::kPeerLost, ErrorScope::kLink, "lost b");
    return {};
  };
  runInThread();
  const auto sink = std::make_shared<Recorder>();
  submit({.prompt = {1, 2, 3}, .max_tokens = {}}, sink);
  const CompletionEnd end = sink->wait();
  EXPECT_EQ(end.reason, FinishReason::kError);
  ASSERT_TRUE(end.error);
  EXPECT_EQ(end.error->message(), "lost b");
  EXPECT_EQ(result_.wait_for(20s), std::future_status::ready);
  EXPECT_EQ(engine_->state(), EngineState::kFailed);
  EXPECT_EQ(refused({.prompt = {1}}).reason, Refusal::Reason::kFailed);
}

}  // namespace
}  // namespace exo::serve
