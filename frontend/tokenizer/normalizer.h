// The "normalizer" of a tokenizer file: text → text, before it is split. Thread-safe.
#pragma once

#include <memory>
#include <string>

#include "frontend/tokenizer/json_reader.h"
#include "frontend/tokenizer/regex.h"

namespace exo::tokenizer {

class Normalizer {
 public:
  virtual ~Normalizer() = default;
  /// Valid UTF-8 in and out. Fails when a regular expression exceeds its limits.
  virtual Result<std::string> apply(std::string text, Deadline deadline) const = 0;
};

/// A null node gives a normalizer that changes nothing. Error kUnsupported names what is not done.
Result<std::unique_ptr<Normalizer>> parseNormalizer(const JsonNode& node);

/// Components nest this deep at most ("Sequence" in "Sequence" …).
inline constexpr int kMaxComponentDepth = 16;

/// {"String": "…"} or {"Regex": "…"}: what Replace and Split look for.
class TextPattern {
 public:
  static Result<TextPattern> parse(const JsonNode& node);
  Result<std::vector<ByteRange>> findAll(std::string_view text, Deadline deadline) const;
  /// The literal, or nullptr for a regular expression.
  const std::string* literal() const { return regex_ ? nullptr : &literal_; }

 private:
  std::string literal_;
  std::optional<Regex> regex_;
};

}  // namespace exo::tokenizer
