// How a text is cut at its delimiters: the five behaviours of the tokenizer file format, over plain ranges.
#pragma once

#include <algorithm>
#include <vector>

#include "frontend/tokenizer/regex.h"

namespace exo::tokenizer {

enum class SplitBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
enum class SplitMatches { kAreDelimiters, kAreWords };

struct SplitPart {
  ByteRange range;
  bool is_delimiter;
};

/// The matches and what lies between them, in order.
inline std::vector<SplitPart> partsOf(const std::vector<ByteRange>& matches, size_t size, SplitMatches meaning) {
  const bool delimiter = meaning == SplitMatches::kAreDelimiters;
  std::vector<SplitPart> parts;
  parts.reserve(matches.size() * 2 + 1);
  size_t done = 0;
  for (const ByteRange& match : matches) {
    if (done != match.begin) parts.push_back({{done, match.begin}, !delimiter});
    parts.push_back({match, delimiter});
    done = match.end;
  }
  if (done != size) parts.push_back({{done, size}, !delimiter});
  return parts;
}

/// Joins a part to the last one when `joins(previous was a delimiter, this is one)`; `extend` grows the last range.
template <class Joins, class Extend>
std::vector<ByteRange> foldParts(const std::vector<SplitPart>& parts, Joins joins, Extend extend) {
  std::vector<ByteRange> out;
  bool previous = false;
  for (const SplitPart& part : parts) {
    if (joins(previous, part.is_delimiter) && !out.empty()) {
      extend(out.back(), part.range);
    } else {
      out.push_back(part.range);
    }
    previous = part.is_delimiter;
  }
  return out;
}

inline std::vector<ByteRange> splitRanges(std::vector<SplitPart> parts, SplitBehavior behavior) {
  const auto grow_end = [](ByteRange& last, const ByteRange& range) { last.end = range.end; };
  const auto grow_begin = [](ByteRange& last, const ByteRange& range) { last.begin = range.begin; };
  const auto first_delimiter = [](bool previous, bool current) { return current && !previous; };
  switch (behavior) {
    case SplitBehavior::kRemoved:
      std::erase_if(parts, [](const SplitPart& part) { return part.is_delimiter; });
      break;
    case SplitBehavior::kIsolated: break;
    case SplitBehavior::kContiguous:
      return foldParts(parts, [](bool previous, bool current) { return current == previous; }, grow_end);
    case SplitBehavior::kMergedWithPrevious: return foldParts(parts, first_delimiter, grow_end);
    case SplitBehavior::kMergedWithNext: {
      std::reverse(parts.begin(), parts.end());
      std::vector<ByteRange> ranges = foldParts(parts, first_delimiter, grow_begin);
      std::reverse(ranges.begin(), ranges.end());
      return ranges;
    }
  }
  std::vector<ByteRange> ranges;
  ranges.reserve(parts.size());
  for (const SplitPart& part : parts) ranges.push_back(part.range);
  return ranges;
}

}  // namespace exo::tokenizer
