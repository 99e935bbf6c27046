#include "executor/serve/dialects/service.h"

#include <iterator>

#include "executor/serve/dialects/anthropic.h"
#include "executor/serve/dialects/metrics_text.h"
#include "executor/serve/dialects/ollama.h"
#include "executor/serve/dialects/openai_chat.h"
#include "executor/serve/dialects/openai_completions.h"
#include "executor/serve/dialects/openai_fields.h"
#include "executor/serve/dialects/openai_models.h"
#include "executor/serve/dialects/page.h"
#include "executor/serve/dialects/responses.h"
#include "executor/serve/dialects/tokenize.h"

namespace exo::serve {
namespace {

using ExchangePtr = std::shared_ptr<http::Exchange>;

/// Of a dialect: a body to a Job.
using ReadJob = Outcome<Job> (*)(const Json& body, const ModelInfo& model, ReplyIdentity identity);
/// A body to an answer, without the engine.
using Answering = Outcome<Json> (*)(const Json& body, const ModelInfo& model);

std::optional<ApiError> notServing(EngineState state) {
  if (state == EngineState::kServing) return std::nullopt;
  return ApiError{ApiError::Kind::kUnavailable, std::string("the model is not served now: ") + name(state), "", std::chrono::seconds(state == EngineState::kLoading ? 2 : 5)};
}

void generate(CompletionEngine& engine, const http::Request& request, ExchangePtr exchange, ReadJob read, const char* id_prefix) {
  RequestContext context = contextOf(request);
  if (const auto error = notServing(engine.state())) return respondError(*exchange, context, *error);
  const auto body = parseBody(request.body);
  if (!body.ok()) return respondError(*exchange, context, body.error());
  auto job = read(*body, engine.model(), {newId(id_prefix), engine.model().name, unixSeconds()});
  if (!job.ok()) return respondError(*exchange, context, job.error());
  runJob(engine, std::move(*job), std::move(context), std::move(exchange));
}

void answer(CompletionEngine& engine, const http::Request& request, http::Exchange& exchange, Answering answering) {
  const RequestContext context = contextOf(request);
  const auto body = parseBody(request.body);
  if (!body.ok()) return respondError(exchange, context, body.error());
  const auto result = answering(*body, engine.model());
  if (!result.ok()) return respondError(exchange, context, result.error());
  respondJson(exchange, context, dump(*result));
}

void health(const CompletionEngine& engine, const http::Request& request, http::Exchange& exchange) {
  const EngineState state = engine.state();
  http::Response response = http::textResponse(state == EngineState::kServing ? 200 : 503, dump({{"status", state == EngineState::kServing ? "ok" : name(state)}}), "application/json");
  for (http::Header& header : contextOf(request).headers) response.headers.push_back(std::move(header));
  exchange.respond(std::move(response));
}

Outcome<Json> refuseEmbeddings(const Json&, const ModelInfo& model) {
  return refuse("model", "\"", model.name, "\" is a generative model and makes no embeddings");
}

/// Ollama's clients load a model by asking for nothing.
void generateOllama(CompletionEngine& engine, const http::Request& request, ExchangePtr exchange, ReadJob read) {
  const auto body = parseBody(request.body);
  const auto load_only = body.ok() ? ollamaLoadOnly(*body, engine.model()) : Outcome<std::optional<Json>>(body.error());
  if (!load_only.ok()) return respondError(*exchange, contextOf(request), load_only.error());
  if (*load_only) return respondJson(*exchange, contextOf(request), dump(**load_only));
  generate(engine, request, std::move(exchange), read, "ollama-");
}

/// What Ollama does with stored models, and this server does not.
Outcome<Json> refuseManaging(const Json&, const ModelInfo&) {
  return refuse("", "this server serves one model, and does not manage stored ones");
}

ApiError accessError(http::Access access) {
  const bool key = access == http::Access::kNoKey || access == http::Access::kBadKey;
  return {key ? ApiError::Kind::kUnauthorized : ApiError::Kind::kForbidden, http::explain(access), ""};
}

http::Response refusalOf(const http::Request& head, const ApiError& error) {
  RequestContext context = contextOf(head);
  http::Response response = errorResponse(context.dialect, error, context.request_id);
  for (http::Header& header : context.headers) response.headers.push_back(std::move(header));
  return response;
}

}  // namespace

RequestContext contextOf(const http::Request& request) {
  RequestContext context{dialectOf(request.path), newId("req_"), http::corsHeaders(request)};
  context.headers.push_back({"x-request-id", context.request_id});
  context.headers.push_back({"request-id", context.request_id});
  return context;
}

std::optional<http::Response> refuseAccess(const http::AccessRules& rules, const http::Request& head, http::Key key) {
  if (const http::Access access = http::checkBrowser(rules, head); access != http::Access::kAllowed)
    return errorResponse(dialectOf(head.path), accessError(access), newId("req_"));   // without the headers that would let the page read it
  if (head.method == "OPTIONS") {
    http::Response response = http::preflight(head);
    for (http::Header& header : http::corsHeaders(head)) response.headers.push_back(std::move(header));
    return response;
  }
  if (const http::Access access = http::checkKey(rules, head); access != http::Access::kAllowed && key == http::Key::kYes) return refusalOf(head, accessError(access));
  return std::nullopt;
}

Service::Service(CompletionEngine& engine, http::AccessRules access) : engine_(engine), access_(std::move(access)), started_(unixSeconds()) {
  const auto add = [this](const char* method, std::initializer_list<const char*> patterns, auto run) {
    for (const char* pattern : patterns) routes_.push_back({method, pattern, run});
  };
  const auto generates = [this](ReadJob read, const char* id_prefix) {
    return [this, read, id_prefix](http::Request request, const std::string&, ExchangePtr exchange) { generate(engine_, request, std::move(exchange), read, id_prefix); };
  };
  const auto answers = [this](Answering answering) {
    return [this, answering](http::Request request, const std::string&, ExchangePtr exchange) { answer(engine_, request, *exchange, answering); };
  };
  const auto shows = [](auto make) {
    return [make](http::Request request, const std::string&, ExchangePtr exchange) { respondJson(*exchange, contextOf(request), dump(make())); };
  };

  mount(pageRoutes());
  mount({{"GET", "/health", [this](const http::Request& request, const std::string&, const ExchangePtr& exchange) { health(engine_, request, *exchange); }, http::Key::kNo}});
  add("GET", {"/metrics"}, [this](http::Request, const std::string&, ExchangePtr exchange) {
    const http::Server* server = server_;
    exchange->respond(http::textResponse(200, metricsText(engine_.metrics(), engine_.state(), server ? server->stats() : http::ServerStats{}), "text/plain; version=0.0.4; charset=utf-8"));
  });
  add("POST", {"/v1/chat/completions", "/chat/completions"}, generates(readChatCompletion, "chatcmpl-"));
  add("POST", {"/v1/completions", "/completions"}, generates(readCompletion, "cmpl-"));
  add("POST", {"/v1/embeddings", "/embeddings"}, answers(refuseEmbeddings));
  add("GET", {"/v1/models", "/models"}, shows([this] { return modelList(engine_.model(), started_); }));
  add("GET", {"/v1/models/*", "/models/*"}, [this](http::Request request, const std::string& name, ExchangePtr exchange) {
    if (!isModelName(name, engine_.model())) return respondError(*exchange, contextOf(request), unknownModel(name, engine_.model()));
    respondJson(*exchange, contextOf(request), dump(modelEntry(engine_.model(), started_)));
  });
  add("POST", {"/tokenize"}, answers(tokenize));
  add("POST", {"/detokenize"}, answers(detokenize));
  add("POST", {"/v1/responses", "/responses"}, generates(readResponse, "resp_"));
  add("POST", {"/v1/messages"}, generates(readAnthropicMessage, "msg_"));
  add("POST", {"/v1/messages/count_tokens"}, answers(countAnthropicTokens));

  const auto generates_ollama = [this](ReadJob read) {
    return [this, read](http::Request request, const std::string&, ExchangePtr exchange) { generateOllama(engine_, request, std::move(exchange), read); };
  };
  add("GET", {"/ollama"}, [](http::Request request, const std::string&, ExchangePtr exchange) {
    http::Response response = http::textResponse(200, "Ollama is running");   // the words that clients look for
    for (http::Header& header : contextOf(request).headers) response.headers.push_back(std::move(header));
    exchange->respond(std::move(response));
  });
  for (const std::string base : {"/api/", "/ollama/api/"}) {
    const auto at = [&](const char* method, std::initializer_list<const char*> names, auto run) {
      for (const char* name : names) add(method, {(base + name).c_str()}, run);
    };
    at("POST", {"chat"}, generates_ollama(readOllamaChat));
    at("POST", {"generate"}, generates_ollama(readOllamaGenerate));
    at("GET", {"version"}, shows([] { return ollamaVersion(); }));
    at("GET", {"tags"}, shows([this] { return ollamaTags(engine_.model(), started_); }));
    at("GET", {"ps"}, shows([this] { return ollamaRunning(engine_.model(), engine_.metrics(), started_); }));
    at("POST", {"show"}, answers(ollamaShow));
    at("POST", {"pull"}, answers(ollamaPull));
    at("POST", {"embed", "embeddings"}, answers(refuseEmbeddings));
    at("POST", {"create", "copy", "push"}, answers(refuseManaging));
    at("DELETE", {"delete"}, answers(refuseManaging));
  }
}

void Service::mount(std::vector<http::Route> routes) { std::move(routes.begin(), routes.end(), std::back_inserter(routes_)); }

std::optional<http::Response> Service::admit(const http::Request& head) {
  const http::RouteMatch match = http::findRoute(routes_, head.method, head.path);
  // What there is beside open paths is nobody's business without a key.
  if (auto refused = refuseAccess(access_, head, match.route ? match.route->key : http::Key::kYes)) return refused;
  if (match.route) return std::nullopt;
  if (match.allowed.empty()) return refusalOf(head, {ApiError::Kind::kNotFound, "there is nothing at " + head.path, ""});
  http::Response response = refusalOf(head, {ApiError::Kind::kWrongMethod, head.path + " takes " + match.allowed + ", not " + head.method, ""});
  response.headers.push_back({"Allow", match.allowed});
  return response;
}

void Service::handle(http::Request request, std::shared_ptr<http::Exchange> exchange) {
  const http::RouteMatch match = http::findRoute(routes_, request.method, request.path);
  EXO_CHECK(match.route != nullptr) << request.path;   // admitted
  match.route->run(std::move(request), match.rest, std::move(exchange));
}

http::Response Service::refusal(const http::Request& head, int status, const std::string& message) {
  return errorResponse(dialectOf(head.path), {kindOfStatus(status), message, ""}, newId("req_"));
}

}  // namespace exo::serve
