// Every card of models/ is planned and compiled for four machines, by its configuration alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <iostream>
#include <set>

#include "frontend/config/model_cards.h"
#include "frontend/driver/compile.h"
#include "frontend/topology/topology.h"

namespace exo {
namespace {

/// Two large machines and two of half their memory, as in the issue: 819 GB/s each, links of 50 Gbit/s.
constexpr const char* kFourNodes = R"({
  "nodes": [{"name": "a", "address": "10.0.0.1:52416", "memory_gib": 512, "cores": 32, "read_gb_per_s": 819, "int8_gop_per_s": 30000, "f32_gflop_per_s": 10000},
            {"name": "b", "address": "10.0.0.2:52416", "memory_gib": 512, "cores": 32, "read_gb_per_s": 819, "int8_gop_per_s": 30000, "f32_gflop_per_s": 10000},
            {"name": "c", "address": "10.0.0.3:52416", "memory_gib": 256, "cores": 32, "read_gb_per_s": 819, "int8_gop_per_s": 30000, "f32_gflop_per_s": 10000},
            {"name": "d", "address": "10.0.0.4:52416", "memory_gib": 256, "cores": 32, "read_gb_per_s": 819, "int8_gop_per_s": 30000, "f32_gflop_per_s": 10000}],
  "links": [{"between": ["a", "b"], "transport": "rdma", "latency_us": 10, "bandwidth_gbit_per_s": 50}, {"between": ["a", "c"], "transport": "rdma", "latency_us": 10, "bandwidth_gbit_per_s": 50},
            {"between": ["a", "d"], "transport": "rdma", "latency_us": 10, "bandwidth_gbit_per_s": 50}, {"between": ["b", "c"], "transport": "rdma", "latency_us": 10, "bandwidth_gbit_per_s": 50},
            {"between": ["b", "d"], "transport": "rdma", "latency_us": 10, "bandwidth_gbit_per_s": 50}, {"between": ["c", "d"], "transport": "rdma", "latency_us": 10, "bandwidth_gbit_per_s": 50}]})";

/// Weights of the published model that no rank's program has.
std::set<std::string> missingTensors(const Graph& whole, const plan::Plan& plan) {
  std::set<std::string> missing;
  for (const Node& node : whole.nodes)
    if (node.op == Op::kWeight) missing.insert(whole.value(node.results[0]).name);
  for (const program::Program& program : plan.programs())
    for (const program::Weight& weight : program.weights()) missing.erase(weight.name());
  return missing;
}

class CardPlan : public testing::TestWithParam<std::string> {};

TEST_P(CardPlan, IsMadeForFourNodes) {
  const auto model = openModel(GetParam());
  ASSERT_TRUE(model.ok()) << model.error();
  CompileOptions options;
  options.topology = *parseTopology(kFourNodes, "four nodes");
  for (const char* strategy : {"auto", "tp"}) {
    options.strategy = *parseStrategy(strategy);
    const auto start = std::chrono::steady_clock::now();
    const auto compiled = compile(*model, options);
    ASSERT_TRUE(compiled.ok()) << strategy << ": " << compiled.error();
    std::cout << strategy << ": " << std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() << " s\n";
    const Prediction& predicted = compiled->planned.prediction;
    EXPECT_GT(predicted.tokens_per_second, 0);
    for (const RankPrediction& rank : predicted.ranks) EXPECT_LE(rank.memory.total(), rank.usable_bytes) << strategy << ", rank " << rank.rank;
    EXPECT_EQ(missingTensors(*importGraph(*model, options.quantization, kDefaultContext), compiled->plan), std::set<std::string>()) << strategy;
    if (options.strategy.kind == Strategy::Kind::kTensorParallel) {
      EXPECT_EQ(compiled->plan.programs_size(), 4);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, CardPlan, testing::ValuesIn(modelCards()), [](const auto& info) {
  std::string name = info.param;
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
});

/// The cards that issue and README promise.
TEST(Cards, AreAllThere) {
  const auto cards = modelCards();
  for (const char* card : {"gemma-3-27b", "gemma-3-4b", "glm-4.5-air", "gpt-oss-120b", "gpt-oss-20b", "llama-3.1-405b", "llama-3.1-70b", "llama-3.1-8b", "llama-3.2-1b", "llama-3.2-3b",
                           "mistral-small", "mixtral-8x7b", "phi-4", "qwen3-0.6b", "qwen3-1.7b", "qwen3-14b", "qwen3-235b-a22b", "qwen3-30b-a3b", "qwen3-32b", "qwen3-4b", "qwen3-8b",
                           "qwen3-coder-480b-a35b"})
    EXPECT_NE(std::find(cards.begin(), cards.end(), card), cards.end()) << card;
}

}  // namespace
}  // namespace exo
