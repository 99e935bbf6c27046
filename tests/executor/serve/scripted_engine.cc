#include "tests/executor/serve/scripted_engine.h"

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

void ScriptedEngine::play(Run& run, const Script& script) {
  const auto prompt = static_cast<int64_t>(run.request.prompt.size());
  CompletionEnd end{.reason = script.reason, .error = script.error};
  end.usage.prompt_tokens = prompt;
  end.usage.cached_tokens = prompt / 2;
  end.timings = {std::chrono::nanoseconds(1000), std::chrono::nanoseconds(2000), std::chrono::nanoseconds(3000)};
  std::string text;
  bool going = pause(run, script.before);
  if (going && script.reason != FinishReason::kError) run.sink->progress({prompt, prompt / 2, prompt});
  do {
    for (size_t i = 0; going && i < script.pieces.size(); ++i) {
      if (run.request.max_tokens && end.usage.generated_tokens == *run.request.max_tokens) {
        end.reason = FinishReason::kLength;
        break;
      }
      std::string piece = script.pieces[i];
      for (const std::string& stop : run.request.stop_strings) {
        const size_t place = (text + piece).find(stop);
        if (place == std::string::npos) continue;
        piece = (text + piece).substr(text.size(), place - std::min(place, text.size()));
        end.reason = FinishReason::kStopString;
        end.stop_string = stop;
      }
      ++end.usage.generated_tokens;
      text += piece;
      GeneratedToken token{{static_cast<int32_t>(i), piece, run.request.logprobs ? -0.5f : 0}, {}};
      for (int a = 0; a < run.request.logprobs.value_or(0); ++a) token.alternatives.push_back({a, std::string(1, static_cast<char>('a' + a)), -0.5f - static_cast<float>(a)});
      run.sink->chunk({piece, {token}});
      if (end.reason == FinishReason::kStopString) break;
      going = pause(run, script.every);
    }
  } while (script.endless && going && end.reason == FinishReason::kStop);
  if (!going) end.reason = FinishReason::kCancelled;
  const auto sink = std::move(run.sink);
  sink->end(std::move(end));
  const std::lock_guard lock(mutex_);
  if (!going) ++cancelled_;
  changed_.notify_all();
}

}  // namespace exo::serve::testing
