// Fields of an untrusted JSON file, and what is said of bad ones: every error names the place, what was expected and what came.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "ir/base/result.h"

namespace exo {

using Json = nlohmann::ordered_json;

/// Text of an untrusted file for an error message: short and printable.
std::string shown(std::string_view text);
/// " (nearest known: ...)"; empty where nothing can be near.
std::string nearest(std::string_view wanted, std::span<const std::string_view> known);
/// "the string "x"", "7", "an array"
std::string kindOf(const Json& json);

/// Is it an object of known fields?
Status checkFields(const Json& object, const std::string& where, std::span<const std::string_view> known);
Result<std::string> stringField(const Json& object, const char* key, const std::string& where);
/// The array under `key`, or nothing where there is none.
Result<std::vector<Json>> arrayField(const Json& object, const char* key, const std::string& where);
/// A number above 0; `figure` stays as it is where there is none.
Status readFigure(const Json& object, std::string_view key, const std::string& where, double& figure);
Result<uint64_t> bytesField(const Json& object, const char* key, const std::string& where);

}  // namespace exo
