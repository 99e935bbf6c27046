#include "executor/serve/dialects/openai_completions.h"

#include "executor/serve/dialects/openai_fields.h"

namespace exo::serve {
namespace {

struct CompletionReplyOptions {
  bool include_usage = false, logprobs = false;
  std::vector<std::string> echoes;   // of each answer: what stands before it
  size_t prompts = 1;                // answers are ordered by prompt
};

class CompletionReply final : public Reply {
 public:
  CompletionReply(ReplyIdentity identity, CompletionReplyOptions options) : identity_(std::move(identity)), options_(std::move(options)) {}

  std::string whole(const std::vector<Answer>& answers) override {
    Json choices = Json::array();
    for (size_t i = 0; i < answers.size(); ++i) {
      size_t offset = options_.echoes[i].size();
      choices.push_back(choice(i, options_.echoes[i] + answers[i].part.content, logprobs(answers[i].part, offset), finishReason(answers[i])));
    }
    Json json = head();
    json["choices"] = std::move(choices);
    json["usage"] = usage(answers);
    return dump(json);
  }

  const char* streamType() const override { return kEventStream; }
  std::string begin(const std::vector<Answer>& answers) override {
    std::string text;
    offsets_.assign(answers.size(), 0);
    for (size_t i = 0; i < answers.size(); ++i) {
      offsets_[i] = options_.echoes[i].size();
      if (!options_.echoes[i].empty()) text += event(i, options_.echoes[i]);
    }
    return text;
  }
  std::string part(size_t index, const AnswerPart& part) override { return event(index, part.content, logprobs(part, offsets_[index])); }
  std::string answerEnd(size_t index, const Answer& answer) override { return event(index, "", nullptr, finishReason(answer)); }
  std::string end(const std::vector<Answer>& answers) override {
    std::string text;
    if (options_.include_usage) {
      Json json = head();
      json["choices"] = Json::array();
      json["usage"] = usage(answers);
      text = serverSentEvent(dump(json));
    }
    return text + serverSentEvent("[DONE]");
  }
  std::string failure(const ApiError& error) override { return serverSentEvent(errorBody(Dialect::kOpenAi, error, "")); }
  std::string keepAlive() override { return ": keep-alive\n\n"; }

 private:
  Json head() const { return {{"id", identity_.id}, {"object", "text_completion"}, {"created", identity_.created}, {"model", identity_.model}}; }

  static Json choice(size_t index, const std::string& text, Json logprobs, Json finish_reason) {
    return {{"text", text}, {"index", index}, {"logprobs", std::move(logprobs)}, {"finish_reason", std::move(finish_reason)}};
  }

  std::string event(size_t index, const std::string& text, Json logprobs = nullptr, Json finish_reason = nullptr) const {
    Json json = head();
    json["choices"] = Json::array({choice(index, text, std::move(logprobs), std::move(finish_reason))});
    if (options_.include_usage) json["usage"] = nullptr;
    return serverSentEvent(dump(json));
  }

  static const char* finishReason(const Answer& answer) { return answer.end.reason == FinishReason::kLength ? "length" : "stop"; }

  /// In the old form: columns instead of entries. `offset`: bytes of text before the first token; moves on.
  Json logprobs(const AnswerPart& part, size_t& offset) const {
    if (!options_.logprobs) return nullptr;
    Json json = {{"tokens", Json::array()}, {"token_logprobs", Json::array()}, {"top_logprobs", Json::array()}, {"text_offset", Json::array()}};
    for (const GeneratedToken& token : part.tokens) {
      json["tokens"].push_back(token.token.bytes);
      json["token_logprobs"].push_back(token.token.logprob);
      Json top = Json::object();
      for (const TokenLogprob& alternative : token.alternatives) top[dumpable(alternative.bytes)] = alternative.logprob;
      json["top_logprobs"].push_back(std::move(top));
      json["text_offset"].push_back(offset);
      offset += token.token.bytes.size();
    }
    return json;
  }

  /// Keys that are only parts of characters stay different from each other.
  static std::string dumpable(const std::string& bytes) {
    if (!Json::parse(dump(Json(bytes)), nullptr, false).is_discarded() && dump(Json(bytes)).find("\xEF\xBF\xBD") == std::string::npos) return bytes;
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text = "bytes:";
    for (const unsigned char byte : bytes) text += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    return text;
  }

  Json usage(const std::vector<Answer>& answers) const {
    const size_t per_prompt = answers.size() / options_.prompts;
    int64_t prompt = 0, cached = 0, generated = 0;
    for (size_t i = 0; i < answers.size(); ++i) {
      generated += answers[i].end.usage.generated_tokens;
      if (i % per_prompt != 0) continue;
      prompt += answers[i].end.usage.prompt_tokens;
      cached += answers[i].end.usage.cached_tokens;
    }
    return {{"prompt_tokens", prompt}, {"completion_tokens", generated}, {"total_tokens", prompt + generated}, {"prompt_tokens_details", {{"cached_tokens", cached}}}};
  }

  const ReplyIdentity identity_;
  const CompletionReplyOptions options_;
  std::vector<size_t> offsets_;
};

Outcome<std::vector<int32_t>> readIds(const Json& array, const ModelInfo& model, const std::string& path) {
  std::vector<int32_t> ids;
  for (const Json& entry : array) {
    if (!entry.is_number_integer() || entry < 0 || entry >= model.vocab_size) return refuse(path, "expected token ids in [0, ", model.vocab_size, "), got ", describe(entry));
    ids.push_back(entry.get<int32_t>());
  }
  if (ids.empty()) return refuse(path, "expected at least one token");
  return ids;
}

struct Prompt {
  std::vector<int32_t> tokens;
  std::string text;
};

Outcome<Prompt> readPrompt(const Json& given, const ModelInfo& model, const std::string& path) {
  if (given.is_string()) {
    EXO_ASSIGN(auto tokens, encodePlain(model, given.get<std::string>(), path));
    return Prompt{std::move(tokens), given.get<std::string>()};
  }
  if (!given.is_array()) return refuse(path, "expected a string or token ids, got ", describe(given));
  EXO_ASSIGN(auto tokens, readIds(given, model, path));
  const std::string text = model.tokenizer ? model.tokenizer->decode(tokens, tokenizer::SkipSpecial::kYes) : "";
  return Prompt{std::move(tokens), text};
}

/// string | string[] | int[] | int[][].
Outcome<std::vector<Prompt>> readPrompts(const Fields& body, const ModelInfo& model) {
  const Json* given = body.find("prompt");
  if (!given) return refuse("prompt", "is missing");
  std::vector<Prompt> prompts;
  const bool one = !given->is_array() || given->empty() || given->front().is_number();
  if (one) {
    EXO_ASSIGN(Prompt prompt, readPrompt(*given, model, "prompt"));
    prompts.push_back(std::move(prompt));
    return prompts;
  }
  if (given->size() > static_cast<size_t>(kMaxChoices)) return refuse("prompt", "expected at most ", kMaxChoices, " prompts, got ", given->size());
  for (const Json& entry : *given) {
    EXO_ASSIGN(Prompt prompt, readPrompt(entry, model, "prompt[" + std::to_string(prompts.size()) + "]"));
    prompts.push_back(std::move(prompt));
  }
  return prompts;
}

Check refuseUnsupported(const Fields& body, bool echo, int64_t n) {
  EXO_TRY(body.refuseUnless("suffix", {""}, "this model does not fill in the middle"));
  EXO_TRY(body.refuseUnless("best_of", {1, n}, "only n answers are made, and all are shown"));
  if (echo && body.find("logprobs")) return refuse("echo", "log-probabilities of the prompt are not kept");
  return std::monostate{};
}

}  // namespace

Outcome<Job> readCompletion(const Json& json, const ModelInfo& model, ReplyIdentity identity) {
  const Fields body(json);
  EXO_TRY(checkModelName(body, model));
  EXO_ASSIGN(CompletionRequest request, readOpenAiSampling(body));
  EXO_ASSIGN(const auto max_tokens, body.integer("max_tokens", 0, INT32_MAX));
  EXO_ASSIGN(const auto logprobs, body.integer("logprobs", 0, kMaxLogprobs));
  EXO_ASSIGN(const auto n, body.integer("n", 1, kMaxChoices));
  EXO_ASSIGN(const auto stream, body.flag("stream"));
  EXO_ASSIGN(const auto echo, body.flag("echo"));
  EXO_TRY(refuseUnsupported(body, echo.value_or(false), n.value_or(1)));
  EXO_ASSIGN(const Json* stream_options, body.object("stream_options"));
  CompletionReplyOptions options{.logprobs = logprobs.has_value()};
  if (stream_options) {
    EXO_ASSIGN(const auto usage, Fields(*stream_options, "stream_options").flag("include_usage"));
    options.include_usage = usage.value_or(false);
  }
  EXO_ASSIGN(std::vector<Prompt> prompts, readPrompts(body, model));
  request.label = identity.id;
  request.max_tokens = max_tokens.value_or(16);   // OpenAI's default
  if (logprobs) request.logprobs = static_cast<int>(*logprobs);
  options.prompts = prompts.size();
  Job job;
  job.stream = stream.value_or(false);
  job.keep_tokens = logprobs.has_value();
  for (Prompt& prompt : prompts) {
    request.prompt = std::move(prompt.tokens);
    for (CompletionRequest& one : repeated(request, n.value_or(1))) {
      job.requests.push_back(std::move(one));
      options.echoes.push_back(echo.value_or(false) ? prompt.text : "");
    }
  }
  if (job.requests.size() > static_cast<size_t>(kMaxChoices)) return refuse("n", "expected at most ", kMaxChoices, " answers in all, got ", job.requests.size());
  AnswerForm form;
  EXO_TRY(readOpenAiForm(body, form));
  EXO_ASSIGN(const auto grammar, answerGrammar(form, Json::array(), {}));
  EXO_TRY(constrain(job.requests, grammar, form, model));
  job.reply = std::make_unique<CompletionReply>(std::move(identity), std::move(options));
  return job;
}

}  // namespace exo::serve
