#include "executor/serve/dialects/ollama.h"

#include <array>
#include <charconv>
#include <cmath>

#include "executor/serve/dialects/openai_fields.h"
#include "executor/serve/dialects/openai_models.h"

namespace exo::serve {
namespace {

// The release whose API this is; clients compare it.
constexpr const char* kApiVersion = "0.12.6";

std::string nowWithNanoseconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now);
  std::string text = rfc3339(seconds.count());
  std::string fraction = std::to_string(1'000'000'000 + std::chrono::duration_cast<std::chrono::nanoseconds>(now - seconds).count());
  fraction[0] = '.';
  return text.insert(text.size() - 1, fraction);
}

enum class Endpoint { kChat, kGenerate };

class OllamaReply final : public Reply {
 public:
  OllamaReply(ReplyIdentity identity, Endpoint endpoint, bool logprobs) : identity_(std::move(identity)), endpoint_(endpoint), logprobs_(logprobs) {}

  std::string whole(const std::vector<Answer>& answers) override {
    Json json = line(answers.at(0).part);
    json.update(ending(answers.at(0)));
    return dump(json);
  }

  const char* streamType() const override { return "application/x-ndjson"; }
  std::string begin(const std::vector<Answer>&) override { return ""; }
  std::string part(size_t, const AnswerPart& part) override { return dump(unfinished(part)) + "\n"; }
  std::string answerEnd(size_t, const Answer& answer) override {
    Json json = line({});
    json.update(ending(answer));
    return dump(json) + "\n";
  }
  std::string end(const std::vector<Answer>&) override { return ""; }
  std::string failure(const ApiError& error) override { return errorBody(Dialect::kOllama, error, "") + "\n"; }
  /// An empty line would be no JSON.
  std::string keepAlive() override { return dump(unfinished({})) + "\n"; }

 private:
  Json unfinished(const AnswerPart& part) const {
    Json json = line(part);
    json["done"] = false;
    return json;
  }

  Json line(const AnswerPart& part) const {
    Json json = {{"model", identity_.model}, {"created_at", nowWithNanoseconds()}};
    if (endpoint_ == Endpoint::kChat) json["message"] = message(part);
    else json["response"] = part.content;
    if (endpoint_ == Endpoint::kGenerate && !part.reasoning.empty()) json["thinking"] = part.reasoning;
    if (logprobs_ && !part.tokens.empty()) {
      json["logprobs"] = Json::array();
      for (const GeneratedToken& token : part.tokens) json["logprobs"].push_back(logprobEntry(token));
    }
    return json;
  }

  static Json message(const AnswerPart& part) {
    Json message = {{"role", "assistant"}, {"content", part.content}};
    if (!part.reasoning.empty()) message["thinking"] = part.reasoning;
    for (const ToolCall& call : part.tool_calls)
      message["tool_calls"].push_back({{"function", {{"name", call.name}, {"arguments", Json::parse(call.arguments, nullptr, false)}}}});
    return message;
  }

  static Json ending(const Answer& answer) {
    const CompletionTimings& t = answer.end.timings;
    return {{"done", true},
            {"done_reason", answer.end.reason == FinishReason::kLength ? "length" : "stop"},
            {"total_duration", (t.queued + t.prompt + t.generation).count()},
            {"load_duration", t.queued.count()},
            {"prompt_eval_count", answer.end.usage.prompt_tokens},
            {"prompt_eval_duration", t.prompt.count()},
            {"eval_count", answer.end.usage.generated_tokens},
            {"eval_duration", t.generation.count()}};
  }

  const ReplyIdentity identity_;
  const Endpoint endpoint_;
  const bool logprobs_;
};

Check checkModel(const Fields& body, const ModelInfo& model) {
  EXO_ASSIGN(const std::string name, body.neededText(body.find("model") ? "model" : "name"));
  if (!isModelName(name, model)) return ApiError{ApiError::Kind::kModelNotFound, "model '" + name + "' not found; this server has: " + model.name, "model"};
  return std::monostate{};
}

Check readPenalties(const Fields& options, SamplingParameters& sampling) {
  EXO_ASSIGN(const auto repeat, options.number("repeat_penalty", 1e-3, 100));
  EXO_ASSIGN(const auto last, options.integer("repeat_last_n", -1, INT32_MAX));
  EXO_ASSIGN(const auto presence, options.number("presence_penalty", -100, 100));
  EXO_ASSIGN(const auto frequency, options.number("frequency_penalty", -100, 100));
  sampling.presence_penalty = static_cast<float>(presence.value_or(0));
  sampling.frequency_penalty = static_cast<float>(frequency.value_or(0));
  sampling.repetition_penalty = static_cast<float>(last == 0 ? 1 : repeat.value_or(1));
  if (last.value_or(0) > 0 && sampling.repetition_penalty != 1) return refuse(options.pathOf("repeat_last_n"), "the penalty is of all tokens so far (-1) or of none (0), got ", *last);
  EXO_TRY(options.refuseUnless("mirostat", {0}, "this sampler is not there"));
  EXO_TRY(options.refuseUnless("tfs_z", {1}, "this sampler is not there"));
  return std::monostate{};
}

/// Those about where and how to compute (num_gpu, num_thread, num_batch, use_mmap, …) are the plan's to decide.
Check readOptions(const Fields& body, CompletionRequest& request, std::optional<int64_t>& num_ctx) {
  static const Json kNone = Json::object();
  EXO_ASSIGN(const Json* given, body.object("options"));
  const Fields options(given ? *given : kNone, "options");
  EXO_ASSIGN(const auto temperature, options.number("temperature", 0, 100));
  EXO_ASSIGN(const auto top_k, options.integer("top_k", 0, INT32_MAX));
  EXO_ASSIGN(const auto top_p, options.number("top_p", 0, 1));
  EXO_ASSIGN(const auto min_p, options.number("min_p", 0, 0.999));
  EXO_ASSIGN(const auto typical_p, options.number("typical_p", 0, 1));
  EXO_ASSIGN(const auto seed, options.integer("seed", INT64_MIN, INT64_MAX));
  EXO_ASSIGN(const auto num_predict, options.integer("num_predict", -2, INT32_MAX));
  EXO_ASSIGN(num_ctx, options.integer("num_ctx", 1, INT32_MAX));
  EXO_ASSIGN(request.stop_strings, options.texts("stop"));
  for (const char* whole : {"num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread"}) EXO_TRY(options.integer(whole, INT32_MIN, INT32_MAX));
  for (const char* flag : {"use_mmap", "use_mlock", "numa", "low_vram"}) EXO_TRY(options.flag(flag));
  for (const std::string& stop : request.stop_strings) {
    if (stop.empty()) return refuse("options.stop", "expected texts that are not empty");
  }
  SamplingParameters& sampling = request.sampling;
  sampling.temperature = static_cast<float>(temperature.value_or(0.8));   // Ollama's defaults
  sampling.top_k = top_k.value_or(40);
  sampling.top_p = std::max(static_cast<float>(top_p.value_or(0.9)), 1e-6f);
  sampling.min_p = static_cast<float>(min_p.value_or(0));
  sampling.typical_p = std::max(static_cast<float>(typical_p.value_or(1)), 1e-6f);
  if (seed) sampling.seed = static_cast<uint64_t>(*seed);
  if (num_predict.value_or(-1) >= 0) request.max_tokens = num_predict;
  return readPenalties(options, sampling);
}

Check readThink(const Fields& body, ChatInput& input) {
  const Json* think = body.find("think");
  if (!think) return std::monostate{};
  if (think->is_boolean()) {
    input.reasoning = think->get<bool>() ? Reasoning::kOn : Reasoning::kOff;
    return std::monostate{};
  }
  if (*think != "low" && *think != "medium" && *think != "high") return refuse("think", "expected true, false, low, medium or high, got ", describe(*think));
  input.reasoning = Reasoning::kOn;
  input.reasoning_effort = think->get<std::string>();
  return std::monostate{};
}

Check readLogprobs(const Fields& body, CompletionRequest& request) {
  EXO_ASSIGN(const auto wanted, body.flag("logprobs"));
  EXO_ASSIGN(const auto top, body.integer("top_logprobs", 0, kMaxLogprobs));
  if (wanted.value_or(false)) request.logprobs = static_cast<int>(top.value_or(0));
  return std::monostate{};
}

Check checkKeepAlive(const Fields& body) {
  const Json* given = body.find("keep_alive");
  if (!given) return std::monostate{};
  EXO_ASSIGN(const double seconds, parseKeepAlive(*given));
  if (seconds == 0) return refuse("keep_alive", "this server keeps its model as long as it runs, and cannot unload it");
  return std::monostate{};
}

Check refuseCommon(const Fields& body) {
  EXO_TRY(body.refuseUnless("truncate", {false}, "prompts that are too long are refused, never cut"));
  EXO_TRY(body.refuseUnless("shift", {false}, "answers end with the context"));
  return std::monostate{};
}

/// "json", or a schema.
Check readFormat(const Fields& body, AnswerForm& form) {
  const Json* format = body.find("format");
  if (!format || *format == "") return std::monostate{};
  if (*format != "json" && !format->is_object()) return refuse("format", "expected \"json\" or a JSON schema, got ", describe(*format));
  form.content = format->is_object() ? AnswerForm::Content::kSchema : AnswerForm::Content::kObject;
  form.value = *format;
  form.field = "format";
  return std::monostate{};
}

Outcome<Json> readToolCalls(const Json& given, const std::string& path) {
  Json calls = Json::array();
  if (!given.is_array()) return refuse(path, "expected an array, got ", describe(given));
  for (const Json& entry : given) {
    const std::string at = path + "[" + std::to_string(calls.size()) + "]";
    EXO_ASSIGN(const Fields call, Fields::of(entry, at));
    EXO_ASSIGN(const Json* inner, call.object("function"));
    if (!inner) return refuse(at + ".function", "is missing");
    const Fields function(*inner, at + ".function");
    EXO_ASSIGN(const std::string name, function.neededText("name"));
    EXO_ASSIGN(const Json* arguments, function.object("arguments"));
    calls.push_back({{"type", "function"}, {"function", {{"name", name}, {"arguments", arguments ? *arguments : Json::object()}}}});
  }
  return calls;
}

Outcome<Json> readMessage(const Json& given, const std::string& path) {
  EXO_ASSIGN(const Fields message, Fields::of(given, path));
  EXO_ASSIGN(const std::string role, message.neededText("role"));
  if (role != "system" && role != "user" && role != "assistant" && role != "tool") return refuse(message.pathOf("role"), "expected system, user, assistant or tool, got \"", role, "\"");
  EXO_ASSIGN(const auto content, message.text("content"));
  EXO_ASSIGN(const auto thinking, message.text("thinking"));
  EXO_TRY(message.refuseUnless("images", {Json::array()}, "this model reads text only"));
  Json out = {{"role", role}, {"content", content.value_or("")}};
  if (thinking) out["reasoning_content"] = *thinking;
  if (const Json* calls = message.find("tool_calls")) {
    EXO_ASSIGN(Json read, readToolCalls(*calls, message.pathOf("tool_calls")));
    if (!read.empty()) out["tool_calls"] = std::move(read);
  }
  EXO_ASSIGN(const auto name, message.text("tool_name"));
  EXO_ASSIGN(const auto id, message.text("tool_call_id"));
  if (name) out["name"] = *name;
  if (id) out["tool_call_id"] = *id;
  return out;
}

/// What both endpoints have. The prompt is there already.
Outcome<Job> finishJob(const Fields& body, ChatPrompt prompt, const AnswerForm& form, const ModelInfo& model, Endpoint endpoint, ReplyIdentity identity) {
  CompletionRequest request;
  std::optional<int64_t> num_ctx;
  EXO_TRY(readOptions(body, request, num_ctx));
  EXO_TRY(readLogprobs(body, request));
  EXO_ASSIGN(const auto stream, body.flag("stream"));
  const auto prompt_tokens = static_cast<int64_t>(prompt.tokens.size());
  if (num_ctx) {   // more than the model's is the model's, as Ollama has it
    if (prompt_tokens >= *num_ctx) return ApiError{ApiError::Kind::kContextLength, "the prompt has " + std::to_string(prompt_tokens) + " tokens, and num_ctx is " + std::to_string(*num_ctx), "options.num_ctx"};
    request.max_tokens = std::min(request.max_tokens.value_or(INT32_MAX), *num_ctx - prompt_tokens);
  }
  const bool logprobs = request.logprobs.has_value();
  request.label = identity.id;
  request.prompt = std::move(prompt.tokens);
  request.special_text = prompt.special_text;
  Job job;
  job.requests.push_back(std::move(request));
  EXO_TRY(constrain(job.requests, prompt.grammar, form, model));
  job.parser = std::move(prompt.parser);
  job.stream = stream.value_or(true);
  job.keep_tokens = logprobs;
  job.reply = std::make_unique<OllamaReply>(std::move(identity), endpoint, logprobs);
  return job;
}

Check refuseGenerateOnly(const Fields& body) {
  EXO_TRY(body.refuseUnless("suffix", {""}, "this model does not fill in the middle"));
  EXO_TRY(body.refuseUnless("template", {""}, "the model's own chat template is used"));
  EXO_TRY(body.refuseUnless("context", {Json::array()}, "the old form of a conversation is not supported; use /api/chat"));
  EXO_TRY(body.refuseUnless("images", {Json::array()}, "this model reads text only"));
  return std::monostate{};
}

Outcome<ChatPrompt> generatePrompt(const Fields& body, const AnswerForm& form, const ModelInfo& model) {
  EXO_ASSIGN(const std::string text, body.neededText("prompt"));
  EXO_ASSIGN(const auto raw, body.flag("raw"));
  EXO_ASSIGN(const auto system, body.text("system"));
  if (raw.value_or(false)) {
    if (system.value_or("") != "") return refuse("system", "a raw prompt has none");
    ChatPrompt prompt;
    EXO_ASSIGN(prompt.tokens, encodePlain(model, text, "prompt"));
    EXO_ASSIGN(prompt.grammar, answerGrammar(form, Json::array(), {}));
    return prompt;
  }
  ChatInput input;
  input.form = form;
  if (system) input.messages.push_back({{"role", "system"}, {"content", *system}});
  input.messages.push_back({{"role", "user"}, {"content", text}});
  EXO_TRY(readThink(body, input));
  return renderChat(model, input);
}

/// quantization_level: how it is held here; the files may hold it otherwise.
Json details(const ModelInfo& model) {
  const std::string family = model.stored ? model.stored->family : "";
  return {{"parent_model", ""},
          {"format", model.stored ? model.stored->format : ""},
          {"family", family},
          {"families", family.empty() ? Json::array() : Json::array({family})},
          {"parameter_size", parametersShown(model.parameters)},
          {"quantization_level", model.encoding}};
}

/// Under the family's name, as GGUF has it; the context as it is served here.
Json modelFacts(const ModelInfo& model) {
  const std::string family = model.stored ? model.stored->family : "unknown";
  Json facts = {{"general.architecture", family}, {"general.basename", model.name}};
  if (model.parameters > 0) facts["general.parameter_count"] = model.parameters;
  facts[family + ".context_length"] = model.context_length;
  facts[family + ".vocab_size"] = model.vocab_size;
  return facts;
}

std::string digestOf(const ModelInfo& model) { return model.stored ? model.stored->digest : ""; }

Json capabilities(const ModelInfo& model) {
  Json list = {"completion"};
  if (!model.chat_template) return list;
  const AnswerFormat format = answerFormatOf(model.chat_template->source());
  if (format.tools != ToolFormat::kNone) list.push_back("tools");
  if (format.reasoning) list.push_back("thinking");
  return list;
}

struct Unit {
  const char* name;
  double seconds;
};
constexpr std::array<Unit, 8> kUnits = {{{"ns", 1e-9}, {"us", 1e-6}, {"µs", 1e-6}, {"ms", 1e-3}, {"h", 3600}, {"m", 60}, {"s", 1}, {"", 0}}};

}  // namespace

Outcome<double> parseKeepAlive(const Json& value) {
  if (value.is_number()) return value.get<double>();
  const std::string text = value.is_string() ? value.get<std::string>() : "";
  const bool negative = text.starts_with('-');
  std::string_view rest = std::string_view(text).substr(negative ? 1 : 0);
  const auto bad = [&] { return refuse("keep_alive", "expected seconds, or a duration as \"5m\" or \"1h30m\", got ", describe(value)); };
  if (rest.empty()) return bad();
  double seconds = 0;
  while (!rest.empty()) {
    double number = 0;
    const auto read = std::from_chars(rest.data(), rest.data() + rest.size(), number, std::chars_format::fixed);
    if (read.ec != std::errc() || !(number >= 0 && number < 1e12)) return bad();
    rest.remove_prefix(static_cast<size_t>(read.ptr - rest.data()));
    const Unit* unit = kUnits.begin();
    while (!rest.starts_with(unit->name)) ++unit;
    if (unit->seconds == 0 && !(rest.empty() && number == 0)) return bad();
    seconds += number * unit->seconds;
    rest.remove_prefix(std::string_view(unit->name).size());
  }
  return negative ? -seconds : seconds;
}

Outcome<Job> readOllamaChat(const Json& json, const ModelInfo& model, ReplyIdentity identity) {
  const Fields body(json);
  EXO_TRY(checkModel(body, model));
  EXO_TRY(refuseCommon(body));
  EXO_TRY(checkKeepAlive(body));
  ChatInput input;
  EXO_ASSIGN(const Json* given, body.array("messages"));
  if (!given || given->empty()) return refuse("messages", "expected at least one message");
  for (const Json& entry : *given) {
    EXO_ASSIGN(Json message, readMessage(entry, "messages[" + std::to_string(input.messages.size()) + "]"));
    input.messages.push_back(std::move(message));
  }
  EXO_TRY(readOpenAiTools(body, input));
  EXO_TRY(readFormat(body, input.form));
  EXO_TRY(readThink(body, input));
  input.continue_final_message = endsWithAssistant(input.messages);
  EXO_ASSIGN(ChatPrompt prompt, renderChat(model, input));
  return finishJob(body, std::move(prompt), input.form, model, Endpoint::kChat, std::move(identity));
}

Outcome<Job> readOllamaGenerate(const Json& json, const ModelInfo& model, ReplyIdentity identity) {
  const Fields body(json);
  EXO_TRY(checkModel(body, model));
  EXO_TRY(refuseCommon(body));
  EXO_TRY(checkKeepAlive(body));
  EXO_TRY(refuseGenerateOnly(body));
  AnswerForm form;
  EXO_TRY(readFormat(body, form));
  EXO_ASSIGN(ChatPrompt prompt, generatePrompt(body, form, model));
  return finishJob(body, std::move(prompt), form, model, Endpoint::kGenerate, std::move(identity));
}

Outcome<std::optional<Json>> ollamaLoadOnly(const Json& json, const ModelInfo& model) {
  const Fields body(json);
  const Json* messages = body.find("messages");
  const Json* prompt = body.find("prompt");
  if ((messages && *messages != Json::array()) || (prompt && *prompt != "")) return std::optional<Json>();
  EXO_TRY(checkModel(body, model));
  EXO_TRY(checkKeepAlive(body));
  Json answer = {{"model", model.name}, {"created_at", nowWithNanoseconds()}};
  if (messages) answer["message"] = {{"role", "assistant"}, {"content", ""}};
  else answer["response"] = "";
  answer["done"] = true;
  answer["done_reason"] = "load";
  return std::optional(std::move(answer));
}

Json ollamaVersion() { return {{"version", kApiVersion}}; }

Json ollamaTags(const ModelInfo& model, int64_t started) {
  return {{"models", Json::array({{{"name", model.name},
                                   {"model", model.name},
                                   {"modified_at", rfc3339(model.stored ? model.stored->modified : started)},
                                   {"size", model.stored ? model.stored->size_bytes : 0},
                                   {"digest", digestOf(model)},
                                   {"details", details(model)},
                                   {"capabilities", capabilities(model)}}})}};
}

Json ollamaRunning(const ModelInfo& model, const Metrics& metrics, int64_t started) {
  constexpr int64_t kCentury = 3'155'760'000;
  return {{"models", Json::array({{{"name", model.name},
                                   {"model", model.name},
                                   {"size", model.memory_bytes},
                                   {"size_vram", 0},
                                   {"digest", digestOf(model)},
                                   {"details", details(model)},
                                   {"nodes", model.num_nodes},
                                   {"requests", {{"running", metrics.running}, {"waiting", metrics.waiting}}},
                                   {"expires_at", rfc3339(started + kCentury)},
                                   {"context_length", model.context_length}}})}};
}

Outcome<Json> ollamaShow(const Json& json, const ModelInfo& model) {
  EXO_TRY(checkModel(Fields(json), model));
  Json shown = {{"modelfile", ""},
              {"parameters", ""},
              {"template", model.chat_template ? model.chat_template->source() : ""},
              {"license", ""},
              {"details", details(model)},
              {"model_info", modelFacts(model)},
              {"capabilities", capabilities(model)}};
  if (model.stored) shown["modified_at"] = rfc3339(model.stored->modified);
  return shown;
}

Outcome<Json> ollamaPull(const Json& json, const ModelInfo& model) {
  EXO_TRY(checkModel(Fields(json), model));
  return Json{{"status", "success"}};
}

}  // namespace exo::serve
