#include "tests/executor/serve/scripted_engine.h"

#include <algorithm>
#include <random>

namespace exo::serve::testing {

using std::chrono::milliseconds;

ScriptedEngine::~ScriptedEngine() {
  for (auto& [id, run] : runs_) {
    cancel(id);
    run->thread.join();
  }
}

void ScriptedEngine::answerWith(std::function<Script(const CompletionRequest&)> script) {
  const std::lock_guard lock(mutex_);
  script_ = std::move(script);
}

std::vector<CompletionRequest> ScriptedEngine::submitted() const {
  const std::lock_guard lock(mutex_);
  return submitted_;
}

bool ScriptedEngine::waitForCancelled(uint64_t count, milliseconds patience) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, patience, [&] { return cancelled_ >= count; });
}

Metrics ScriptedEngine::metrics() const {
  const std::lock_guard lock(mutex_);
  Metrics metrics;
  metrics.accepted = submitted_.size();
  metrics.cancelled = cancelled_;
  metrics.peer_waits = {{1, 0.25}};
  return metrics;
}

std::variant<RequestId, Refusal> ScriptedEngine::submit(CompletionRequest request, std::shared_ptr<CompletionSink> sink) {
  const std::lock_guard lock(mutex_);
  const Script script = script_(request);
  if (script.refusal) return *script.refusal;
  submitted_.push_back(request);
  const RequestId id = submitted_.size();
  Run& run = *(runs_[id] = std::make_unique<Run>());
  run.request = std::move(request);
  run.sink = std::move(sink);
  run.thread = std::thread([this, &run, script] { play(run, script); });
  return id;
}

void ScriptedEngine::cancel(RequestId id) {
  const std::lock_guard lock(mutex_);
  const auto run = runs_.find(id);
  if (run != runs_.end()) run->second->cancelled = true;
  changed_.notify_all();
}

/// False: it was cancelled meanwhile.
bool ScriptedEngine::pause(Run& run, milliseconds time) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, time, [&] { return run.cancelled; });
}

/// What ends something is taken as often as all others together, so that no text goes on for ever.
void ScriptedEngine::improvise(Run& run, CompletionEnd& end) {
  std::mt19937_64 random(run.request.sampling.seed.value_or(run.request.prompt.size()));
  std::vector<uint32_t> mask((static_cast<size_t>(model_.vocab_size) + 31) / 32);
  const auto allowed = [&](int32_t id) { return (mask[static_cast<size_t>(id) / 32] >> (id % 32) & 1) != 0; };
  while (end.usage.generated_tokens < run.request.max_tokens.value_or(model_.context_length)) {
    run.request.constraint->allowed(mask);
    if (allowed(model_.eos_ids.at(0))) return;
    std::vector<int32_t> ending, others;
    for (int32_t id = 0; id < model_.vocab_size; ++id) {
      const std::string bytes = model_.tokenizer->tokenBytes(id);
      const bool ascii = std::all_of(bytes.begin(), bytes.end(), [](char c) { return c > 0; });
      if (allowed(id) && ascii) (bytes.find_first_of("\"]}>") != std::string::npos ? ending : others).push_back(id);
    }
    const std::vector<int32_t>& from = others.empty() || (!ending.empty() && random() % 2 == 0) ? ending : others;
    if (from.empty()) break;
    const int32_t id = from[random() % from.size()];
    EXO_CHECK(run.request.constraint->accept(id).ok());
    ++end.usage.generated_tokens;
    const std::string bytes = model_.tokenizer->tokenBytes(id);
    run.sink->chunk({bytes, {GeneratedToken{{id, bytes, 0}, {}}}});
  }
  end.reason = FinishReason::kLength;
}

/// The script's pieces. False: it was cancelled meanwhile.
bool ScriptedEngine::recite(Run& run, const Script& script, CompletionEnd& end) {
  std::string text;
  do {
    for (const std::string& scripted : script.pieces) {
      if (run.request.max_tokens && end.usage.generated_tokens == *run.request.max_tokens) {
        end.reason = FinishReason::kLength;
        return true;
      }
      std::string piece = scripted;
      for (const std::string& stop : run.request.stop_strings) {
        const size_t place = (text + piece).find(stop);
        if (place == std::string::npos) continue;
        piece = (text + piece).substr(text.size(), place - std::min(place, text.size()));
        end.reason = FinishReason::kStopString;
        end.stop_string = stop;
      }
      const auto id = static_cast<int32_t>(&scripted - script.pieces.data());
      ++end.usage.generated_tokens;
      text += piece;
      GeneratedToken token{{id, piece, run.request.logprobs ? -0.5f : 0}, {}};
      for (int a = 0; a < run.request.logprobs.value_or(0); ++a) token.alternatives.push_back({a, std::string(1, static_cast<char>('a' + a)), -0.5f - static_cast<float>(a)});
      run.sink->chunk({piece, {token}});
      if (end.reason == FinishReason::kStopString) return true;
      if (!pause(run, script.every)) return false;
    }
  } while (script.endless && end.reason == FinishReason::kStop);
  return true;
}

void ScriptedEngine::play(Run& run, const Script& script) {
  const auto prompt = static_cast<int64_t>(run.request.prompt.size());
  CompletionEnd end{.reason = script.reason, .error = script.error};
  end.usage.prompt_tokens = prompt;
  end.usage.cached_tokens = prompt / 2;
  end.timings = {std::chrono::nanoseconds(1000), std::chrono::nanoseconds(2000), std::chrono::nanoseconds(3000)};
  bool going = pause(run, script.before);
  if (going && script.reason != FinishReason::kError) run.sink->progress({prompt, prompt / 2, prompt});
  if (going && script.improvises && run.request.constraint) improvise(run, end);
  else if (going) going = recite(run, script, end);
  if (!going) end.reason = FinishReason::kCancelled;
  const auto sink = std::move(run.sink);
  sink->end(std::move(end));
  const std::lock_guard lock(mutex_);
  if (!going) ++cancelled_;
  changed_.notify_all();
}

}  // namespace exo::serve::testing
