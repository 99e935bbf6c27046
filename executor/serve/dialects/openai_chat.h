// POST /v1/chat/completions.
#pragma once

#include "executor/serve/dialects/fields.h"
#include "executor/serve/dialects/reply.h"

namespace exo::serve {

Outcome<Job> readChatCompletion(const Json& body, const ModelInfo& model, ReplyIdentity identity);

}  // namespace exo::serve
