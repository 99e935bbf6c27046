#include "executor/serve/dialects/openai_fields.h"

#include <charconv>

namespace exo::serve {
namespace {

using Bias = std::vector<std::pair<int32_t, float>>;

Outcome<Bias> readLogitBias(const Fields& body) {
  Bias biases;
  EXO_ASSIGN(const Json* given, body.object("logit_bias"));
  if (!given) return biases;
  for (const auto& [text, value] : given->items()) {
    const std::string path = "logit_bias." + text;
    int32_t id = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), id);
    if (read.ec != std::errc() || read.ptr != text.data() + text.size()) return refuse(path, "expected a token id");
    if (!value.is_number()) return refuse(path, "expected a number, got ", describe(value));
    const double bias = value.get<double>();
    if (!(bias >= -100 && bias <= 100)) return refuse(path, "must be in [-100, 100], got ", describe(value));
    biases.push_back({id, static_cast<float>(bias)});
  }
  return biases;
}

template <class To, class From>
void setIf(To& to, const std::optional<From>& from) {
  if (from) to = static_cast<To>(*from);
}

Check readPenalties(const Fields& body, SamplingParameters& sampling) {
  EXO_ASSIGN(const auto presence, body.number("presence_penalty", -2, 2));
  EXO_ASSIGN(const auto frequency, body.number("frequency_penalty", -2, 2));
  EXO_ASSIGN(const auto repetition, body.number("repetition_penalty", 1e-3, 100));
  setIf(sampling.presence_penalty, presence);
  setIf(sampling.frequency_penalty, frequency);
  setIf(sampling.repetition_penalty, repetition);
  return std::monostate{};
}

Check readShape(const Fields& body, SamplingParameters& sampling) {
  sampling.temperature = 1;   // OpenAI's default
  EXO_ASSIGN(const auto temperature, body.number("temperature", 0, 2));
  EXO_ASSIGN(const auto top_p, body.number("top_p", 0, 1));
  EXO_ASSIGN(const auto top_k, body.integer("top_k", -1, INT32_MAX));
  EXO_ASSIGN(const auto min_p, body.number("min_p", 0, 1));
  EXO_ASSIGN(const auto typical_p, body.number("typical_p", 0, 1));
  setIf(sampling.temperature, temperature);
  setIf(sampling.min_p, min_p);
  setIf(sampling.typical_p, typical_p);
  if (top_p) sampling.top_p = std::max(static_cast<float>(*top_p), 1e-6f);   // 0: the likeliest token alone
  if (top_k) sampling.top_k = std::max<int64_t>(*top_k, 0);                  // -1, as vLLM has it: all
  return std::monostate{};
}

Outcome<Json> readToolCalls(const Json& calls, const std::string& path) {
  if (!calls.is_array()) return refuse(path, "expected an array, got ", describe(calls));
  Json read = Json::array();
  for (const Json& entry : calls) {
    const std::string at = path + "[" + std::to_string(read.size()) + "]";
    EXO_ASSIGN(const Fields call, Fields::of(entry, at));
    const Json* function = call.find("function");
    if (!function) return refuse(at + ".function", "is missing");
    EXO_ASSIGN(const Fields fields, Fields::of(*function, at + ".function"));
    EXO_ASSIGN(std::string name, fields.neededText("name"));
    EXO_ASSIGN(const std::string arguments, fields.neededText("arguments"));
    EXO_ASSIGN(const auto id, call.text("id"));
    Json out = {{"type", "function"}, {"function", {{"name", std::move(name)}, {"arguments", argumentsForTemplate(arguments)}}}};
    if (id) out["id"] = *id;
    read.push_back(std::move(out));
  }
  return read;
}

Check readAssistant(const Fields& message, Json& out) {
  EXO_ASSIGN(const auto reasoning, message.text(message.find("reasoning_content") ? "reasoning_content" : "reasoning"));
  if (reasoning) out["reasoning_content"] = *reasoning;
  if (const Json* calls = message.find("tool_calls")) {
    EXO_ASSIGN(Json read, readToolCalls(*calls, message.pathOf("tool_calls")));
    if (!read.empty()) out["tool_calls"] = std::move(read);
  }
  if (!message.find("content") && !out.contains("tool_calls") && !reasoning) return refuse(message.pathOf("content"), "is missing, and there are no tool_calls");
  return std::monostate{};
}

Outcome<Json> readMessage(const Json& given, const std::string& path) {
  EXO_ASSIGN(const Fields message, Fields::of(given, path));
  EXO_ASSIGN(std::string role, message.neededText("role"));
  if (role == "developer") role = "system";
  if (role != "system" && role != "user" && role != "assistant" && role != "tool") return refuse(message.pathOf("role"), "expected system, developer, user, assistant or tool, got \"", role, "\"");
  Json out = {{"role", role}, {"content", ""}};
  if (const Json* content = message.find("content")) {
    EXO_ASSIGN(out["content"], readTextContent(*content, message.pathOf("content"), {"text", "refusal"}));
  } else if (role != "assistant") {
    return refuse(message.pathOf("content"), "is missing");
  }
  if (role == "assistant") EXO_TRY(readAssistant(message, out));
  for (const char* key : {"name", "tool_call_id"}) {
    EXO_ASSIGN(const auto text, message.text(key));
    if (text) out[key] = *text;
  }
  return out;
}

}  // namespace

Outcome<CompletionRequest> readOpenAiSampling(const Fields& body) {
  CompletionRequest request;
  EXO_TRY(readShape(body, request.sampling));
  EXO_TRY(readPenalties(body, request.sampling));
  EXO_ASSIGN(request.sampling.logit_bias, readLogitBias(body));
  EXO_ASSIGN(const auto seed, body.integer("seed", INT64_MIN, INT64_MAX));
  if (seed) request.sampling.seed = static_cast<uint64_t>(*seed);
  EXO_ASSIGN(const auto min_tokens, body.integer("min_tokens", 0, INT32_MAX));
  EXO_ASSIGN(const auto ignore_eos, body.flag("ignore_eos"));
  EXO_ASSIGN(request.stop_strings, body.texts("stop"));
  for (const std::string& stop : request.stop_strings) {
    if (stop.empty()) return refuse("stop", "expected texts that are not empty");
  }
  setIf(request.min_tokens, min_tokens);
  setIf(request.ignore_eos, ignore_eos);
  return request;
}

bool isModelName(const std::string& name, const ModelInfo& model) { return name == model.name || name == model.name + ":latest"; }

ApiError unknownModel(const std::string& name, const ModelInfo& model) {
  return {ApiError::Kind::kModelNotFound, "model '" + name + "' not found; this server has: " + model.name, "model"};
}

Check checkModelName(const Fields& body, const ModelInfo& model) {
  EXO_ASSIGN(const std::string name, body.neededText("model"));
  if (!isModelName(name, model)) return unknownModel(name, model);
  return std::monostate{};
}

Outcome<std::string> readTextContent(const Json& content, const std::string& path, std::initializer_list<const char*> text_types) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) return refuse(path, "expected a string or an array of parts, got ", describe(content));
  std::string text;
  size_t index = 0;
  for (const Json& entry : content) {
    const std::string at = path + "[" + std::to_string(index++) + "]";
    EXO_ASSIGN(const Fields part, Fields::of(entry, at));
    EXO_ASSIGN(const std::string type, part.neededText("type"));
    if (std::find(text_types.begin(), text_types.end(), type) == text_types.end()) return refuse(part.pathOf("type"), "this model reads text only, got \"", type, "\"");
    EXO_ASSIGN(const std::string piece, part.neededText(type == "refusal" ? "refusal" : "text"));
    text += (index > 1 ? "\n" : "") + piece;
  }
  return text;
}

Outcome<Json> readOpenAiMessages(const Fields& body) {
  EXO_ASSIGN(const Json* given, body.array("messages"));
  if (!given) return refuse("messages", "is missing; expected an array");
  if (given->empty()) return refuse("messages", "expected at least one message");
  Json messages = Json::array();
  for (const Json& entry : *given) {
    EXO_ASSIGN(Json message, readMessage(entry, "messages[" + std::to_string(messages.size()) + "]"));
    messages.push_back(std::move(message));
  }
  return messages;
}

Check readOpenAiTools(const Fields& body, ChatInput& input) {
  EXO_ASSIGN(const Json* given, body.array("tools"));
  if (!given) return std::monostate{};
  for (const Json& entry : *given) {
    const std::string at = "tools[" + std::to_string(input.tools.size()) + "]";
    EXO_ASSIGN(const Fields tool, Fields::of(entry, at));
    EXO_ASSIGN(const std::string type, tool.neededText("type"));
    if (type != "function") return refuse(tool.pathOf("type"), "only \"function\" is known, got \"", type, "\"");
    const Json* inner = tool.find("function");
    EXO_ASSIGN(const Fields function, Fields::of(inner ? *inner : entry, inner ? at + ".function" : at));
    EXO_ASSIGN(std::string name, function.neededText("name"));
    EXO_ASSIGN(const auto description, function.text("description"));
    EXO_ASSIGN(const Json* parameters, function.object("parameters"));
    EXO_ASSIGN(const auto strict, function.flag("strict"));
    if (strict.value_or(false)) input.form.strict.push_back(name);
    Json out = {{"name", std::move(name)}};
    if (description) out["description"] = *description;
    out["parameters"] = parameters ? *parameters : Json{{"type", "object"}, {"properties", Json::object()}};
    input.tools.push_back({{"type", "function"}, {"function", std::move(out)}});
  }
  return std::monostate{};
}

Check readOpenAiForm(const Fields& body, AnswerForm& form) {
  EXO_ASSIGN(const Json* format, body.object("response_format"));
  EXO_TRY(readJsonFormat(format, "response_format", "json_schema", form));
  return readGuided(body, form);
}

std::vector<CompletionRequest> repeated(const CompletionRequest& request, int64_t n) {
  std::vector<CompletionRequest> requests(static_cast<size_t>(n), request);
  for (size_t i = 1; i < requests.size(); ++i) {
    if (request.sampling.seed) requests[i].sampling.seed = *request.sampling.seed + i;
  }
  return requests;
}

Json logprobEntry(const GeneratedToken& token) {
  const auto entry = [](const TokenLogprob& one) {
    return Json{{"token", one.bytes}, {"logprob", std::min(one.logprob, 0.0f)}, {"bytes", std::vector<uint8_t>(one.bytes.begin(), one.bytes.end())}};
  };
  Json json = entry(token.token);
  json["top_logprobs"] = Json::array();
  for (const TokenLogprob& alternative : token.alternatives) json["top_logprobs"].push_back(entry(alternative));
  return json;
}

UsageSum sumUsage(const std::vector<Answer>& answers) {
  UsageSum sum;
  for (const Answer& answer : answers) {
    sum.prompt = answer.end.usage.prompt_tokens;
    sum.cached = std::max(sum.cached, answer.end.usage.cached_tokens);
    sum.generated += answer.end.usage.generated_tokens;
    sum.reasoning += answer.part.reasoning_tokens;
  }
  return sum;
}

}  // namespace exo::serve
