// POST /v1/completions: text in, text on.
#pragma once

#include "executor/serve/dialects/fields.h"
#include "executor/serve/dialects/reply.h"

namespace exo::serve {

Outcome<Job> readCompletion(const Json& body, const ModelInfo& model, ReplyIdentity identity);

}  // namespace exo::serve
