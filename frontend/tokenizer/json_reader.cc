// The border to nlohmann-json: its throws end here.
#include "frontend/tokenizer/json_reader.h"

#include <algorithm>

namespace exo::tokenizer {
namespace {

const nlohmann::json kNull;

/// A short rendering of a value for error messages: the kind, and small scalars themselves.
std::string describe(const nlohmann::json& value) {
  if (value.is_number() || value.is_boolean()) return value.dump();
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    return text.size() <= 40 ? "\"" + text + "\"" : "a string of " + std::to_string(text.size()) + " bytes";
  }
  return value.type_name();
}

}  // namespace

Result<nlohmann::json> parseJson(std::string_view text, std::string_view file) {
  try {
    return nlohmann::json::parse(text.begin(), text.end());
  } catch (const nlohmann::json::exception& error) {
    return invalid(file, ": not valid JSON: ", error.what());
  }
}

JsonNode JsonNode::member(const char* key) const {
  const auto found = value_->find(key);
  return JsonNode(found == value_->end() ? kNull : *found, path_.empty() ? key : path_ + "." + key);
}

JsonNode JsonNode::element(size_t index) const {
  return JsonNode((*value_)[index], path_ + "[" + std::to_string(index) + "]");
}

Error JsonNode::wrong(std::string_view expected) const {
  return invalid("tokenizer: ", path_, " must be ", expected, ", got ", describe(*value_));
}

Error JsonNode::refuse(std::string_view what) const {
  return makeError(ErrorCode::kUnsupported, "tokenizer: ", path_, ": ", what, " is not supported");
}

Status JsonNode::requireObject() const {
  if (!value_->is_object()) return wrong("an object");
  return {};
}

Status JsonNode::requireKeys(std::initializer_list<std::string_view> keys) const {
  EXO_TRY(requireObject());
  for (const auto& [key, unused] : value_->items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) return refuse("the field \"" + key + "\"");
  }
  return {};
}

Result<std::string> JsonNode::string() const {
  if (!value_->is_string()) return wrong("a string");
  return value_->get<std::string>();
}

Result<bool> JsonNode::boolean() const {
  if (!value_->is_boolean()) return wrong("true or false");
  return value_->get<bool>();
}

Result<bool> JsonNode::booleanOr(bool fallback) const {
  if (isNull()) return fallback;
  return boolean();
}

Result<int64_t> JsonNode::index(int64_t limit) const {
  const bool fits = value_->is_number_unsigned() && value_->get<uint64_t>() < static_cast<uint64_t>(limit);
  if (!fits) return wrong("an integer from 0 to " + std::to_string(limit - 1));
  return value_->get<int64_t>();
}

Result<size_t> JsonNode::arraySize() const {
  if (!value_->is_array()) return wrong("a list");
  return value_->size();
}

Result<std::string> JsonNode::typeName() const {
  EXO_TRY(requireObject());
  return member("type").string();
}

}  // namespace exo::tokenizer
