#include "executor/serve/dialects/responses.h"

#include "executor/serve/dialects/openai_fields.h"

namespace exo::serve {
namespace {

/// An output item and what goes on in it.
struct Item {
  enum class Kind { kReasoning, kMessage, kFunctionCall } kind;
  std::string id;
  std::string text;                    // reasoning or message
  Json logprobs = Json::array();       // message
  ToolCall call;
  std::string call_id;
};

Json textPart(const Item& item) {
  if (item.kind == Item::Kind::kReasoning) return {{"type", "reasoning_text"}, {"text", item.text}};
  return {{"type", "output_text"}, {"text", item.text}, {"annotations", Json::array()}, {"logprobs", item.logprobs}};
}

/// `status`: in_progress, completed or incomplete. While in progress an item has no content yet.
Json itemJson(const Item& item, const char* status) {
  const bool begun = std::string(status) != "in_progress";
  const Json content = begun ? Json::array({textPart(item)}) : Json::array();
  switch (item.kind) {
    case Item::Kind::kReasoning: return {{"id", item.id}, {"type", "reasoning"}, {"summary", Json::array()}, {"content", content}, {"status", status}};
    case Item::Kind::kMessage: return {{"id", item.id}, {"type", "message"}, {"role", "assistant"}, {"status", status}, {"content", content}};
    case Item::Kind::kFunctionCall:
      return {{"id", item.id}, {"type", "function_call"}, {"call_id", item.call_id}, {"name", item.call.name}, {"arguments", begun ? item.call.arguments : ""}, {"status", status}};
  }
  return nullptr;
}

Item newItem(Item::Kind kind) {
  switch (kind) {
    case Item::Kind::kReasoning: return {kind, newId("rs_")};
    case Item::Kind::kMessage: return {kind, newId("msg_")};
    case Item::Kind::kFunctionCall: break;
  }
  Item call{kind, newId("fc_")};
  call.call_id = newId("call_");
  return call;
}

class ResponseReply final : public Reply {
 public:
  /// `echoed`: fields of the request that the response repeats.
  ResponseReply(ReplyIdentity identity, Json echoed, bool logprobs) : identity_(std::move(identity)), echoed_(std::move(echoed)), logprobs_(logprobs) {}

  std::string whole(const std::vector<Answer>& answers) override {
    (void)part(0, answers.at(0).part);
    return dump(response(answers.at(0)));
  }

  const char* streamType() const override { return kEventStream; }
  std::string begin(const std::vector<Answer>&) override {
    const Json response = head("in_progress");
    std::string text = event("response.created", {{"response", response}});   // first: events are numbered
    return text + event("response.in_progress", {{"response", response}});
  }
  std::string part(size_t, const AnswerPart& part) override {
    std::string text;
    if (!part.reasoning.empty()) text += add(Item::Kind::kReasoning, part.reasoning, Json::array());
    if (!part.content.empty()) text += add(Item::Kind::kMessage, part.content, logprobs(part));
    for (const ToolCall& call : part.tool_calls) text += addCall(call);
    return text;
  }
  std::string answerEnd(size_t, const Answer& answer) override {
    std::string text = closeItem(answer.end.reason == FinishReason::kLength ? "incomplete" : "completed");
    const char* type = answer.end.reason == FinishReason::kLength ? "response.incomplete" : "response.completed";
    return text + event(type, {{"response", response(answer)}});
  }
  std::string end(const std::vector<Answer>&) override { return ""; }
  std::string failure(const ApiError& error) override {
    Json response = head("failed");
    response["error"] = {{"code", "server_error"}, {"message", error.message}};
    return event("response.failed", {{"response", std::move(response)}});
  }
  std::string keepAlive() override { return ": keep-alive\n\n"; }

 private:
  std::string event(const char* type, Json fields) {
    Json json = {{"type", type}, {"sequence_number", sequence_++}};
    json.update(fields);
    return serverSentEvent(dump(json), type);
  }
  /// The place of the open item, and of its only part.
  Json at(Json fields) const {
    Json place = {{"item_id", items_.back().id}, {"output_index", items_.size() - 1}, {"content_index", 0}};
    place.update(fields);
    return place;
  }

  Json logprobs(const AnswerPart& part) const {
    Json all = Json::array();
    if (!logprobs_) return all;
    for (const GeneratedToken& token : part.tokens) all.push_back(logprobEntry(token));
    return all;
  }

  std::string openItem(Item::Kind kind) {
    std::string text = closeItem("completed");
    items_.push_back(newItem(kind));
    open_ = true;
    text += event("response.output_item.added", {{"output_index", items_.size() - 1}, {"item", itemJson(items_.back(), "in_progress")}});
    return text + event("response.content_part.added", at({{"part", textPart(items_.back())}}));
  }

  std::string add(Item::Kind kind, const std::string& more, const Json& logprobs) {
    std::string text = open_ && items_.back().kind == kind ? "" : openItem(kind);
    Item& item = items_.back();
    item.text += more;
    item.logprobs.insert(item.logprobs.end(), logprobs.begin(), logprobs.end());
    if (kind == Item::Kind::kReasoning) return text + event("response.reasoning_text.delta", at({{"delta", more}}));
    return text + event("response.output_text.delta", at({{"delta", more}, {"logprobs", logprobs}}));
  }

  std::string addCall(const ToolCall& call) {
    Item begun = newItem(Item::Kind::kFunctionCall);
    std::string text = closeItem("completed");
    begun.call = call;
    items_.push_back(begun);
    open_ = true;
    const Json place = {{"item_id", begun.id}, {"output_index", items_.size() - 1}};
    const auto with = [&](Json fields) {
      Json json = place;
      json.update(fields);
      return json;
    };
    text += event("response.output_item.added", {{"output_index", items_.size() - 1}, {"item", itemJson(begun, "in_progress")}});
    text += event("response.function_call_arguments.delta", with({{"delta", call.arguments}}));
    text += event("response.function_call_arguments.done", with({{"name", call.name}, {"arguments", call.arguments}}));
    return text + closeItem("completed");
  }

  std::string closeItem(const char* status) {
    if (!open_) return "";
    open_ = false;
    const Item& item = items_.back();
    std::string text;
    if (item.kind == Item::Kind::kReasoning) text += event("response.reasoning_text.done", at({{"text", item.text}}));
    if (item.kind == Item::Kind::kMessage) text += event("response.output_text.done", at({{"text", item.text}, {"logprobs", item.logprobs}}));
    if (item.kind != Item::Kind::kFunctionCall) text += event("response.content_part.done", at({{"part", textPart(item)}}));
    return text + event("response.output_item.done", {{"output_index", items_.size() - 1}, {"item", itemJson(item, status)}});
  }

  Json head(const char* status) const {
    Json json = {{"id", identity_.id}, {"object", "response"}, {"created_at", identity_.created}, {"status", status}, {"error", nullptr}, {"incomplete_details", nullptr}, {"model", identity_.model}, {"output", Json::array()}};
    json.update(echoed_);
    return json;
  }

  Json response(const Answer& answer) const {
    const bool cut = answer.end.reason == FinishReason::kLength;
    Json json = head(cut ? "incomplete" : "completed");
    if (cut) json["incomplete_details"] = {{"reason", "max_output_tokens"}};
    else json["completed_at"] = unixSeconds();
    for (const Item& item : items_) json["output"].push_back(itemJson(item, cut && &item == &items_.back() ? "incomplete" : "completed"));
    const CompletionUsage& usage = answer.end.usage;
    json["usage"] = {{"input_tokens", usage.prompt_tokens},
                     {"input_tokens_details", {{"cached_tokens", usage.cached_tokens}}},
                     {"output_tokens", usage.generated_tokens},
                     {"output_tokens_details", {{"reasoning_tokens", answer.part.reasoning_tokens}}},
                     {"total_tokens", usage.prompt_tokens + usage.generated_tokens}};
    return json;
  }

  const ReplyIdentity identity_;
  const Json echoed_;
  const bool logprobs_;
  int64_t sequence_ = 0;
  std::vector<Item> items_;
  bool open_ = false;   // the last one
};

/// An assistant's turn in several items is one message: reasoning, text and calls.
Json& assistantTurn(Json& messages) {
  if (messages.empty() || messages.back().at("role") != "assistant") messages.push_back({{"role", "assistant"}, {"content", ""}});
  return messages.back();
}

Check addMessageItem(const Fields& item, Json& messages) {
  EXO_ASSIGN(std::string role, item.neededText("role"));
  if (role == "developer") role = "system";
  if (role != "system" && role != "user" && role != "assistant") return refuse(item.pathOf("role"), "expected system, developer, user or assistant, got \"", role, "\"");
  const Json* content = item.find("content");
  if (!content) return refuse(item.pathOf("content"), "is missing");
  EXO_ASSIGN(const std::string text, readTextContent(*content, item.pathOf("content"), {"input_text", "output_text", "text", "refusal"}));
  if (role == "assistant") assistantTurn(messages)["content"] = text;
  else messages.push_back({{"role", role}, {"content", text}});
  return std::monostate{};
}

Check addReasoningItem(const Fields& item, Json& messages) {
  EXO_ASSIGN(const Json* content, item.array("content"));
  if (!content) return std::monostate{};   // encrypted or summed up elsewhere: nothing to read
  EXO_ASSIGN(const std::string text, readTextContent(*content, item.pathOf("content"), {"reasoning_text", "text"}));
  assistantTurn(messages)["reasoning_content"] = text;
  return std::monostate{};
}

Check addCallItem(const Fields& item, Json& messages) {
  EXO_ASSIGN(const std::string call_id, item.neededText("call_id"));
  EXO_ASSIGN(const std::string name, item.neededText("name"));
  EXO_ASSIGN(const std::string arguments, item.neededText("arguments"));
  assistantTurn(messages)["tool_calls"].push_back({{"type", "function"}, {"function", {{"name", name}, {"arguments", argumentsForTemplate(arguments)}}}, {"id", call_id}});
  return std::monostate{};
}

Check addOutputItem(const Fields& item, Json& messages) {
  EXO_ASSIGN(const std::string call_id, item.neededText("call_id"));
  const Json* output = item.find("output");
  if (!output) return refuse(item.pathOf("output"), "is missing");
  EXO_ASSIGN(const std::string text, readTextContent(*output, item.pathOf("output"), {"input_text", "output_text", "text"}));
  messages.push_back({{"role", "tool"}, {"tool_call_id", call_id}, {"content", text}});
  return std::monostate{};
}

Check addItem(const Json& given, const std::string& path, Json& messages) {
  EXO_ASSIGN(const Fields item, Fields::of(given, path));
  EXO_ASSIGN(const auto type, item.text("type"));
  if (!type || *type == "message") return addMessageItem(item, messages);
  if (*type == "reasoning") return addReasoningItem(item, messages);
  if (*type == "function_call") return addCallItem(item, messages);
  if (*type == "function_call_output") return addOutputItem(item, messages);
  if (*type == "item_reference") return refuse(path, "this server stores no items; send them whole");
  return refuse(item.pathOf("type"), "expected message, reasoning, function_call or function_call_output, got \"", *type, "\"");
}

Outcome<Json> readMessages(const Fields& body) {
  Json messages = Json::array();
  EXO_ASSIGN(const auto instructions, body.text("instructions"));
  if (instructions && !instructions->empty()) messages.push_back({{"role", "system"}, {"content", *instructions}});
  const Json* input = body.find("input");
  if (!input) return refuse("input", "is missing");
  if (input->is_string()) {
    messages.push_back({{"role", "user"}, {"content", input->get<std::string>()}});
    return messages;
  }
  if (!input->is_array() || input->empty()) return refuse("input", "expected a string or at least one item, got ", describe(*input));
  size_t index = 0;
  for (const Json& entry : *input) EXO_TRY(addItem(entry, "input[" + std::to_string(index++) + "]", messages));
  return messages;
}

Check refuseUnsupported(const Fields& body) {
  EXO_TRY(body.refuseUnless("previous_response_id", {}, "this server stores no responses; send the conversation as input"));
  EXO_TRY(body.refuseUnless("conversation", {}, "this server stores no conversations; send the conversation as input"));
  EXO_TRY(body.refuseUnless("background", {false}, "this server answers at once"));
  EXO_TRY(body.refuseUnless("truncation", {"disabled"}, "prompts that are too long are refused, never cut"));
  EXO_TRY(body.refuseUnless("prompt", {}, "this server stores no prompts"));
  EXO_TRY(body.refuseUnless("max_tool_calls", {}, "no tools run on this server"));
  return std::monostate{};
}

Check readText(const Fields& body, AnswerForm& form) {
  EXO_ASSIGN(const Json* text, body.object("text"));
  if (!text) return std::monostate{};
  EXO_ASSIGN(const Json* format, Fields(*text, "text").object("format"));
  return readJsonFormat(format, "text.format", nullptr, form);
}

Check readReasoning(const Fields& body, ChatInput& input) {
  EXO_ASSIGN(const Json* given, body.object("reasoning"));
  if (!given) return std::monostate{};
  const Fields reasoning(*given, "reasoning");
  EXO_ASSIGN(const auto effort, reasoning.text("effort"));
  EXO_ASSIGN(const auto summary, reasoning.text("summary"));
  if (summary && *summary != "auto" && *summary != "none") return refuse("reasoning.summary", "reasoning is shown whole, not summed up; expected auto, got \"", *summary, "\"");
  if (!effort) return std::monostate{};
  input.reasoning_effort = *effort;
  input.reasoning = *effort == "none" ? Reasoning::kOff : Reasoning::kOn;
  return std::monostate{};
}

/// What the response repeats of the request, so that it can be read alone.
Json echoOf(const Fields& body, const CompletionRequest& request) {
  const auto given = [&](const char* name, Json otherwise) {
    const Json* value = body.find(name);
    return value ? *value : otherwise;
  };
  return {{"instructions", given("instructions", nullptr)},
          {"max_output_tokens", given("max_output_tokens", nullptr)},
          {"parallel_tool_calls", given("parallel_tool_calls", true)},
          {"previous_response_id", nullptr},
          {"reasoning", given("reasoning", {{"effort", nullptr}, {"summary", nullptr}})},
          {"store", false},
          {"temperature", request.sampling.temperature},
          {"text", given("text", {{"format", {{"type", "text"}}}})},
          {"tool_choice", given("tool_choice", "auto")},
          {"tools", given("tools", Json::array())},
          {"top_p", request.sampling.top_p},
          {"truncation", "disabled"},
          {"metadata", given("metadata", Json::object())}};
}

}  // namespace

Outcome<Job> readResponse(const Json& json, const ModelInfo& model, ReplyIdentity identity) {
  const Fields body(json);
  EXO_TRY(checkModelName(body, model));
  EXO_TRY(refuseUnsupported(body));
  EXO_ASSIGN(CompletionRequest request, readOpenAiSampling(body));
  EXO_ASSIGN(request.max_tokens, body.integer("max_output_tokens", 1, INT32_MAX));
  EXO_ASSIGN(const auto top_logprobs, body.integer("top_logprobs", 0, kMaxLogprobs));
  EXO_ASSIGN(const auto stream, body.flag("stream"));
  EXO_ASSIGN(const auto include, body.texts("include"));
  const bool logprobs = std::find(include.begin(), include.end(), "message.output_text.logprobs") != include.end();
  if (top_logprobs.value_or(0) > 0 || logprobs) request.logprobs = static_cast<int>(top_logprobs.value_or(0));
  ChatInput input;
  EXO_ASSIGN(input.messages, readMessages(body));
  EXO_TRY(readOpenAiTools(body, input));
  EXO_TRY(readToolChoice(body, input.tools, input.form));
  EXO_TRY(readText(body, input.form));
  EXO_TRY(readReasoning(body, input));
  input.continue_final_message = endsWithAssistant(input.messages);
  EXO_ASSIGN(ChatPrompt prompt, renderChat(model, input));
  Json echoed = echoOf(body, request);
  request.label = identity.id;
  request.prompt = std::move(prompt.tokens);
  request.special_text = prompt.special_text;
  const bool shows_logprobs = request.logprobs.has_value();
  Job job;
  job.requests.push_back(std::move(request));
  EXO_TRY(constrain(job.requests, prompt.grammar, input.form, model));
  job.parser = std::move(prompt.parser);
  job.stream = stream.value_or(false);
  job.keep_tokens = shows_logprobs;
  job.reply = std::make_unique<ResponseReply>(std::move(identity), std::move(echoed), shows_logprobs);
  return job;
}

}  // namespace exo::serve
