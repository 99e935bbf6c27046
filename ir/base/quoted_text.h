// A text some of whose bytes are quoted: the words of somebody who may say anything. What is read in the text around them (a special
// token that ends a turn, say) is not read in them. A value; not thread-safe to change.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace exo {

/// Bytes begin..end-1 of a text.
struct TextRange {
  size_t begin = 0, end = 0;
  friend bool operator==(const TextRange&, const TextRange&) = default;
};

struct QuotedText {
  std::string text;
  std::vector<TextRange> quoted;  // ascending, apart from each other, none empty

  /// All of it quoted.
  static QuotedText quote(std::string text) {
    QuotedText result{std::move(text), {}};
    result.quoteAll();
    return result;
  }
  void quoteAll() {
    quoted.clear();
    if (!text.empty()) quoted.push_back({0, text.size()});
  }

  size_t sizeBytes() const { return text.size() + quoted.size() * sizeof(TextRange); }

  QuotedText& operator+=(std::string_view plain) {
    text += plain;
    return *this;
  }
  QuotedText& operator+=(const QuotedText& other) {
    const size_t at = text.size();
    text += other.text;
    for (const TextRange& range : other.quoted) addQuoted({at + range.begin, at + range.end});
    return *this;
  }

  /// Bytes begin..begin+size-1, at most to the end.
  QuotedText part(size_t begin, size_t size = std::string::npos) const {
    QuotedText result{text.substr(begin, size), {}};
    const size_t end = begin + result.text.size();
    auto range = std::upper_bound(quoted.begin(), quoted.end(), begin, [](size_t at, const TextRange& each) { return at < each.end; });
    for (; range != quoted.end() && range->begin < end; ++range) result.quoted.push_back({std::max(range->begin, begin) - begin, std::min(range->end, end) - begin});
    return result;
  }
  /// The part that a view into `text` shows.
  QuotedText part(std::string_view view) const { return part(view.empty() ? 0 : static_cast<size_t>(view.data() - text.data()), view.size()); }

  friend bool operator==(const QuotedText&, const QuotedText&) = default;

 private:
  void addQuoted(TextRange range) {
    if (!quoted.empty() && quoted.back().end == range.begin) quoted.back().end = range.end;
    else quoted.push_back(range);
  }
};

/// The first of the ranges that shares a byte with begin..end-1, or nullptr.
inline const TextRange* firstOverlap(std::span<const TextRange> ranges, size_t begin, size_t end) {
  const auto found = std::upper_bound(ranges.begin(), ranges.end(), begin, [](size_t at, const TextRange& range) { return at < range.end; });
  return found != ranges.end() && found->begin < end ? &*found : nullptr;
}

}  // namespace exo
