// Tokens and their ids, both ways. Ids need not be contiguous. Immutable after loading, then thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ir/base/result.h"

namespace exo::tokenizer {

/// Largest id accepted plus one: ten times the largest vocabulary known, and a bound on what a bad file can allocate.
inline constexpr int64_t kIdLimit = int64_t{1} << 22;

class Vocabulary {
 public:
  Vocabulary() = default;
  Vocabulary(Vocabulary&&) = default;
  Vocabulary& operator=(Vocabulary&&) = default;

  void reserve(size_t num_tokens) { ids_.reserve(num_tokens); }

  /// id in [0, kIdLimit). Adding the same pair twice is fine; another id for the token or another token for the id is not.
  Status add(std::string token, int64_t id);

  std::optional<int32_t> find(std::string_view token) const;
  /// The token, or nullptr when no token has this id.
  const std::string* token(int32_t id) const;
  /// Largest id plus one.
  int32_t idEnd() const { return static_cast<int32_t>(slot_of_id_.size()); }

 private:
  std::deque<std::string> tokens_;  // a deque: ids_ refers to the elements, which must not move
  std::vector<int32_t> slot_of_id_;  // index into tokens_, or -1
  std::unordered_map<std::string_view, int32_t> ids_;
};

}  // namespace exo::tokenizer
