// What the verifier holds beyond types: structure, splits, sharding rules, local modules.
#include "ir/verify.h"

#include <gtest/gtest.h>

#include "ir/factors.h"
#include "ir/text.h"

namespace exo {
namespace {

/// Nodes of one block of a mesh of two ranks.
std::string graph(const std::string& nodes, const std::string& mesh = "mesh(tp = 2)") {
  return "graph @g " + mesh + " {\n block main stage 0\n" + nodes + "\n return\n}\n";
}

std::string refusal(const std::string& text, Stage stage = Stage::kImported) {
  auto module = parseModule(text);
  if (!module.ok()) return module.error().message();
  const Status status = verify(*module, stage);
  return status.ok() ? "accepted" : status.error().message();
}

#define EXPECT_REFUSED(text, stage, message) EXPECT_NE(refusal(text, stage).find(message), std::string::npos) << refusal(text, stage)

std::string weight(const std::string& sharding) { return R"(@w = weight {tensor = "w", stack = 0, shape = [8, 4], begin = [0, 0]} : f32[8, 4] )" + sharding; }

constexpr const char* kTokens = R"(%t = input {source = "tokens"} : i32[T] {replicated}
)";

TEST(Verify, SplitsMustCoverTheDimension) {
  EXPECT_EQ(refusal(graph(weight("{tp: split(0, [5, 3])}"))), "accepted");
  EXPECT_EQ(refusal(graph(weight("{tp: split(0, [8, 0])}"))), "accepted");
  EXPECT_EQ(refusal(graph(weight("{tp: split(0, [0:8, 3:8])}"))), "accepted");
  EXPECT_REFUSED(graph(weight("{tp: split(0, [5, 2])}")), Stage::kImported, "sharding covers 7 of the 8 elements of dimension 0");
  EXPECT_REFUSED(graph(weight("{tp: split(0, [5, 4])}")), Stage::kImported, "sharding covers 9 of the 8 elements");
  EXPECT_REFUSED(graph(weight("{tp: split(0, [0:4, 5:8])}")), Stage::kImported, "leaves elements from 4 of dimension 0 to no rank");
  EXPECT_REFUSED(graph(weight("{tp: split(0, [8])}")), Stage::kImported, "sharding has 1 ranges, the stage 2 ranks");
  EXPECT_REFUSED(graph(weight("{tp: split(2, [5, 3])}")), Stage::kImported, "sharding splits dimension 2 of f32[8, 4]");
  EXPECT_REFUSED(graph(R"(%t = input {source = "tokens"} : i32[T] {tp: split(0, [1, 1])})"), Stage::kImported, "splits the symbolic dimension 0");
}

TEST(Verify, ShardedValuesNeedAShardingThatTheirRuleGives) {
  const std::string table = weight("{tp: split(0, [5, 3])}") + "\n";
  EXPECT_EQ(refusal(graph(kTokens + table + "%x = embed %t, @w {begin = 0} : f32[T, 4] {tp: partial(sum)}"), Stage::kSharded), "accepted");
  EXPECT_REFUSED(graph(kTokens + table + "%x = embed %t, @w {begin = 0} : f32[T, 4]"), Stage::kSharded, "value %x has no sharding");
  EXPECT_REFUSED(graph(kTokens + table + "%x = embed %t, @w {begin = 0} : f32[T, 4] {replicated}"), Stage::kSharded, "result x must be {tp: partial(sum)}, is {replicated}");
}

TEST(Verify, PartialSumsMustBeReducedBeforeANonLinearOp) {
  const std::string partial = kTokens + weight("{tp: split(0, [5, 3])}") + R"(
    %x = embed %t, @w {begin = 0} : f32[T, 4] {tp: partial(sum)}
    @n = weight {tensor = "n", stack = 0, shape = [4], begin = [0]} : f32[4] {replicated}
    )";
  EXPECT_REFUSED(graph(partial + "%y = rms_norm %x, @n {epsilon = 1e-05} : f32[T, 4] {replicated}"), Stage::kSharded, "operand x must be {replicated}, is {tp: partial(sum)}");
  EXPECT_EQ(refusal(graph(partial + "%r = all_reduce %x : f32[T, 4] {replicated}\n%y = rms_norm %r, @n {epsilon = 1e-05} : f32[T, 4] {replicated}"), Stage::kSharded), "accepted");
}

TEST(Verify, CachesAreFilledAndReadInTheirBlock) {
  const std::string head = R"(%t = input {source = "tokens"} : i32[T]
    @w = weight {tensor = "w", stack = 0, shape = [8, 4], begin = [0, 0]} : f32[8, 4]
    %x = embed %t, @w {begin = 0} : f32[T, 4]
    @kv = cache : f32[16, 2, 1, 4]
    )";
  const std::string attention = "%a = attention %x, %CACHE, %t {head_dim = 4, group = 1, first_head = 0, window = 0, scale = 0.5} : f32[T, 4]\n";
  const auto reading = [&](std::string cache) { return std::string(attention).replace(attention.find("%CACHE"), 6, cache); };
  const std::string filled = "%f = kv_append @kv, %x, %x, %t : f32[16, 2, 1, 4]\n";
  EXPECT_EQ(refusal(graph(head + filled + reading("%f"), "mesh(tp = 1)")), "accepted");
  EXPECT_REFUSED(graph(head + reading("@kv"), "mesh(tp = 1)"), Stage::kImported, "attention: operand kv must be made by kv_append in the same block, is made by cache");
  EXPECT_REFUSED(graph(head + filled + "%f2 = kv_append %f, %x, %x, %t : f32[16, 2, 1, 4]", "mesh(tp = 1)"), Stage::kImported, "kv_append: operand f must be made by cache");
  EXPECT_REFUSED(graph(head + filled + "block other stage 0 " + reading("%f"), "mesh(tp = 1)"), Stage::kImported, "in the same block, is made by kv_append in block main");
}

TEST(Verify, OutputsAreValuesOfTheStep) {
  EXPECT_REFUSED("graph @g mesh(tp = 1) { block b stage 0 " + weight("") + " return @w }", Stage::kImported, "output w of @g must be a value of the step, is what weight makes");
}

TEST(Verify, AllGatherHasAnExtentForEachRank) {
  const std::string x = kTokens + weight("{replicated}") + "\n%x = embed %t, @w {begin = 0} : f32[T, 4] {tp: split(1, [3, 1])}\n";
  EXPECT_REFUSED(graph(x + "%y = all_gather %x {dim = 1, extents = [4]} : f32[T, 4] {replicated}"), Stage::kImported, "all_gather: needs an extent for each of 2 ranks, got 1");
  EXPECT_REFUSED(graph(x + "%y = all_gather %x {dim = 1, extents = [3, 3]} : f32[T, 6] {replicated}"), Stage::kImported, "all_gather: x must have 6 columns as its extents say, has 4");
}

TEST(Verify, ValuesOfAnotherStageNeedATransfer) {
  const std::string begin = "graph @g mesh(pp = 2, tp = [1, 1]) { block a stage 0 " + std::string(kTokens) + weight("{replicated}") + " %x = embed %t, @w {begin = 0} : f32[T, 4] {replicated} ";
  EXPECT_REFUSED(begin + "block b stage 1 %y = add %x, %x : f32[T, 4] {replicated} return }", Stage::kSharded, "operand x is on stage 0, its reader on 1: needs a transfer");
  EXPECT_EQ(refusal(begin + "%x1 = transfer %x {from = 0, to = 1} : f32[T, 4] {replicated} block b stage 1 %y = add %x1, %x1 : f32[T, 4] {replicated} return }", Stage::kSharded), "accepted");
  EXPECT_REFUSED(begin + "%x1 = transfer %x {from = 0, to = 2} : f32[T, 4] {replicated} return }", Stage::kSharded, "transfer: to must be a stage of mesh(pp = 2, tp = [1, 1]), got 2");
  EXPECT_REFUSED(begin + "%x1 = transfer %x {from = 1, to = 0} : f32[T, 4] {replicated} return }", Stage::kSharded, "transfer: from must be the stage of its block, 0, got 1");
}

std::string local(const std::string& rank, const std::string& nodes) { return "graph @g " + rank + "mesh(tp = 2) { block a stage 0 " + nodes + " return }\n"; }

TEST(Verify, LocalModulesHaveOneGraphPerRank) {
  const std::string input = R"(%t = input {source = "tokens"} : i32[T])";
  EXPECT_EQ(refusal(local("rank 0 of ", input) + local("rank 1 of ", input), Stage::kPartitioned), "accepted");
  EXPECT_REFUSED(local("rank 0 of ", input), Stage::kPartitioned, "needs one for each of 2 ranks, got 1");
  EXPECT_REFUSED(local("rank 1 of ", input) + local("rank 0 of ", input), Stage::kPartitioned, "local graph 0 must be of rank 0");
  EXPECT_REFUSED(local("", input), Stage::kPartitioned, "a local graph must say its rank");
  EXPECT_REFUSED(local("rank 0 of ", input + " {replicated}") + local("rank 1 of ", input), Stage::kPartitioned, "value %t still has a sharding");
}

TEST(Verify, SendsAndRecvsNameOtherRanks) {
  EXPECT_REFUSED(local("", "%x = recv {from = 1} : f32[T, 4]"), Stage::kImported, "recv belongs in local graphs");
  EXPECT_REFUSED(local("rank 0 of ", "%x = recv {from = 0} : f32[T, 4]"), Stage::kImported, "recv: must name another rank of mesh(tp = 2), got 0");
  EXPECT_REFUSED(local("rank 0 of ", "%x = recv {from = 1} : f32[T, 4] send %x {to = [1, 2]}"), Stage::kImported, "send: must name another rank of mesh(tp = 2), got 2");
}

// --- factor maps, over plain data ------------------------------------------------------------------------------------

TEST(ScaleRanges, HeadsAndTheirElements) {
  EXPECT_EQ(scaleRanges({{0, 2}, {2, 3}}, 3, 12), (std::vector<Range>{{0, 8}, {8, 12}}));
  EXPECT_EQ(scaleRanges({{0, 8}, {8, 12}}, 12, 3), (std::vector<Range>{{0, 2}, {2, 3}}));
}

TEST(ScaleRanges, WhatDoesNotDivideIsCovered) {
  // Three query heads of one dimension each share... six heads of two KV heads, cut after the second: both ranks read KV head 0.
  EXPECT_EQ(scaleRanges({{0, 2}, {2, 6}}, 6, 2), (std::vector<Range>{{0, 1}, {0, 2}}));
}

TEST(ScaleRanges, EmptyStaysEmptyAndLargeSizesDoNotOverflow) {
  EXPECT_EQ(scaleRanges({{0, 4}, {4, 4}}, 4, 8), (std::vector<Range>{{0, 8}, {8, 8}}));
  EXPECT_EQ(scaleRanges({{0, 0}, {0, 0}}, 0, 8), (std::vector<Range>{{0, 0}, {0, 0}}));
  const int64_t large = int64_t{1} << 40;
  EXPECT_EQ(scaleRanges({{0, large / 2}, {large / 2, large}}, large, large), (std::vector<Range>{{0, large / 2}, {large / 2, large}}));
}

/// The rule of the last node of a graph whose values carry the shardings of the text.
std::string rule(const std::string& nodes) {
  auto module = parseModule(graph(nodes));
  if (!module.ok()) return module.error().message();
  const Graph& g = module->graphs[0];
  const NodeSharding sharding = shardingRule(g, g.nodes.back(), [&](ValueId id) { return g.value(id).sharding; });
  std::string text;
  for (const Sharding& s : sharding.operands) text += toString(s) + " ";
  text += "->";
  for (const Sharding& s : sharding.results) text += " " + toString(s);
  return text;
}

const std::string kX = std::string(kTokens) + R"(@table = weight {tensor = "t", stack = 0, shape = [9, 4], begin = [0, 0]} : f32[9, 4]
  %x = embed %t, @table {begin = 0} : f32[T, 4] )";

TEST(ShardingRule, MatmulByColumnsByRowsAndWhole) {
  EXPECT_EQ(rule(kX + weight("{tp: split(0, [5, 3])}") + "%y = matmul %x, @w : f32[T, 8]"), "{replicated} {tp: split(0, [5, 3])} -> {tp: split(1, [5, 3])}");
  EXPECT_EQ(rule(kX + weight("{tp: split(1, [3, 1])}") + "%y = matmul %x, @w : f32[T, 8]"), "{tp: split(1, [3, 1])} {tp: split(1, [3, 1])} -> {tp: partial(sum)}");
  EXPECT_EQ(rule(kX + "{tp: split(1, [3, 1])} " + weight("") + "%y = matmul %x, @w : f32[T, 8]"), "{tp: split(1, [3, 1])} {tp: split(1, [3, 1])} -> {tp: partial(sum)}");
  EXPECT_EQ(rule(kX + weight("") + "%y = matmul %x, @w : f32[T, 8]"), "{replicated} {replicated} -> {replicated}");
}

TEST(ShardingRule, TheWeightDecidesAgainstItsInput) {
  EXPECT_EQ(rule(kX + "{tp: split(1, [3, 1])} " + weight("{tp: split(0, [5, 3])}") + "%y = matmul %x, @w : f32[T, 8]"), "{replicated} {tp: split(0, [5, 3])} -> {tp: split(1, [5, 3])}");
}

TEST(ShardingRule, PartialSumsPassThroughLinearOpsOnly) {
  EXPECT_EQ(rule(kX + "{tp: partial(sum)} %y = add %x, %x : f32[T, 4]"), "{tp: partial(sum)} {tp: partial(sum)} -> {tp: partial(sum)}");
  EXPECT_EQ(rule(kX + "{tp: partial(sum)} %y = silu_mul %x, %x : f32[T, 4]"), "{replicated} {replicated} -> {replicated}");
}

TEST(ShardingRule, TopKOfSplitVocabularyIsPartial) {
  EXPECT_EQ(rule(kX + "{tp: split(1, [3, 1])} %v, %i = top_k %x {k = 2, begin = 0} : f32[T, 2], i32[T, 2]"), "{tp: split(1, [3, 1])} -> {tp: partial(top_k)} {tp: partial(top_k)}");
}

TEST(ShardingRule, NormsNeedTheWholeRow) {
  EXPECT_EQ(rule(kX + "{tp: split(1, [3, 1])} @n = weight {tensor = \"n\", stack = 0, shape = [4], begin = [0]} : f32[4] %y = rms_norm %x, @n {epsilon = 0.0} : f32[T, 4]"),
            "{replicated} {replicated} -> {replicated}");
}

TEST(Mesh, RanksAreNumberedStageByStage) {
  const Mesh mesh{{2, 1, 3}};
  EXPECT_EQ(mesh.numRanks(), 6);
  EXPECT_EQ(mesh.firstRank(2), 3);
  std::vector<int> stages;
  for (int rank = 0; rank < 6; ++rank) stages.push_back(mesh.stageOf(rank));
  EXPECT_EQ(stages, (std::vector<int>{0, 0, 1, 2, 2, 2}));
}

}  // namespace
}  // namespace exo
