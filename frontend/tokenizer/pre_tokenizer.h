// The "pre_tokenizer" of a tokenizer file: one text → the words that the model sees one by one. Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "frontend/tokenizer/json_reader.h"
#include "frontend/tokenizer/regex.h"

namespace exo::tokenizer {

struct Word {
  std::string text;
  bool at_text_start;  ///< begins where the whole input begins; only Metaspace's prepend_scheme "first" asks
};

class PreTokenizer {
 public:
  virtual ~PreTokenizer() = default;
  /// Splits or rewrites every word; words that become empty are dropped.
  virtual Result<std::vector<Word>> apply(std::vector<Word> words, Deadline deadline) const = 0;
};

/// A null node gives one that changes nothing. Error kUnsupported names what is not done.
Result<std::unique_ptr<PreTokenizer>> parsePreTokenizer(const JsonNode& node);

}  // namespace exo::tokenizer
