// Ollama's /api/*: lines of JSON, streamed unless asked otherwise.
#pragma once

#include "executor/serve/dialects/fields.h"
#include "executor/serve/dialects/reply.h"

namespace exo::serve {

Outcome<Job> readOllamaChat(const Json& body, const ModelInfo& model, ReplyIdentity identity);
Outcome<Job> readOllamaGenerate(const Json& body, const ModelInfo& model, ReplyIdentity identity);

/// A chat without messages, a generate without prompt: asks for the model to be there, which it is. The answer to it; nothing for
/// others.
Outcome<std::optional<Json>> ollamaLoadOnly(const Json& body, const ModelInfo& model);

// Bodies of answers.
Json ollamaVersion();
Json ollamaTags(const ModelInfo& model, int64_t started);
Json ollamaRunning(const ModelInfo& model, const Metrics& metrics, int64_t started);
Outcome<Json> ollamaShow(const Json& body, const ModelInfo& model);
/// Only of the model that is there.
Outcome<Json> ollamaPull(const Json& body, const ModelInfo& model);

/// Seconds of keep_alive: a number, or a Go duration ("1h30m", "-1m", "500ms"). Negative: for ever.
Outcome<double> parseKeepAlive(const Json& value);

}  // namespace exo::serve
