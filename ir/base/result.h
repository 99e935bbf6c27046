// Result<T> and Error: the one error scheme for what the world can cause (bad files, lost peers, full memory).
// EXO_CHECK is for what only we can cause: it prints the expression and aborts. Nothing of ours throws.
#pragma once

#include <cstdlib>
#include <iostream>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <variant>

namespace exo {

/// What kind of failure it is; decides the exit code of the command line tools.
enum class ErrorCode { kInvalidInput, kUnsupported, kNotFound, kIo, kDoesNotFit, kTimeout, kPeerLost, kCancelled, kMismatch };

/// What is lost, so that the executor knows whether to fail the request, reconnect, or stop.
enum class ErrorScope { kRequest, kLink, kRank, kJob };

const char* name(ErrorCode code);
const char* name(ErrorScope scope);

class [[nodiscard]] Error {
 public:
  Error(ErrorCode code, std::string message, ErrorScope scope = ErrorScope::kRequest)
      : code_(code), scope_(scope), message_(std::move(message)) {}

  ErrorCode code() const { return code_; }
  ErrorScope scope() const { return scope_; }
  const std::string& message() const { return message_; }

  /// Adds where it happened, outermost last: "while reading model.safetensors".
  Error note(const std::string& where) && {
    message_ += "\n  " + where;
    return std::move(*this);
  }

 private:
  ErrorCode code_;
  ErrorScope scope_;
  std::string message_;
};

std::ostream& operator<<(std::ostream& out, const Error& error);

/// Builds a message from streamable parts: makeError(ErrorCode::kIo, "cannot open ", path, ": ", strerror(errno)).
template <class... Parts>
Error makeError(ErrorCode code, const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return Error(code, out.str());
}
template <class... Parts>
Error makeError(ErrorCode code, ErrorScope scope, const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return Error(code, out.str(), scope);
}
template <class... Parts>
Error invalid(const Parts&... parts) {
  return makeError(ErrorCode::kInvalidInput, parts...);
}

template <class T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const Error& error() const& { return std::get<1>(state_); }
  Error&& error() && { return std::get<1>(std::move(state_)); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}
  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const& { return *error_; }
  Error&& error() && { return std::move(*error_); }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

namespace detail {
/// Collects the message of a failed check and aborts when it goes out of scope.
struct CheckFailure {
  CheckFailure(const char* expression, const char* file, int line) { std::cerr << file << ":" << line << ": check failed: " << expression << " "; }
  [[noreturn]] ~CheckFailure() {
    std::cerr << std::endl;
    std::abort();
  }
  std::ostream& stream() { return std::cerr; }
};
}  // namespace detail

#define EXO_CHECK(condition) \
  while (!(condition)) ::exo::detail::CheckFailure(#condition, __FILE__, __LINE__).stream()

#define EXO_CONCAT_INNER(a, b) a##b
#define EXO_CONCAT(a, b) EXO_CONCAT_INNER(a, b)

/// Returns the error of a Result<void> or Result<T> from the enclosing function.
#define EXO_TRY(expression)                                              \
  do {                                                                   \
    if (auto exo_try = (expression); !exo_try.ok()) return std::move(exo_try).error(); \
  } while (false)

/// EXO_ASSIGN(auto x, f()): binds the value or returns the error.
#define EXO_ASSIGN(declaration, expression) EXO_ASSIGN_IMPL(EXO_CONCAT(exo_result_, __LINE__), declaration, expression)
#define EXO_ASSIGN_IMPL(temporary, declaration, expression) \
  auto temporary = (expression);                            \
  if (!temporary.ok()) return std::move(temporary).error(); \
  declaration = std::move(temporary).value()

}  // namespace exo
