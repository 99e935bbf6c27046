// What a long prompt does to answers that are running: times between their tokens without it and while it is computed, and its own
// time to first token beside that of the same prompt alone. One node, the engine of the server without its network.
#include <gflags/gflags.h>

#include <cstdio>
#include <vector>

#include "bench/flags.h"
#include "bench/machine.h"
#include "bench/statistics.h"
#include "executor/runtime/driver.h"
#include "executor/runtime/engine.h"
#include "executor/serve/batcher.h"
#include "executor/weight_source.h"
#include "frontend/driver/compile.h"
#include "frontend/driver/plan_source.h"
#include "frontend/topology/topology.h"

DEFINE_string(card, "qwen3-0.6b", "card (weights are made up) or model directory");
DEFINE_string(quant, "q8", "quantisation");
DEFINE_int32(threads, 0, "0: one per core");
DEFINE_int32(answers, 2, "that run all the time");
DEFINE_int32(prompt, 2048, "tokens of the prompt that arrives");
DEFINE_int32(steps, 60, "tokens of each answer before it arrives");

namespace exo::bench {
namespace {

using serve::Clock;

/// When its tokens came.
struct Times : serve::TokenListener {
  bool token(const serve::Choice&) override {
    at.push_back(Clock::now());
    return true;
  }
  void end(const serve::TokenEnd& given) override { last = given; }

  /// Between tokens that came in [begin, end).
  std::vector<double> gaps(Clock::time_point begin, Clock::time_point end) const {
    std::vector<double> between;
    for (size_t i = 1; i < at.size(); ++i)
      if (at[i] >= begin && at[i] < end) between.push_back(std::chrono::duration<double>(at[i] - at[i - 1]).count());
    return between;
  }
  std::vector<Clock::time_point> at;
  std::optional<serve::TokenEnd> last;
};

serve::TokenRequest request(int32_t length, int32_t seed, int64_t max_tokens) {
  serve::TokenRequest request{.max_tokens = max_tokens, .arrived = Clock::now()};
  for (int32_t i = 0; i < length; ++i) request.prompt.push_back(1 + (i * 7 + seed * 13) % 1000);
  return request;
}

void print(const char* what, std::vector<double> gaps) {
  std::printf("%-42s p50 %6.1f ms, p95 %6.1f ms, largest %6.1f ms, of %zu\n", what, quantile(gaps, 0.5) * 1e3, quantile(gaps, 0.95) * 1e3, quantile(gaps, 1) * 1e3, gaps.size());
}

Status measure(runtime::Driver& driver) {
  serve::Batcher batcher(driver);
  const auto alone = std::make_shared<Times>();
  batcher.add(1, request(FLAGS_prompt, 1, 1), alone);
  while (!batcher.idle()) EXO_TRY(batcher.step());
  const double alone_s = std::chrono::duration<double>(alone->last->timings.prompt).count();
  std::vector<std::shared_ptr<Times>> answers;
  for (int i = 0; i < FLAGS_answers; ++i) batcher.add(static_cast<uint64_t>(2 + i), request(16, 50 + i, 1 << 30), answers.emplace_back(std::make_shared<Times>()));
  for (int i = 0; i < FLAGS_steps; ++i) EXO_TRY(batcher.step());
  const Clock::time_point begin = answers[0]->at.at(answers[0]->at.size() / 4), arrival = Clock::now();   // the first ones warm up
  const auto late = std::make_shared<Times>();
  batcher.add(1000, request(FLAGS_prompt, 2, 1), late);
  while (!late->last && !batcher.idle()) EXO_TRY(batcher.step());
  if (!late->last) return invalid("the answers ended before the prompt did; the context is too short");
  const Clock::time_point end = Clock::now();
  std::vector<double> without, with;
  for (const auto& answer : answers) {
    for (const double gap : answer->gaps(begin, arrival)) without.push_back(gap);
    for (const double gap : answer->gaps(arrival, end)) with.push_back(gap);
  }
  print("between tokens, without the prompt:", without);
  print("between tokens, while it is computed:", with);
  std::printf("p95 %.2fx (2 is promised); its first token after %.2f s, alone after %.2f s\n", quantile(with, 0.95) / quantile(without, 0.95),
              std::chrono::duration<double>(late->at.at(0) - arrival).count(), alone_s);
  return {};
}

Status run() {
  EXO_TRY(checkRange("threads", FLAGS_threads, 0, 1024));
  EXO_TRY(checkRange("answers", FLAGS_answers, 1, 64));
  EXO_TRY(checkRange("prompt", FLAGS_prompt, 1, 1 << 16));
  EXO_TRY(checkRange("steps", FLAGS_steps, 8, 10'000));
  CompileOptions options;
  EXO_ASSIGN(options.quantization, parseQuantization(FLAGS_quant));
  options.topology = loopbackTopology(1);
  options.max_context = FLAGS_prompt + 4096;
  options.max_sequences = FLAGS_answers + 1;
  EXO_ASSIGN(const Model model, openModel(FLAGS_card));
  if (!model.checkpoint) options.random_seed = 7;
  EXO_ASSIGN(const Compiled compiled, compile(model, options));
  runtime::EngineOptions engine_options{.threads = FLAGS_threads};
  EXO_ASSIGN(const auto weights, openWeights(compiled.plan.model_directory(), options.random_seed));
  const std::atomic<bool> cancel{false};
  EXO_ASSIGN(const auto engine, runtime::Engine::create(compiled.plan.programs(0), engine_options, weightReader(*weights, cancel), nullptr));
  EXO_ASSIGN(const auto driver, runtime::Driver::create(*engine, nullptr, std::chrono::seconds(30)));
  std::printf("%s %s, %d threads, %s; %d answers, then a prompt of %d tokens\n", FLAGS_card.c_str(), FLAGS_quant.c_str(), engine->threads(), codegen::name(engine->isa()),
              FLAGS_answers, FLAGS_prompt);
  return measure(*driver);
}

}  // namespace
}  // namespace exo::bench

int main(int argc, char** argv) {
  return exo::bench::runBenchmark(argc, argv, "bench_interference: what a long prompt does to running answers", {"card", "quant", "threads", "answers", "prompt", "steps"}, exo::bench::run);
}
