#include "frontend/driver/stored_formats.h"

#include <algorithm>
#include <iomanip>
#include <map>
#include <sstream>
#include <tuple>

#include "passes/planner/report.h"

namespace exo {
namespace {

struct Use {
  int64_t tensors = 0;
  double stored_bytes = 0, held_bytes = 0;
};

/// Whether an encoding repeats what the format stores. Four bits fit in eight under the same scales.
bool holdsExactly(const StoredTraits& traits, Encoding held) {
  if (held == Encoding::kF32) return traits.format != "F64";  // what any other format means is an f32
  if (!traits.is_exact) return false;
  return held == traits.encoding || (held == Encoding::kW8 && traits.encoding == Encoding::kW4);
}

const char* rounding(Encoding held) {
  switch (held) {
    case Encoding::kW8: return "rounded by at most 1/254 of the largest of 32 weights";
    case Encoding::kW4: return "rounded by at most 1/16 of the largest of 32 weights";
    case Encoding::kBF16: return "rounded by at most 1/512 of each weight";
    case Encoding::kF16: return "rounded by at most 1/4096 of each weight";
    default: return "rounded to f32";
  }
}

std::string line(const std::string& format, Encoding held, bool exact, const Use& use) {
  std::ostringstream out;
  out << format << " (" << use.tensors << " matrices, " << bytesText(use.stored_bytes) << ") ";
  if (exact && use.held_bytes < 1.2 * use.stored_bytes) out << "runs as stored, in " << name(held);
  else out << "is converted to " << name(held) << ": " << bytesText(use.held_bytes) << ", " << std::fixed << std::setprecision(2) << use.held_bytes / use.stored_bytes << " times the size, " << (exact ? "exactly" : rounding(held));
  return out.str();
}

}  // namespace

std::vector<std::string> storedFormats(const Graph& graph, const Checkpoint& checkpoint) {
  std::map<std::tuple<std::string, Encoding, bool>, Use> uses;
  for (const Node& node : graph.nodes) {
    const auto* weight = std::get_if<WeightAttrs>(&node.attrs);
    if (!weight || weight->shape.size() != 2) continue;
    const Type& type = graph.value(node.results[0]).type;
    const int64_t experts = std::max<int64_t>(weight->stack, 1);
    for (int64_t expert = 0; expert < experts; ++expert) {
      std::string tensor = weight->tensor;
      if (weight->stack > 0) tensor.replace(tensor.find('*'), 1, std::to_string(expert));
      const StoredTensor* stored = checkpoint.stored(tensor);
      if (!stored) continue;
      Use& use = uses[{stored->traits().format, type.encoding, holdsExactly(stored->traits(), type.encoding)}];
      ++use.tensors;
      use.stored_bytes += static_cast<double>(stored->traits().size_bytes);
      use.held_bytes += static_cast<double>(sizeBytes(type)) / static_cast<double>(experts);
    }
  }
  std::vector<std::pair<double, std::string>> lines;
  for (const auto& [key, use] : uses) lines.emplace_back(-use.stored_bytes, line(std::get<0>(key), std::get<1>(key), std::get<2>(key), use));
  std::sort(lines.begin(), lines.end());
  std::vector<std::string> texts;
  for (auto& [size, text] : lines) texts.push_back(std::move(text));
  return texts;
}

}  // namespace exo
