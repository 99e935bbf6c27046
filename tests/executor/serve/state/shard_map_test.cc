#include "executor/serve/state/shard_map.h"

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace exo::serve {
namespace {

program::Program parse(const std::string& text) {
  program::Program program;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &program)) << text;
  return program;
}

/// Two layers on one rank of two: rows [begin, end) of a [64, 32] projection and `heads` KV heads of each; then an all-reduce.
program::Program twoLayers(int rank, int begin, int end, int heads) {
  std::string text = "rank: " + std::to_string(rank) + " world_size: 2 page_tokens: 64 num_pages: 2 arena_bytes: 4096 buffers { columns: 32 } buffers { columns: 32 } kernels {}";
  for (const std::string layer : {"0", "1"}) {
    const std::string block = "layers." + layer;
    text += " weights { name: '" + block + ".proj' encoding: F32 layout: PANELS rows: " + std::to_string(end - begin) + " columns: 32 slices { tensor: 't" + layer +
            "' rows: 64 columns: 32 row_begin: " + std::to_string(begin) + " row_end: " + std::to_string(end) + " column_end: 32 } }";
    text += " caches { name: '" + block + ".kv' encoding: F16 kv_heads: " + std::to_string(heads) + " key_dim: 16 value_dim: 16 }";
    text += " calls { name: '" + block + ".proj.out' kernel: 0 in { buffer: 0 } in { weight: " + layer + " } in { cache: " + layer + " } out { buffer: 1 } region: '" + block +
            ".0' rows: TOKENS }";
    text += " calls { name: '" + block + ".proj.out.r' collective { op: ALL_REDUCE ranks: 0 ranks: 1 } in { buffer: 1 } out { buffer: 0 } region: '" + block + ".1' rows: TOKENS }";
  }
  return parse(text);
}

TEST(ShardMapTest, UnevenSharesOfTwoRanks) {
  plan::Plan plan;
  *plan.add_programs() = twoLayers(0, 0, 16, 1);
  *plan.add_programs() = twoLayers(1, 16, 64, 3);
  const ShardMap map = shardMap(plan);
  ASSERT_EQ(map.blocks.size(), 2u);
  EXPECT_EQ(map.blocks[0].name, "layers.0");
  EXPECT_EQ(map.blocks[1].name, "layers.1");
  ASSERT_EQ(map.cells.size(), 2u);  // the layers are alike: one cell per rank
  EXPECT_EQ(map.blocks[1].cells, (std::vector<std::optional<size_t>>{0, 1}));

  const ShardCell& large = map.cells[1];
  EXPECT_EQ(large.weight_bytes, 48u * 32 * 4);
  EXPECT_EQ(large.kv_bytes, 3u * 2 * 64 * (16 + 16) * 2);  // heads, pages, positions, key and value, f16
  const ShardWeight weight{"proj", "f32", 48 * 32 * 4, 1, 64, 32, 16, 64, 0, 32};
  const ShardCache cache{"kv", "f16", large.kv_bytes, 3, 16, 16};
  const ShardCollective reduce{"proj.out.r", "all_reduce", {0, 1}, 32 * 4, "token"};
  EXPECT_EQ(large.steps, (std::vector<ShardStep>{weight, cache, reduce}));
  EXPECT_EQ(map.ranks[0].weight_bytes, 2u * 16 * 32 * 4);
  EXPECT_EQ(map.ranks[1].arena_bytes, 4096u);
}

/// Rank 0 has the embedding and gets the result back; rank 1 has a layer and the head, whose weight is rank 0's embedding too.
TEST(ShardMapTest, PipelineStagesMeetInTheirBlocks) {
  plan::Plan plan;
  *plan.add_programs() = parse(R"(
    rank: 0 world_size: 2 buffers { columns: 8 } kernels {}
    weights { name: "embed_tokens" encoding: F32 layout: PANELS rows: 16 columns: 8 slices { rows: 16 columns: 8 row_end: 16 column_end: 8 } }
    calls { name: "hidden" kernel: 0 in { weight: 0 } out { buffer: 0 } region: "embed.0" rows: TOKENS }
    calls { name: "send hidden" collective { op: SEND peers: 1 } in { buffer: 0 } region: "embed.1" rows: TOKENS }
    calls { name: "values" collective { op: RECV peers: 1 } out { buffer: 0 } region: "from.head.0" rows: ROWS })");
  *plan.add_programs() = parse(R"(
    rank: 1 world_size: 2 buffers { columns: 8 } kernels {}
    weights { name: "norm" encoding: F32 columns: 8 slices { rows: 1 columns: 8 row_end: 1 column_end: 8 } }
    calls { name: "hidden" collective { op: RECV peers: 0 } out { buffer: 0 } region: "from.embed.0" rows: TOKENS }
    calls { name: "layers.0.norm.out" kernel: 0 in { buffer: 0 } in { weight: 0 } out { buffer: 0 } region: "layers.0.0" rows: TOKENS }
    calls { name: "logits" kernel: 0 in { buffer: 0 } in { weight: 0 } out { buffer: 0 } region: "head.0" rows: ROWS }
    calls { name: "send values" collective { op: SEND peers: 0 } in { buffer: 0 } region: "head.1" rows: ROWS })");
  const ShardMap map = shardMap(plan);
  ASSERT_EQ(map.blocks.size(), 3u);
  EXPECT_EQ(map.blocks[0].name, "embed");
  EXPECT_EQ(map.blocks[1].name, "layers.0");
  EXPECT_EQ(map.blocks[2].name, "head");  // though rank 0 knew it before the layer
  const auto cell = [&](size_t block, size_t rank) { return map.cells[*map.blocks[block].cells[rank]]; };
  EXPECT_EQ(map.blocks[0].cells[1], std::nullopt);
  EXPECT_EQ(std::get<ShardCollective>(cell(0, 0).steps[1]), (ShardCollective{"send hidden", "send", {0, 1}, 32, "token"}));
  EXPECT_EQ(std::get<ShardCollective>(cell(1, 1).steps[0]).operation, "recv");
  EXPECT_EQ(std::get<ShardCollective>(cell(2, 0).steps[0]).per, "row");
  EXPECT_EQ(cell(1, 1).weight_bytes, 32u);  // counted where it is used first
  EXPECT_EQ(cell(2, 1).weight_bytes, 0u);
}

TEST(ShardMapTest, ExpertsAreOneWeightOfManyMatrices) {
  plan::Plan plan;
  *plan.add_programs() = parse(R"(
    world_size: 1 buffers { columns: 8 } kernels {}
    weights { name: "layers.0.experts.up" encoding: F32 layout: PANELS rows: 16 columns: 8
              slices { rows: 32 columns: 8 row_begin: 16 row_end: 32 column_end: 8 } slices { rows: 32 columns: 8 row_begin: 16 row_end: 32 column_end: 8 } }
    calls { name: "layers.0.experts.out" kernel: 0 in { weight: 0 } out { buffer: 0 } region: "layers.0.0" rows: EXPERT_ROWS })");
  const ShardMap map = shardMap(plan);
  EXPECT_EQ(std::get<ShardWeight>(map.cells[0].steps[0]), (ShardWeight{"experts.up", "f32", 2 * 16 * 8 * 4, 2, 32, 8, 16, 32, 0, 8}));
  EXPECT_EQ(toJson(map)["cells"][0]["steps"][0]["matrices"], 2);
}

TEST(ShardMapTest, APlanWithoutProgramsIsEmpty) { EXPECT_TRUE(toJson(shardMap({}))["blocks"].empty()); }

}  // namespace
}  // namespace exo::serve
