#include "passes/planner/model_costs.h"

#include <gtest/gtest.h>

#include "passes/planner/cost_model.h"
#include "tests/passes/planner/small_models.h"

namespace exo {
namespace {

// D = 64, 4 heads of 16, 2 KV heads, F = 128, V = 96, f32.
// Attention: q 64x64 + k, v 2 x 32x64 + o 64x64 = 4096 + 4096 + 4096 = 12288; MLP: 3 x 128x64 = 24576; sum 36864 x 4 B = 147456.
// Norms: 2 x 64 x 4 B = 512 per layer, repeated on every rank.  Embedding 96 x 64 x 4 B = 24576; head the same, and a norm of 256 B.
constexpr double kLayer = 147456, kTable = 24576;

ModelCosts costsOf(const ModelShape& shape, const CostRequest& request) {
  auto costs = modelCosts(decoder(shape), request);
  EXPECT_TRUE(costs.ok()) << costs.error();
  return std::move(costs).value();
}

TEST(ModelCosts, UnitsAndWeights) {
  const ModelCosts costs = costsOf({}, {.max_context = 100, .max_step_tokens = 16});
  ASSERT_EQ(costs.units.size(), 2u);
  EXPECT_EQ(costs.units[0].first_block, 0) << "embed goes with the first layer";
  EXPECT_EQ(costs.units[0].end_block, 2);
  EXPECT_EQ(costs.units[1].end_block, 4) << "head goes with the last";
  EXPECT_DOUBLE_EQ(costs.units[0].split_weight_bytes, kLayer + kTable);
  EXPECT_DOUBLE_EQ(costs.units[1].split_weight_bytes, kLayer + kTable);
  EXPECT_DOUBLE_EQ(costs.units[0].whole_weight_bytes, 512);
  EXPECT_DOUBLE_EQ(costs.units[1].whole_weight_bytes, 512 + 256);
  EXPECT_TRUE(costs.shared.empty());
  EXPECT_EQ(costs.weights, Encoding::kF32);
}

// f16 cache: 2 (key, value) x 2 heads x 16 x 2 B = 128 B per token and layer; 100 tokens, 3 sequences.
TEST(ModelCosts, KvCache) {
  const ModelCosts costs = costsOf({}, {.max_context = 100, .batch = 3});
  EXPECT_DOUBLE_EQ(costs.units[0].kv_bytes, 128.0 * 100 * 3);
  EXPECT_EQ(costs.kv_heads, 2);
}

TEST(ModelCosts, SequencesMayShareASmallerCache) {
  const ModelCosts each = costsOf({}, {.max_context = 100, .batch = 3});
  const ModelCosts shared = costsOf({}, {.max_context = 100, .batch = 3, .cache_tokens = 150});
  ASSERT_EQ(each.units.size(), shared.units.size());
  for (size_t i = 0; i < each.units.size(); ++i) EXPECT_DOUBLE_EQ(shared.units[i].kv_bytes, each.units[i].kv_bytes / 2);
  EXPECT_FALSE(modelCosts(decoder({}), {.max_context = 100, .batch = 3, .cache_tokens = 99}).ok());
  EXPECT_FALSE(modelCosts(decoder({}), {.max_context = 100, .batch = 3, .cache_tokens = 301}).ok());
}

// Collectives: after embed, o and down in the first layer; o and down in the last, and the top-k merge (8 values, 8 ids).
TEST(ModelCosts, Collectives) {
  const ModelCosts costs = costsOf({}, {.max_context = 100, .max_step_tokens = 16});
  const double row = 64 * 4;
  EXPECT_EQ(costs.units[0].decode.payloads, (std::vector<double>{row, row, row}));
  EXPECT_EQ(costs.units[1].decode.payloads, (std::vector<double>{row, row, 64}));
  EXPECT_EQ(costs.units[0].prefill.payloads, (std::vector<double>{16 * row, 16 * row, 16 * row}));
  EXPECT_DOUBLE_EQ(costs.units[0].decode.handed_on_bytes, row) << "a cut hands on the hidden state";
  EXPECT_DOUBLE_EQ(costs.units[1].decode.handed_on_bytes, 0);
  EXPECT_DOUBLE_EQ(costs.largest_payload_bytes, 16 * row);
  // 100 prompt tokens in chunks of 16.
  EXPECT_DOUBLE_EQ(costs.prefill_chunks, 100.0 / 16);
}

// The router is repeated; experts are split inside; attention and experts make two collectives in a layer, not three.
TEST(ModelCosts, Experts) {
  ModelShape shape{.layers = 1, .experts = 8, .experts_per_token = 2};
  const ModelCosts costs = costsOf(shape, {.max_context = 64, .max_step_tokens = 16});
  // Split: attention 12288 x 4 + experts 8 x 24576 x 4 + two tables; whole: norms 3 x 256, router 8 x 64 x 4 = 2048.
  EXPECT_DOUBLE_EQ(costs.units[0].split_weight_bytes, 49152 + 786432 + 2 * kTable);
  EXPECT_DOUBLE_EQ(costs.units[0].whole_weight_bytes, 768 + 2048);
  EXPECT_EQ(costs.units[0].decode.payloads.size(), 4u) << "embed, o, experts, top-k";
  // One token reads 2 of 8 experts: 786432 / 4. Everything else is dense.
  double expert_bytes = 0;
  for (const Work& work : costs.units[0].decode.work)
    if (work.bytes > 60000 && work.is_split) expert_bytes += work.bytes;
  EXPECT_NEAR(expert_bytes, 786432 / 4.0, 0.03 * 786432 / 4.0) << "weights, and a little for activations";
}

TEST(ModelCosts, TiedEmbeddingIsCountedOncePerStage) {
  auto rates = resolveRates(machines({1, 1}, {10, 10}));
  ASSERT_TRUE(rates.ok());
  const CostModel model(costsOf({.tied = true}, {.max_context = 100, .max_step_tokens = 16}), *rates, 0);
  ASSERT_EQ(model.model().shared.size(), 1u);
  const Group one = model.group({0});
  EXPECT_DOUBLE_EQ(model.memory(one, 0, 2, 1).weights, 2 * kLayer + kTable + 1280);
  EXPECT_DOUBLE_EQ(model.memory(one, 0, 1, 1).weights, kLayer + kTable + 512);
  EXPECT_DOUBLE_EQ(model.memory(one, 1, 2, 1).weights, kLayer + kTable + 768);
}

TEST(ModelCosts, StoreAs) {
  const ModelCosts w4 = costsOf({}, {.store_as = Encoding::kW4});
  EXPECT_DOUBLE_EQ(w4.units[0].split_weight_bytes, (kLayer + kTable) * bytesPerElement(Encoding::kW4) / 4);
  EXPECT_EQ(w4.weights, Encoding::kW4);
  const ModelCosts same = costsOf({.weights = Encoding::kW4}, {.store_as = Encoding::kW8});
  EXPECT_EQ(same.weights, Encoding::kW4) << "never larger than it is";
}

TEST(ModelCosts, Refusals) {
  EXPECT_FALSE(modelCosts(Graph{}, {}).ok());
  EXPECT_FALSE(modelCosts(decoder({}), {.max_context = 0}).ok());
  EXPECT_FALSE(modelCosts(decoder({}), {.max_step_tokens = -1}).ok());
  EXPECT_FALSE(modelCosts(decoder({}), {.batch = int64_t{1} << 60}).ok());
}

// One f32 matmul at the roof: decode is bound by bytes, so a node twice as fast halves it.
TEST(CostModel, DecodeIsBytesOverBandwidth) {
  auto rates = resolveRates(machines({0, 0}, {10, 20}));
  ASSERT_TRUE(rates.ok());
  const ModelShape large{.layers = 1, .hidden = 1024, .heads = 8, .kv_heads = 8, .head_dim = 128, .ffn = 4096, .vocab = 1024};
  const CostModel model(costsOf(large, {.max_context = 1, .max_step_tokens = 1}), *rates, 0);
  const auto slow = model.stage(model.group({0}), 0, 1, MemoryLimit::kRespect), fast = model.stage(model.group({1}), 0, 1, MemoryLimit::kRespect);
  ASSERT_TRUE(slow && fast);
  EXPECT_NEAR(slow->decode_s, 2 * fast->decode_s, 1e-9);
  // 4 x 1024² + 3 x 4 x 1024² + head 1024² = 17 Mi weights x 4 B at 10 GB/s = 7.13 ms; activations add less than 1 %.
  const double weights_s = 17 * 1048576.0 * 4 / 10e9;
  EXPECT_GE(slow->decode_s, weights_s);
  EXPECT_LE(slow->decode_s, 1.01 * weights_s);
  // Together: shares 1/3 and 2/3 up to the small repeated part, and collectives of 1024 x 4 B over 30 us / 10 Gbit/s:
  // 30 us + 4096 B / 1.25e9 = 33.3 us for embed, o and down; 30 us + 64 B for the top-k.
  const auto both = model.stage(model.group({0, 1}), 0, 1, MemoryLimit::kRespect);
  ASSERT_TRUE(both);
  EXPECT_NEAR(both->shares[0], 1.0 / 3, 0.01);
  EXPECT_NEAR(both->decode_comm_s, 3 * (30e-6 + 4096 / 1.25e9) + 30e-6 + 64 / 1.25e9, 1e-9);
  EXPECT_NEAR(both->decode_s - both->decode_comm_s, slow->decode_s / 3, 0.01 * slow->decode_s);
}

// Largest share by memory, with KV heads that cannot be divided.
TEST(CostModel, MemoryOfARank) {
  auto rates = resolveRates(machines({1, 1}, {10, 10}));
  ASSERT_TRUE(rates.ok());
  const CostModel model(costsOf({}, {.max_context = 100, .max_step_tokens = 16}), *rates, 0);
  const Group two = model.group({0, 1});
  const MemoryUse use = model.memory(two, 0, 2, 0.25);
  // Attention's 49152 B per layer go by KV head as the cache does.
  EXPECT_DOUBLE_EQ(use.weights, 0.5 * 2 * 49152 + 0.25 * 2 * (kLayer - 49152 + kTable) + 1280);
  EXPECT_DOUBLE_EQ(use.kv, 0.5 * 2 * 12800) << "one of two heads, though the share is a quarter";
  EXPECT_DOUBLE_EQ(use.communication, 2 * 2 * 16 * 256);
  // Three ranks, two KV heads: the middle third of the query heads reads both.
  auto three = resolveRates(machines({1, 1, 1}, {10, 10, 10}));
  ASSERT_TRUE(three.ok());
  const CostModel more(costsOf({}, {.max_context = 100, .max_step_tokens = 16}), *three, 0);
  EXPECT_DOUBLE_EQ(more.memory(more.group({0, 1, 2}), 0, 2, 1.0 / 3).kv, 2 * 12800);
}

}  // namespace
}  // namespace exo
