// The text form: round trips, and one refusal per constraint (invalid.exoir).
#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <sstream>

#include "ir/text.h"

namespace exo {
namespace {

/// Every op once, in canonical spelling; `\\` and `"` in strings; regions, offsets, shardings.
constexpr const char* kEveryOp = R"(graph @every.op-1 mesh(pp = 2, tp = [2, 1]) {
  block embed stage 0
    %tokens = input {source = "tokens"}                              : i32[T] {replicated}
    %rows = input {source = "rows"}                                  : i32[R]
    @table = weight {tensor = "a \"b\" \\ c", stack = 0, shape = [9, 4], begin = [0, 0]} : w4[9, 4] {tp: split(0, [5, 4])}
    %x = embed %tokens, @table {begin = 0}                           : f32[T, 4] {tp: partial(sum)}
  block layers.0 stage 1
    %positions = input {source = "positions"}                        : i32[T] at 64
    @n = weight {tensor = "n", stack = 0, shape = [4], begin = [0]}  : f32[4]
    @e = weight {tensor = "e.*", stack = 3, shape = [4, 4], begin = [0, 0, 0]} : bf16[3, 4, 4]
    @s = weight {tensor = "s", stack = 0, shape = [3, 4], begin = [0, 0]} : f32[3, 4]
    @eb = weight {tensor = "e.*", stack = 3, shape = [4], begin = [0, 0]} : f32[3, 4]
    @sinks = weight {tensor = "sinks", stack = 0, shape = [1], begin = [0]} : f32[1]
    @h = weight {tensor = "h.*", stack = 1, shape = [4, 4], begin = [0, 0, 0]} : f32[1, 4, 4]
    @q = weight {tensor = "q", stack = 0, shape = [4, 4], begin = [0, 0]} : w8[4, 4]
    @kv = cache                                                      : f16[16, 2, 1, 4] {tp: split(2, [1])}
    %f = rope_table {frequencies = [1.0, 1e-05]}                     : f32[2]
   region a
    %x.1 = rms_norm %x, @n {epsilon = 1e-06}                         : f32[T, 4]
    %h = head_norm %x.1, @n {head_dim = 4, epsilon = 0.0}            : f32[T, 4]
   region none
    %x8 = quantize %x.1                                              : x8[T, 4]
   region a
   chain columns 64
    %y = matmul %x8, @q                                              : f32[T, 4]
   chain
    %b = bias_add %y, @n                                             : f32[T, 4]
    %sum = add %b, %y                                                : f32[T, 4]
    %act = silu_mul %sum, %b                                         : f32[T, 4]
    %gelu = silu_mul %sum, %b {gate = gelu_tanh}                     : f32[T, 4]
    %clamped = silu_mul %sum, %b {gate = clamped_swiglu, limit = 7.0} : f32[T, 4]
    %squares = square_sum %act                                       : f32[T, 1]
    %normed = norm_by_sum %act, %squares, @n {width = 8, epsilon = 1e-06} : f32[T, 4]
    %share = sigmoid_mul %normed, %squares                           : f32[T, 4]
    %capped = soft_cap %share {cap = 30.0}                           : f32[T, 4]
    %rot = rope %act, %positions, %f {head_dim = 4, rotary_dim = 4, scale = 1.25} : f32[T, 4]
    %absorbed = head_matmul %rot, @h {head_dim = 4}                  : f32[T, 4]
    %whole = head_concat %absorbed, %rot {first_dim = 4, second_dim = 4, tail = 1} : f32[T, 5]
    %filled = kv_append @kv, %rot, %act, %positions                  : f16[16, 2, 1, 4]
    %att = attention %rot, %filled, %positions {head_dim = 4, group = 1, first_head = 0, window = 7, scale = 0.5} : f32[T, 4]
    %sunk = attention %rot, %filled, %positions, @sinks {head_dim = 4, group = 1, first_head = 0, window = 0, scale = 0.5} : f32[T, 4]
    %scores = matmul %att, @s                                        : f32[T, 3]
    %w, %ids = router_top_k %scores {k = 2, normalize = true, factor = 1.0} : f32[T, 2], i32[T, 2]
    %w.1, %ids.1 = router_top_k %att, @n {k = 1, normalize = false, factor = 2.5, scoring = sigmoid, groups = 2} : f32[T, 1], i32[T, 1]
    %order, %seg = expert_dispatch %ids {experts = 3}                : i32[T, 2], i32[4]
    %up = expert_matmul %att, @e, %order, %seg                       : f32[T, 2, 4]
    %biased = expert_bias_add %up, @eb, %ids                         : f32[T, 2, 4]
    %biases = expert_bias_sum %w, %ids, @eb                          : f32[T, 4]
    %mix = weighted_sum %up, %w                                      : f32[T, 4]
    %mix.r = all_reduce %mix                                         : f32[T, 4]
    %mix.g = all_gather %mix.r {dim = 1, extents = [4]}              : f32[T, 4]
    %back = transfer %mix.g {from = 1, to = 0}                       : f32[T, 4]
  block embed stage 0
    %last = take_rows %back, %rows                                   : f32[R, 4]
    %values, %best = top_k %last {k = 2, begin = 0}                  : f32[R, 2] {tp: partial(top_k)}, i32[R, 2]
    %values.m, %best.m = top_k_merge %values, %best                  : f32[R, 2], i32[R, 2]
  return %values.m, %best.m
}
)";

constexpr const char* kLocal = R"(graph @local rank 1 of mesh(pp = 2, tp = [1, 1]) {
  block main stage 1
    %x = recv {from = 0}                                             : f32[T, 0]
    send %x {to = [0]}
  return
}
)";

TEST(Text, PrintOfParseIsTheText) {
  for (const char* text : {kEveryOp, kLocal}) {
    auto module = parseModule(text);
    ASSERT_TRUE(module.ok()) << module.error();
    EXPECT_EQ(print(*module), text);
  }
}

TEST(Text, EveryOpIsInTheRoundTrip) {
  for (Op op : allOps()) {
    const std::string word = " " + std::string(definition(op).mnemonic);
    EXPECT_TRUE((std::string(kEveryOp) + kLocal).find(word) != std::string::npos) << word;
  }
}

TEST(Text, ParseOfPrintIsTheModule) {
  auto module = parseModule(std::string(kEveryOp) + "\n// a comment\n" + kLocal);
  ASSERT_TRUE(module.ok()) << module.error();
  auto again = parseModule(print(*module));
  ASSERT_TRUE(again.ok()) << again.error();
  EXPECT_TRUE(*again == *module);
  EXPECT_EQ(module->graphs.size(), 2u);
}

TEST(Text, LayoutAndCommentsDoNotMatter) {
  auto module = parseModule("graph@g mesh(tp=1){// nothing\nblock empty stage 0 block b stage 0 %t=input{source=\"tokens\"}:i32[T]return %t}");
  ASSERT_TRUE(module.ok()) << module.error();
  EXPECT_EQ(print(*module), "graph @g mesh(tp = 1) {\n  block b stage 0\n    %t = input {source = \"tokens\"}                                   : i32[T]\n  return %t\n}\n");
}

TEST(Text, ErrorNamesFileLineAndColumn) {
  auto module = parseModule("graph @g mesh(tp = 1) {\n  block b stage 0\n    %t = imput\n}", "model.exoir");
  ASSERT_FALSE(module.ok());
  EXPECT_EQ(module.error().message(), "model.exoir:3:10: unknown op 'imput'");
}

std::vector<std::string> casesOf(const std::string& text) {
  std::vector<std::string> cases;
  const std::string separator = "// -----\n";
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(separator, at), text.size());
    cases.push_back(text.substr(at, end - at));
    at = end + separator.size();
  }
  return cases;
}

TEST(Text, InvalidGraphsAreRefused) {
  std::ifstream file(std::string(EXO_TEST_SOURCE) + "/invalid.exoir");
  std::stringstream text;
  text << file.rdbuf();
  const auto cases = casesOf(text.str());
  EXPECT_GT(cases.size(), 90u);
  for (const std::string& test : cases) {
    const size_t begin = test.find("expected-error {{"), end = test.find("}}\n", begin);
    ASSERT_NE(begin, std::string::npos) << test;
    const std::string wanted = test.substr(begin + 17, end - begin - 17);
    auto module = parseModule(test, "invalid.exoir");
    if (module.ok()) {
      ADD_FAILURE() << "is accepted:\n" << test;
      continue;
    }
    EXPECT_NE(module.error().message().find(wanted), std::string::npos) << "expected " << wanted << "\ngot " << module.error().message();
    EXPECT_TRUE(std::regex_search(module.error().message(), std::regex("^invalid.exoir:[0-9]+:[0-9]+: "))) << module.error().message();
  }
}

}  // namespace
}  // namespace exo
