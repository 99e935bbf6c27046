// Reference functions against values derived by hand, and what the interpreter does with several ranks.
#include "ir/interpreter.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ir/text.h"

namespace exo {
namespace {

using Floats = std::vector<float>;
using Ints = std::vector<int32_t>;

/// Weights by tensor name, whole; slices are cut out of them.
WeightFn weightsOf(std::map<std::string, Floats> tensors) {
  return [tensors](const WeightAttrs& attrs, const Type& type, Floats& out) -> Status {
    const Floats& whole = tensors.at(attrs.tensor);
    const int64_t columns = attrs.shape.back(), rows = type.rank() == 2 ? type.shape[0].size() : 1, row = type.rank() == 2 ? attrs.begin[0] : 0;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < type.shape.back().size(); ++c) out.push_back(whole[static_cast<size_t>((row + r) * columns + attrs.begin.back() + c)]);
    }
    return {};
  };
}

struct OneRank {
  std::string nodes;                       // of one block
  std::map<std::string, Floats> weights;
  InterpreterStep step;

  std::map<std::string, Tensor> operator()() const {
    auto module = parseModule("graph @g mesh(tp = 1) { block main stage 0\n" + nodes + "\n return }");
    EXPECT_TRUE(module.ok()) << module.error();
    if (!module.ok()) return {};
    auto result = Interpreter(*module, weightsOf(weights), 8).step(step);
    EXPECT_TRUE(result.ok()) << result.error();
    return result.ok() ? (*result)[0] : std::map<std::string, Tensor>();
  }
};

/// %x is the rows of @table that the tokens name.
std::string x(int64_t rows, int64_t columns) {
  const std::string shape = std::to_string(rows) + ", " + std::to_string(columns);
  return "%t = input {source = \"tokens\"} : i32[T] %p = input {source = \"positions\"} : i32[T] @table = weight {tensor = \"x\", stack = 0, shape = [" + shape +
         "], begin = [0, 0]} : f32[" + shape + "] %x = embed %t, @table {begin = 0} : f32[T, " + std::to_string(columns) + "]\n";
}
std::string weight(const std::string& name, const std::string& shape) {
  const bool vector = shape.find(',') == std::string::npos;
  return "@" + name + " = weight {tensor = \"" + name + "\", stack = 0, shape = [" + shape + "], begin = [" + (vector ? "0" : "0, 0") + "]} : f32[" + shape + "]\n";
}
InterpreterStep tokens(Ints ids) {
  InterpreterStep step{ids, {}, Ints(ids.size(), 0), {}};
  for (size_t i = 0; i < ids.size(); ++i) step.positions.push_back(static_cast<int32_t>(i));
  return step;
}

TEST(Reference, EmbedTakesRowsAndGivesZerosOutside) {
  const auto out = OneRank{x(2, 2), {{"x", {1, 2, 3, 4}}}, tokens({1, 0, 7, -1})}();
  EXPECT_EQ(out.at("x").f, (Floats{3, 4, 1, 2, 0, 0, 0, 0}));
}

TEST(Reference, MatmulIsXTimesWTransposed) {
  // [1 2] · rows [1 0], [0 1], [2 3] = 1, 2, 2 + 6
  const auto out = OneRank{x(1, 2) + weight("w", "3, 2") + "%y = matmul %x, @w : f32[T, 3]", {{"x", {1, 2}}, {"w", {1, 0, 0, 1, 2, 3}}}, tokens({0})}();
  EXPECT_EQ(out.at("y").f, (Floats{1, 2, 8}));
}

TEST(Reference, RmsNormDividesByRootMeanSquare) {
  // mean(3², 4²) = 12.5, + epsilon 3.5 = 16, root 4
  const auto out = OneRank{x(1, 2) + weight("n", "2") + "%y = rms_norm %x, @n {epsilon = 3.5} : f32[T, 2]", {{"x", {3, 4}}, {"n", {1, 2}}}, tokens({0})}();
  EXPECT_EQ(out.at("y").f, (Floats{0.75, 2}));
}

TEST(Reference, HeadNormNormsEachHead) {
  // heads (2, 2) and (-3, 3): root mean squares 2 and 3
  const auto out = OneRank{x(1, 4) + weight("n", "2") + "%y = head_norm %x, @n {head_dim = 2, epsilon = 0.0} : f32[T, 4]", {{"x", {2, 2, -3, 3}}, {"n", {1, 10}}}, tokens({0})}();
  EXPECT_EQ(out.at("y").f, (Floats{1, 10, -1, 10}));
}

TEST(Reference, AddBiasAndSilu) {
  const auto out = OneRank{x(2, 2) + weight("b", "2") + "%a = add %x, %x : f32[T, 2] %y = bias_add %a, @b : f32[T, 2] %s = silu_mul %x, %y : f32[T, 2]",
                       {{"x", {0, 1, -1, 2}}, {"b", {10, 20}}},
                       tokens({0, 1})}();
  EXPECT_EQ(out.at("y").f, (Floats{10, 22, 8, 24}));
  // silu(0) = 0; silu(1) = 1 / (1 + e⁻¹) = 0.731059; silu(-1) = -0.268941; silu(2) = 1.761594
  const Floats wanted = {0, 0.731059f * 22, -0.268941f * 8, 1.761594f * 24};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(out.at("s").f[i], wanted[i], 1e-4);
}

TEST(Reference, GeluTanhGates) {
  // gelu_tanh(1) = (1 + tanh(0.797885 · 1.044715)) / 2 = (1 + tanh 0.833562) / 2 = 0.841192; gelu_tanh(-1) = 0.841192 - 1
  const auto out = OneRank{x(1, 3) + "%s = silu_mul %x, %x {gate = gelu_tanh} : f32[T, 3]", {{"x", {0, 1, -1}}}, tokens({0})}();
  EXPECT_EQ(out.at("s").f[0], 0);
  EXPECT_NEAR(out.at("s").f[1], 0.841192, 1e-5);
  EXPECT_NEAR(out.at("s").f[2], 0.158808, 1e-5);
}

TEST(Reference, NormOffsetIsAddedToTheWeight) {
  // (3, 4, 0, 0): root mean square 2.5; head (3, 4): √12.5, head (0, 0): 0
  const auto out = OneRank{x(1, 4) + weight("n", "4") + weight("h", "2") + "%y = rms_norm %x, @n {epsilon = 0.0, offset = 1.0} : f32[T, 4]" +
                               "%z = head_norm %x, @h {head_dim = 2, epsilon = 0.5, offset = 1.0} : f32[T, 4]",
                           {{"x", {3, 4, 0, 0}}, {"n", {0, 1, 5, 5}}, {"h", {0, 1}}}, tokens({0})}();
  EXPECT_FLOAT_EQ(out.at("y").f[0], 1.2f);
  EXPECT_FLOAT_EQ(out.at("y").f[1], 3.2f);
  EXPECT_NEAR(out.at("z").f[1], 2 * 4 / std::sqrt(13.0), 1e-6);
}

TEST(Reference, NormBySumOfAPartIsTheNormOfTheWhole) {
  // x is the right half of a row of 4 whose squares sum to 25 · 4: root mean square 5
  const auto out = OneRank{x(1, 2) + weight("s", "1") + weight("n", "2") + "%q = square_sum %x : f32[T, 1] %b = bias_add %q, @s : f32[T, 1]" +
                               "%y = norm_by_sum %x, %b, @n {width = 4, epsilon = 0.0} : f32[T, 2]",
                           {{"x", {5, 7}}, {"s", {26}}, {"n", {1, 10}}}, tokens({0})}();
  EXPECT_EQ(out.at("q").f, (Floats{74}));
  EXPECT_EQ(out.at("y").f, (Floats{1, 14}));
}

TEST(Reference, EmbedScalesSigmoidMulSharesSoftCapCaps) {
  // sigmoid(ln 3) = 3/4; 2 · tanh(x / 2) at x = 2 ln 3: tanh(ln 3) = (9 - 1) / (9 + 1) = 0.8
  const float ln3 = std::log(3.0f);
  const auto out = OneRank{x(1, 1) + "%big = embed %t, @table {begin = 0, scale = 4.0} : f32[T, 1] %m = sigmoid_mul %big, %x : f32[T, 1]" +
                               "%twice = add %x, %x : f32[T, 1] %c = soft_cap %twice {cap = 2.0} : f32[T, 1]",
                           {{"x", {ln3}}}, tokens({0})}();
  EXPECT_FLOAT_EQ(out.at("big").f[0], 4 * ln3);
  EXPECT_FLOAT_EQ(out.at("m").f[0], 3 * ln3);
  EXPECT_FLOAT_EQ(out.at("c").f[0], 1.6f);
}

TEST(Reference, RopeRotatesPairsHalfAHeadApart) {
  // Frequency π/2: position 1 turns (x0, x1) by 90° into (-x1, x0); elements 2 and 3 beyond rotary_dim stay; scale 2.
  const auto out = OneRank{x(1, 4) + "%f = rope_table {frequencies = [1.5707963267948966]} : f32[1] %y = rope %x, %p, %f {head_dim = 4, rotary_dim = 2, scale = 2.0} : f32[T, 4]",
                       {{"x", {3, 5, 7, 9}}},
                       tokens({0, 0})}();
  const Floats wanted = {6, 10, 7, 9, -10, 6, 7, 9};
  for (size_t i = 0; i < 8; ++i) EXPECT_NEAR(out.at("y").f[i], wanted[i], 1e-5);
}

TEST(Reference, QuantizeRoundsBlocksOf32To127Steps) {
  Floats row(33, 0);
  row[0] = 127, row[1] = 1.4f, row[2] = -3.6f, row[32] = 0.001f;  // the 33rd is a block of its own
  const auto out = OneRank{x(1, 33) + "%y = quantize %x : x8[T, 33]", {{"x", row}}, tokens({0})}();
  EXPECT_EQ(out.at("y").f[0], 127);
  EXPECT_EQ(out.at("y").f[1], 1);
  EXPECT_EQ(out.at("y").f[2], -4);
  EXPECT_FLOAT_EQ(out.at("y").f[32], 0.001f);
}

/// One head of dimension 1; query, key and value are the token itself.
const std::string kAttention = R"(@kv = cache : f32[8, 2, 1, 1] %filled = kv_append @kv, %x, %x, %p : f32[8, 2, 1, 1]
  %y = attention %x, %filled, %p {head_dim = 1, group = 1, first_head = 0, window = WINDOW, scale = 1.0} : f32[T, 1])";
std::string attention(int window) { return std::string(kAttention).replace(kAttention.find("WINDOW"), 6, std::to_string(window)); }

TEST(Reference, AttentionIsCausalSoftmax) {
  // x = 0, ln 2: row 0 sees itself: 0. Row 1: scores 0 and (ln 2)²; weights 1 and e^0.480453 = 1.616807.
  const float ln2 = std::log(2.0f);
  const auto out = OneRank{x(2, 1) + attention(0), {{"x", {0, ln2}}}, tokens({0, 1})}();
  EXPECT_FLOAT_EQ(out.at("y").f[0], 0);
  EXPECT_NEAR(out.at("y").f[1], ln2 * 1.616807 / 2.616807, 1e-5);
}

TEST(Reference, AttentionSoftCapBoundsScores) {
  std::string text = attention(0);
  text.insert(text.find("scale = 1.0") + 11, ", soft_cap = 1.0");
  const auto out = OneRank{x(2, 1) + text, {{"x", {0, 2}}}, tokens({0, 1})}();
  // row 1: scores tanh 0 = 0 and tanh 4 = 0.999329; e^0.999329 = 2.716460
  EXPECT_NEAR(out.at("y").f[1], 2 * 2.716460 / 3.716460, 1e-5);
}

TEST(Reference, AttentionSinkTakesItsShareOfTheSoftmax) {
  std::string text = attention(0);
  text.insert(text.find("%p {head_dim") + 2, ", @s");
  const auto out = OneRank{x(2, 1) + weight("s", "1") + text, {{"x", {1, 1}}, {"s", {1}}}, tokens({0, 1})}();
  // scores 1 per visible key, the sink's too: row 0 has half of value 1, row 1 two thirds
  EXPECT_NEAR(out.at("y").f[0], 0.5, 1e-6);
  EXPECT_NEAR(out.at("y").f[1], 2.0 / 3, 1e-6);
}

TEST(Reference, ClampedSwiGluClampsBothAndCountsFromOne) {
  const auto out = OneRank{x(3, 1) + "%y = silu_mul %x, %x {gate = clamped_swiglu, limit = 2.0} : f32[T, 1]", {{"x", {9, -9, 0}}}, tokens({0, 1, 2})}();
  EXPECT_NEAR(out.at("y").f[0], 2 / (1 + std::exp(-1.702 * 2)) * 3, 1e-6);
  EXPECT_NEAR(out.at("y").f[1], -9 / (1 + std::exp(1.702 * 9)) * -1, 1e-9) << "the gate has no lower bound";
  EXPECT_EQ(out.at("y").f[2], 0);
}

TEST(Reference, ExpertBiasesAreThoseOfTheChosen) {
  // experts 2 then 0 for the token: weights are shares of e^2 and e^1; biases 10, 20, 30
  const auto out = OneRank{x(1, 3) + "@b = weight {tensor = \"b.*\", stack = 3, shape = [1], begin = [0, 0]} : f32[3, 1]" +
                               "%w, %e = router_top_k %x {k = 2, normalize = true, factor = 1.0} : f32[T, 2], i32[T, 2]" +
                               "%m = expert_bias_sum %w, %e, @b : f32[T, 1]",
                           {{"x", {1, 0, 2}}, {"b.*", {10, 20, 30}}}, tokens({0})}();
  const double first = std::exp(2.0) / (std::exp(2.0) + std::exp(1.0));
  EXPECT_NEAR(out.at("m").f[0], 30 * first + 10 * (1 - first), 1e-5);
}

TEST(Reference, AttentionWindowOfOneSeesOnlyItself) {
  const auto out = OneRank{x(3, 1) + attention(1), {{"x", {5, -2, 3}}}, tokens({0, 1, 2})}();
  EXPECT_EQ(out.at("y").f, (Floats{5, -2, 3}));
}

TEST(Reference, AttentionKeepsSequencesApart) {
  InterpreterStep step{{0, 1}, {0, 0}, {0, 1}, {}};
  const auto out = OneRank{x(2, 1) + attention(0), {{"x", {5, -2}}}, step}();
  EXPECT_EQ(out.at("y").f, (Floats{5, -2}));
}

TEST(Reference, AttentionHeadsReadTheKvHeadOfTheirGroup) {
  // Four query heads in groups of two; values 1 and 2 in the two KV heads. A single position: the output is the value.
  const auto out = OneRank{x(1, 2) + weight("wide", "4, 2") + R"(@kv = cache : f32[8, 2, 2, 1] %filled = kv_append @kv, %x, %x, %p : f32[8, 2, 2, 1]
    %q = matmul %x, @wide : f32[T, 4]
    %y = attention %q, %filled, %p {head_dim = 1, group = 2, first_head = 0, window = 0, scale = 1.0} : f32[T, 4]
    %z = attention %x, %filled, %p {head_dim = 1, group = 2, first_head = 1, window = 0, scale = 1.0} : f32[T, 2])",
                       {{"x", {1, 2}}, {"wide", Floats(8, 0)}},
                       tokens({0})}();
  EXPECT_EQ(out.at("y").f, (Floats{1, 1, 2, 2}));
  EXPECT_EQ(out.at("z").f, (Floats{1, 2}));  // heads 1 and 2 of four
}

TEST(Reference, LatentAttentionHasItsValuesInTheKeys) {
  // Keys (1, 5) and (3, 5) of one head; queries of two heads read the same. Scores of head 0: q = (ln 2, 0), so ln 2 and 3 ln 2:
  // weights 2 and 8 of the values 1 and 3. Head 1: q = 0, so their mean.
  const float ln2 = std::log(2.0f);
  const std::string text = R"(@kv = cache : f32[8, 1, 1, 2] %filled = kv_append @kv, %x, %x, %p : f32[8, 1, 1, 2]
    %y = attention %q, %filled, %p {head_dim = 2, group = 2, first_head = 0, window = 0, scale = 1.0, value_dim = 1} : f32[T, 2])";
  const auto out = OneRank{x(2, 2) + weight("queries", "2, 4") + "%q = embed %t, @queries {begin = 0} : f32[T, 4]" + text,
                           {{"x", {1, 5, 3, 5}}, {"queries", {0, 0, 0, 0, ln2, 0, 0, 0}}}, tokens({0, 1})}();
  EXPECT_EQ((Floats{out.at("y").f.begin(), out.at("y").f.begin() + 2}), (Floats{1, 1}));
  EXPECT_NEAR(out.at("y").f[2], (2.0 * 1 + 8.0 * 3) / 10, 1e-5);
  EXPECT_NEAR(out.at("y").f[3], 2, 1e-6);
}

TEST(Reference, HeadMatmulHasAMatrixForEachHead) {
  // Two heads of three columns, of which two are read; head h multiplies their sum and their difference by h + 1.
  const std::string text = "graph @g mesh(tp = 1) { block main stage 0\n" + x(1, 6) + R"(@h = weight {tensor = "h.*", stack = 2, shape = [2, 2], begin = [0, 0, 0]} : f32[2, 2, 2]
    %y = head_matmul %x, @h {head_dim = 3} : f32[T, 4] %z = head_concat %y, %x {first_dim = 2, second_dim = 3, tail = 1} : f32[T, 6] return })";
  auto module = parseModule(text);
  ASSERT_TRUE(module.ok()) << module.error();
  const auto weights = [](const WeightAttrs& attrs, const Type&, Floats& out) -> Status {
    out = attrs.tensor == "x" ? Floats{10, 1, 7, 20, 2, 9} : Floats{1, 1, 1, -1, 2, 2, 2, -2};
    return {};
  };
  auto out = Interpreter(*module, weights, 8).step(tokens({0}));
  ASSERT_TRUE(out.ok()) << out.error();
  EXPECT_EQ((*out)[0].at("y").f, (Floats{11, 9, 44, 36}));
  EXPECT_EQ((*out)[0].at("z").f, (Floats{11, 9, 7, 44, 36, 9}));
}

TEST(Reference, InterleavedRopeTurnsNeighbours) {
  // A quarter turn at position 1, of elements 1 to 4 of five: (x, y) becomes (-y, x); half a turn of the second pair.
  const std::string text = x(2, 5) + "%f = rope_table {frequencies = [1.5707963267948966, 3.141592653589793]} : f32[2] "
                           "%y = rope %x, %p, %f {head_dim = 5, rotary_dim = 4, scale = 1.0, begin = 1, interleaved = true} : f32[T, 5]";
  const auto out = OneRank{text, {{"x", {0, 0, 0, 0, 0, 1, 2, 3, 4, 5}}}, tokens({0, 1})}();
  const Floats expected = {1, -3, 2, -4, -5};
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(out.at("y").f[5 + i], expected[i], 1e-5) << i;
}

TEST(Reference, TakeRowsAndTopK) {
  auto step = tokens({0, 1});
  step.rows = {1};
  const auto out = OneRank{x(2, 3) + "%r = input {source = \"rows\"} : i32[R] %l = take_rows %x, %r : f32[R, 3] %v, %i = top_k %l {k = 4, begin = 100} : f32[R, 4], i32[R, 4]",
                       {{"x", {9, 9, 9, 5, 7, 7}}},
                       step}();
  EXPECT_EQ(out.at("i").i, (Ints{101, 102, 100, -1}));  // equal logits: the smaller id first
  EXPECT_EQ(out.at("v").f, (Floats{7, 7, 5, -INFINITY}));
}

std::string router(bool normalize) {
  return std::string("%w, %e = router_top_k %x {k = 2, normalize = ") + (normalize ? "true" : "false") + ", factor = 1.0} : f32[T, 2], i32[T, 2] ";
}

TEST(Reference, RouterTakesTheLargestProbabilities) {
  // softmax of ln 1, ln 4, ln 3 = 1/8, 4/8, 3/8
  const std::map<std::string, Floats> weights = {{"x", {0, std::log(4.0f), std::log(3.0f)}}};
  const auto plain = OneRank{x(1, 3) + router(false), weights, tokens({0})}();
  EXPECT_EQ(plain.at("e").i, (Ints{1, 2}));
  EXPECT_NEAR(plain.at("w").f[0], 0.5, 1e-6);
  EXPECT_NEAR(plain.at("w").f[1], 0.375, 1e-6);
  const auto normalized = OneRank{x(1, 3) + router(true), weights, tokens({0})}();
  EXPECT_NEAR(normalized.at("w").f[0], 4.0 / 7, 1e-6);
}

TEST(Reference, RouterScoresBySigmoidChoosesByBiasWithinGroups) {
  // sigmoids 1/2, 3/4, 2/3, 1/4 in groups (a b) (c d); with the bias 0.5, 0.75, 0.667, 1.25: sums 1.25 and 1.917
  const std::map<std::string, Floats> weights = {{"x", {0, std::log(3.0f), std::log(2.0f), -std::log(3.0f)}}, {"b", {0, 0, 0, 1}}};
  const auto route = [&](const std::string& operands, const std::string& more) {
    return OneRank{x(1, 4) + weight("b", "4") + "%w, %e = router_top_k " + operands + " {k = 2, normalize = true, factor = 2.0, scoring = sigmoid" + more +
                       "} : f32[T, 2], i32[T, 2]", weights, tokens({0})}();
  };
  const auto plain = route("%x", "");
  EXPECT_EQ(plain.at("e").i, (Ints{1, 2}));
  EXPECT_NEAR(plain.at("w").f[0], 2 * (3.0 / 4) / (3.0 / 4 + 2.0 / 3), 1e-6);
  const auto biased = route("%x, @b", "");
  EXPECT_EQ(biased.at("e").i, (Ints{3, 1}));
  EXPECT_NEAR(biased.at("w").f[0], 2 * 0.25 / (0.25 + 0.75), 1e-6) << "weights are without the bias";
  const auto grouped = route("%x, @b", ", groups = 2, top_groups = 1");
  EXPECT_EQ(grouped.at("e").i, (Ints{3, 2}));
  EXPECT_NEAR(grouped.at("w").f[1], 2 * (2.0 / 3) / (0.25 + 2.0 / 3), 1e-6);
}

TEST(Reference, DispatchSortsPairsByExpert) {
  // Tokens choose (2, 0) and (0, 1): pairs 0..3 are experts 2 0 0 1.
  const auto out = OneRank{x(2, 3) + router(true) + "%o, %s = expert_dispatch %e {experts = 3} : i32[T, 2], i32[4]", {{"x", {1, 0, 2, 2, 1, 0}}}, tokens({0, 1})}();
  EXPECT_EQ(out.at("e").i, (Ints{2, 0, 0, 1}));
  EXPECT_EQ(out.at("o").i, (Ints{1, 2, 3, 0}));
  EXPECT_EQ(out.at("s").i, (Ints{0, 2, 3, 4}));
}

TEST(Reference, ExpertMatmulAndWeightedSum) {
  // Expert e multiplies by e + 1 (the tensor "e.*" is one weight here: three tensors of [1, 2] with rows (e + 1, 0)).
  const std::string text = "graph @g mesh(tp = 1) { block main stage 0\n" + x(1, 2) + weight("r", "3, 2") +
                           R"(@e = weight {tensor = "e.*", stack = 3, shape = [1, 2], begin = [0, 0, 0]} : f32[3, 1, 2]
    %scores = matmul %x, @r : f32[T, 3] %w, %ids = router_top_k %scores {k = 2, normalize = true, factor = 1.0} : f32[T, 2], i32[T, 2]
    %o, %s = expert_dispatch %ids {experts = 3} : i32[T, 2], i32[4] %y = expert_matmul %x, @e, %o, %s : f32[T, 2, 1]
    %z = weighted_sum %y, %w : f32[T, 1] return })";
  auto module = parseModule(text);
  ASSERT_TRUE(module.ok()) << module.error();
  const auto weights = [](const WeightAttrs& attrs, const Type&, Floats& out) -> Status {
    if (attrs.tensor == "x") out = {10, 0};
    if (attrs.tensor == "r") out = {-9, 0, 0, 0, 0, 0};  // experts 1 and 2 tie, 0 loses
    if (attrs.tensor == "e.*") out = {1, 0, 2, 0, 3, 0};
    return {};
  };
  auto out = Interpreter(*module, weights, 8).step(tokens({0}));
  ASSERT_TRUE(out.ok()) << out.error();
  EXPECT_EQ((*out)[0].at("y").f, (Floats{20, 30}));
  EXPECT_FLOAT_EQ((*out)[0].at("z").f[0], 25);  // halves of each
}

// --- several ranks ----------------------------------------------------------------------------------------------------

std::string rank(int rank, const std::string& nodes, const std::string& mesh = "mesh(tp = 2)", int stage = 0) {
  return "graph @g rank " + std::to_string(rank) + " of " + mesh + " { block b stage " + std::to_string(stage) + " " + nodes + " return }\n";
}

Result<std::vector<std::map<std::string, Tensor>>> runRanks(const std::string& text, std::map<std::string, Floats> weights, InterpreterStep step) {
  EXO_ASSIGN(Module module, parseModule(text));
  return Interpreter(module, weightsOf(std::move(weights)), 8).step(step);
}

std::string half(int begin, int rows) {  // of a table of 3 rows
  return "%t = input {source = \"tokens\"} : i32[T] @w = weight {tensor = \"x\", stack = 0, shape = [3, 2], begin = [" + std::to_string(begin) + ", 0]} : f32[" + std::to_string(rows) +
         ", 2] %x = embed %t, @w {begin = " + std::to_string(begin) + "} : f32[T, 2] ";
}

TEST(Ranks, AllReduceSumsAllGatherJoinsTopKMergeChooses) {
  const std::string tail = R"(%r = all_reduce %x : f32[T, 2] )";
  const auto gather = [](int extent0, int extent1, int own) {
    return "@c = weight {tensor = \"c\", stack = 0, shape = [3, 2], begin = [" + std::to_string(own ? extent0 : 0) + ", 0]} : f32[" + std::to_string(own ? extent1 : extent0) +
           ", 2] %l = matmul %r, @c : f32[T, " + std::to_string(own ? extent1 : extent0) + "] %g = all_gather %l {dim = 1, extents = [" + std::to_string(extent0) + ", " + std::to_string(extent1) +
           "]} : f32[T, 3] %v, %i = top_k %l {k = 2, begin = " + std::to_string(own ? extent0 : 0) + "} : f32[T, 2], i32[T, 2] %vm, %im = top_k_merge %v, %i : f32[T, 2], i32[T, 2] ";
  };
  auto out = runRanks(rank(0, half(0, 1) + tail + gather(2, 1, 0)) + rank(1, half(1, 2) + tail + gather(2, 1, 1)), {{"x", {1, 2, 3, 4, 5, 6}}, {"c", {1, 0, 0, 1, 1, 1}}}, tokens({2, 0}));
  ASSERT_TRUE(out.ok()) << out.error();
  for (const auto& values : *out) {
    EXPECT_EQ(values.at("r").f, (Floats{5, 6, 1, 2}));
    EXPECT_EQ(values.at("g").f, (Floats{5, 6, 11, 1, 2, 3}));
    EXPECT_EQ(values.at("im").i, (Ints{2, 1, 2, 1}));
    EXPECT_EQ(values.at("vm").f, (Floats{11, 6, 3, 2}));
  }
}

TEST(Ranks, SendReachesEveryReceiver) {
  const std::string mesh = "mesh(pp = 2, tp = [1, 2])";
  auto out = runRanks(rank(0, half(0, 3) + "send %x {to = [1, 2]}", mesh) + rank(1, "%y = recv {from = 0} : f32[T, 2]", mesh, 1) + rank(2, "%y = recv {from = 0} : f32[T, 2]", mesh, 1),
                      {{"x", {1, 2, 3, 4, 5, 6}}}, tokens({1}));
  ASSERT_TRUE(out.ok()) << out.error();
  EXPECT_EQ((*out)[1].at("y").f, (Floats{3, 4}));
  EXPECT_EQ((*out)[2].at("y").f, (Floats{3, 4}));
}

TEST(Ranks, DeadlockIsReportedWithBothSides) {
  auto out = runRanks(rank(0, half(0, 3) + "%a = all_reduce %x : f32[T, 2]") + rank(1, half(0, 3)), {{"x", Floats(6)}}, tokens({1}));
  ASSERT_FALSE(out.ok());
  EXPECT_NE(out.error().message().find("the ranks wait for each other"), std::string::npos);
  EXPECT_NE(out.error().message().find("rank 0: %a = all_reduce %x"), std::string::npos);
}

TEST(Ranks, DifferentCollectivesOfOneKindDoNotMeet) {
  auto out = runRanks(rank(0, half(0, 3) + "%a = all_reduce %x : f32[T, 2]") + rank(1, half(0, 3) + "%b = all_reduce %x : f32[T, 2]"), {{"x", Floats(6)}}, tokens({1}));
  ASSERT_FALSE(out.ok());
}

TEST(Ranks, StepsOutOfRangeAreRefused) {
  auto module = parseModule("graph @g mesh(tp = 1) { block main stage 0\n" + x(2, 1) + attention(0) + " return }");
  ASSERT_TRUE(module.ok()) << module.error();
  Interpreter interpreter(*module, weightsOf({{"x", {0, 1}}}), 8);
  for (const InterpreterStep& step : {InterpreterStep{{0}, {8}, {0}, {}}, InterpreterStep{{0}, {-1}, {0}, {}}, InterpreterStep{{0}, {0}, {-1}, {}}, InterpreterStep{{0}, {0}, {0}, {1}}, InterpreterStep{{0}, {}, {0}, {}}}) {
    EXPECT_FALSE(interpreter.step(step).ok());
  }
}

}  // namespace
}  // namespace exo
