// Text in, text out, over a running cluster: tokenizer and chat template of the model's directory around the control
// client's token ids.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "codegen/plan.h"
#include "executor/cluster/client.h"
#include "frontend/tokenizer/tokenizer.h"

namespace exo {

/// Ids of a prompt; errors name what is out of range.
Status checkTokens(const std::vector<int32_t>& ids, const plan::Plan& plan);

/// The logits of a prompt, [positions, vocabulary], put together from the pieces that arrive.
struct LogitsTable {
  int64_t positions = 0, columns = 0;
  std::vector<float> values;
};

struct TextRequest {
  cluster::GenerateRequest generate;
  /// Called with each piece of text (empty without a tokenizer) and each token.
  std::function<void(const std::string& text, int32_t token)> on_text;
  LogitsTable* logits = nullptr;
};

struct TextResult {
  cluster::GenerateStats stats;
  std::vector<int32_t> tokens;
  std::string text;
};

/// `tokenizer` may be null: then there is no text, only tokens.
Result<TextResult> generateText(cluster::ControlClient& client, const tokenizer::Tokenizer* tokenizer, const TextRequest& request, const std::atomic<bool>* cancel);

}  // namespace exo
