// Reading JSON bodies field by field. Bodies are untrusted: depth and encoding are checked before, type and range with each
// field, and every error names the field: "messages[1].role: expected a string, got 3". null is the same as absent.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "executor/serve/dialects/api_error.h"

namespace exo::serve {

using Json = nlohmann::ordered_json;   // in the client's order, which templates print

constexpr int kMaxJsonDepth = 64;

/// One JSON object, and nothing behind it.
Outcome<Json> parseBody(const std::string& body);
/// As text for clients. Text that models made is valid UTF-8; what comes from elsewhere is mended.
std::string dump(const Json& json);

/// An object inside of a body. Points into it; where `path` is empty it is the body.
class Fields {
 public:
  explicit Fields(const Json& object, std::string path = {}) : object_(&object), path_(std::move(path)) {}
  /// Error: not an object.
  static Outcome<Fields> of(const Json& value, const std::string& path);

  const Json* find(const char* name) const;       // null if absent or null
  std::string pathOf(const char* name) const { return path_.empty() ? name : path_ + "." + name; }

  Outcome<std::optional<double>> number(const char* name, double low, double high) const;
  Outcome<std::optional<int64_t>> integer(const char* name, int64_t low, int64_t high) const;
  Outcome<std::optional<bool>> flag(const char* name) const;
  Outcome<std::optional<std::string>> text(const char* name) const;
  Outcome<std::string> neededText(const char* name) const;
  Outcome<const Json*> object(const char* name) const;   // null if absent
  Outcome<const Json*> array(const char* name) const;    // null if absent
  /// A text, or an array of texts; empty if absent.
  Outcome<std::vector<std::string>> texts(const char* name) const;

  /// Refuses the field unless it is absent or one of `harmless`, with which it asks for nothing.
  Check refuseUnless(const char* name, std::initializer_list<Json> harmless, const std::string& why) const;

 private:
  const Json* object_;
  std::string path_;
};

/// For errors: "3", "\"a text of some len…\"", "an object".
std::string describe(const Json& value);

}  // namespace exo::serve
