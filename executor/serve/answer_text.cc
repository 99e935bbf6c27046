#include "executor/serve/answer_text.h"

#include <algorithm>
#include <string_view>

namespace exo::serve {

AnswerText::AnswerText(const tokenizer::Tokenizer* tokenizer, tokenizer::SkipSpecial skip_special, std::vector<std::string> stop_strings)
    : stop_strings_(std::move(stop_strings)) {
  if (tokenizer != nullptr) decoder_.emplace(*tokenizer, skip_special);
}

CompletionChunk AnswerText::push(GeneratedToken token) {
  if (!decoder_) {
    CompletionChunk chunk;
    chunk.tokens.push_back(std::move(token));
    return chunk;
  }
  const std::string text = decoder_->push(token.token.id);
  open_.push_back(std::move(token));
  return text.empty() ? CompletionChunk{} : settle(text, false);
}

CompletionChunk AnswerText::finish() {
  if (!decoder_ || stop_string_) return {};
  return settle(decoder_->finish(), true);
}

CompletionChunk AnswerText::settle(const std::string& text, bool last) {
  const size_t begin = emitted_ + held_.size();
  held_ += text;
  for (GeneratedToken& token : open_) closed_.push_back({std::move(token), begin, begin + text.size()});
  open_.clear();
  const size_t stop = findStop();
  const size_t settled = stop_string_ ? stop : last ? held_.size() : held_.size() - possibleStop();
  CompletionChunk chunk{.text = held_.substr(0, settled), .tokens = {}};
  held_.erase(0, settled);
  emitted_ += settled;
  release(chunk, last && !stop_string_);
  return chunk;
}

/// Where the first stop string begins; held_.size() if none has come.
size_t AnswerText::findStop() {
  size_t first = held_.size();
  for (const std::string& stop : stop_strings_) {
    const size_t at = held_.find(stop);
    if (at == std::string::npos || at > first) continue;
    if (at < first || (stop_string_ && stop.size() > stop_string_->size())) stop_string_ = stop;
    first = at;
  }
  return first;
}

/// Bytes at the end that may begin a stop string.
size_t AnswerText::possibleStop() const {
  size_t longest = 0;
  for (const std::string& stop : stop_strings_) {
    for (size_t size = std::min(stop.size() - 1, held_.size()); size > longest; --size) {
      if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, size))) longest = size;
    }
  }
  return longest;
}

/// Tokens whose text is out. Before a stop string, also the one that has its beginning out.
void AnswerText::release(CompletionChunk& chunk, bool all) {
  while (!closed_.empty() && (all || closed_.front().end <= emitted_ || (stop_string_ && closed_.front().begin < emitted_))) {
    chunk.tokens.push_back(std::move(closed_.front().token));
    closed_.pop_front();
  }
}

}  // namespace exo::serve
