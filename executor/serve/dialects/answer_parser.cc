#include "executor/serve/dialects/answer_parser.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "executor/serve/answer_marks.h"

namespace exo::serve {
namespace {

using Json = nlohmann::ordered_json;

using namespace marks;
constexpr const char* kSpace = " \t\r\n";

/// The first row whose `with` is in the template and whose `without` is not.
struct Family {
  const char *with, *without;
  ToolFormat format;
};
constexpr std::array<Family, 5> kFamilies = {{
    {"[ARGS]", nullptr, ToolFormat::kMistralArguments},
    {"[TOOL_CALLS]", nullptr, ToolFormat::kMistral},
    {"<tool_call>", "<function=", ToolFormat::kHermes},     // with it: Qwen3-Coder's XML, which is not known here
    {"<|python_tag|>", nullptr, ToolFormat::kLlama},
    {"\"parameters\": dictionary of argument name", nullptr, ToolFormat::kLlama},   // Llama 3.1 and 3.2 say it in words
}};

/// How many bytes at the end of `text` may be the beginning of `mark`.
size_t beginOf(const char* mark, const std::string& text) {
  const std::string_view whole = mark;
  for (size_t size = std::min(whole.size() - 1, text.size()); size > 0; --size) {
    if (whole.starts_with(std::string_view(text).substr(text.size() - size))) return size;
  }
  return 0;
}

/// The same, with the whitespace before it: before a mark it is layout.
size_t heldEnd(const char* mark, const std::string& text) {
  const size_t rest = text.size() - beginOf(mark, text);
  const size_t last = rest == 0 ? std::string::npos : text.find_last_not_of(kSpace, rest - 1);
  return text.size() - (last == std::string::npos ? 0 : last + 1);
}

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(kSpace);
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::optional<ToolCall> callOf(const Json& json) {
  if (!json.is_object() || !json.contains("name") || !json["name"].is_string()) return std::nullopt;
  for (const char* key : {"arguments", "parameters"}) {
    const auto found = json.find(key);
    if (found == json.end()) continue;
    if (found->is_object()) return ToolCall{json["name"].get<std::string>(), found->dump(-1, ' ', false, Json::error_handler_t::replace)};
    if (found->is_string() && Json::parse(found->get<std::string>(), nullptr, false).is_object()) return ToolCall{json["name"].get<std::string>(), found->get<std::string>()};
    return std::nullopt;
  }
  return ToolCall{json["name"].get<std::string>(), "{}"};
}

using Calls = std::optional<std::vector<ToolCall>>;

/// {"name": …} or [{"name": …}, …].
Calls callsOf(const std::string& text) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded()) return std::nullopt;
  std::vector<ToolCall> calls;
  for (const Json& entry : json.is_array() ? json : Json::array({json})) {
    const auto call = callOf(entry);
    if (!call) return std::nullopt;
    calls.push_back(*call);
  }
  return calls.empty() ? std::nullopt : Calls(calls);
}

/// name[ARGS]{…}, maybe several with [TOOL_CALLS] between them.
Calls mistralArgumentCalls(const std::string& text) {
  std::vector<ToolCall> calls;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(kMistralCalls, begin), text.size());
    const std::string call = text.substr(begin, end - begin);
    const size_t mark = call.find(kMistralArgs);
    const size_t arguments = mark == std::string::npos ? call.find('{') : mark + std::string_view(kMistralArgs).size();
    if (arguments == std::string::npos || !Json::parse(call.substr(arguments), nullptr, false).is_object()) return std::nullopt;
    calls.push_back({trimmed(call.substr(0, std::min(mark, call.find('{')))), trimmed(call.substr(arguments))});
    if (calls.back().name.empty()) return std::nullopt;
    begin = end + std::string_view(kMistralCalls).size();
  }
  return calls.empty() ? std::nullopt : Calls(calls);
}

/// One object, or several with semicolons between them; only of tools that were offered, since an answer may be JSON too.
Calls llamaCalls(const std::string& text, const std::vector<std::string>& offered) {
  std::vector<ToolCall> calls;
  size_t begin = 0;
  for (size_t end = 0; end <= text.size(); ++end) {
    if (end != text.size() && text[end] != ';') continue;
    const auto some = callsOf(text.substr(begin, end - begin));
    if (!some) continue;   // a semicolon inside of a string
    calls.insert(calls.end(), some->begin(), some->end());
    begin = end + 1;
  }
  const bool known = std::all_of(calls.begin(), calls.end(), [&](const ToolCall& call) { return std::count(offered.begin(), offered.end(), call.name) > 0; });
  return calls.empty() || !known || begin < text.size() ? std::nullopt : Calls(calls);
}

}  // namespace

AnswerFormat answerFormatOf(const std::string& chat_template) {
  const auto has = [&](const char* text) { return text != nullptr && chat_template.find(text) != std::string::npos; };
  AnswerFormat format{.reasoning = has(kThink)};
  for (const Family& family : kFamilies) {
    if (!has(family.with) || has(family.without)) continue;
    format.tools = family.format;
    break;
  }
  return format;
}

void AnswerPart::append(AnswerPart more) {
  reasoning += more.reasoning;
  content += more.content;
  std::move(more.tool_calls.begin(), more.tool_calls.end(), std::back_inserter(tool_calls));
  std::move(more.tokens.begin(), more.tokens.end(), std::back_inserter(tokens));
  reasoning_tokens += more.reasoning_tokens;
}

AnswerParser::AnswerParser(AnswerParserOptions options) : options_(std::move(options)) {
  if (options_.starts_in_reasoning) {
    state_ = State::kReasoning;
    skip_space_ = true;
  } else if (!options_.reasoning) {
    enterContent(true);
  }
}

const char* toolMark(ToolFormat format) {
  switch (format) {
    case ToolFormat::kNone: return nullptr;
    case ToolFormat::kHermes: return kToolCall;
    case ToolFormat::kMistral:
    case ToolFormat::kMistralArguments: return kMistralCalls;
    case ToolFormat::kLlama: return kPythonTag;
  }
  return nullptr;
}

void AnswerParser::enterContent(bool at_start) {
  // A Llama's call has no mark: what it begins with decides.
  state_ = options_.tools == ToolFormat::kLlama && at_start ? State::kStart : State::kContent;
}

AnswerPart AnswerParser::push(CompletionChunk chunk) {
  AnswerPart part;
  held_ += chunk.text;
  std::move(chunk.tokens.begin(), chunk.tokens.end(), std::back_inserter(tokens_));
  const bool was_reasoning = state_ == State::kReasoning;
  const auto num_tokens = static_cast<int64_t>(chunk.tokens.size());
  advance(part);
  if (was_reasoning) part.reasoning_tokens += num_tokens;
  settleTokens(part);
  return part;
}

/// Tokens of what is held wait with it; those of reasoning and of tool calls belong to no content.
void AnswerParser::settleTokens(AnswerPart& part) {
  if (state_ == State::kReasoning || state_ == State::kToolCall) tokens_.clear();
  if (!held_.empty()) return;
  if (!part.content.empty() || (part.reasoning.empty() && part.tool_calls.empty())) part.tokens = std::move(tokens_);
  tokens_.clear();
}

void AnswerParser::advance(AnswerPart& part) {
  for (bool more = true; more;) {
    if (skip_space_) {
      held_.erase(0, std::min(held_.find_first_not_of(kSpace), held_.size()));
      if (held_.empty()) return;
      skip_space_ = false;
    }
    switch (state_) {
      case State::kStart: more = advanceStart(part); break;
      case State::kReasoning: more = advanceReasoning(part); break;
      case State::kContent: more = advanceContent(part); break;
      case State::kToolCall: more = advanceToolCall(part); break;
    }
  }
}

/// Decides by the first characters. True: another state goes on with what is held.
bool AnswerParser::advanceStart(AnswerPart& part) {
  const size_t first = held_.find_first_not_of(kSpace);
  if (first == std::string::npos) return false;
  const std::string_view text = std::string_view(held_).substr(first);
  if (options_.reasoning) {
    if (text.starts_with(kThink)) {
      held_.erase(0, first + std::string_view(kThink).size());
      part.reasoning_tokens += static_cast<int64_t>(tokens_.size());
      state_ = State::kReasoning;
      skip_space_ = true;
      return true;
    }
    if (std::string_view(kThink).starts_with(text)) return false;
  }
  state_ = options_.tools == ToolFormat::kLlama && text.front() == '{' ? State::kToolCall : State::kContent;
  return true;
}

bool AnswerParser::advanceReasoning(AnswerPart& part) {
  const size_t end = held_.find(kEndThink);
  const size_t give = end != std::string::npos ? end : held_.size() - heldEnd(kEndThink, held_);
  const std::string text = held_.substr(0, give);
  part.reasoning += end == std::string::npos ? text : text.substr(0, text.find_last_not_of(kSpace) + 1);
  held_.erase(0, give);
  if (end == std::string::npos) return false;
  held_.erase(0, std::string_view(kEndThink).size());
  if (held_.empty()) tokens_.clear();   // the mark's own
  options_.reasoning = false;   // once
  enterContent(true);
  skip_space_ = true;
  return true;
}

bool AnswerParser::advanceContent(AnswerPart& part) {
  const char* mark = toolMark(options_.tools);
  if (!mark) {
    part.content += std::move(held_);
    held_.clear();
    return false;
  }
  const size_t begin = held_.find(mark);
  if (begin == std::string::npos) {
    const size_t give = held_.size() - heldEnd(mark, held_);
    part.content += held_.substr(0, give);
    held_.erase(0, give);
    return false;
  }
  const std::string before = held_.substr(0, begin);
  part.content += before.substr(0, before.find_last_not_of(kSpace) + 1);
  held_.erase(0, begin + std::string_view(mark).size());
  state_ = State::kToolCall;
  return true;
}

/// Only Hermes' calls have an end of their own.
bool AnswerParser::advanceToolCall(AnswerPart& part) {
  if (options_.tools != ToolFormat::kHermes) return false;
  const size_t end = held_.find(kEndToolCall);
  if (end == std::string::npos) return false;
  const std::string text = held_.substr(0, end);
  held_.erase(0, end + std::string_view(kEndToolCall).size());
  endToolCall(text, kToolCall + text + kEndToolCall, part);
  if (held_.empty() && part.content.empty()) tokens_.clear();   // the mark's own
  state_ = State::kContent;
  skip_space_ = true;
  return true;
}

void AnswerParser::endToolCall(const std::string& text, const std::string& as_written, AnswerPart& part) {
  Calls calls;
  switch (options_.tools) {
    case ToolFormat::kNone: break;
    case ToolFormat::kHermes:
    case ToolFormat::kMistral: calls = callsOf(text); break;
    case ToolFormat::kMistralArguments: calls = mistralArgumentCalls(text); break;
    case ToolFormat::kLlama: calls = llamaCalls(trimmed(text), options_.tool_names); break;
  }
  if (calls) part.tool_calls.insert(part.tool_calls.end(), calls->begin(), calls->end());
  else part.content += as_written;
}

AnswerPart AnswerParser::finish() {
  AnswerPart part;
  const std::string text = std::move(held_);
  held_.clear();
  switch (state_) {
    case State::kReasoning: part.reasoning = text.substr(0, text.find_last_not_of(kSpace) + 1); break;
    case State::kToolCall: {
      const bool marked = options_.tools == ToolFormat::kHermes || options_.tools == ToolFormat::kMistral || options_.tools == ToolFormat::kMistralArguments;
      endToolCall(text, (marked ? toolMark(options_.tools) : "") + text, part);
      break;
    }
    case State::kStart:
    case State::kContent: part.content = text; break;
  }
  settleTokens(part);
  return part;
}

}  // namespace exo::serve
