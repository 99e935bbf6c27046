// What one rendering may still spend. A template and its variables are untrusted: loops, doubling strings and shared
// sub-lists ([x, x] nested) all cost steps, and every text is held below max_bytes before it is built.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "ir/base/result.h"

namespace exo::jinja {

class Budget {
 public:
  Budget(uint64_t steps, size_t max_bytes) : total_(steps), steps_(steps), max_bytes_(max_bytes) {}

  /// Takes `count` steps. False when they are used up; from then on exhausted() is true.
  bool spend(uint64_t count);
  /// Takes the steps of building `bytes` of text or items (64 bytes each).
  bool spendBytes(size_t bytes) { return spend(1 + bytes / 64); }
  bool exhausted() const { return exhausted_; }
  /// The error of an exhausted budget, or success.
  Status check() const;
  /// An error if a text of `bytes` would be longer than allowed; also spends its steps.
  Status allow(size_t bytes);
  size_t maxBytes() const { return max_bytes_; }

 private:
  uint64_t total_;
  uint64_t steps_;
  size_t max_bytes_;
  bool exhausted_ = false;
};

}  // namespace exo::jinja
