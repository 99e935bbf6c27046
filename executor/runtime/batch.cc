#include "executor/runtime/batch.h"

#include <algorithm>

namespace exo::runtime {

void Batch::clear() {
  for (auto* values : {&tokens_, &positions_, &sequence_, &rows_, &pages_}) values->clear();
  begin_.assign(1, 0);
  pages_begin_.assign(1, 0);
}

void Batch::add(std::span<const int32_t> tokens, int64_t first_position, std::span<const int32_t> pages, WantRows rows, int64_t times) {
  const int32_t index = static_cast<int32_t>(begin_.size()) - 1;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (rows == WantRows::kAll || (rows == WantRows::kLast && i + 1 == tokens.size())) rows_.insert(rows_.end(), static_cast<size_t>(times), static_cast<int32_t>(tokens_.size()));
    tokens_.push_back(tokens[i]);
    positions_.push_back(static_cast<int32_t>(first_position + static_cast<int64_t>(i)));
    sequence_.push_back(index);
  }
  begin_.push_back(static_cast<int32_t>(tokens_.size()));
  pages_.insert(pages_.end(), pages.begin(), pages.end());
  pages_begin_.push_back(pages_.size());
}

StepInput Batch::input() {
  size_t stride = 1;
  for (size_t s = 0; s + 1 < pages_begin_.size(); ++s) stride = std::max(stride, pages_begin_[s + 1] - pages_begin_[s]);
  page_table_.assign(stride * (pages_begin_.size() - 1), 0);
  for (size_t s = 0; s + 1 < pages_begin_.size(); ++s)
    std::copy(pages_.begin() + static_cast<int64_t>(pages_begin_[s]), pages_.begin() + static_cast<int64_t>(pages_begin_[s + 1]),
              page_table_.begin() + static_cast<int64_t>(s * stride));
  return {tokens_, positions_, sequence_, begin_, page_table_, static_cast<int64_t>(stride), rows_, {}};
}

}  // namespace exo::runtime
