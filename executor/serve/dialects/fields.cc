#include "executor/serve/dialects/fields.h"

#include <cmath>

namespace exo::serve {
namespace {

/// The deepest nesting of brackets outside of strings.
int depthOf(const std::string& text) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

/// The library's words without its numbering: "[json.exception.parse_error.101] parse error at line 1…".
std::string reasonOf(const nlohmann::json::exception& failure) {
  const std::string text = failure.what();
  const size_t end = text.find("] ");
  return end == std::string::npos ? text : text.substr(end + 2);
}

}  // namespace

Outcome<Json> parseBody(const std::string& body) {
  if (body.find_first_not_of(" \t\r\n") == std::string::npos) return refuse("", "the body is empty; expected a JSON object");
  const int depth = depthOf(body);
  if (depth > kMaxJsonDepth) return refuse("", "the body is nested ", depth, " deep; at most ", kMaxJsonDepth, " are accepted");
  try {
    Json json = Json::parse(body);
    if (!json.is_object()) return refuse("", "the body must be a JSON object, got ", describe(json));
    return json;
  } catch (const nlohmann::json::exception& failure) {
    return refuse("", "the body is not valid JSON: ", reasonOf(failure));
  }
}

std::string dump(const Json& json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string describe(const Json& value) {
  constexpr size_t kShown = 40;
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  const std::string text = dump(value);
  if (text.size() <= kShown) return text;
  size_t end = kShown;
  while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // between characters
  return text.substr(0, end) + "…";
}

Outcome<Fields> Fields::of(const Json& value, const std::string& path) {
  if (!value.is_object()) return refuse(path, "expected an object, got ", describe(value));
  return Fields(value, path);
}

const Json* Fields::find(const char* name) const {
  const auto found = object_->find(name);
  return found == object_->end() || found->is_null() ? nullptr : &*found;
}

Outcome<std::optional<double>> Fields::number(const char* name, double low, double high) const {
  const Json* value = find(name);
  if (!value) return std::optional<double>();
  if (!value->is_number()) return refuse(pathOf(name), "expected a number, got ", describe(*value));
  const double number = value->get<double>();
  if (!(number >= low && number <= high)) return refuse(pathOf(name), "must be in [", low, ", ", high, "], got ", describe(*value));
  return std::optional(number);
}

Outcome<std::optional<int64_t>> Fields::integer(const char* name, int64_t low, int64_t high) const {
  const Json* value = find(name);
  if (!value) return std::optional<int64_t>();
  const bool whole = value->is_number_integer() || (value->is_number_float() && std::abs(value->get<double>()) < 9e15 && std::floor(value->get<double>()) == value->get<double>());
  if (!whole) return refuse(pathOf(name), "expected an integer, got ", describe(*value));
  const bool beyond = value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  const int64_t number = beyond ? INT64_MAX : value->get<int64_t>();
  if (beyond ? high != INT64_MAX : number < low || number > high) return refuse(pathOf(name), "must be in [", low, ", ", high, "], got ", describe(*value));
  return std::optional(number);
}

Outcome<std::optional<bool>> Fields::flag(const char* name) const {
  const Json* value = find(name);
  if (!value) return std::optional<bool>();
  if (!value->is_boolean()) return refuse(pathOf(name), "expected true or false, got ", describe(*value));
  return std::optional(value->get<bool>());
}

Outcome<std::optional<std::string>> Fields::text(const char* name) const {
  const Json* value = find(name);
  if (!value) return std::optional<std::string>();
  if (!value->is_string()) return refuse(pathOf(name), "expected a string, got ", describe(*value));
  return std::optional(value->get<std::string>());
}

Outcome<std::string> Fields::neededText(const char* name) const {
  EXO_ASSIGN(auto value, text(name));
  if (!value) return refuse(pathOf(name), "is missing; expected a string");
  return std::move(*value);
}

Outcome<const Json*> Fields::object(const char* name) const {
  const Json* value = find(name);
  if (value && !value->is_object()) return refuse(pathOf(name), "expected an object, got ", describe(*value));
  return value;
}

Outcome<const Json*> Fields::array(const char* name) const {
  const Json* value = find(name);
  if (value && !value->is_array()) return refuse(pathOf(name), "expected an array, got ", describe(*value));
  return value;
}

Outcome<std::vector<std::string>> Fields::texts(const char* name) const {
  const Json* value = find(name);
  if (!value) return std::vector<std::string>();
  if (value->is_string()) return std::vector{value->get<std::string>()};
  if (!value->is_array()) return refuse(pathOf(name), "expected a string or an array of strings, got ", describe(*value));
  std::vector<std::string> texts;
  for (const Json& entry : *value) {
    if (!entry.is_string()) return refuse(pathOf(name) + "[" + std::to_string(texts.size()) + "]", "expected a string, got ", describe(entry));
    texts.push_back(entry.get<std::string>());
  }
  return texts;
}

Check Fields::refuseUnless(const char* name, std::initializer_list<Json> harmless, const std::string& why) const {
  const Json* value = find(name);
  if (!value) return std::monostate{};
  for (const Json& accepted : harmless) {
    if (*value == accepted) return std::monostate{};
  }
  return refuse(pathOf(name), why, ", got ", describe(*value));
}

}  // namespace exo::serve
