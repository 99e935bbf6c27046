// Properties of the passes' parts over plain data: shares, memory plans, the coverage proof.
#include <gtest/gtest.h>

#include <random>

#include "ir/text.h"
#include "passes/partition.h"
#include "passes/pass.h"
#include "passes/plan_memory.h"
#include "passes/shard_sizes.h"

namespace exo {
namespace {

TEST(SplitByShares, CoversInOrderInWholeUnitsNearTheShares) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 2000; ++i) {
    const int64_t total = static_cast<int64_t>(random() % 500), unit = 1 + static_cast<int64_t>(random() % 40);
    std::vector<double> shares(1 + random() % 9);
    double sum = 0;
    for (double& share : shares) sum += share = random() % 4 ? static_cast<double>(random() % 1000) : 0;
    if (sum == 0) sum = shares[0] = 1;
    const auto ranges = splitByShares(total, unit, shares);
    SCOPED_TRACE("total " + std::to_string(total) + " unit " + std::to_string(unit));
    ASSERT_EQ(ranges.size(), shares.size());
    EXPECT_TRUE(isContiguous(ranges));
    EXPECT_EQ(ranges.back().end, total);
    const int64_t units = (total + unit - 1) / unit;
    for (size_t r = 0; r < ranges.size(); ++r) {
      EXPECT_TRUE(ranges[r].begin % unit == 0 || ranges[r].begin == total);
      EXPECT_TRUE(shares[r] > 0 || ranges[r].size() == 0);
      const double exact = static_cast<double>(units) * shares[r] / sum;
      const double got = static_cast<double>((ranges[r].size() + unit - 1) / unit);
      EXPECT_LE(std::abs(got - exact), 1.0 + 1e-6);
    }
    std::vector<double> scaled = shares;
    for (double& share : scaled) share *= 0.25;
    EXPECT_EQ(splitByShares(total, unit, scaled), ranges);
  }
}

TEST(SplitByShares, ByHand) {
  EXPECT_EQ(splitByShares(10, 4, {1, 1}), (std::vector<Range>{{0, 8}, {8, 10}}));     // 3 units: 1.5 each, the tie to the lower rank
  EXPECT_EQ(splitByShares(6, 1, {0.5, 0, 0.25}), (std::vector<Range>{{0, 4}, {4, 4}, {4, 6}}));
  EXPECT_EQ(splitByShares(2, 1, {1, 1, 1}), (std::vector<Range>{{0, 1}, {1, 2}, {2, 2}}));
  EXPECT_EQ(splitByShares(0, 32, {1, 1}), (std::vector<Range>{{0, 0}, {0, 0}}));
}

// --- memory -----------------------------------------------------------------------------------------------------------

/// A chain of random adds and projections in random regions.
Graph randomGraph(uint64_t seed) {
  std::mt19937_64 random(seed);
  Builder builder("random");
  builder.graph().rank = 0;
  builder.block("main");
  const ValueId tokens = builder.source(Op::kInput, "t", {Encoding::kI32, {T}}, InputAttrs{"tokens"});
  std::vector<std::vector<ValueId>> byWidth(3);
  const int64_t widths[] = {3, 17, 64};
  std::vector<ValueId> weights;
  for (size_t w = 0; w < 3; ++w) {
    const ValueId table = builder.source(Op::kWeight, "e", {Encoding::kF32, {5, widths[w]}}, WeightAttrs{"e", 0, {5, widths[w]}, {0, 0}});
    byWidth[w].push_back(builder.add(Op::kEmbed, "x", {tokens, table}, EmbedAttrs{}));
  }
  for (int i = 0; i < 40; ++i) {
    builder.region("main." + std::to_string(i / (1 + static_cast<int>(seed % 4))));
    const size_t w = random() % 3;
    const auto pick = [&] { return byWidth[w][random() % byWidth[w].size()]; };
    byWidth[w].push_back(builder.add(Op::kAdd, "y", {pick(), pick()}));
  }
  for (size_t w = 0; w < 3; ++w) builder.output(byWidth[w].back());
  return std::move(builder).take();
}

TEST(PlanMemory, ValuesThatLiveTogetherAreApart) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const Graph planned = planMemory(randomGraph(seed), {7, 7, 7});
    const Status status = verifyMemory(planned, {7, 7, 7});
    ASSERT_TRUE(status.ok()) << "seed " << seed << ": " << status.error();
    int64_t sum = 0, bytes = arenaBytes(planned, {7, 7, 7});
    for (const Value& value : planned.values) {
      if (value.offset) sum += (sizeBytes(value.type, {7, 7, 7}) + 63) / 64 * 64;
    }
    EXPECT_LT(bytes, sum) << "nothing was reused";
  }
}

TEST(PlanMemory, OverlapsUnalignedAndMissingOffsetsAreRefused) {
  const Graph planned = planMemory(randomGraph(3), {7, 7, 7});
  // The operands of one node are live at the same time.
  Graph broken = planned;
  const Node& last = broken.nodes.back();
  ASSERT_EQ(last.op, Op::kAdd);
  broken.value(last.results[0]).offset = broken.value(last.operands[0]).offset;
  Status status = verifyMemory(broken, {7, 7, 7});
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message().find("are live at the same time and share bytes"), std::string::npos) << status.error();
  broken = planned;
  *broken.value(last.results[0]).offset += 4;
  EXPECT_FALSE(verifyMemory(broken, {7, 7, 7}).ok());
  broken.value(last.results[0]).offset.reset();
  EXPECT_FALSE(verifyMemory(broken, {7, 7, 7}).ok());
}

TEST(PlanMemory, APlanForALargerStepDoesNotFitABiggerOne) {
  const Graph planned = planMemory(randomGraph(5), {7, 7, 7});
  EXPECT_TRUE(verifyMemory(planned, {3, 3, 3}).ok());
  EXPECT_FALSE(verifyMemory(planned, {70, 70, 70}).ok());
}

// --- coverage ---------------------------------------------------------------------------------------------------------

constexpr const char* kSharded = R"(graph @g mesh(pp = 2, tp = [2, 1]) {
  block a stage 0
    %t = input {source = "tokens"} : i32[T] {replicated}
    @e = weight {tensor = "e", stack = 0, shape = [8, 4], begin = [0, 0]} : f32[8, 4] {tp: split(0, [5, 3])}
    %x = embed %t, @e {begin = 0} : f32[T, 4] {tp: partial(sum)}
    %x.r = all_reduce %x : f32[T, 4] {replicated}
    %x.s1 = transfer %x.r {from = 0, to = 1} : f32[T, 4] {replicated}
  block b stage 1
    @w = weight {tensor = "w", stack = 0, shape = [4, 4], begin = [0, 0]} : f32[4, 4] {replicated}
    %y = matmul %x.s1, @w : f32[T, 4] {replicated}
    %y.s0 = transfer %y {from = 1, to = 0} : f32[T, 4] {replicated}
  return %y.s0
}
)";

class Coverage : public ::testing::Test {
 protected:
  void SetUp() override {
    auto module = parseModule(kSharded);
    ASSERT_TRUE(module.ok()) << module.error();
    global_ = module->graphs[0];
    auto local = partition(global_);
    ASSERT_TRUE(local.ok()) << local.error();
    local_ = *local;
  }
  Node& find(int rank, Op op) {
    for (Node& node : local_.graphs[static_cast<size_t>(rank)].nodes) {
      if (node.op == op) return node;
    }
    ADD_FAILURE();
    return local_.graphs[0].nodes[0];
  }
  std::string proof() const {
    const Status status = proveCoverage(global_, local_);
    return status.ok() ? "proved" : status.error().message();
  }
  Graph global_;
  Module local_;
};

TEST_F(Coverage, HoldsAfterPartition) { EXPECT_EQ(proof(), "proved"); }

TEST_F(Coverage, NoticesAnotherSlice) {
  std::get<WeightAttrs>(find(1, Op::kWeight).attrs).begin[0] = 4;
  EXPECT_EQ(proof(), "coverage: rank 1 holds another slice of @e than {tp: split(0, [5, 3])} gives it");
}

TEST_F(Coverage, NoticesASmallerSlice) {
  Graph& graph = local_.graphs[0];
  graph.value(find(0, Op::kWeight).results[0]).type.shape[0] = 4;
  EXPECT_NE(proof().find("rank 0 holds another slice of @e"), std::string::npos) << proof();
}

TEST_F(Coverage, NoticesAnotherTensor) {
  std::get<WeightAttrs>(find(2, Op::kWeight).attrs).tensor = "v";
  EXPECT_EQ(proof(), "coverage: rank 2 reads another tensor for @w");
}

TEST_F(Coverage, NoticesAMissingBlock) {
  std::erase_if(local_.graphs[2].nodes, [](const Node& node) { return node.op == Op::kMatMul; });
  EXPECT_EQ(proof(), "coverage: rank 2 runs 0 operations of block b, must run 1");
}

TEST_F(Coverage, NoticesABlockThatRunsTwice) {
  local_.graphs[2].nodes.push_back(find(2, Op::kMatMul));
  EXPECT_EQ(proof(), "coverage: rank 2 runs 2 operations of block b, must run 1");
}

TEST_F(Coverage, NoticesABlockOnTwoStages) {
  local_.graphs[0].blocks.push_back({"b", 0});
  Node node = find(2, Op::kMatMul);
  node.block = static_cast<int>(local_.graphs[0].blocks.size()) - 1;
  local_.graphs[0].nodes.push_back(node);
  EXPECT_EQ(proof(), "coverage: rank 0 runs 1 operations of block b, must run 0");
}

TEST_F(Coverage, NoticesWeightsOnTheWrongRankAndMissingRanks) {
  std::erase_if(local_.graphs[1].nodes, [](const Node& node) { return node.op == Op::kWeight; });
  EXPECT_EQ(proof(), "coverage: rank 1 must hold @e");
  local_.graphs.pop_back();
  EXPECT_EQ(proof(), "coverage: 2 local graphs for 3 ranks");
}

}  // namespace
}  // namespace exo
