#include "executor/serve/grammar/vocabulary.h"

#include <algorithm>
#include <numeric>

namespace exo::serve {
namespace {

constexpr size_t kMaxTokenBytes = 1024;   // longer ones (runs of spaces, in some vocabularies) are never allowed

size_t commonPrefix(const std::string& a, const std::string& b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + static_cast<long>(std::min(a.size(), b.size())), b.begin()).first - a.begin());
}

}  // namespace

Vocabulary::Vocabulary(std::vector<std::string> bytes, std::vector<int32_t> eos_ids) : bytes_(std::move(bytes)), eos_ids_(std::move(eos_ids)) {
  for (size_t id = 0; id < bytes_.size(); ++id) {
    if (!bytes_[id].empty() && bytes_[id].size() <= kMaxTokenBytes) tokens_.push_back(static_cast<int32_t>(id));
  }
  std::sort(tokens_.begin(), tokens_.end(), [&](int32_t a, int32_t b) { return std::pair(this->bytes(a), a) < std::pair(this->bytes(b), b); });
  std::vector<uint32_t> open;   // nodes of the prefixes of the last token
  const std::string none;
  const std::string* last = &none;
  for (uint32_t k = 0; k < tokens_.size(); ++k) {
    const std::string& text = this->bytes(tokens_[k]);
    const size_t shared = commonPrefix(*last, text);
    for (; open.size() > shared; open.pop_back()) nodes_[open.back()].end = static_cast<uint32_t>(nodes_.size());
    for (size_t depth = shared; depth < text.size(); ++depth) {
      open.push_back(static_cast<uint32_t>(nodes_.size()));
      nodes_.push_back({0, k, k, static_cast<uint16_t>(depth + 1), static_cast<uint8_t>(text[depth])});
    }
    nodes_[open.back()].last_token = k + 1;
    last = &text;
  }
  for (const uint32_t node : open) nodes_[node].end = static_cast<uint32_t>(nodes_.size());
}

}  // namespace exo::serve
