#include "frontend/driver/text_session.h"

#include <algorithm>

namespace exo {

namespace {

class Sink : public cluster::GenerateSink {
 public:
  Sink(const tokenizer::Tokenizer* tokenizer, const TextRequest& request, TextResult& result) : request_(request), result_(result) {
    if (tokenizer) decoder_.emplace(*tokenizer, tokenizer::SkipSpecial::kYes);
  }

  Status token(int32_t id) override {
    result_.tokens.push_back(id);
    emit(decoder_ ? decoder_->push(id) : "", id);
    return {};
  }

  Status logits(int64_t position, int64_t column_begin, int64_t columns, std::span<const float> values) override {
    LogitsTable* table = request_.logits;
    if (!table) return {};
    if (position < 0 || position >= static_cast<int64_t>(request_.generate.prompt.size()) || column_begin < 0 ||
        column_begin + static_cast<int64_t>(values.size()) > columns || (table->columns != 0 && columns != table->columns)) {
      return makeError(ErrorCode::kMismatch, "the node sent logits of position ", position, ", columns from ", column_begin, " of ", columns, ", which nobody asked for");
    }
    table->columns = columns;
    table->positions = std::max(table->positions, position + 1);
    table->values.resize(static_cast<size_t>(table->positions * columns));
    std::copy(values.begin(), values.end(), table->values.begin() + position * columns + column_begin);
    return {};
  }

  void finish() {
    if (decoder_) emit(decoder_->finish(), -1);
  }

 private:
  void emit(const std::string& piece, int32_t id) {
    result_.text += piece;
    if (request_.on_text) request_.on_text(piece, id);
  }

  const TextRequest& request_;
  TextResult& result_;
  std::optional<tokenizer::StreamDecoder> decoder_;
};

}  // namespace

Status checkTokens(const std::vector<int32_t>& ids, const plan::Plan& plan) {
  const auto vocabulary = static_cast<int64_t>(plan.programs(0).vocab_size());
  if (ids.size() > plan.max_context()) return invalid("the prompt has ", ids.size(), " tokens, the plan's context ", plan.max_context(), " (--max_context)");
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= vocabulary) return invalid("token ", i, " of the prompt: expected an id from 0 to ", vocabulary - 1, ", got ", ids[i]);
  }
  return {};
}

Result<TextResult> generateText(cluster::ControlClient& client, const tokenizer::Tokenizer* tokenizer, const TextRequest& request, const std::atomic<bool>* cancel) {
  TextResult result;
  Sink sink(tokenizer, request, result);
  EXO_ASSIGN(result.stats, client.generate(request.generate, sink, cancel));
  sink.finish();
  return result;
}

}  // namespace exo
