#include "ir/sharding.h"

#include <numeric>

#include "ir/base/result.h"

namespace exo {

int Mesh::numRanks() const { return std::accumulate(stage_sizes.begin(), stage_sizes.end(), 0); }

int Mesh::firstRank(int stage) const { return std::accumulate(stage_sizes.begin(), stage_sizes.begin() + stage, 0); }

int Mesh::stageOf(int rank) const {
  int stage = 0;
  for (int end = stage_sizes[0]; rank >= end; end += stage_sizes[static_cast<size_t>(stage)]) ++stage;
  return stage;
}

std::string toString(const Mesh& mesh) {
  if (mesh.numStages() == 1) return "mesh(tp = " + std::to_string(mesh.stage_sizes[0]) + ")";
  std::string text = "mesh(pp = " + std::to_string(mesh.numStages()) + ", tp = [";
  for (int s = 0; s < mesh.numStages(); ++s) text += (s ? ", " : "") + std::to_string(mesh.stage_sizes[static_cast<size_t>(s)]);
  return text + "])";
}

bool isContiguous(const std::vector<Range>& ranges) {
  int64_t at = 0;
  for (const Range& range : ranges) {
    if (range.begin != at || range.end < range.begin) return false;
    at = range.end;
  }
  return true;
}

std::vector<Range> rangesFromExtents(const std::vector<int64_t>& extents) {
  std::vector<Range> ranges;
  int64_t at = 0;
  for (int64_t extent : extents) {
    ranges.push_back({at, at + extent});
    at += extent;
  }
  return ranges;
}

namespace {

std::string toString(const Split& split) {
  const bool contiguous = isContiguous(split.ranges);
  std::string text = "tp: split(" + std::to_string(split.dim) + ", [";
  for (size_t i = 0; i < split.ranges.size(); ++i) {
    const Range& range = split.ranges[i];
    if (i) text += ", ";
    text += contiguous ? std::to_string(range.size()) : std::to_string(range.begin) + ":" + std::to_string(range.end);
  }
  return text + "])";
}

}  // namespace

std::string toString(const Sharding& sharding) {
  if (const Split* split = asSplit(sharding)) return "{" + toString(*split) + "}";
  if (const auto* partial = std::get_if<Partial>(&sharding)) {
    return partial->kind == Partial::Kind::kSum ? "{tp: partial(sum)}" : "{tp: partial(top_k)}";
  }
  return "{replicated}";
}

}  // namespace exo
