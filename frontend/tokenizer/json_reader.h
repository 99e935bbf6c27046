// Reading of untrusted JSON: a node knows its path, so that every error says where in the file it stands.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "ir/base/result.h"

namespace exo::tokenizer {

/// Parses `text`; `file` is named in the error.
Result<nlohmann::json> parseJson(std::string_view text, std::string_view file);

/// A value inside a document that must outlive it, and its path ("model.vocab").
class JsonNode {
 public:
  JsonNode(const nlohmann::json& value, std::string path) : value_(&value), path_(std::move(path)) {}

  const nlohmann::json& value() const { return *value_; }
  const std::string& path() const { return path_; }
  bool isNull() const { return value_->is_null(); }

  /// The member, or a null node when it is absent. The node must be an object (see requireObject).
  JsonNode member(const char* key) const;
  JsonNode element(size_t index) const;

  Status requireObject() const;
  /// Refuses by name every member that is not in `keys`.
  Status requireKeys(std::initializer_list<std::string_view> keys) const;

  Result<std::string> string() const;
  Result<bool> boolean() const;
  Result<bool> booleanOr(bool fallback) const;
  /// An integer in [0, limit).
  Result<int64_t> index(int64_t limit) const;
  /// Number of elements; the node must be an array.
  Result<size_t> arraySize() const;
  /// The member "type" of an object.
  Result<std::string> typeName() const;

  Error wrong(std::string_view expected) const;
  Error refuse(std::string_view what) const;

 private:
  const nlohmann::json* value_;
  std::string path_;
};

}  // namespace exo::tokenizer
