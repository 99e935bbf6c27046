// Strict typed reading of untrusted JSON. Every error names the file, the path of the field, what was expected and
// what was found: `config.json: num_attention_heads: expected an integer ≥ 1, got "eight"`.
// null is the same as absent, unless a caller asks contains(). Size, depth and number of values are limited before
// anything is built, so that a small hostile file cannot fill the memory.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/base/result.h"

namespace exo {

using Json = nlohmann::json;

struct JsonLimits {
  size_t max_bytes = 64u << 20;
  int max_depth = 100;
  size_t max_values = 8'000'000;  // about 400 MB of objects at worst
};

/// What to do with {"a": 1, "a": 2}: Python's json keeps the last; formats that forbid it refuse.
enum class DuplicateKeys { kKeepLast, kRefuse };

/// Parses `text`; `where` names it in errors (a file name).
Result<Json> parseJson(std::string_view text, const std::string& where, const JsonLimits& limits = {},
                       DuplicateKeys duplicates = DuplicateKeys::kKeepLast);

/// Reads and parses a file.  Errors: kNotFound, kIo, kInvalidInput.
Result<Json> readJsonFile(const std::filesystem::path& path, const JsonLimits& limits = {});

/// A short one-line form of a value for messages, cut at about 60 characters.
std::string describe(const Json& value);

struct IntegerRange {  // both ends included
  int64_t min = std::numeric_limits<int64_t>::min();
  int64_t max = std::numeric_limits<int64_t>::max();
};
struct NumberRange {  // both ends included
  double min = std::numeric_limits<double>::lowest();
  double max = std::numeric_limits<double>::max();
};

/// A view of one JSON object and its path. The Json must outlive it.
/// findX: absent or null gives nullopt.  x: absent is an error.  xOr: absent gives the fallback.
class JsonObject {
 public:
  /// Error if `json` is not an object.
  static Result<JsonObject> root(const Json& json, std::string where);

  bool contains(const std::string& key) const { return json_->contains(key); }
  /// Present and not null.
  bool has(const std::string& key) const { return find(key) != nullptr; }
  /// The value, or nullptr when absent or null.
  const Json* find(const std::string& key) const;
  const Json& json() const { return *json_; }
  const std::string& where() const { return where_; }
  /// "config.json: rope_scaling.factor"
  std::string path(const std::string& key) const { return where_ + ": " + prefix_ + key; }

  Result<std::optional<int64_t>> findInteger(const std::string& key, IntegerRange range = {}) const;
  Result<int64_t> integer(const std::string& key, IntegerRange range = {}) const;
  Result<int64_t> integerOr(const std::string& key, int64_t fallback, IntegerRange range = {}) const;

  Result<std::optional<double>> findNumber(const std::string& key, NumberRange range = {}) const;
  Result<double> number(const std::string& key, NumberRange range = {}) const;
  Result<double> numberOr(const std::string& key, double fallback, NumberRange range = {}) const;

  Result<bool> booleanOr(const std::string& key, bool fallback) const;

  Result<std::optional<std::string>> findString(const std::string& key) const;
  Result<std::string> string(const std::string& key) const;
  Result<std::string> stringOr(const std::string& key, std::string fallback) const;

  Result<std::optional<JsonObject>> findObject(const std::string& key) const;
  Result<JsonObject> object(const std::string& key) const;

  Result<std::optional<std::vector<int64_t>>> findIntegers(const std::string& key, IntegerRange range = {}) const;
  Result<std::optional<std::vector<std::string>>> findStrings(const std::string& key) const;

  /// "PATH: expected WHAT, got VALUE" (or "but it is missing").
  Error expected(const std::string& key, const std::string& what) const;
  /// Error naming the first key that is not in `known`, with the nearest known one.
  Status refuseUnknown(const std::vector<std::string>& known) const;

 private:
  JsonObject(const Json* json, std::string where, std::string prefix)
      : json_(json), where_(std::move(where)), prefix_(std::move(prefix)) {}
  const Json* json_;
  std::string where_;
  std::string prefix_;
};

}  // namespace exo
