#include "executor/serve/state/shard_map.h"

#include <algorithm>
#include <numeric>
#include <set>

#include <nlohmann/json.hpp>

#include "codegen/layout.h"

namespace exo::serve {
namespace {

using program::Call;
using program::Collective;
using program::Operand;
using program::Program;

constexpr const char* kCollectiveNames[] = {"all_reduce", "all_gather", "top_k_merge", "send", "recv"};  // order of Collective::Op
constexpr const char* kEncodingNames[] = {"f32", "bf16", "f16", "i32", "q8", "q4", "x8"};                // order of program::Encoding
constexpr std::string_view kFrom = "from.";  // of regions that receive another stage's values

/// "layers.3.7" is the seventh region of block "layers.3".
std::string_view blockOf(std::string_view region) { return region.substr(0, region.rfind('.')); }

std::string withoutBlock(const std::string& name, std::string_view block) {
  const std::string prefix = std::string(block) + ".";
  return name.starts_with(prefix) ? name.substr(prefix.size()) : name;
}

uint64_t bytesOf(const program::Weight& weight) {
  const uint64_t matrices = static_cast<uint64_t>(weight.slices_size());
  if (weight.layout() == program::Weight::VECTOR) return weight.columns() * sizeof(float) * matrices;
  return static_cast<uint64_t>(codegen::packedBytes(weight.encoding(), static_cast<int64_t>(weight.rows()), static_cast<int64_t>(weight.columns()))) * matrices;
}

/// All slices of a stack are the same piece of their tensors; the first speaks for them.
ShardWeight shardOf(const program::Weight& weight, std::string_view block) {
  ShardWeight shard{withoutBlock(weight.name(), block), kEncodingNames[weight.encoding()], bytesOf(weight), static_cast<uint64_t>(weight.slices_size())};
  if (weight.slices_size() == 0) return shard;
  const program::TensorSlice& slice = weight.slices(0);
  shard.rows = slice.rows(), shard.columns = slice.columns();
  shard.row_begin = slice.row_begin(), shard.row_end = slice.row_end();
  shard.column_begin = slice.column_begin(), shard.column_end = slice.column_end();
  return shard;
}

ShardCache shardOf(const program::Cache& cache, const Program& program, std::string_view block) {
  const int64_t bytes = codegen::cacheBytes(cache.encoding(), static_cast<int64_t>(program.num_pages()), static_cast<int64_t>(cache.kv_heads()),
                                            static_cast<int64_t>(cache.key_dim()), static_cast<int64_t>(cache.value_dim()));
  return {withoutBlock(cache.name(), block), kEncodingNames[cache.encoding()], static_cast<uint64_t>(bytes), cache.kv_heads(), cache.key_dim(), cache.value_dim()};
}

/// Per row: of what the rank gives, and of a recv what it gets.
uint64_t payloadBytes(const Call& call, const Program& program) {
  const auto& operands = call.collective().op() == Collective::RECV ? call.out() : call.in();
  return std::accumulate(operands.begin(), operands.end(), uint64_t{0}, [&](uint64_t sum, const Operand& operand) {
    const program::Buffer& buffer = program.buffers(static_cast<int>(operand.buffer()));
    return sum + static_cast<uint64_t>(codegen::activationRowBytes(buffer.encoding(), static_cast<int64_t>(buffer.columns())));
  });
}

ShardCollective shardOf(const Call& call, const Program& program, std::string_view block) {
  const Collective& collective = call.collective();
  ShardCollective shard{withoutBlock(call.name(), block), kCollectiveNames[collective.op()], {collective.ranks().begin(), collective.ranks().end()}, payloadBytes(call, program),
                        call.rows() == program::ROWS ? "row" : "token"};
  if (shard.ranks.empty()) {  // a send or recv names the others only
    shard.ranks.assign(collective.peers().begin(), collective.peers().end());
    shard.ranks.push_back(program.rank());
    std::sort(shard.ranks.begin(), shard.ranks.end());
  }
  return shard;
}

struct NamedCell {
  std::string block;
  ShardCell cell;
};

/// One rank's cells, in the order of its program.
class RankCells {
 public:
  explicit RankCells(const Program& program) : program_(program) {
    for (int i = 0; i < program.calls_size(); ++i) add(program.calls(i), blockOfCall(i));
  }
  std::vector<NamedCell> take() && { return std::move(cells_); }

 private:
  /// What comes from another stage belongs to the block that works on it; what comes back at the end, to the one it is of.
  std::string blockOfCall(int index) const {
    for (int i = index; i < program_.calls_size(); ++i)
      if (const std::string& region = program_.calls(i).region(); !region.starts_with(kFrom)) return std::string(blockOf(region));
    return std::string(blockOf(program_.calls(index).region())).substr(kFrom.size());
  }

  ShardCell& cell(const std::string& block) {
    const auto found = std::find_if(cells_.begin(), cells_.end(), [&](const NamedCell& c) { return c.block == block; });
    return found != cells_.end() ? found->cell : cells_.emplace_back(NamedCell{block, {}}).cell;
  }

  void add(const Call& call, const std::string& block) {
    ShardCell& into = cell(block);
    if (call.has_collective()) into.steps.push_back(shardOf(call, program_, block));
    for (const Operand& operand : call.in()) addOperand(operand, block, into);
    for (const Operand& operand : call.out()) addOperand(operand, block, into);
  }

  /// Each weight and cache once, where the program first comes to it (tied embeddings are used at both ends).
  void addOperand(const Operand& operand, const std::string& block, ShardCell& into) {
    if (operand.kind_case() == Operand::kWeight && seen_weights_.insert(operand.weight()).second) {
      const ShardWeight shard = shardOf(program_.weights(static_cast<int>(operand.weight())), block);
      into.weight_bytes += shard.bytes;
      into.steps.push_back(shard);
    }
    if (operand.kind_case() == Operand::kCache && seen_caches_.insert(operand.cache()).second) {
      const ShardCache shard = shardOf(program_.caches(static_cast<int>(operand.cache())), program_, block);
      into.kv_bytes += shard.bytes;
      into.steps.push_back(shard);
    }
  }

  const Program& program_;
  std::set<uint32_t> seen_weights_, seen_caches_;
  std::vector<NamedCell> cells_;
};

size_t indexOf(const ShardCell& cell, std::vector<ShardCell>& cells) {
  const auto found = std::find(cells.begin(), cells.end(), cell);
  if (found != cells.end()) return static_cast<size_t>(found - cells.begin());
  cells.push_back(cell);
  return cells.size() - 1;
}

/// Ranks come in the order of the stages, so a block that is new comes after all those known; but the last block, whose
/// values return to rank 0, is known from the start and stays last.
ShardBlock& blockNamed(const std::string& name, size_t num_ranks, std::vector<ShardBlock>& blocks) {
  const auto found = std::find_if(blocks.begin(), blocks.end(), [&](const ShardBlock& b) { return b.name == name; });
  if (found != blocks.end()) return *found;
  return blocks.emplace_back(ShardBlock{name, std::vector<std::optional<size_t>>(num_ranks)});
}

/// Moves blocks that only receive (rank 0's share of the last one) behind all others.
void returnsLast(const Program& first, std::vector<ShardBlock>& blocks) {
  if (first.calls_size() == 0) return;
  const std::string& region = first.calls(first.calls_size() - 1).region();
  if (!region.starts_with(kFrom)) return;
  const std::string name(blockOf(region).substr(kFrom.size()));
  std::stable_partition(blocks.begin(), blocks.end(), [&](const ShardBlock& b) { return b.name != name; });
}

nlohmann::json toJson(const ShardWeight& w) {
  return {{"kind", "weight"}, {"name", w.name}, {"encoding", w.encoding}, {"bytes", w.bytes}, {"matrices", w.matrices}, {"rows", w.rows}, {"columns", w.columns},
          {"row_begin", w.row_begin}, {"row_end", w.row_end}, {"column_begin", w.column_begin}, {"column_end", w.column_end}};
}
nlohmann::json toJson(const ShardCache& c) {
  return {{"kind", "cache"}, {"name", c.name}, {"encoding", c.encoding}, {"bytes", c.bytes}, {"kv_heads", c.kv_heads}, {"key_dim", c.key_dim}, {"value_dim", c.value_dim}};
}
nlohmann::json toJson(const ShardCollective& c) {
  return {{"kind", "collective"}, {"name", c.name}, {"operation", c.operation}, {"ranks", c.ranks}, {"bytes", c.bytes}, {"per", c.per}};
}

nlohmann::json toJson(const ShardCell& cell) {
  nlohmann::json steps = nlohmann::json::array();
  for (const ShardStep& step : cell.steps) steps.push_back(std::visit([](const auto& s) { return toJson(s); }, step));
  return {{"weight_bytes", cell.weight_bytes}, {"kv_bytes", cell.kv_bytes}, {"steps", std::move(steps)}};
}

nlohmann::json toJson(const ShardBlock& block) {
  nlohmann::json cells = nlohmann::json::array();
  for (const std::optional<size_t>& cell : block.cells) cells.push_back(cell ? nlohmann::json(*cell) : nlohmann::json());
  return {{"name", block.name}, {"cells", std::move(cells)}};
}

}  // namespace

ShardMap shardMap(const plan::Plan& plan) {
  ShardMap map;
  const size_t num_ranks = static_cast<size_t>(plan.programs_size());
  for (size_t rank = 0; rank < num_ranks; ++rank) {
    const Program& program = plan.programs(static_cast<int>(rank));
    ShardRank& held = map.ranks.emplace_back(ShardRank{0, 0, program.arena_bytes()});
    for (const NamedCell& named : RankCells(program).take()) {
      held.weight_bytes += named.cell.weight_bytes;
      held.kv_bytes += named.cell.kv_bytes;
      blockNamed(named.block, num_ranks, map.blocks).cells[rank] = indexOf(named.cell, map.cells);
    }
  }
  if (num_ranks > 0) returnsLast(plan.programs(0), map.blocks);
  return map;
}

nlohmann::json toJson(const ShardMap& map) {
  nlohmann::json blocks = nlohmann::json::array(), cells = nlohmann::json::array(), ranks = nlohmann::json::array();
  for (const ShardBlock& block : map.blocks) blocks.push_back(toJson(block));
  for (const ShardCell& cell : map.cells) cells.push_back(toJson(cell));
  for (const ShardRank& rank : map.ranks) ranks.push_back({{"weight_bytes", rank.weight_bytes}, {"kv_bytes", rank.kv_bytes}, {"arena_bytes", rank.arena_bytes}});
  return {{"blocks", std::move(blocks)}, {"cells", std::move(cells)}, {"ranks", std::move(ranks)}};
}

}  // namespace exo::serve
