#include "executor/serve/dialects/openai_chat.h"

#include "executor/serve/dialects/openai_fields.h"

namespace exo::serve {
namespace {

struct ChatReplyOptions {
  bool include_usage = false, logprobs = false, tools = false;
};

class ChatReply final : public Reply {
 public:
  ChatReply(ReplyIdentity identity, ChatReplyOptions options) : identity_(std::move(identity)), options_(options) {}

  std::string whole(const std::vector<Answer>& answers) override {
    Json choices = Json::array();
    for (const Answer& answer : answers) choices.push_back(choice(choices.size(), answer));
    Json json = head("chat.completion");
    json["choices"] = std::move(choices);
    json["usage"] = usage(answers);
    return dump(json);
  }

  const char* streamType() const override { return kEventStream; }
  std::string begin(const std::vector<Answer>& answers) override {
    calls_.assign(answers.size(), 0);
    std::string text;
    for (size_t i = 0; i < answers.size(); ++i) text += event(i, {{"role", "assistant"}, {"content", ""}});
    return text;
  }
  std::string part(size_t index, const AnswerPart& part) override {
    std::string text;
    if (!part.reasoning.empty()) text += event(index, {{"reasoning_content", part.reasoning}});
    if (!part.content.empty() || !part.tokens.empty()) text += event(index, {{"content", part.content}}, logprobs(part));
    for (const ToolCall& call : part.tool_calls) {
      const size_t number = calls_[index]++;
      text += event(index, {{"tool_calls", {{{"index", number}, {"id", newId("call_")}, {"type", "function"}, {"function", {{"name", call.name}, {"arguments", ""}}}}}}});
      text += event(index, {{"tool_calls", {{{"index", number}, {"function", {{"arguments", call.arguments}}}}}}});
    }
    return text;
  }
  std::string answerEnd(size_t index, const Answer& answer) override { return event(index, Json::object(), nullptr, finishReason(answer)); }
  std::string end(const std::vector<Answer>& answers) override {
    std::string text;
    if (options_.include_usage) {
      Json json = head("chat.completion.chunk");
      json["choices"] = Json::array();
      json["usage"] = usage(answers);
      text = serverSentEvent(dump(json));
    }
    return text + serverSentEvent("[DONE]");
  }
  std::string failure(const ApiError& error) override { return serverSentEvent(errorBody(Dialect::kOpenAi, error, "")); }
  std::string keepAlive() override { return ": keep-alive\n\n"; }

 private:
  Json head(const char* object) const {
    return {{"id", identity_.id}, {"object", object}, {"created", identity_.created}, {"model", identity_.model}};
  }

  Json logprobs(const AnswerPart& part) const {
    if (!options_.logprobs) return nullptr;
    Json content = Json::array();
    for (const GeneratedToken& token : part.tokens) content.push_back(logprobEntry(token));
    return {{"content", std::move(content)}, {"refusal", nullptr}};
  }

  std::string event(size_t index, Json delta, Json logprobs = nullptr, Json finish_reason = nullptr) const {
    Json json = head("chat.completion.chunk");
    Json choice = {{"index", index}, {"delta", std::move(delta)}, {"logprobs", std::move(logprobs)}, {"finish_reason", std::move(finish_reason)}};
    json["choices"] = Json::array({std::move(choice)});
    if (options_.include_usage) json["usage"] = nullptr;   // of all but the last chunk, as OpenAI has it
    return serverSentEvent(dump(json));
  }

  static const char* finishReason(const Answer& answer) {
    if (answer.end.reason == FinishReason::kLength) return "length";
    return answer.part.tool_calls.empty() ? "stop" : "tool_calls";
  }

  Json choice(size_t index, const Answer& answer) const {
    Json message = {{"role", "assistant"}, {"content", answer.part.content}, {"refusal", nullptr}};
    if (!answer.part.reasoning.empty()) message["reasoning_content"] = answer.part.reasoning;
    if (!answer.part.tool_calls.empty()) {
      if (answer.part.content.empty()) message["content"] = nullptr;
      message["tool_calls"] = Json::array();
      for (const ToolCall& call : answer.part.tool_calls)
        message["tool_calls"].push_back({{"id", newId("call_")}, {"type", "function"}, {"function", {{"name", call.name}, {"arguments", call.arguments}}}});
    }
    return {{"index", index}, {"message", std::move(message)}, {"logprobs", logprobs(answer.part)}, {"finish_reason", finishReason(answer)}};
  }

  static Json usage(const std::vector<Answer>& answers) {
    const UsageSum sum = sumUsage(answers);
    return {{"prompt_tokens", sum.prompt},
            {"completion_tokens", sum.generated},
            {"total_tokens", sum.prompt + sum.generated},
            {"prompt_tokens_details", {{"cached_tokens", sum.cached}}},
            {"completion_tokens_details", {{"reasoning_tokens", sum.reasoning}}}};
  }

  const ReplyIdentity identity_;
  const ChatReplyOptions options_;
  std::vector<size_t> calls_;   // so far, of each choice
};

Check refuseUnsupported(const Fields& body) {
  EXO_TRY(body.refuseUnless("functions", {Json::array()}, "the old form is not supported; use tools"));
  EXO_TRY(body.refuseUnless("function_call", {"none", "auto"}, "the old form is not supported; use tool_choice"));
  EXO_TRY(body.refuseUnless("modalities", {Json::array({"text"})}, "only text comes out of this server"));
  EXO_TRY(body.refuseUnless("audio", {}, "only text comes out of this server"));
  EXO_TRY(body.refuseUnless("web_search_options", {}, "this server searches nothing"));
  return std::monostate{};
}

Check readReasoning(const Fields& body, ChatInput& input) {
  EXO_ASSIGN(const auto effort, body.text("reasoning_effort"));
  if (!effort) return std::monostate{};
  for (const char* known : {"none", "minimal", "low", "medium", "high", "xhigh"}) {
    if (*effort != known) continue;
    input.reasoning_effort = *effort;
    input.reasoning = *effort == "none" ? Reasoning::kOff : Reasoning::kOn;
    return std::monostate{};
  }
  return refuse("reasoning_effort", "expected none, minimal, low, medium, high or xhigh, got \"", *effort, "\"");
}

Outcome<ChatInput> readInput(const Fields& body) {
  ChatInput input;
  EXO_ASSIGN(input.messages, readOpenAiMessages(body));
  EXO_TRY(readOpenAiTools(body, input));
  EXO_TRY(readToolChoice(body, input.tools, input.form));
  EXO_TRY(readOpenAiForm(body, input.form));
  EXO_TRY(readReasoning(body, input));
  EXO_ASSIGN(const Json* kwargs, body.object("chat_template_kwargs"));
  if (kwargs) input.variables = *kwargs;
  EXO_ASSIGN(const auto generation_prompt, body.flag("add_generation_prompt"));
  EXO_ASSIGN(const auto continued, body.flag("continue_final_message"));
  if (continued.value_or(false) && generation_prompt.value_or(false)) return refuse("continue_final_message", "the last message either goes on or is answered (add_generation_prompt)");
  if (continued.value_or(false) && !endsWithAssistant(input.messages)) return refuse("continue_final_message", "the last message must be one of the assistant's, without tool calls");
  input.add_generation_prompt = generation_prompt.value_or(true);
  input.continue_final_message = continued.value_or(!generation_prompt && endsWithAssistant(input.messages));
  return input;
}

Check readLength(const Fields& body, CompletionRequest& request) {
  EXO_ASSIGN(const auto newer, body.integer("max_completion_tokens", 1, INT32_MAX));
  EXO_ASSIGN(const auto older, body.integer("max_tokens", 1, INT32_MAX));
  request.max_tokens = newer ? newer : older;
  return std::monostate{};
}

Check readLogprobs(const Fields& body, CompletionRequest& request) {
  EXO_ASSIGN(const auto wanted, body.flag("logprobs"));
  EXO_ASSIGN(const auto top, body.integer("top_logprobs", 0, kMaxLogprobs));
  if (top && !wanted.value_or(false)) return refuse("top_logprobs", "needs logprobs: true");
  if (wanted.value_or(false)) request.logprobs = static_cast<int>(top.value_or(0));
  return std::monostate{};
}

Check readStream(const Fields& body, bool& stream, bool& include_usage) {
  EXO_ASSIGN(const auto wanted, body.flag("stream"));
  EXO_ASSIGN(const Json* options, body.object("stream_options"));
  stream = wanted.value_or(false);
  if (!options) return std::monostate{};
  if (!stream) return refuse("stream_options", "needs stream: true");
  EXO_ASSIGN(const auto usage, Fields(*options, "stream_options").flag("include_usage"));
  include_usage = usage.value_or(false);
  return std::monostate{};
}

}  // namespace

Outcome<Job> readChatCompletion(const Json& json, const ModelInfo& model, ReplyIdentity identity) {
  const Fields body(json);
  EXO_TRY(checkModelName(body, model));
  EXO_TRY(refuseUnsupported(body));
  EXO_ASSIGN(CompletionRequest request, readOpenAiSampling(body));
  EXO_TRY(readLength(body, request));
  EXO_TRY(readLogprobs(body, request));
  EXO_ASSIGN(const auto n, body.integer("n", 1, kMaxChoices));
  Job job;
  ChatReplyOptions options{.logprobs = request.logprobs.has_value()};
  EXO_TRY(readStream(body, job.stream, options.include_usage));
  EXO_ASSIGN(const ChatInput input, readInput(body));
  EXO_ASSIGN(ChatPrompt prompt, renderChat(model, input));
  request.label = identity.id;
  request.prompt = std::move(prompt.tokens);
  request.special_text = prompt.special_text;
  job.requests = repeated(request, n.value_or(1));
  EXO_TRY(constrain(job.requests, prompt.grammar, input.form, model));
  job.parser = std::move(prompt.parser);
  job.keep_tokens = request.logprobs.has_value();
  job.reply = std::make_unique<ChatReply>(std::move(identity), options);
  return job;
}

}  // namespace exo::serve
