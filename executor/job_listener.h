// A request of the control service as the engine sees it: what comes of it goes to the job.
#pragma once

#include <memory>

#include "executor/cluster/generate_job.h"
#include "executor/serve/batcher.h"

namespace exo {

/// `eos_ids`: the model's.
serve::TokenRequest tokenRequest(const cluster::GenerateRequest& request, std::span<const int32_t> eos_ids);

class JobListener final : public serve::TokenListener {
 public:
  JobListener(std::shared_ptr<cluster::GenerateJob> job, int64_t vocab_size) : job_(std::move(job)), vocab_size_(vocab_size) {}

  /// False, and the sequence ends, once the client has gone or reads nothing.
  bool token(const serve::Choice& choice) override { return job_->token(choice.token.id).ok(); }
  Status promptLogits(int64_t first, std::span<const float> logits) override;
  void end(const serve::TokenEnd& end) override;

 private:
  std::shared_ptr<cluster::GenerateJob> job_;
  int64_t vocab_size_;
};

}  // namespace exo
