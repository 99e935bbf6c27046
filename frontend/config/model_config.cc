#include "frontend/config/model_config.h"

#include "frontend/config/families/family.h"
#include "frontend/config/gguf_config.h"
#include "frontend/config/suggest.h"
#include "frontend/config/text_part.h"

namespace exo {
namespace {

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

Result<const Family*> familyOfType(const JsonObject& json, const std::string& type) {
  for (const Family& family : families())
    if (family.defaults.family == type) return &family;
  const std::vector<std::string> known = knownFamilies();
  return makeError(ErrorCode::kUnsupported, json.path("model_type"), ": expected one of ", joined(known), ", got ",
                   describe(Json(type)), didYouMean(type, known));
}

Result<const Family*> findFamily(const JsonObject& json) {
  EXO_ASSIGN(const auto type, json.findString("model_type"));
  EXO_ASSIGN(const auto architectures, json.findStrings("architectures"));
  if (type) return familyOfType(json, *type);
  for (const std::string& architecture : architectures.value_or(std::vector<std::string>()))
    for (const Family& family : families())
      if (family.architecture == architecture) return &family;
  return json.expected("model_type", "one of " + joined(knownFamilies()));
}

/// A classifier or an embedding model shares the model_type, but has no output projection to a vocabulary.
Status checkArchitecture(const JsonObject& json, const Family& family) {
  EXO_ASSIGN(const auto architectures, json.findStrings("architectures"));
  if (!architectures || architectures->empty()) return {};
  for (const std::string& architecture : *architectures)
    if (architecture == family.architecture) return {};
  return makeError(ErrorCode::kUnsupported, json.path("architectures"), ": expected ", family.architecture,
                   " for model_type ", family.defaults.family, ", got ", describe(*json.find("architectures")));
}

}  // namespace

std::vector<std::string> knownFamilies() {
  std::vector<std::string> names;
  for (const Family& family : families()) names.push_back(family.defaults.family);
  return names;
}

Result<ModelConfig> readModelConfig(const Json& json, const std::string& where) {
  EXO_ASSIGN(const JsonObject object, JsonObject::root(json, where));
  EXO_ASSIGN(auto text, findTextPart(object));
  if (text) {
    EXO_ASSIGN(ModelConfig config, readModelConfig(text->json, where + ": text_config"));
    config.ignored = std::move(text->ignored);
    return config;
  }
  EXO_ASSIGN(const Family* family, findFamily(object));
  EXO_TRY(checkArchitecture(object, *family));
  EXO_ASSIGN(ModelConfig config, readCommon(object, family->defaults));
  EXO_TRY(family->readSpecific(object, config));
  EXO_TRY(checkParameterCount(object, config));
  return config;
}

Result<ModelConfig> parseModelConfig(std::string_view text, const std::string& where) {
  EXO_ASSIGN(const Json json, parseJson(text, where));
  return readModelConfig(json, where);
}

Result<ModelConfig> loadModelConfig(const std::filesystem::path& path) {
  if (isGguf(path)) {
    EXO_ASSIGN(const GgufModel model, GgufModel::open(path));
    return readGgufConfig(model);
  }
  std::error_code code;
  const std::filesystem::path file = std::filesystem::is_directory(path, code) ? path / "config.json" : path;
  EXO_ASSIGN(const Json json, readJsonFile(file));
  return readModelConfig(json, file.string());
}

}  // namespace exo
