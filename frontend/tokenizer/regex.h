// Regular expressions of tokenizer files, matched by PCRE2 with Unicode properties (JIT where there is one).
// The files mean Oniguruma's Ruby dialect; regex_dialect.cc rewrites what differs or refuses it by name.
// The expression and the text are untrusted: steps, memory and time are limited. Thread-safe.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ir/base/result.h"

struct pcre2_real_code_8;

namespace exo::tokenizer {

struct ByteRange {
  size_t begin, end;
};

using Deadline = std::chrono::steady_clock::time_point;

class Regex {
 public:
  static Result<Regex> compile(const std::string& pattern);

  /// Non-overlapping matches from left to right in valid UTF-8; an empty match directly behind another match is dropped.
  /// Error kTimeout when the expression backtracks beyond the limits or the deadline passes.
  Result<std::vector<ByteRange>> findAll(std::string_view text, Deadline deadline) const;

  const std::string& pattern() const { return pattern_; }

 private:
  Regex(std::string pattern, pcre2_real_code_8* code);

  std::string pattern_;
  std::shared_ptr<const pcre2_real_code_8> code_;
};

/// Oniguruma (Ruby dialect, UTF-8) → PCRE2 (UTF, UCP, MULTILINE). Error kUnsupported names what has no translation.
Result<std::string> translateRegex(std::string_view oniguruma);

}  // namespace exo::tokenizer
