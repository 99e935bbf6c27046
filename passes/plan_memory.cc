#include "passes/plan_memory.h"

#include <algorithm>

namespace exo {

namespace {

constexpr int64_t kAlignment = 64;

/// Bytes in the arena. x8 rows are padded to 64 elements (codegen/layout.h).
int64_t placedBytes(const Type& type, StepSize size) {
  int64_t bytes = sizeBytes(type, size);
  if (type.encoding == Encoding::kX8) {
    const int64_t columns = std::max<int64_t>(type.shape.back().size(), 1);
    bytes = elements(type, size) / columns * ((columns + 63) / 64 * 80);
  }
  return std::max<int64_t>(kAlignment, (bytes + kAlignment - 1) / kAlignment * kAlignment);
}

struct Live {
  ValueId id;
  int begin, end;  // regions, inclusive
  int64_t bytes;
};

/// Ordinal of the region of each node: a change of region name starts another.
std::vector<int> regionNumbers(const Graph& graph) {
  std::vector<int> numbers;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const bool same = n > 0 && !graph.nodes[n].region.empty() && graph.nodes[n].region == graph.nodes[n - 1].region;
    numbers.push_back(n == 0 ? 0 : numbers.back() + (same ? 0 : 1));
  }
  return numbers;
}

bool inArena(const Graph& graph, const Node& node, ValueId id) {
  return !graph.isGlobal(id) && node.op != Op::kKvAppend && node.op != Op::kRopeTable;
}

std::vector<Live> liveRanges(const Graph& graph, StepSize size) {
  const std::vector<int> region = regionNumbers(graph);
  const int last = region.empty() ? 0 : region.back();
  std::vector<int> index(graph.values.size(), -1);
  std::vector<Live> lives;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    for (ValueId id : node.operands) {
      const int at = index[static_cast<size_t>(id)];
      if (at < 0) continue;
      Live& live = lives[static_cast<size_t>(at)];
      live.end = node.op == Op::kTopK ? last : std::max(live.end, region[n]);
    }
    for (ValueId id : node.results) {
      if (!inArena(graph, node, id)) continue;
      index[static_cast<size_t>(id)] = static_cast<int>(lives.size());
      const bool input = node.op == Op::kInput;
      lives.push_back({id, input ? 0 : region[n], input ? last : region[n], placedBytes(graph.value(id).type, size)});
    }
  }
  for (ValueId id : graph.outputs) {
    if (index[static_cast<size_t>(id)] >= 0) lives[static_cast<size_t>(index[static_cast<size_t>(id)])].end = last;
  }
  return lives;
}

bool overlapInTime(const Live& a, const Live& b) { return a.begin <= b.end && b.begin <= a.end; }

/// The lowest gap among the placed values that live at the same time.
int64_t firstFit(const Graph& graph, const std::vector<Live>& placed, const Live& live) {
  std::vector<std::pair<int64_t, int64_t>> taken;
  for (const Live& other : placed) {
    if (overlapInTime(other, live)) taken.emplace_back(*graph.value(other.id).offset, *graph.value(other.id).offset + other.bytes);
  }
  std::sort(taken.begin(), taken.end());
  int64_t at = 0;
  for (const auto& [begin, end] : taken) {
    if (begin - at >= live.bytes) break;
    at = std::max(at, end);
  }
  return at;
}

}  // namespace

Graph planMemory(const Graph& graph, StepSize largest) {
  Graph result = graph;
  std::vector<Live> lives = liveRanges(result, largest);
  std::stable_sort(lives.begin(), lives.end(), [](const Live& a, const Live& b) { return a.bytes > b.bytes; });
  std::vector<Live> placed;
  for (const Live& live : lives) {
    result.value(live.id).offset = firstFit(result, placed, live);
    placed.push_back(live);
  }
  return result;
}

int64_t arenaBytes(const Graph& graph, StepSize largest) {
  int64_t bytes = 0;
  for (const Live& live : liveRanges(graph, largest)) bytes = std::max(bytes, graph.value(live.id).offset.value_or(0) + live.bytes);
  return bytes;
}

Status verifyMemory(const Graph& graph, StepSize largest) {
  const std::vector<Live> lives = liveRanges(graph, largest);
  for (size_t i = 0; i < lives.size(); ++i) {
    const Value& a = graph.value(lives[i].id);
    if (!a.offset || *a.offset % kAlignment != 0) return invalid("memory: %", a.name, " needs an offset that is a multiple of ", kAlignment);
    for (size_t j = 0; j < i; ++j) {
      const Value& b = graph.value(lives[j].id);
      const bool apart = *a.offset + lives[i].bytes <= *b.offset || *b.offset + lives[j].bytes <= *a.offset;
      if (!apart && overlapInTime(lives[i], lives[j])) return invalid("memory: %", a.name, " and %", b.name, " are live at the same time and share bytes");
    }
  }
  return {};
}

}  // namespace exo
