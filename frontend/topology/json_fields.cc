#include "frontend/topology/json_fields.h"

#include <algorithm>

namespace exo {
namespace {

size_t editDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string shown(std::string_view text) {
  std::string out = "\"";
  for (char c : text.substr(0, 64)) out += static_cast<unsigned char>(c) < 32 || c == 127 ? '?' : c;
  return out + (text.size() > 64 ? "...\"" : "\"");
}

std::string nearest(std::string_view wanted, std::span<const std::string_view> known) {
  if (wanted.size() > 64 || known.empty()) return "";
  const auto best = std::min_element(known.begin(), known.end(), [&](std::string_view a, std::string_view b) {
    return editDistance(wanted, a) < editDistance(wanted, b);
  });
  return " (nearest known: \"" + std::string(*best) + "\")";
}

std::string kindOf(const Json& json) {
  if (json.is_string()) return "the string " + shown(json.get_ref<const std::string&>());
  if (json.is_number()) return json.dump();
  return json.is_object() ? "an object" : json.is_array() ? "an array" : json.is_null() ? "null" : json.dump();
}

Status checkFields(const Json& object, const std::string& where, std::span<const std::string_view> known) {
  if (!object.is_object()) return invalid(where, ": must be an object, got ", kindOf(object));
  for (const auto& [key, value] : object.items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      return invalid(where, ": unknown field ", shown(key), nearest(key, known));
  return {};
}

Result<std::string> stringField(const Json& object, const char* key, const std::string& where) {
  if (!object.contains(key)) return invalid(where, ": field \"", key, "\" is missing");
  if (!object[key].is_string()) return invalid(where, ".", key, ": must be a string, got ", kindOf(object[key]));
  return object[key].get<std::string>();
}

Status readFigure(const Json& object, std::string_view key, const std::string& where, double& figure) {
  const auto found = object.find(std::string(key));
  if (found == object.end()) return {};
  if (!found->is_number()) return invalid(where, ".", key, ": must be a number, got ", kindOf(*found));
  figure = found->get<double>();
  if (!(figure > 0)) return invalid(where, ".", key, ": must be above 0 (leave it out if it is unknown), got ", found->dump());
  return {};
}

Result<std::vector<Json>> arrayField(const Json& object, const char* key, const std::string& where) {
  if (!object.contains(key)) return std::vector<Json>();
  if (!object[key].is_array()) return invalid(where, ": ", key, ": must be an array, got ", kindOf(object[key]));
  return std::vector<Json>(object[key].begin(), object[key].end());
}

Result<uint64_t> bytesField(const Json& object, const char* key, const std::string& where) {
  const Json& value = object[key];
  if (!value.is_number_unsigned()) return invalid(where, ".", key, ": must be a whole number of bytes, got ", kindOf(value));
  return value.get<uint64_t>();
}

}  // namespace exo
