// Checks of what is passed to collectives, and views of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <span>
#include <string_view>

#include "ir/base/result.h"

namespace exo::collectives {

inline void copyBytes(std::byte* to, std::span<const std::byte> from) {
  if (!from.empty()) std::memcpy(to, from.data(), from.size());
}

inline bool overlap(std::span<const std::byte> a, std::span<const std::byte> b) {
  return !a.empty() && !b.empty() && a.data() < b.data() + b.size() && b.data() < a.data() + a.size();
}

/// rows * columns, or kInvalidInput for negative or absurd numbers.
inline Result<size_t> product(std::string_view what, int64_t rows, int64_t columns) {
  constexpr int64_t kMost = int64_t{1} << 40;
  if (rows < 0 || columns < 0 || rows > kMost || columns > kMost || (columns > 0 && rows > kMost / columns))
    return invalid(what, ": a block of ", rows, " x ", columns, " is out of range");
  return static_cast<size_t>(rows * columns);
}

/// Columns of a block of `rows` rows whose columns are divided by `extents` among `num_ranks` ranks.
inline Result<int64_t> sumOfExtents(std::string_view what, const char* operation, size_t num_ranks, int64_t rows,
                                    std::span<const int64_t> extents) {
  if (extents.size() != num_ranks)
    return invalid(what, ": extents of ", operation, " must have ", num_ranks, " elements, got ", extents.size());
  int64_t columns = 0;
  for (const int64_t extent : extents) {
    EXO_TRY(product(what, rows, extent));
    columns += extent;
    EXO_TRY(product(what, rows, columns));
  }
  return columns;
}

inline Status expectSize(std::string_view what, const char* operand, size_t expected, size_t got) {
  if (expected == got) return {};
  return invalid(what, ": ", operand, " must have ", expected, " elements, got ", got);
}

/// Do blocks of these sizes make up an operand of `got` bytes?
inline Status expectBlocks(std::string_view what, const char* operand, std::span<const size_t> sizes, size_t got) {
  size_t left = got;
  for (const size_t size : sizes) {
    if (size > left) return invalid(what, ": the blocks of ", operand, " are more than its ", got, " bytes");
    left -= size;
  }
  if (left > 0) return invalid(what, ": the blocks of ", operand, " must be its ", got, " bytes, are ", got - left);
  return {};
}

/// Where block `index` begins when blocks of these sizes follow each other.
template <class Size>
Size beginOf(std::span<const Size> sizes, int index) {
  return std::accumulate(sizes.begin(), sizes.begin() + index, Size{0});
}

}  // namespace exo::collectives
