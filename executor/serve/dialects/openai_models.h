// GET /v1/models: OpenAI's list, which is Anthropic's as well: their keys do not collide.
#pragma once

#include "executor/serve/completion.h"
#include "executor/serve/dialects/fields.h"

namespace exo::serve {

/// created: seconds since 1970.
Json storedModelEntry(const std::string& name, int64_t context_length, int64_t created);
Json modelEntry(const ModelInfo& model, int64_t created);
Json modelList(const ModelInfo& model, int64_t created);
/// "2026-01-02T03:04:05Z"
std::string rfc3339(int64_t unix_seconds);

}  // namespace exo::serve
