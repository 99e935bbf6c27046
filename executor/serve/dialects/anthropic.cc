#include "executor/serve/dialects/anthropic.h"

#include "executor/serve/dialects/openai_fields.h"

namespace exo::serve {
namespace {

// Claude Code puts a line that changes with every request before its system prompt; with it no prompt would begin like another.
constexpr const char* kBillingHeader = "x-anthropic-billing-header:";
constexpr int64_t kMinThinkingBudget = 1024;

class MessageReply final : public Reply {
 public:
  explicit MessageReply(ReplyIdentity identity) : identity_(std::move(identity)) {}

  std::string whole(const std::vector<Answer>& answers) override {
    const Answer& answer = answers.at(0);
    Json content = Json::array();
    if (!answer.part.reasoning.empty()) content.push_back({{"type", "thinking"}, {"thinking", answer.part.reasoning}, {"signature", ""}});
    if (!answer.part.content.empty()) content.push_back({{"type", "text"}, {"text", answer.part.content}});
    for (const ToolCall& call : answer.part.tool_calls)
      content.push_back({{"type", "tool_use"}, {"id", newId("toolu_")}, {"name", call.name}, {"input", Json::parse(call.arguments, nullptr, false)}});
    Json json = head(std::move(content), inputUsage(answer.end.usage.prompt_tokens, answer.end.usage.cached_tokens, answer.end.usage.generated_tokens));
    json.update(stop(answer));
    return dump(json);
  }

  const char* streamType() const override { return kEventStream; }
  std::string begin(const std::vector<Answer>& answers) override {
    const PromptProgress& prompt = answers.at(0).prompt;
    return event({{"type", "message_start"}, {"message", head(Json::array(), inputUsage(prompt.total, prompt.cached, 0))}});
  }
  std::string part(size_t, const AnswerPart& part) override {
    std::string text;
    // A statement each: they change what the next one sees, and the operands of + have no order.
    if (!part.reasoning.empty()) {
      text += into(Block::kThinking);
      text += delta({{"type", "thinking_delta"}, {"thinking", part.reasoning}});
    }
    if (!part.content.empty()) {
      text += into(Block::kText);
      text += delta({{"type", "text_delta"}, {"text", part.content}});
    }
    for (const ToolCall& call : part.tool_calls) {
      text += into(Block::kNone);
      text += begun(Block::kToolUse, {{"type", "tool_use"}, {"id", newId("toolu_")}, {"name", call.name}, {"input", Json::object()}});
      text += delta({{"type", "input_json_delta"}, {"partial_json", call.arguments}});
      text += into(Block::kNone);
    }
    return text;
  }
  std::string answerEnd(size_t, const Answer& answer) override {
    std::string text = into(Block::kNone);
    return text + event({{"type", "message_delta"}, {"delta", stop(answer)}, {"usage", {{"output_tokens", answer.end.usage.generated_tokens}}}});
  }
  std::string end(const std::vector<Answer>&) override { return event({{"type", "message_stop"}}); }
  std::string failure(const ApiError& error) override { return serverSentEvent(errorBody(Dialect::kAnthropic, error, ""), "error"); }
  std::string keepAlive() override { return event({{"type", "ping"}}); }

 private:
  enum class Block { kNone, kThinking, kText, kToolUse };

  static std::string event(const Json& json) { return serverSentEvent(dump(json), json.at("type").get<std::string>().c_str()); }
  std::string delta(Json what) const { return event({{"type", "content_block_delta"}, {"index", index_}, {"delta", std::move(what)}}); }

  std::string begun(Block block, Json content) {
    block_ = block;
    return event({{"type", "content_block_start"}, {"index", index_}, {"content_block", std::move(content)}});
  }

  /// Blocks never overlap: ends the one that is open, unless it is of this kind, and begins another.
  std::string into(Block block) {
    if (block_ == block) return "";
    std::string text;
    if (block_ == Block::kThinking) text += delta({{"type", "signature_delta"}, {"signature", ""}});
    if (block_ != Block::kNone) {
      text += event({{"type", "content_block_stop"}, {"index", index_}});
      ++index_;
    }
    block_ = Block::kNone;
    if (block == Block::kThinking) text += begun(block, {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}});
    if (block == Block::kText) text += begun(block, {{"type", "text"}, {"text", ""}});
    return text;
  }

  Json head(Json content, Json usage) const {
    return {{"id", identity_.id},       {"type", "message"},        {"role", "assistant"},        {"model", identity_.model},
            {"content", std::move(content)}, {"stop_reason", nullptr}, {"stop_sequence", nullptr}, {"usage", std::move(usage)}};
  }

  /// Tokens from the cache are not among the input's.
  static Json inputUsage(int64_t prompt, int64_t cached, int64_t output) {
    return {{"input_tokens", prompt - cached}, {"cache_creation_input_tokens", 0}, {"cache_read_input_tokens", cached}, {"output_tokens", output}};
  }

  static Json stop(const Answer& answer) {
    if (answer.end.reason == FinishReason::kLength) return {{"stop_reason", "max_tokens"}, {"stop_sequence", nullptr}};
    if (answer.end.reason == FinishReason::kStopString) return {{"stop_reason", "stop_sequence"}, {"stop_sequence", answer.end.stop_string}};
    return {{"stop_reason", answer.part.tool_calls.empty() ? "end_turn" : "tool_use"}, {"stop_sequence", nullptr}};
  }

  const ReplyIdentity identity_;
  Block block_ = Block::kNone;
  int64_t index_ = 0;   // of the block that is open, or comes next
};

/// Turns of one role that follow each other are one turn.
void addTurn(Json& messages, const std::string& role, const std::string& text) {
  if (!messages.empty() && messages.back().at("role") == role && !messages.back().contains("tool_calls")) {
    std::string& before = messages.back()["content"].get_ref<std::string&>();
    before += (before.empty() || text.empty() ? "" : "\n") + text;
  } else {
    messages.push_back({{"role", role}, {"content", text}});
  }
}

Check addToolResult(const Fields& block, Json& messages) {
  EXO_ASSIGN(const std::string id, block.neededText("tool_use_id"));
  EXO_ASSIGN(const auto is_error, block.flag("is_error"));
  std::string text;
  if (const Json* content = block.find("content")) {
    EXO_ASSIGN(text, readTextContent(*content, block.pathOf("content"), {"text"}));
  }
  messages.push_back({{"role", "tool"}, {"tool_call_id", id}, {"content", is_error.value_or(false) ? "Error: " + text : text}});
  return std::monostate{};
}

Check addUserBlock(const Fields& block, const std::string& type, Json& messages) {
  if (type == "tool_result") return addToolResult(block, messages);
  if (type != "text") return refuse(block.pathOf("type"), "this model reads text and tool results, got \"", type, "\"");
  EXO_ASSIGN(const std::string text, block.neededText("text"));
  addTurn(messages, "user", text);
  return std::monostate{};
}

Check addAssistantBlock(const Fields& block, const std::string& type, Json& turn) {
  if (type == "redacted_thinking") return std::monostate{};   // nobody here can read it
  if (type == "text") {
    EXO_ASSIGN(const std::string text, block.neededText("text"));
    std::string& content = turn["content"].get_ref<std::string&>();
    content += (content.empty() ? "" : "\n") + text;
    return std::monostate{};
  }
  if (type == "thinking") {
    EXO_ASSIGN(const std::string text, block.neededText("thinking"));
    turn["reasoning_content"] = turn.value("reasoning_content", "") + text;
    return std::monostate{};
  }
  if (type != "tool_use") return refuse(block.pathOf("type"), "expected text, thinking, redacted_thinking or tool_use, got \"", type, "\"");
  EXO_ASSIGN(const std::string id, block.neededText("id"));
  EXO_ASSIGN(const std::string name, block.neededText("name"));
  EXO_ASSIGN(const Json* input, block.object("input"));
  turn["tool_calls"].push_back({{"type", "function"}, {"function", {{"name", name}, {"arguments", input ? *input : Json::object()}}}, {"id", id}});
  return std::monostate{};
}

Check addBlocks(const Json& blocks, const std::string& path, const std::string& role, Json& messages) {
  if (role == "assistant" && (messages.empty() || messages.back().at("role") != "assistant")) messages.push_back({{"role", "assistant"}, {"content", ""}});
  size_t index = 0;
  for (const Json& entry : blocks) {
    const std::string at = path + "[" + std::to_string(index++) + "]";
    EXO_ASSIGN(const Fields block, Fields::of(entry, at));
    EXO_ASSIGN(const std::string type, block.neededText("type"));
    if (role == "user") EXO_TRY(addUserBlock(block, type, messages));
    else EXO_TRY(addAssistantBlock(block, type, messages.back()));
  }
  return std::monostate{};
}

Check addMessage(const Json& given, const std::string& path, Json& messages) {
  EXO_ASSIGN(const Fields message, Fields::of(given, path));
  EXO_ASSIGN(const std::string role, message.neededText("role"));
  if (role != "user" && role != "assistant") return refuse(message.pathOf("role"), "expected user or assistant, got \"", role, "\"");
  const Json* content = message.find("content");
  if (!content) return refuse(message.pathOf("content"), "is missing");
  if (content->is_array()) return addBlocks(*content, message.pathOf("content"), role, messages);
  if (!content->is_string()) return refuse(message.pathOf("content"), "expected a string or an array of blocks, got ", describe(*content));
  addTurn(messages, role, content->get<std::string>());
  return std::monostate{};
}

std::string withoutBillingHeader(const std::string& system) {
  if (!system.starts_with(kBillingHeader)) return system;
  const size_t end = system.find('\n');
  return end == std::string::npos ? "" : system.substr(end + 1);
}

Outcome<Json> readMessages(const Fields& body) {
  Json messages = Json::array();
  if (const Json* system = body.find("system")) {
    EXO_ASSIGN(const std::string text, readTextContent(*system, "system", {"text"}));
    if (const std::string kept = withoutBillingHeader(text); !kept.empty()) messages.push_back({{"role", "system"}, {"content", kept}});
  }
  EXO_ASSIGN(const Json* given, body.array("messages"));
  if (!given || given->empty()) return refuse("messages", "expected at least one message");
  size_t index = 0;
  for (const Json& entry : *given) EXO_TRY(addMessage(entry, "messages[" + std::to_string(index++) + "]", messages));
  return messages;
}

Check readTools(const Fields& body, ChatInput& input) {
  EXO_ASSIGN(const Json* given, body.array("tools"));
  if (!given) return std::monostate{};
  for (const Json& entry : *given) {
    EXO_ASSIGN(const Fields tool, Fields::of(entry, "tools[" + std::to_string(input.tools.size()) + "]"));
    EXO_TRY(tool.refuseUnless("type", {"custom"}, "tools that run on the server are not known here"));
    EXO_ASSIGN(const std::string name, tool.neededText("name"));
    EXO_ASSIGN(const auto description, tool.text("description"));
    EXO_ASSIGN(const Json* schema, tool.object("input_schema"));
    if (!schema) return refuse(tool.pathOf("input_schema"), "is missing");
    EXO_ASSIGN(const auto strict, tool.flag("strict"));
    if (strict.value_or(false)) input.form.strict.push_back(name);
    Json function = {{"name", name}};
    if (description) function["description"] = *description;
    function["parameters"] = *schema;
    input.tools.push_back({{"type", "function"}, {"function", std::move(function)}});
  }
  return std::monostate{};
}

Check readToolChoice(const Fields& body, ChatInput& input) {
  EXO_ASSIGN(const Json* given, body.object("tool_choice"));
  if (!given) return std::monostate{};
  const Fields choice(*given, "tool_choice");
  EXO_ASSIGN(const std::string type, choice.neededText("type"));
  EXO_ASSIGN(const auto single, choice.flag("disable_parallel_tool_use"));
  input.form.parallel = !single.value_or(false);
  if (type == "none") input.tools = Json::array();
  if (type == "any") return mustCall(nullptr, input.tools, "tool_choice", input.form);
  if (type == "tool") {
    EXO_ASSIGN(const std::string name, choice.neededText("name"));
    return mustCall(&name, input.tools, "tool_choice", input.form);
  }
  if (type != "auto" && type != "none") return refuse("tool_choice.type", "expected auto, any, tool or none, got \"", type, "\"");
  return std::monostate{};
}

Check readThinking(const Fields& body, std::optional<int64_t> max_tokens, ChatInput& input) {
  EXO_ASSIGN(const Json* given, body.object("thinking"));
  if (!given) return std::monostate{};
  const Fields thinking(*given, "thinking");
  EXO_ASSIGN(const std::string type, thinking.neededText("type"));
  if (type != "enabled" && type != "disabled" && type != "adaptive") return refuse("thinking.type", "expected enabled, disabled or adaptive, got \"", type, "\"");
  if (type == "enabled") {
    EXO_ASSIGN(const auto budget, thinking.integer("budget_tokens", kMinThinkingBudget, max_tokens.value_or(INT32_MAX)));
    if (!budget) return refuse("thinking.budget_tokens", "is missing");
    input.reasoning = Reasoning::kOn;
  }
  if (type == "disabled") input.reasoning = Reasoning::kOff;
  return std::monostate{};
}

Check readOutputConfig(const Fields& body, ChatInput& input) {
  EXO_ASSIGN(const Json* format, body.object("output_format"));
  EXO_TRY(readJsonFormat(format, "output_format", nullptr, input.form));
  EXO_ASSIGN(const Json* given, body.object("output_config"));
  if (!given) return std::monostate{};
  const Fields config(*given, "output_config");
  EXO_ASSIGN(const Json* inner_format, config.object("format"));
  EXO_TRY(readJsonFormat(inner_format, "output_config.format", nullptr, input.form));
  EXO_ASSIGN(const auto effort, config.text("effort"));
  if (effort) input.reasoning_effort = *effort;
  return std::monostate{};
}

Outcome<ChatInput> readInput(const Fields& body, const ModelInfo& model, std::optional<int64_t> max_tokens) {
  EXO_TRY(checkModelName(body, model));
  EXO_TRY(body.refuseUnless("mcp_servers", {Json::array()}, "this server calls no others"));
  EXO_TRY(body.refuseUnless("container", {}, "this server has no containers"));
  ChatInput input;
  EXO_ASSIGN(input.messages, readMessages(body));
  EXO_TRY(readTools(body, input));
  EXO_TRY(readToolChoice(body, input));
  EXO_TRY(readThinking(body, max_tokens, input));
  EXO_TRY(readOutputConfig(body, input));
  input.continue_final_message = endsWithAssistant(input.messages);
  return input;
}

Check readSampling(const Fields& body, CompletionRequest& request) {
  EXO_ASSIGN(const auto temperature, body.number("temperature", 0, 1));
  EXO_ASSIGN(const auto top_p, body.number("top_p", 0, 1));
  EXO_ASSIGN(const auto top_k, body.integer("top_k", 0, INT32_MAX));
  request.sampling.temperature = static_cast<float>(temperature.value_or(1));
  request.sampling.top_p = std::max(static_cast<float>(top_p.value_or(1)), 1e-6f);   // 0: the likeliest token alone
  request.sampling.top_k = top_k.value_or(0);
  EXO_ASSIGN(request.stop_strings, body.texts("stop_sequences"));
  for (const std::string& stop : request.stop_strings) {
    if (stop.empty()) return refuse("stop_sequences", "expected texts that are not empty");
  }
  return std::monostate{};
}

}  // namespace

Outcome<Job> readAnthropicMessage(const Json& json, const ModelInfo& model, ReplyIdentity identity) {
  const Fields body(json);
  CompletionRequest request;
  EXO_ASSIGN(request.max_tokens, body.integer("max_tokens", 1, INT32_MAX));
  if (!request.max_tokens) return refuse("max_tokens", "is missing");
  EXO_TRY(readSampling(body, request));
  EXO_ASSIGN(const auto stream, body.flag("stream"));
  EXO_ASSIGN(const ChatInput input, readInput(body, model, request.max_tokens));
  EXO_ASSIGN(ChatPrompt prompt, renderChat(model, input));
  request.label = identity.id;
  request.prompt = std::move(prompt.tokens);
  request.special_text = prompt.special_text;
  Job job;
  job.requests.push_back(std::move(request));
  EXO_TRY(constrain(job.requests, prompt.grammar, input.form, model));
  job.parser = std::move(prompt.parser);
  job.stream = stream.value_or(false);
  job.reply = std::make_unique<MessageReply>(std::move(identity));
  return job;
}

Outcome<Json> countAnthropicTokens(const Json& json, const ModelInfo& model) {
  EXO_ASSIGN(const ChatInput input, readInput(Fields(json), model, std::nullopt));
  EXO_ASSIGN(const ChatPrompt prompt, renderChat(model, input));
  return Json{{"input_tokens", prompt.tokens.size()}};
}

}  // namespace exo::serve
