// Meshes and shardings. A graph runs on pipeline stages; each stage is a group of ranks that split tensors among them
// along the mesh axis `tp`. Shards are uneven: every rank has its own range, and ranges may be empty, or overlap where
// a value is replicated in part (KV heads shared by ranks that split the query heads of one group).
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "ir/base/result.h"

namespace exo {

/// stage_sizes[s] ranks work on stage s; ranks are numbered stage by stage.
struct Mesh {
  std::vector<int> stage_sizes = {1};
  int numStages() const { return static_cast<int>(stage_sizes.size()); }
  int numRanks() const;
  int firstRank(int stage) const;
  int stageOf(int rank) const;
  friend bool operator==(const Mesh&, const Mesh&) = default;
};
/// "mesh(tp = 3)" or "mesh(pp = 2, tp = [2, 1])".
std::string toString(const Mesh& mesh);

struct Range {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

struct Replicated {
  friend bool operator==(const Replicated&, const Replicated&) = default;
};
/// Rank i of the stage holds ranges[i] of dimension `dim`.
struct Split {
  int dim = 0;
  std::vector<Range> ranges;
  friend bool operator==(const Split&, const Split&) = default;
};
/// Every rank holds a value of full shape; the true one is their combination.
struct Partial {
  enum class Kind { kSum, kTopK } kind = Kind::kSum;
  friend bool operator==(const Partial&, const Partial&) = default;
};
using Sharding = std::variant<Replicated, Split, Partial>;

inline bool isReplicated(const Sharding& s) { return std::holds_alternative<Replicated>(s); }
inline const Split* asSplit(const Sharding& s) { return std::get_if<Split>(&s); }
inline bool isPartial(const Sharding& s) { return std::holds_alternative<Partial>(s); }

/// True when the ranges follow each other without gap or overlap from 0.
bool isContiguous(const std::vector<Range>& ranges);
/// [2, 1, 3] → ranges [0,2) [2,3) [3,6).
std::vector<Range> rangesFromExtents(const std::vector<int64_t>& extents);
/// "{replicated}", "{tp: split(1, [512, 256])}", "{tp: split(0, [0:8, 0:8, 8:16])}", "{tp: partial(sum)}".
std::string toString(const Sharding& sharding);

}  // namespace exo
