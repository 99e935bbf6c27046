// Runs a Job: submits it to the engine, and carries what the engine says to the client through the dialect's Reply.
#pragma once

#include "executor/serve/dialects/reply.h"
#include "executor/serve/http/exchange.h"

namespace exo::serve {

/// What every answer to one HTTP request carries.
struct RequestContext {
  Dialect dialect = Dialect::kOpenAi;
  std::string request_id;
  http::Headers headers;   // of every answer: request id, CORS
};

/// Answers the exchange: at once if the engine refuses, otherwise as the engine goes on. A client that leaves, or does not read,
/// cancels all its requests. Errors that come before the first token are plain responses with their status, in streams too.
void runJob(CompletionEngine& engine, Job job, RequestContext context, std::shared_ptr<http::Exchange> exchange);

void respondError(http::Exchange& exchange, const RequestContext& context, const ApiError& error);
void respondJson(http::Exchange& exchange, const RequestContext& context, std::string body);

}  // namespace exo::serve
