// Fields that OpenAI's endpoints have in common, and messages as chat completions write them.
#pragma once

#include "executor/serve/dialects/chat_prompt.h"
#include "executor/serve/dialects/fields.h"
#include "executor/serve/dialects/reply.h"

namespace exo::serve {

constexpr int64_t kMaxChoices = 128;

/// temperature, top_p, top_k, min_p, typical_p, penalties, logit_bias, seed, min_tokens, ignore_eos, stop: all but the prompt
/// and the number of tokens.
Outcome<CompletionRequest> readOpenAiSampling(const Fields& body);

/// Error: it is not the model that is served. "name:latest" is "name".
Check checkModelName(const Fields& body, const ModelInfo& model);
bool isModelName(const std::string& name, const ModelInfo& model);
ApiError unknownModel(const std::string& name, const ModelInfo& model);

/// Messages in the form that ChatInput has.
Outcome<Json> readOpenAiMessages(const Fields& body);
/// A text, or parts of which each is a text of one of the types, joined by line ends. Other types are refused.
Outcome<std::string> readTextContent(const Json& content, const std::string& path, std::initializer_list<const char*> text_types);
/// {type: "function", function: {…}}, or flat {type, name, …} as responses have them: the tools and form.strict.
Check readOpenAiTools(const Fields& body, ChatInput& input);
/// response_format, or what vLLM's clients say instead.
Check readOpenAiForm(const Fields& body, AnswerForm& form);

/// `n` requests with seeds one after the other.
std::vector<CompletionRequest> repeated(const CompletionRequest& request, int64_t n);

/// {token, logprob, bytes, top_logprobs}.
Json logprobEntry(const GeneratedToken& token);
/// Of prompt and answers; the prompt counts once.
struct UsageSum {
  int64_t prompt = 0, cached = 0, generated = 0, reasoning = 0;
};
UsageSum sumUsage(const std::vector<Answer>& answers);

}  // namespace exo::serve
