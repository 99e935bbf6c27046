#include "executor/serve/generation.h"

namespace exo::serve {
namespace {

class Collector : public TokenListener {
 public:
  explicit Collector(const GenerationRequest& request) : request_(request) {}

  bool token(const Choice& choice) override {
    result_.tokens.push_back(choice.token.id);
    if (request_.on_token) request_.on_token(choice.token.id);
    return true;
  }
  Status promptLogits(int64_t first, std::span<const float> logits) override {
    request_.on_prompt_logits(first, logits);
    return {};
  }
  void end(const TokenEnd& end) override {
    result_.finish = end.reason;
    result_.usage = end.usage;
    result_.timings = end.timings;
    error_ = end.error;
  }

  Result<GenerationResult> result() const {
    if (error_) return *error_;
    return result_;
  }

 private:
  const GenerationRequest& request_;
  GenerationResult result_;
  std::optional<Error> error_;
};

}  // namespace

Result<GenerationResult> Generator::generate(const GenerationRequest& request) {
  TokenRequest tokens{.prompt = request.prompt, .sampling = request.sampling, .max_tokens = request.max_tokens, .stop_ids = request.stop_ids,
                      .prompt_logits = static_cast<bool>(request.on_prompt_logits), .arrived = Clock::now()};
  EXO_TRY(check(tokens, limits_));
  const auto collector = std::make_shared<Collector>(request);
  const uint64_t id = next_id_++;
  batcher_.add(id, std::move(tokens), collector);
  while (!batcher_.idle()) {
    if (request.cancel != nullptr && request.cancel->load(std::memory_order_relaxed)) {
      batcher_.cancel(id);
    } else if (Status status = batcher_.step(); !status.ok()) {
      batcher_.endAll(status.error());
      return status.error();
    }
  }
  return collector->result();
}

}  // namespace exo::serve
