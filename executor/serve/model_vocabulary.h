// A model's tokens as grammars see them.
#pragma once

#include <cstdint>
#include <future>
#include <memory>
#include <vector>

#include "executor/serve/grammar/vocabulary.h"
#include "frontend/tokenizer/tokenizer.h"

namespace exo::serve {

/// Made at the first use, once (some tenths of a second for 150k tokens). Whoever asks has a copy of the future of their own.
using SharedVocabulary = std::shared_future<std::shared_ptr<const Vocabulary>>;

/// Each token's bytes, without special tokens, which no text of an answer has, other than those of answer_marks.h.
SharedVocabulary vocabularyOf(std::shared_ptr<const tokenizer::Tokenizer> tokenizer, std::vector<int32_t> eos_ids);

}  // namespace exo::serve
