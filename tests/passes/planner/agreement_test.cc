// The prediction against what the passes make of the plan: weights, KV cache and messages of every rank.
#include <gtest/gtest.h>

#include "passes/pass.h"
#include "passes/planner/report.h"
#include "tests/passes/planner/small_models.h"

namespace exo {
namespace {

struct Case {
  const char* name;
  ModelShape shape;
  std::vector<double> read_gb_per_s;
  const char* strategy;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

Module partitioned(const Graph& graph, const PlannerResult& result) {
  PassOptions options{.plan = result.plan, .max_tokens = 64, .max_rows = 1};
  std::vector<const Pass*> passes;
  for (const Pass& pass : allPasses()) {
    passes.push_back(&pass);
    if (pass.name == "partition") break;
  }
  Notes notes;
  auto module = runPasses({{graph}}, passes, options, notes);
  EXPECT_TRUE(module.ok()) << module.error();
  return module.ok() ? std::move(module).value() : Module{};
}

class Agreement : public testing::TestWithParam<Case> {};

TEST_P(Agreement, PredictedIsWhatThePassesMake) {
  const Graph graph = decoder(GetParam().shape);
  const size_t nodes = GetParam().read_gb_per_s.size();
  auto result = makePlan(graph, machines(std::vector<double>(nodes), GetParam().read_gb_per_s), {.strategy = *parseStrategy(GetParam().strategy), .max_context = 256, .max_step_tokens = 64});
  ASSERT_TRUE(result.ok()) << result.error();
  double weights = 0;
  for (const RankFigures& rank : rankFigures(*result, partitioned(graph, *result), {})) {
    ASSERT_TRUE(rank.is_exact);
    const RankPrediction& predicted = rank.predicted;
    weights += rank.memory.weights;
    // The prediction rounds up to whole KV heads, the passes to the nearest; the rest is rounded to 16 rows or 32 columns.
    EXPECT_LE(rank.memory.weights, 1.03 * predicted.memory.weights) << predicted.node_name;
    EXPECT_GE(rank.memory.weights, 0.85 * predicted.memory.weights) << predicted.node_name;
    EXPECT_LE(rank.memory.kv, predicted.memory.kv) << predicted.node_name;
    EXPECT_GE(rank.memory.kv, 0.66 * predicted.memory.kv) << predicted.node_name;
    EXPECT_EQ(rank.sent_messages, predicted.sent_messages) << predicted.node_name;
    EXPECT_DOUBLE_EQ(rank.sent_bytes, predicted.sent_bytes) << predicted.node_name;
  }
  EXPECT_GT(weights, 0);
}

const ModelShape kDense{.layers = 4, .hidden = 256, .heads = 16, .kv_heads = 8, .head_dim = 32, .ffn = 1024, .vocab = 2048};
ModelShape with(ModelShape shape, void (*change)(ModelShape&)) {
  change(shape);
  return shape;
}

INSTANTIATE_TEST_SUITE_P(Models, Agreement,
                         testing::Values(Case{"dense_tp2", kDense, {20, 20}, "tp"}, Case{"dense_uneven", kDense, {40, 20, 20}, "tp"}, Case{"dense_pp3", kDense, {20, 20, 10}, "pp"},
                                         Case{"dense_tp2pp2", kDense, {20, 20, 20, 20}, "tp2pp2"}, Case{"w4_tp4", with(kDense, [](ModelShape& s) { s.weights = Encoding::kW4; }), {20, 20, 20, 20}, "tp"},
                                         Case{"tied_pp2", with(kDense, [](ModelShape& s) { s.tied = true; }), {20, 20}, "pp"},
                                         Case{"experts_tp2", with(kDense, [](ModelShape& s) { s.experts = 8, s.experts_per_token = 2, s.ffn = 512; }), {20, 20}, "tp"}),
                         [](const testing::TestParamInfo<Case>& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace exo
