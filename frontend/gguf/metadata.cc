#include "frontend/gguf/gguf.h"

namespace exo {

Error GgufMetadata::missing(std::string_view key, const char* what) const { return invalid(where_, ": ", key, ": expected ", what, ", but it is missing"); }

template <class T>
Result<const T*> GgufMetadata::find(std::string_view key, const char* what) const {
  const auto found = values_.find(key);
  if (found == values_.end()) return static_cast<const T*>(nullptr);
  const T* value = std::get_if<T>(&found->second.value);
  if (!value) return invalid(where_, ": ", key, ": expected ", what, ", got another type");
  return value;
}

namespace {

template <class T>
std::optional<T> copied(const T* value) {
  return value ? std::optional<T>(*value) : std::nullopt;
}

}  // namespace

Result<std::optional<int64_t>> GgufMetadata::findInteger(std::string_view key) const {
  EXO_ASSIGN(const int64_t* value, find<int64_t>(key, "an integer"));
  return copied(value);
}

Result<std::optional<double>> GgufMetadata::findNumber(std::string_view key) const {
  EXO_ASSIGN(const double* value, find<double>(key, "a floating point number"));
  return copied(value);
}

Result<std::optional<bool>> GgufMetadata::findBoolean(std::string_view key) const {
  EXO_ASSIGN(const bool* value, find<bool>(key, "true or false"));
  return copied(value);
}

Result<std::optional<std::string_view>> GgufMetadata::findText(std::string_view key) const {
  EXO_ASSIGN(const std::string_view* value, find<std::string_view>(key, "a text"));
  return copied(value);
}

Result<int64_t> GgufMetadata::integer(std::string_view key) const {
  EXO_ASSIGN(const auto value, findInteger(key));
  if (!value) return missing(key, "an integer");
  return *value;
}

Result<std::string_view> GgufMetadata::text(std::string_view key) const {
  EXO_ASSIGN(const auto value, findText(key));
  if (!value) return missing(key, "a text");
  return *value;
}

Result<const std::vector<std::string_view>*> GgufMetadata::findTexts(std::string_view key) const { return find<std::vector<std::string_view>>(key, "a list of texts"); }
Result<const std::vector<int64_t>*> GgufMetadata::findIntegers(std::string_view key) const { return find<std::vector<int64_t>>(key, "a list of integers"); }
Result<const std::vector<double>*> GgufMetadata::findNumbers(std::string_view key) const { return find<std::vector<double>>(key, "a list of floating point numbers"); }

}  // namespace exo
