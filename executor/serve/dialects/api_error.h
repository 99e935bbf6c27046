// What can be wrong with a request, and how each dialect says so. Clients choose the exception they throw by the status
// alone, and repeat what is 408, 409, 429 or 500 and above.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <variant>

#include "executor/serve/completion.h"
#include "executor/serve/http/message.h"
#include "ir/base/result.h"

namespace exo::serve {

enum class Dialect { kOpenAi, kAnthropic, kOllama };
/// By the path alone, so that it is known for requests that are refused early.
Dialect dialectOf(const std::string& path);

struct ApiError {
  enum class Kind {
    kInvalid,          // 400
    kContextLength,    // 400: prompt and answer do not fit the context
    kUnauthorized,     // 401
    kForbidden,        // 403
    kNotFound,         // 404: no such path
    kModelNotFound,    // 404
    kWrongMethod,      // 405
    kTimeout,          // 408
    kTooLarge,         // 413
    kUnsupportedCoding,// 415
    kQueueFull,        // 429
    kHeadTooLarge,     // 431
    kFailed,           // 500; not to be repeated: the cluster would compute it again, and fail again
    kUnavailable       // 503: loading, stopping, or failed for good
  };
  Kind kind = Kind::kInvalid;
  std::string message;
  std::string param;                                       // the field, where there is one: "messages[1].content"
  std::optional<std::chrono::milliseconds> retry_after = std::nullopt;
};

int status(ApiError::Kind kind);
ApiError::Kind kindOfStatus(int status);
/// The body, in the dialect's form.
std::string errorBody(Dialect dialect, const ApiError& error, const std::string& request_id);
/// The body with status and headers.
http::Response errorResponse(Dialect dialect, const ApiError& error, const std::string& request_id);

ApiError fromRefusal(const Refusal& refusal);
/// Of an error that ended a request.
ApiError fromError(const Error& error);

/// Result, for what requests can cause: same shape, so that EXO_TRY and EXO_ASSIGN serve both.
template <class T>
class [[nodiscard]] Outcome {
 public:
  Outcome(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Outcome(ApiError error) : state_(std::in_place_index<1>, std::move(error)) {}
  Outcome(const Error& error) : Outcome(fromError(error)) {}

  bool ok() const { return state_.index() == 0; }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const ApiError& error() const& { return std::get<1>(state_); }
  ApiError&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, ApiError> state_;
};
using Check = Outcome<std::monostate>;

/// refuse("temperature", "must be in [0, 2], got ", value): the message begins with the field.
template <class... Parts>
ApiError refuse(const std::string& param, const Parts&... parts) {
  std::ostringstream out;
  if (!param.empty()) out << param << ": ";
  (out << ... << parts);
  return {ApiError::Kind::kInvalid, out.str(), param};
}

}  // namespace exo::serve
