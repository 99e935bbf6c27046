// The text of an answer as its tokens come: characters whole, stop strings never, each token with the text it ends in.
#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "executor/serve/completion.h"
#include "frontend/tokenizer/tokenizer.h"

namespace exo::serve {

class AnswerText {
 public:
  /// `tokenizer` may be null: then there is no text, and tokens come at once. It outlives this.
  AnswerText(const tokenizer::Tokenizer* tokenizer, tokenizer::SkipSpecial skip_special, std::vector<std::string> stop_strings);

  /// What is settled by one more token; empty chunks say nothing new. Not after stopString() has a value.
  CompletionChunk push(GeneratedToken token);
  /// After the last token: what was held back.
  CompletionChunk finish();

  /// The stop string that came; of several the one that begins first, then the longest.
  const std::optional<std::string>& stopString() const { return stop_string_; }

 private:
  struct Held {
    GeneratedToken token;
    size_t begin = 0, end = 0;   // of its text, in bytes from the answer's beginning
  };
  CompletionChunk settle(const std::string& text, bool last);
  size_t findStop();
  size_t possibleStop() const;
  void release(CompletionChunk& chunk, bool all);

  std::optional<tokenizer::StreamDecoder> decoder_;
  std::vector<std::string> stop_strings_;
  std::optional<std::string> stop_string_;
  std::string held_;               // decoded, and may begin a stop string
  size_t emitted_ = 0;             // bytes
  std::vector<GeneratedToken> open_;   // their text has not come out of the decoder
  std::deque<Held> closed_;        // their text is held or emitted
};

}  // namespace exo::serve
