// Which rank holds what of every block of the model: the picture the dashboard draws. Made from the programs alone: weights
// and caches with their bytes and the piece of the tensor they are, collectives with their payload, all in the order in which
// the rank comes to them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "codegen/plan.pb.h"

namespace exo::serve {

/// A weight: this piece of a [rows, columns] tensor, as many times as there are matrices (experts).
struct ShardWeight {
  std::string name;             // without the block's
  std::string encoding;
  uint64_t bytes = 0;           // packed, all matrices
  uint64_t matrices = 1;
  uint64_t rows = 0, columns = 0;
  uint64_t row_begin = 0, row_end = 0, column_begin = 0, column_end = 0;
  friend bool operator==(const ShardWeight&, const ShardWeight&) = default;
};

struct ShardCache {
  std::string name, encoding;
  uint64_t bytes = 0;           // of all pages
  uint64_t kv_heads = 0, key_dim = 0, value_dim = 0;
  friend bool operator==(const ShardCache&, const ShardCache&) = default;
};

struct ShardCollective {
  std::string name;
  std::string operation;        // "all_reduce", "all_gather", "top_k_merge", "send", "recv"
  std::vector<uint32_t> ranks;  // who takes part, itself included
  uint64_t bytes = 0;           // of this rank's payload, per row
  std::string per;              // what a row is: "token", or "row" of logits that are asked for
  friend bool operator==(const ShardCollective&, const ShardCollective&) = default;
};

using ShardStep = std::variant<ShardWeight, ShardCache, ShardCollective>;

/// What one rank holds and exchanges in one block.
struct ShardCell {
  uint64_t weight_bytes = 0, kv_bytes = 0;
  std::vector<ShardStep> steps;
  friend bool operator==(const ShardCell&, const ShardCell&) = default;
};

struct ShardBlock {
  std::string name;                          // "embed", "layers.0", ..., "head"
  std::vector<std::optional<size_t>> cells;  // by rank: index into ShardMap::cells; none: the rank has no part in it
};

struct ShardRank {
  uint64_t weight_bytes = 0, kv_bytes = 0, arena_bytes = 0;
};

struct ShardMap {
  std::vector<ShardBlock> blocks;            // in the order of the computation
  std::vector<ShardCell> cells;              // distinct ones: blocks of a model are mostly alike
  std::vector<ShardRank> ranks;
};

/// Of a plan whose programs are good (loadPlan's).
ShardMap shardMap(const plan::Plan& plan);

nlohmann::json toJson(const ShardMap& map);

}  // namespace exo::serve
