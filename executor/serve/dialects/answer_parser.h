// Splits a model's text into reasoning, content and tool calls while it comes. How a family writes them stands in its chat
// template, and is found there once per model: one small table in answer_parser.cc.
#pragma once

#include <string>
#include <vector>

#include "executor/serve/completion.h"

namespace exo::serve {

enum class ToolFormat {
  kNone,              // unknown: tools are refused
  kHermes,            // <tool_call>{"name": …, "arguments": …}</tool_call>: Hermes, Qwen2.5, Qwen3
  kMistral,           // [TOOL_CALLS][{"name": …, "arguments": …}, …]
  kMistralArguments,  // [TOOL_CALLS]name[ARGS]{…}: later Mistral
  kLlama              // the whole answer is {"name": …, "parameters": …}, maybe after <|python_tag|>: Llama 3.1 and later
};

struct AnswerFormat {
  ToolFormat tools = ToolFormat::kNone;
  bool reasoning = false;      // <think>…</think> before the content
};
AnswerFormat answerFormatOf(const std::string& chat_template);
/// What a tool call begins with; null for kNone.
const char* toolMark(ToolFormat format);

struct ToolCall {
  std::string name;
  std::string arguments;       // JSON text of an object
  bool operator==(const ToolCall&) const = default;
};

/// What a piece of the answer adds, or all of it.
struct AnswerPart {
  std::string reasoning, content;
  std::vector<ToolCall> tool_calls;      // whole ones only
  std::vector<GeneratedToken> tokens;    // of the content
  int64_t reasoning_tokens = 0;

  bool empty() const { return reasoning.empty() && content.empty() && tool_calls.empty() && tokens.empty(); }
  void append(AnswerPart more);
};

struct AnswerParserOptions {
  ToolFormat tools = ToolFormat::kNone;
  std::vector<std::string> tool_names;   // those offered
  bool reasoning = false;
  bool starts_in_reasoning = false;      // the prompt ends with <think>
};

class AnswerParser {
 public:
  explicit AnswerParser(AnswerParserOptions options);
  /// Text is held back while it may be the beginning of a mark, and as long as it is in a tool call.
  AnswerPart push(CompletionChunk chunk);
  /// What was held back; a tool call that is none is content.
  AnswerPart finish();

 private:
  enum class State { kStart, kReasoning, kContent, kToolCall };

  void advance(AnswerPart& part);
  bool advanceStart(AnswerPart& part);
  bool advanceReasoning(AnswerPart& part);
  bool advanceContent(AnswerPart& part);
  bool advanceToolCall(AnswerPart& part);
  void enterContent(bool at_start);
  void endToolCall(const std::string& text, const std::string& as_written, AnswerPart& part);
  void settleTokens(AnswerPart& part);

  AnswerParserOptions options_;
  State state_ = State::kStart;
  bool skip_space_ = false;              // after a mark: whitespace up to the next text is layout
  std::string held_;
  std::vector<GeneratedToken> tokens_;   // whose text is held
};

}  // namespace exo::serve
