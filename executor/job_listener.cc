#include "executor/job_listener.h"

namespace exo {
namespace {

cluster::FinishReason toCluster(serve::FinishReason reason) {
  switch (reason) {
    case serve::FinishReason::kStop: return cluster::FinishReason::kEos;
    case serve::FinishReason::kLength: return cluster::FinishReason::kLength;
    case serve::FinishReason::kStopString:   // there are none: the listener ended it, its client has gone
    case serve::FinishReason::kCancelled:
    case serve::FinishReason::kError: return cluster::FinishReason::kCancelled;
  }
  return cluster::FinishReason::kCancelled;
}

double seconds(std::chrono::nanoseconds duration) { return std::chrono::duration<double>(duration).count(); }

}  // namespace

serve::TokenRequest tokenRequest(const cluster::GenerateRequest& request, std::span<const int32_t> eos_ids) {
  serve::TokenRequest tokens{.prompt = request.prompt};
  tokens.sampling.temperature = request.temperature;
  tokens.sampling.top_k = request.top_k;
  tokens.sampling.top_p = request.top_p;
  tokens.sampling.seed = request.seed;
  tokens.max_tokens = request.max_tokens;
  tokens.prompt_logits = request.want_logits;
  if (request.ignore_eos) return tokens;
  tokens.stop_ids.assign(eos_ids.begin(), eos_ids.end());
  tokens.stop_ids.insert(tokens.stop_ids.end(), request.eos_ids.begin(), request.eos_ids.end());
  return tokens;
}

Status JobListener::promptLogits(int64_t first, std::span<const float> logits) {
  const auto columns = static_cast<size_t>(vocab_size_);
  for (size_t row = 0; row < logits.size() / columns; ++row)
    EXO_TRY(job_->logits(first + static_cast<int64_t>(row), 0, vocab_size_, logits.subspan(row * columns, columns)));
  return {};
}

void JobListener::end(const serve::TokenEnd& end) {
  if (end.error) return job_->finish(*end.error);
  // Those given to the client.
  const int64_t tokens = end.usage.generated_tokens - (end.stop_id ? 1 : 0);
  job_->finish(cluster::GenerateStats{toCluster(end.reason), end.usage.prompt_tokens, tokens, seconds(end.timings.prompt), seconds(end.timings.generation)});
}

}  // namespace exo
