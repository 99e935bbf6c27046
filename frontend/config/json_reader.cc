#include "frontend/config/json_reader.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>

#include "frontend/config/suggest.h"

namespace exo {
namespace {

// Counts brackets and separators outside strings, so that the limits hold before the parser allocates anything.
// Malformed text passes through here; the parser says what is wrong with it.
Status checkLimits(std::string_view text, const std::string& where, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes)
    return invalid(where, ": expected at most ", limits.max_bytes, " bytes of JSON, got ", text.size());
  int depth = 0;
  size_t values = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '[' || c == '{') ++depth, ++values;
    if (c == ']' || c == '}') --depth;
    if (c == ',') ++values;
    if (depth > limits.max_depth)
      return invalid(where, ": expected JSON nested at most ", limits.max_depth, " deep, got more at byte ", i);
    if (values > limits.max_values)
      return invalid(where, ": expected at most ", limits.max_values, " JSON values, got more at byte ", i);
  }
  return {};
}

// Remembers the keys of the objects now open and the first key seen twice.
class KeyWatch {
 public:
  bool onEvent(Json::parse_event_t event, const Json& parsed) {
    if (event == Json::parse_event_t::object_start) open_.emplace_back();
    if (event == Json::parse_event_t::object_end && !open_.empty()) open_.pop_back();
    if (event == Json::parse_event_t::key && !open_.empty()) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!open_.back().insert(key).second && !duplicate_) duplicate_ = key;
    }
    return true;
  }
  const std::optional<std::string>& duplicate() const { return duplicate_; }

 private:
  std::vector<std::set<std::string>> open_;
  std::optional<std::string> duplicate_;
};

Result<Json> parseWithin(std::string_view text, const std::string& where, DuplicateKeys duplicates) {
  try {
    if (duplicates == DuplicateKeys::kKeepLast) return Json::parse(text.begin(), text.end());
    KeyWatch watch;
    const auto callback = [&](int, Json::parse_event_t event, Json& parsed) { return watch.onEvent(event, parsed); };
    Json json = Json::parse(text.begin(), text.end(), callback);
    if (watch.duplicate()) return invalid(where, ": expected unique keys, got \"", *watch.duplicate(), "\" twice");
    return json;
  } catch (const nlohmann::json::exception& error) {
    return invalid(where, ": expected JSON: ", error.what());
  } catch (const std::bad_alloc&) {
    return makeError(ErrorCode::kDoesNotFit, where, ": not enough memory to parse ", text.size(), " bytes of JSON");
  }
}

std::string describe(IntegerRange range) {
  const bool no_max = range.max == IntegerRange{}.max;
  const bool no_min = range.min == IntegerRange{}.min;
  if (no_max && no_min) return "an integer";
  if (no_max) return "an integer ≥ " + std::to_string(range.min);
  if (no_min) return "an integer ≤ " + std::to_string(range.max);
  return "an integer from " + std::to_string(range.min) + " to " + std::to_string(range.max);
}

std::string describe(NumberRange range) {
  const bool no_max = range.max == NumberRange{}.max;
  const bool no_min = range.min == NumberRange{}.min;
  std::ostringstream out;
  out << "a number";
  if (!no_min && !no_max) out << " from " << range.min << " to " << range.max;
  if (!no_min && no_max) out << " ≥ " << range.min;
  if (no_min && !no_max) out << " ≤ " << range.max;
  return out.str();
}

std::optional<int64_t> asInteger(const Json& value, IntegerRange range) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(IntegerRange{}.max)) return std::nullopt;
  const int64_t number = value.get<int64_t>();
  if (number < range.min || number > range.max) return std::nullopt;
  return number;
}

}  // namespace

Result<Json> parseJson(std::string_view text, const std::string& where, const JsonLimits& limits,
                       DuplicateKeys duplicates) {
  EXO_TRY(checkLimits(text, where, limits));
  return parseWithin(text, where, duplicates);
}

Result<Json> readJsonFile(const std::filesystem::path& path, const JsonLimits& limits) {
  std::error_code code;
  if (!std::filesystem::exists(path, code)) return makeError(ErrorCode::kNotFound, path.string(), ": no such file");
  if (!std::filesystem::is_regular_file(path, code)) return invalid(path.string(), ": expected a regular file");
  const uintmax_t size_bytes = std::filesystem::file_size(path, code);
  if (code) return makeError(ErrorCode::kIo, path.string(), ": cannot read its size: ", code.message());
  if (size_bytes > limits.max_bytes)
    return invalid(path.string(), ": expected at most ", limits.max_bytes, " bytes of JSON, got ", size_bytes);
  std::ifstream file(path, std::ios::binary);
  std::string text(size_bytes, '\0');
  file.read(text.data(), static_cast<std::streamsize>(size_bytes));
  if (!file) return makeError(ErrorCode::kIo, path.string(), ": cannot read ", size_bytes, " bytes");
  return parseJson(text, path.string(), limits);
}

std::string describe(const Json& value) {
  constexpr size_t kShown = 60;
  if (value.is_object()) return "an object of " + std::to_string(value.size()) + " keys";
  if (value.is_array() && value.size() > 8) return "a list of " + std::to_string(value.size()) + " values";
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);  // ASCII: may be cut anywhere
  if (text.size() > kShown) text = text.substr(0, kShown) + "…";
  return text;
}

Result<JsonObject> JsonObject::root(const Json& json, std::string where) {
  if (!json.is_object()) return invalid(where, ": expected a JSON object, got ", describe(json));
  return JsonObject(&json, std::move(where), "");
}

const Json* JsonObject::find(const std::string& key) const {
  const auto found = json_->find(key);
  return found == json_->end() || found->is_null() ? nullptr : &*found;
}

Error JsonObject::expected(const std::string& key, const std::string& what) const {
  const Json* value = find(key);
  if (value) return invalid(path(key), ": expected ", what, ", got ", describe(*value));
  return invalid(path(key), ": expected ", what, ", but it is ", contains(key) ? "null" : "missing");
}

Status JsonObject::refuseUnknown(const std::vector<std::string>& known) const {
  for (const auto& [key, value] : json_->items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    return invalid(path(key), ": unknown key", didYouMean(key, known));
  }
  return {};
}

Result<std::optional<int64_t>> JsonObject::findInteger(const std::string& key, IntegerRange range) const {
  const Json* value = find(key);
  if (!value) return std::optional<int64_t>();
  const std::optional<int64_t> number = asInteger(*value, range);
  if (!number) return expected(key, describe(range));
  return number;
}

Result<int64_t> JsonObject::integer(const std::string& key, IntegerRange range) const {
  EXO_ASSIGN(const auto value, findInteger(key, range));
  if (!value) return expected(key, describe(range));
  return *value;
}

Result<int64_t> JsonObject::integerOr(const std::string& key, int64_t fallback, IntegerRange range) const {
  EXO_ASSIGN(const auto value, findInteger(key, range));
  return value.value_or(fallback);
}

Result<std::optional<double>> JsonObject::findNumber(const std::string& key, NumberRange range) const {
  const Json* value = find(key);
  if (!value) return std::optional<double>();
  if (!value->is_number()) return expected(key, describe(range));
  const double number = value->get<double>();
  if (!std::isfinite(number) || number < range.min || number > range.max) return expected(key, describe(range));
  return std::optional<double>(number);
}

Result<double> JsonObject::number(const std::string& key, NumberRange range) const {
  EXO_ASSIGN(const auto value, findNumber(key, range));
  if (!value) return expected(key, describe(range));
  return *value;
}

Result<double> JsonObject::numberOr(const std::string& key, double fallback, NumberRange range) const {
  EXO_ASSIGN(const auto value, findNumber(key, range));
  return value.value_or(fallback);
}

Result<bool> JsonObject::booleanOr(const std::string& key, bool fallback) const {
  const Json* value = find(key);
  if (!value) return fallback;
  if (!value->is_boolean()) return expected(key, "true or false");
  return value->get<bool>();
}

Result<std::optional<std::string>> JsonObject::findString(const std::string& key) const {
  const Json* value = find(key);
  if (!value) return std::optional<std::string>();
  if (!value->is_string()) return expected(key, "a string");
  return std::optional<std::string>(value->get<std::string>());
}

Result<std::string> JsonObject::string(const std::string& key) const {
  EXO_ASSIGN(auto value, findString(key));
  if (!value) return expected(key, "a string");
  return std::move(*value);
}

Result<std::string> JsonObject::stringOr(const std::string& key, std::string fallback) const {
  EXO_ASSIGN(auto value, findString(key));
  return value ? std::move(*value) : std::move(fallback);
}

Result<std::optional<JsonObject>> JsonObject::findObject(const std::string& key) const {
  const Json* value = find(key);
  if (!value) return std::optional<JsonObject>();
  if (!value->is_object()) return expected(key, "an object");
  return std::optional<JsonObject>(JsonObject(value, where_, prefix_ + key + "."));
}

Result<JsonObject> JsonObject::object(const std::string& key) const {
  EXO_ASSIGN(auto value, findObject(key));
  if (!value) return expected(key, "an object");
  return std::move(*value);
}

Result<std::optional<std::vector<int64_t>>> JsonObject::findIntegers(const std::string& key, IntegerRange range) const {
  const Json* value = find(key);
  if (!value) return std::optional<std::vector<int64_t>>();
  if (!value->is_array()) return expected(key, "a list");
  std::vector<int64_t> numbers;
  for (const Json& element : *value) {
    const std::optional<int64_t> number = asInteger(element, range);
    if (!number)
      return invalid(path(key), "[", numbers.size(), "]: expected ", describe(range), ", got ", describe(element));
    numbers.push_back(*number);
  }
  return std::optional(std::move(numbers));
}

Result<std::optional<std::vector<std::string>>> JsonObject::findStrings(const std::string& key) const {
  const Json* value = find(key);
  if (!value) return std::optional<std::vector<std::string>>();
  if (!value->is_array()) return expected(key, "a list of strings");
  std::vector<std::string> strings;
  for (const Json& element : *value) {
    if (!element.is_string())
      return invalid(path(key), "[", strings.size(), "]: expected a string, got ", describe(element));
    strings.push_back(element.get<std::string>());
  }
  return std::optional(std::move(strings));
}

}  // namespace exo
