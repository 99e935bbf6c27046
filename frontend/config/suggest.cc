#include "frontend/config/suggest.h"

#include <algorithm>
#include <vector>

namespace exo {
namespace {

// Longer names are compared by their head only: names come from untrusted files, and the table is quadratic.
constexpr size_t kMaxCompared = 128;

}  // namespace

size_t editDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), previous(b.size() + 1), current(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) previous[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replace = previous[j - 1] + (a[i - 1] != b[j - 1]);
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, replace});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) current[j] = std::min(current[j], before[j - 2] + 1);
    }
    before.swap(previous);
    previous.swap(current);
  }
  return previous[b.size()];
}

std::optional<std::string> suggest(std::string_view unknown, std::span<const std::string> known) {
  const std::string_view head = unknown.substr(0, kMaxCompared);
  const size_t limit = 1 + head.size() / 4;
  std::optional<std::string> best;
  size_t best_distance = limit + 1;
  for (const std::string& name : known) {
    const size_t size = std::min(name.size(), kMaxCompared);
    const size_t least = size > head.size() ? size - head.size() : head.size() - size;
    if (least >= best_distance) continue;
    const size_t distance = editDistance(head, std::string_view(name).substr(0, kMaxCompared));
    if (distance >= best_distance) continue;
    best_distance = distance;
    best = name;
  }
  return best;
}

std::string didYouMean(std::string_view unknown, std::span<const std::string> known) {
  const std::optional<std::string> nearest = suggest(unknown, known);
  return nearest ? "; did you mean \"" + *nearest + "\"?" : "";
}

}  // namespace exo
