// The fuzz entry over good requests with pieces of others put into them: short, and the same in every run.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace exo::serve {
namespace {

const std::vector<std::string> kSeeds = {
    R"({"model":"org/test-model","messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}}]},{"role":"tool","tool_call_id":"a","content":"x"}],"max_tokens":5,"tools":[{"type":"function","function":{"name":"f","parameters":{}}}],"logit_bias":{"5":1},"stop":["a"],"n":2,"stream":true})",
    R"({"model":"org/test-model","prompt":["a","b"],"max_tokens":5,"logprobs":2,"echo":false,"temperature":1.0,"top_p":0.5,"top_k":-1,"seed":1})",
    R"({"model":"org/test-model","input":[{"type":"message","role":"user","content":[{"type":"input_text","text":"Hi"}]},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"x"}],"reasoning":{"effort":"none"},"text":{"format":{"type":"text"}}})",
    R"({"model":"org/test-model","max_tokens":5,"system":[{"type":"text","text":"S"}],"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":""},{"type":"tool_use","id":"t","name":"f","input":{"x":1}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x","is_error":true}]}],"thinking":{"type":"enabled","budget_tokens":1024}})",
    R"({"model":"org/test-model","messages":[{"role":"user","content":"Hi"}],"tools":[{"type":"function","function":{"name":"f","strict":true,"parameters":{"type":"object","properties":{"a":{"type":"integer","minimum":1},"b":{"pattern":"^a+$"}},"required":["a"]}}}],"tool_choice":{"type":"function","function":{"name":"f"}},"parallel_tool_calls":false,"max_tokens":5,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"anyOf":[{"type":"array","items":{"enum":["x",1]},"minItems":1},{"$ref":"#"}]}}},"format":"json"})",
    R"({"model":"org/test-model","messages":[{"role":"user","content":"Hi","images":[]}],"options":{"temperature":0,"num_ctx":100,"num_predict":-1,"stop":["x"]},"keep_alive":"1h5m","think":false,"tokens":[1,2]})"};

const std::vector<std::string> kPieces = {"null", "-1", "1e308", "99999999999999999999", "\"\\u0000\"", "\"\\ud83d\\ude00\"", "[]", "{}", "[[[[]]]]", "true", "\"assistant\"", "\"\"", "{\"a\":", "\xff", "\"", "0.5", "-0"};

TEST(DialectsFuzz, SurvivesChangedRequests) {
  std::mt19937 random(1);
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  for (int round = 0; round < 3000; ++round) {
    std::string text = kSeeds[below(kSeeds.size())];
    for (size_t change = below(4); change > 0; --change) {
      // Whole values are changed more often than bytes: what is no JSON does not get far.
      const size_t begin = text.find_first_of(":[,", below(text.size()));
      if (begin == std::string::npos) continue;
      const size_t end = std::min(text.find_first_of(",}]", begin + 1), text.size());
      if (below(4) == 0) text[below(text.size())] = static_cast<char>(below(256));
      else text.replace(begin + 1, end - begin - 1, kPieces[below(kPieces.size())]);
    }
    LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(text.data()), text.size());
  }
}

TEST(DialectsFuzz, SurvivesCuts) {
  for (const std::string& seed : kSeeds) {
    for (size_t size = 0; size <= seed.size(); size += 7) LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(seed.data()), size);
  }
}

}  // namespace
}  // namespace exo::serve
