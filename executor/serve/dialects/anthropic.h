// Anthropic's messages: POST /v1/messages and /v1/messages/count_tokens.
#pragma once

#include "executor/serve/dialects/fields.h"
#include "executor/serve/dialects/reply.h"

namespace exo::serve {

Outcome<Job> readAnthropicMessage(const Json& body, const ModelInfo& model, ReplyIdentity identity);
/// {input_tokens}: what a message with this body would say.
Outcome<Json> countAnthropicTokens(const Json& body, const ModelInfo& model);

}  // namespace exo::serve
