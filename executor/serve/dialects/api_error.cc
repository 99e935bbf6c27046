#include "executor/serve/dialects/api_error.h"

#include <array>
#include <nlohmann/json.hpp>

namespace exo::serve {
namespace {

using Json = nlohmann::ordered_json;
using Kind = ApiError::Kind;

struct Names {
  Kind kind;
  int status;
  const char *openai_type, *openai_code, *anthropic_type;
};
constexpr std::array<Names, 14> kNames = {{
    {Kind::kInvalid, 400, "invalid_request_error", nullptr, "invalid_request_error"},
    {Kind::kContextLength, 400, "invalid_request_error", "context_length_exceeded", "invalid_request_error"},
    {Kind::kUnauthorized, 401, "authentication_error", "invalid_api_key", "authentication_error"},
    {Kind::kForbidden, 403, "permission_error", nullptr, "permission_error"},
    {Kind::kNotFound, 404, "invalid_request_error", "not_found", "not_found_error"},
    {Kind::kModelNotFound, 404, "invalid_request_error", "model_not_found", "not_found_error"},
    {Kind::kWrongMethod, 405, "invalid_request_error", "method_not_allowed", "invalid_request_error"},
    {Kind::kTimeout, 408, "timeout_error", nullptr, "timeout_error"},
    {Kind::kTooLarge, 413, "invalid_request_error", "request_too_large", "request_too_large"},
    {Kind::kUnsupportedCoding, 415, "invalid_request_error", nullptr, "invalid_request_error"},
    {Kind::kQueueFull, 429, "rate_limit_exceeded", "queue_full", "rate_limit_error"},
    {Kind::kHeadTooLarge, 431, "invalid_request_error", nullptr, "invalid_request_error"},
    {Kind::kFailed, 500, "server_error", nullptr, "api_error"},
    {Kind::kUnavailable, 503, "unavailable_error", nullptr, "overloaded_error"},
}};

const Names& names(Kind kind) {
  const Names& found = kNames[static_cast<size_t>(kind)];
  EXO_CHECK(found.kind == kind) << "kNames is out of order";
  return found;
}

Json textOrNull(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

}  // namespace

Dialect dialectOf(const std::string& path) {
  if (path.starts_with("/v1/messages")) return Dialect::kAnthropic;
  return path.starts_with("/api/") || path.starts_with("/ollama") ? Dialect::kOllama : Dialect::kOpenAi;
}

int status(Kind kind) { return names(kind).status; }

Kind kindOfStatus(int status) {
  for (const Names& entry : kNames) {
    if (entry.status == status) return entry.kind;
  }
  return status < 500 ? Kind::kInvalid : Kind::kFailed;
}

std::string errorBody(Dialect dialect, const ApiError& error, const std::string& request_id) {
  const Names& entry = names(error.kind);
  const auto dump = [](const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); };
  switch (dialect) {
    case Dialect::kOllama: return dump({{"error", error.message}});
    case Dialect::kAnthropic:
      return dump({{"type", "error"}, {"error", {{"type", entry.anthropic_type}, {"message", error.message}}}, {"request_id", request_id}});
    case Dialect::kOpenAi: break;
  }
  return dump({{"error",
                {{"message", error.message},
                 {"type", entry.openai_type},
                 {"param", textOrNull(error.param)},
                 {"code", entry.openai_code ? Json(entry.openai_code) : Json(nullptr)}}}});
}

http::Response errorResponse(Dialect dialect, const ApiError& error, const std::string& request_id) {
  http::Response response = http::textResponse(status(error.kind), errorBody(dialect, error, request_id), "application/json");
  if (error.kind == Kind::kUnauthorized) response.headers.push_back({"WWW-Authenticate", "Bearer"});
  if (error.kind == Kind::kFailed) response.headers.push_back({"x-should-retry", "false"});
  if (error.retry_after) {
    const int64_t ms = error.retry_after->count();
    response.headers.push_back({"Retry-After", std::to_string((ms + 999) / 1000)});
    response.headers.push_back({"retry-after-ms", std::to_string(ms)});
  }
  return response;
}

ApiError fromRefusal(const Refusal& refusal) {
  switch (refusal.reason) {
    case Refusal::Reason::kInvalid: return {Kind::kInvalid, refusal.message, ""};
    case Refusal::Reason::kPromptTooLong: {
      std::ostringstream message;
      message << "the prompt has " << refusal.prompt_tokens << " tokens, and the model's context " << refusal.context_length << ", in which the answer has to fit too";
      return {Kind::kContextLength, message.str(), "messages"};
    }
    case Refusal::Reason::kQueueFull: return {Kind::kQueueFull, refusal.message, "", refusal.retry_after};
    case Refusal::Reason::kStopping: return {Kind::kUnavailable, refusal.message, "", std::chrono::seconds(5)};
    case Refusal::Reason::kFailed: return {Kind::kUnavailable, refusal.message, "", std::chrono::seconds(5)};
  }
  return {Kind::kFailed, refusal.message, ""};
}

ApiError fromError(const Error& error) {
  if (error.scope() == ErrorScope::kRequest && (error.code() == ErrorCode::kInvalidInput || error.code() == ErrorCode::kUnsupported))
    return {Kind::kInvalid, error.message(), ""};
  return {Kind::kFailed, error.message(), ""};
}

}  // namespace exo::serve
