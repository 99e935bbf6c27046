#include "frontend/driver/desk/desk.h"

#include <algorithm>
#include <future>

#include "executor/serve/dialects/ollama.h"
#include "executor/serve/dialects/openai_models.h"
#include "executor/serve/dialects/page.h"
#include "executor/serve/dialects/service.h"

namespace exo {
namespace {

using serve::ApiError;
using serve::Json;
using serve::RequestContext;
using serve::http::Request;
using serve::http::Response;

constexpr std::chrono::seconds kRetry{5};

int64_t unixTime(std::chrono::system_clock::time_point time) { return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count(); }

/// What fits nowhere, or is wrong, stays so; what waits for others may come.
ApiError asApiError(const Error& error) {
  switch (error.code()) {
    case ErrorCode::kDoesNotFit:
    case ErrorCode::kInvalidInput:
    case ErrorCode::kUnsupported:
    case ErrorCode::kMismatch: return {ApiError::Kind::kInvalid, error.message(), "model"};
    case ErrorCode::kNotFound: return {ApiError::Kind::kModelNotFound, error.message(), "model"};
    case ErrorCode::kTimeout:
    case ErrorCode::kCancelled: return {ApiError::Kind::kUnavailable, error.message(), "", kRetry};
    default: return {ApiError::Kind::kFailed, error.message(), ""};
  }
}

Json details(const StoredModel& stored) {
  return {{"parent_model", ""}, {"format", stored.format}, {"family", stored.family}, {"families", Json::array({stored.family})}, {"parameter_size", parametersShown(stored.parameters)}, {"quantization_level", stored.quantization}};
}

/// The path without the prefix that Ollama's endpoints may have.
std::string withoutPrefix(const std::string& path) { return path.starts_with("/ollama/api/") ? path.substr(7) : path; }

bool isGeneration(const std::string& path) {
  for (const char* one : {"/v1/chat/completions", "/chat/completions", "/v1/completions", "/completions", "/v1/responses", "/responses", "/v1/messages", "/v1/messages/count_tokens", "/v1/embeddings", "/embeddings", "/api/chat",
                          "/api/generate", "/api/show", "/api/embed", "/api/embeddings", "/api/pull"}) {
    if (path == one) return true;
  }
  return false;
}

/// Ollama's way to ask for nothing but the model.
bool asksForNothing(const std::string& path, const Json& body) {
  if (path == "/api/generate") return !body.contains("prompt") || body["prompt"] == "";
  return path == "/api/chat" && (!body.contains("messages") || body["messages"] == Json::array());
}

}  // namespace

Desk::Desk(Catalogue catalogue, HostOptions host, serve::http::AccessRules access) : catalogue_(std::move(catalogue)), access_(std::move(access)), pages_(serve::pageRoutes()), host_(std::move(host)) {}

/// No load may begin to relay any more.
Desk::~Desk() {
  host_.end([] { return false; });
}

std::optional<Response> Desk::admit(const Request& head) {
  const bool is_open = head.path == "/health" || serve::http::findRoute(pages_, head.method, head.path).route;
  return serve::refuseAccess(access_, head, is_open ? serve::http::Key::kNo : serve::http::Key::kYes);
}

Response Desk::refusal(const Request& head, int status, const std::string& message) {
  return serve::errorResponse(serve::dialectOf(head.path), {serve::kindOfStatus(status), message, ""}, serve::newId("req_"));
}

Status Desk::load(const std::string& name) {
  const auto entry = catalogue_.find(name);
  if (!entry) return makeError(ErrorCode::kNotFound, unknownModel(name).message);
  std::promise<Status> loaded;
  host_.acquire(*entry, [&](Result<ModelHost::Lease> lease) { loaded.set_value(lease.ok() ? Status() : Status(lease.error())); });
  return loaded.get_future().get();
}

void Desk::handle(Request request, ExchangePtr exchange) {
  if (answerHere(request, exchange)) return;
  if (draining_) return serve::respondError(*exchange, serve::contextOf(request), {ApiError::Kind::kUnavailable, "the server is draining: it finishes what it has begun, and stops", "", kRetry});
  if (request.method == "POST" && isGeneration(withoutPrefix(request.path))) return answerModelRequest(std::move(request), std::move(exchange));
  relayToAny(std::move(request), std::move(exchange));
}

/// What needs no model.
bool Desk::answerHere(const Request& request, const ExchangePtr& exchange) {
  const RequestContext context = serve::contextOf(request);
  const std::string path = withoutPrefix(request.path);
  const auto json = [&](const Json& body) {
    serve::respondJson(*exchange, context, serve::dump(body));
    return true;
  };
  if (path == "/health") {
    Response response = serve::http::textResponse(draining_ ? 503 : 200, serve::dump({{"status", draining_ ? "draining" : "ok"}}), "application/json");
    response.headers.insert(response.headers.end(), context.headers.begin(), context.headers.end());
    exchange->respond(std::move(response));
    return true;
  }
  if (const auto page = serve::http::findRoute(pages_, request.method, request.path); page.route) {
    page.route->run(request, page.rest, exchange);
    return true;
  }
  if (request.method != "GET" && request.method != "HEAD") return false;
  if (path == "/api/tags") return json(tags());
  if (path == "/api/ps") return json(running());
  if (path == "/api/version") return json(serve::ollamaVersion());
  if (path == "/v1/models" || path == "/models") return json(models());
  for (const char* base : {"/v1/models/", "/models/"}) {
    if (!path.starts_with(base)) continue;
    const std::string name = path.substr(std::string(base).size());
    const auto entry = catalogue_.find(name);
    if (!entry) serve::respondError(*exchange, context, unknownModel(name));
    else json(serve::storedModelEntry(entry->name, entry->stored.context_length, entry->stored.modified));
    return true;
  }
  return false;
}

void Desk::answerModelRequest(Request request, ExchangePtr exchange) {
  const RequestContext context = serve::contextOf(request);
  auto body = serve::parseBody(request.body);
  if (!body.ok()) return serve::respondError(*exchange, context, body.error());
  const serve::Fields fields(*body);
  const auto name = fields.neededText(!fields.find("model") && fields.find("name") ? "name" : "model");
  if (!name.ok()) return serve::respondError(*exchange, context, name.error());
  const auto entry = catalogue_.find(*name);
  if (!entry) return serve::respondError(*exchange, context, unknownModel(*name));
  const std::string path = withoutPrefix(request.path);
  if (path == "/api/pull") return serve::respondJson(*exchange, context, serve::dump({{"status", "success"}}));   // it is here
  bool unload_after = false;
  if (const Json* given = fields.find("keep_alive"); given && path.starts_with("/api/")) {
    const auto seconds = serve::parseKeepAlive(*given);
    if (!seconds.ok()) return serve::respondError(*exchange, context, seconds.error());
    unload_after = *seconds == 0;
  }
  if (asksForNothing(path, *body)) return loadOrUnload(*entry, *body, context, std::move(exchange));
  // The model's own server knows one name, and keeps its model.
  (*body)[fields.find("model") ? "model" : "name"] = entry->name;
  body->erase("keep_alive");
  request.body = serve::dump(*body);
  relayTo(*entry, std::move(request), unload_after, std::move(exchange));
}

void Desk::loadOrUnload(const CatalogueEntry& entry, const Json& body, RequestContext context, ExchangePtr exchange) {
  const auto seconds = body.contains("keep_alive") ? serve::parseKeepAlive(body["keep_alive"]) : serve::Outcome<double>(1.0);
  const auto answer = [entry, context, exchange, chat = body.contains("messages")](const std::optional<Error>& error, const char* reason) {
    if (error) return serve::respondError(*exchange, context, asApiError(*error));
    Json line = {{"model", entry.name}, {"created_at", serve::rfc3339(unixTime(std::chrono::system_clock::now()))}};
    if (chat) line["message"] = {{"role", "assistant"}, {"content", ""}};
    else line["response"] = "";
    line["done"] = true;
    line["done_reason"] = reason;
    serve::respondJson(*exchange, context, serve::dump(line));
  };
  if (seconds.ok() && *seconds == 0) {
    return host_.unload(entry.name, [answer](const Status& done) { answer(done.ok() ? std::nullopt : std::optional(done.error()), "unload"); });
  }
  host_.acquire(entry, [answer](const Result<ModelHost::Lease>& lease) { answer(lease.ok() ? std::nullopt : std::optional(lease.error()), "load"); });
}

void Desk::relayTo(const CatalogueEntry& entry, Request request, bool unload_after, ExchangePtr exchange) {
  host_.acquire(entry, [this, entry, request = std::move(request), unload_after, exchange](Result<ModelHost::Lease> lease) mutable {
    if (!lease.ok()) return serve::respondError(*exchange, serve::contextOf(request), asApiError(lease.error()));
    relay(std::move(lease).value(), entry.name, std::move(request), unload_after, std::move(exchange));
  });
}

/// What names no model (what the dashboard shows, metrics, tokens) is asked of the one used last.
void Desk::relayToAny(Request request, ExchangePtr exchange) {
  const auto loaded = host_.loaded();
  const auto entry = loaded.empty() ? std::nullopt : catalogue_.find(loaded[0].name);
  if (!entry) return serve::respondError(*exchange, serve::contextOf(request), {ApiError::Kind::kUnavailable, "no model is loaded; a request that names one loads it", "", kRetry});
  relayTo(*entry, std::move(request), false, std::move(exchange));
}

void Desk::relay(ModelHost::Lease lease, const std::string& name, Request request, bool unload_after, ExchangePtr exchange) {
  const RequestContext context = serve::contextOf(request);
  const auto held = std::make_shared<ModelHost::Lease>(std::move(lease));
  const std::string url = held->url();
  auto done = [this, held = held, name, unload_after]() mutable {
    held.reset();
    if (unload_after) host_.unload(name, [](const Status&) {});
  };
  // A model whose nodes have died is let go, so that the next request starts it anew.
  auto failure = [this, name, context](const std::string& why) {
    host_.unload(name, [](const Status&) {});
    return serve::errorResponse(context.dialect, {ApiError::Kind::kUnavailable, "the nodes of " + name + " do not answer: " + why, "", kRetry}, context.request_id);
  };
  relay_.start(url, std::move(request), context.headers, std::move(exchange), std::move(done), std::move(failure));
}

ApiError Desk::unknownModel(const std::string& name) const {
  std::string names;
  for (const CatalogueEntry& entry : catalogue_.list()) names += (names.empty() ? "" : ", ") + entry.name;
  return {ApiError::Kind::kModelNotFound, "model '" + name + "' not found; this server has: " + (names.empty() ? "none (exoc pull downloads them)" : names), "model"};
}

Desk::Json Desk::tags() const {
  Json list = Json::array();
  for (const CatalogueEntry& entry : catalogue_.list())
    list.push_back({{"name", entry.name}, {"model", entry.name}, {"modified_at", serve::rfc3339(entry.stored.modified)}, {"size", entry.stored.size_bytes}, {"digest", entry.stored.digest}, {"details", details(entry.stored)}});
  return {{"models", std::move(list)}};
}

Desk::Json Desk::running() const {
  constexpr int64_t kCentury = 3'155'760'000;
  Json list = Json::array();
  for (const HostedModel& hosted : host_.loaded()) {
    const auto entry = catalogue_.find(hosted.name);
    Json model = {{"name", hosted.name}, {"model", hosted.name}, {"size", hosted.memory_bytes}, {"size_vram", 0}, {"digest", entry ? entry->stored.digest : ""}};
    model["details"] = details(entry ? entry->stored : StoredModel{});
    model["nodes"] = hosted.num_nodes;
    model["requests"] = {{"running", hosted.requests}};
    model["expires_at"] = serve::rfc3339(unixTime(hosted.loaded_at) + kCentury);
    if (entry) model["context_length"] = entry->stored.context_length;
    list.push_back(std::move(model));
  }
  return {{"models", std::move(list)}};
}

Desk::Json Desk::models() const {
  Json data = Json::array();
  for (const CatalogueEntry& entry : catalogue_.list()) data.push_back(serve::storedModelEntry(entry.name, entry.stored.context_length, entry.stored.modified));
  const Json first = data.empty() ? Json(nullptr) : data.front()["id"], last = data.empty() ? Json(nullptr) : data.back()["id"];
  return {{"object", "list"}, {"data", std::move(data)}, {"has_more", false}, {"first_id", first}, {"last_id", last}};
}

}  // namespace exo
