// The "post_processor" of a tokenizer file, for one sequence: ids put before and behind those of the text.
#pragma once

#include <cstdint>
#include <vector>

#include "frontend/tokenizer/json_reader.h"
#include "frontend/tokenizer/vocabulary.h"

namespace exo::tokenizer {

struct PostProcessor {
  std::vector<int32_t> prefix, suffix;
  bool has_template = false;  ///< the file states what surrounds a text, even if that is nothing

  /// A null node gives empty lists. Error kUnsupported names what is not done.
  static Result<PostProcessor> parse(const JsonNode& node, const Vocabulary& vocabulary);
};

}  // namespace exo::tokenizer
