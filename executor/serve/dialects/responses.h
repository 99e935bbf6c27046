// OpenAI's responses: POST /v1/responses. Nothing is stored, so what refers to stored responses is refused.
#pragma once

#include "executor/serve/dialects/fields.h"
#include "executor/serve/dialects/reply.h"

namespace exo::serve {

Outcome<Job> readResponse(const Json& body, const ModelInfo& model, ReplyIdentity identity);

}  // namespace exo::serve
