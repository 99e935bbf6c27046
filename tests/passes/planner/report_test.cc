#include "passes/planner/report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/passes/planner/small_models.h"

namespace exo {
namespace {

PlannerResult twoNodes() {
  auto result = makePlan(decoder({}), machines({1, 0}, {40, 40}), {.strategy = {Strategy::Kind::kTensorParallel}, .max_context = 100, .max_step_tokens = 16});
  EXPECT_TRUE(result.ok()) << result.error();
  return std::move(result).value();
}

/// A rank's local graph: one weight of 32 x 64 f32 (8192 B), a cache of one head of 16 (f16: 64 B per token), one
/// all-reduce of a hidden row (256 B) and one send of it to two ranks.
Graph local(int rank) {
  Builder b("local");
  const ValueId w = b.source(Op::kWeight, "w", {Encoding::kF32, {32, 64}}, WeightAttrs{.tensor = "w", .shape = {64, 64}, .begin = {0, 0}});
  b.source(Op::kCache, "cache", {Encoding::kF16, {4096, 2, 1, 16}}, NoAttrs{});
  const ValueId x = b.source(Op::kRecv, "x", {Encoding::kF32, {T, 64}}, RecvAttrs{0});
  b.add(Op::kMatMul, "y", {x, w});
  const ValueId sum = b.add(Op::kAllReduce, "sum", {x});
  b.addMulti(Op::kSend, {}, {sum}, SendAttrs{{0, 1}});
  Graph graph = std::move(b).take();
  graph.rank = rank;
  graph.mesh.stage_sizes = {2};
  return graph;
}

TEST(Report, ExactFiguresComeFromTheLocalGraphs) {
  const PlannerResult result = twoNodes();
  const std::vector<int64_t> arenas = {1000, 2000};
  const auto figures = rankFigures(result, {{local(1), local(0)}}, arenas);
  ASSERT_EQ(figures.size(), 2u);
  EXPECT_TRUE(figures[1].is_exact);
  EXPECT_EQ(figures[1].memory.weights, 8192);
  EXPECT_EQ(figures[1].memory.kv, 64 * 100);
  EXPECT_EQ(figures[1].memory.activations, 2000);
  EXPECT_EQ(figures[1].sent_messages, 1 + 2) << "the all-reduce to one peer, the send to two";
  EXPECT_EQ(figures[1].sent_bytes, 3 * 256);
}

TEST(Report, TextSaysItAll) {
  const PlannerResult result = twoNodes();
  const std::vector<std::string> notes = {"layers.0.k_proj: kept whole, 1 KV head for 2 ranks"};
  const std::string text = reportText(result, {}, {}, notes);
  for (const char* part : {"Plan: tp2 on n0, n1", "at a context of 100 tokens", "time per token", "time to first token", "for a prompt of 100 tokens", "KV cache", "unlimited", "50.0 %",
                           "Sent per token", "(predicted)", "Not split, and why\n  - layers.0.k_proj", "memory not given for n1"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\nin\n" << text;
  const std::string exact = reportText(result, {{local(0), local(1)}}, std::vector<int64_t>{1000, 2000}, {});
  EXPECT_EQ(exact.find("(predicted)"), std::string::npos) << exact;
  EXPECT_EQ(exact.find("Not split"), std::string::npos);
  std::cout << text;
}

TEST(Report, Json) {
  const PlannerResult result = twoNodes();
  const nlohmann::json json = reportJson(result, {}, {}, std::vector<std::string>{"a"});
  EXPECT_EQ(json["plan"], "tp2 on n0, n1");
  EXPECT_EQ(json["ranks"].size(), 2u);
  EXPECT_EQ(json["ranks"][0]["blocks"], (nlohmann::json{0, 4}));
  EXPECT_TRUE(json["ranks"][1]["node_memory_bytes"].is_null());
  EXPECT_EQ(json["ranks"][0]["node_memory_bytes"], 1024.0 * 1024 * 1024);
  EXPECT_EQ(json["predicted"]["seconds_per_token"], result.prediction.seconds_per_token);
  EXPECT_EQ(json["not_split"][0], "a");
  EXPECT_NE(nlohmann::json::parse(json.dump()), nlohmann::json()) << "valid JSON";
}

TEST(Report, BytesText) {
  EXPECT_EQ(bytesText(12), "12 B");
  EXPECT_EQ(bytesText(1536), "1.5 KiB");
  EXPECT_EQ(bytesText(340.0 * 1024 * 1024), "340 MiB");
  EXPECT_EQ(bytesText(1.5 * kGiB), "1.50 GiB");
  EXPECT_EQ(bytesText(INFINITY), "unlimited");
}

}  // namespace
}  // namespace exo
