#include "executor/serve/dialects/answer_parser.h"

#include <gtest/gtest.h>

namespace exo::serve {
namespace {

/// The whole answer when `text` comes in pieces of `size` bytes.
AnswerPart parsed(const AnswerParserOptions& options, const std::string& text, size_t size) {
  AnswerParser parser(options);
  AnswerPart all;
  for (size_t i = 0; i < text.size(); i += size) {
    const std::string piece = text.substr(i, size);
    all.append(parser.push({piece, {{{static_cast<int32_t>(i), piece, -1}, {}}}}));
  }
  all.append(parser.finish());
  return all;
}

struct Case {
  const char* name;
  AnswerParserOptions options;
  std::string text, reasoning, content;
  std::vector<ToolCall> calls;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"plain", {}, "a <think> b <tool_call> c", "", "a <think> b <tool_call> c", {}},
      {"reasoning", {.reasoning = true}, "<think>\nbecause\n</think>\n\nyes\n", "because", "yes\n", {}},
      {"no reasoning", {.reasoning = true}, "yes <think> no", "", "yes <think> no", {}},
      {"nearly a mark", {.reasoning = true}, "<thin", "", "<thin", {}},
      {"reasoning begun by the prompt", {.reasoning = true, .starts_in_reasoning = true}, "because</think>yes", "because", "yes", {}},
      {"reasoning that was cut off", {.reasoning = true, .starts_in_reasoning = true}, "becau", "becau", "", {}},
      {"hermes", {ToolFormat::kHermes}, "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"b\": 1, \"a\": \"x\"}}\n</tool_call>\n<tool_call>{\"name\":\"g\"}</tool_call>", "", "Let me see.",
       {{"f", R"({"b":1,"a":"x"})"}, {"g", "{}"}}},
      {"hermes without its end", {ToolFormat::kHermes}, "<tool_call>{\"name\":\"g\",\"arguments\":{}}", "", "", {{"g", "{}"}}},
      {"hermes that is no call", {ToolFormat::kHermes}, "<tool_call>{]</tool_call> b", "", "<tool_call>{]</tool_call>b", {}},
      {"hermes after reasoning", {ToolFormat::kHermes, {}, true}, "<think>I call f</think>\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>", "I call f", "", {{"f", "{}"}}},
      {"mistral", {ToolFormat::kMistral}, "[TOOL_CALLS][{\"name\":\"f\",\"arguments\":{\"a\":1}},{\"name\":\"g\",\"arguments\":{}}]", "", "", {{"f", R"({"a":1})"}, {"g", "{}"}}},
      {"mistral with marks", {ToolFormat::kMistralArguments}, "ok[TOOL_CALLS]f[ARGS]{\"a\":1}[TOOL_CALLS]g{}", "", "ok", {{"f", R"({"a":1})"}, {"g", "{}"}}},
      {"llama", {ToolFormat::kLlama, {"f"}}, "{\"name\": \"f\", \"parameters\": {\"a\": \"1;2\"}}", "", "", {{"f", R"({"a":"1;2"})"}}},
      {"llama, two", {ToolFormat::kLlama, {"f", "g"}}, "<|python_tag|>{\"name\":\"f\",\"parameters\":{}}; {\"name\":\"g\",\"parameters\":{}}", "", "", {{"f", "{}"}, {"g", "{}"}}},
      {"llama answers in JSON", {ToolFormat::kLlama, {"f"}}, "{\"name\": \"Ann\", \"age\": 3}", "", "{\"name\": \"Ann\", \"age\": 3}", {}},
      {"llama's text", {ToolFormat::kLlama, {"f"}}, "It is {\"name\": \"f\"}", "", "It is {\"name\": \"f\"}", {}},
  };
  return all;
}

TEST(AnswerParser, SplitsTheSameHoweverItComes) {
  for (const Case& c : cases()) {
    for (const size_t size : {size_t{1}, size_t{2}, size_t{3}, size_t{7}, c.text.size()}) {
      const AnswerPart answer = parsed(c.options, c.text, size);
      EXPECT_EQ(answer.reasoning, c.reasoning) << c.name << ", pieces of " << size;
      EXPECT_EQ(answer.content, c.content) << c.name << ", pieces of " << size;
      EXPECT_EQ(answer.tool_calls, c.calls) << c.name << ", pieces of " << size;
    }
  }
}

TEST(AnswerParser, TokensOfContentSpellIt) {
  const AnswerPart answer = parsed({.reasoning = true, .starts_in_reasoning = true}, "because</think>yes < no", 1);
  std::string spelled;
  for (const GeneratedToken& token : answer.tokens) spelled += token.token.bytes;
  EXPECT_EQ(spelled, "yes < no");
  EXPECT_EQ(answer.reasoning_tokens, static_cast<int64_t>(std::string("because</think>").size()));
}

TEST(AnswerParser, ShowsTextAsSoonAsItIsSure) {
  AnswerParser parser({ToolFormat::kHermes});
  EXPECT_EQ(parser.push({"Hello", {}}).content, "Hello");
  EXPECT_EQ(parser.push({" <tool", {}}).content, "");
  EXPECT_EQ(parser.push({" box>", {}}).content, " <tool box>");
}

TEST(AnswerFormat, IsFoundInTheTemplate) {
  EXPECT_EQ(answerFormatOf("… <tool_call> …").tools, ToolFormat::kHermes);
  EXPECT_EQ(answerFormatOf("… <tool_call><function= …").tools, ToolFormat::kNone);
  EXPECT_EQ(answerFormatOf("… [TOOL_CALLS] …").tools, ToolFormat::kMistral);
  EXPECT_EQ(answerFormatOf("… [TOOL_CALLS] [ARGS] …").tools, ToolFormat::kMistralArguments);
  EXPECT_EQ(answerFormatOf("… <|python_tag|> …").tools, ToolFormat::kLlama);
  EXPECT_EQ(answerFormatOf("messages").tools, ToolFormat::kNone);
  EXPECT_TRUE(answerFormatOf("'<think>'").reasoning);
}

}  // namespace
}  // namespace exo::serve
