#include "frontend/config/text_part.h"

#include <algorithm>
#include <array>

#include "frontend/config/foreign_keys.h"

namespace exo {
namespace {

/// A file of model_type `whole` holds a language model of model_type `text`.
struct Wrapper {
  const char* whole;
  const char* architecture;
  const char* text;
};
constexpr std::array kWrappers = {
    Wrapper{"gemma3", "Gemma3ForConditionalGeneration", "gemma3_text"},
    Wrapper{"mistral3", "Mistral3ForConditionalGeneration", "mistral"},
};

/// What a file says once for all its parts.
constexpr std::array kShared = {"bos_token_id", "dtype", "eos_token_id", "tie_word_embeddings", "torch_dtype"};
constexpr std::array kQuantizations = {"quantization", "quantization_config", "compression_config"};

const Wrapper* wrapperOf(const JsonObject& json) {
  const Json* type = json.find("model_type");
  const auto found = std::find_if(kWrappers.begin(), kWrappers.end(), [&](const Wrapper& wrapper) { return type && *type == wrapper.whole; });
  return found == kWrappers.end() ? nullptr : &*found;
}

Status checkArchitecture(const JsonObject& json, const Wrapper& wrapper) {
  EXO_ASSIGN(const auto architectures, json.findStrings("architectures"));
  if (!architectures || architectures->empty()) return {};
  if (std::find(architectures->begin(), architectures->end(), wrapper.architecture) != architectures->end()) return {};
  return makeError(ErrorCode::kUnsupported, json.path("architectures"), ": expected ", wrapper.architecture, " for model_type ", wrapper.whole, ", got ",
                   describe(*json.find("architectures")));
}

/// MLX names quantised layers by their tensors.
Json withTextNames(const Json& quantization) {
  if (!quantization.is_object()) return quantization;
  Json renamed = Json::object();
  for (const auto& [key, value] : quantization.items()) renamed[textTensorName(key)] = value;
  return renamed;
}

std::string named(const JsonObject& json, const std::string& part) {
  const Json& value = *json.find(part);
  return part + (value.is_object() && value.contains("model_type") && value["model_type"].is_string() ? " (" + value["model_type"].get<std::string>() + ")" : "");
}

}  // namespace

Result<std::optional<TextPart>> findTextPart(const JsonObject& json) {
  const Wrapper* wrapper = wrapperOf(json);
  if (!wrapper) return std::optional<TextPart>();
  EXO_TRY(checkArchitecture(json, *wrapper));
  EXO_TRY(refuseForeignKeys(json, {"text_config", "vision_config"}));
  EXO_ASSIGN(const JsonObject text, json.object("text_config"));
  EXO_ASSIGN(const std::string type, text.stringOr("model_type", wrapper->text));
  if (type != wrapper->text)
    return makeError(ErrorCode::kUnsupported, text.path("model_type"), ": expected ", wrapper->text, " in a file of model_type ", wrapper->whole, ", got ", describe(Json(type)));
  TextPart part{text.json(), {}};
  part.json["model_type"] = type;
  for (const char* key : kShared)
    if (!text.contains(key) && json.contains(key)) part.json[key] = *json.json().find(key);
  for (const char* key : kQuantizations)
    if (!text.contains(key) && json.has(key)) part.json[key] = withTextNames(*json.find(key));
  if (json.has("vision_config")) part.ignored.push_back(named(json, "vision_config"));
  return std::optional(std::move(part));
}

std::string textTensorName(std::string name) {
  for (const auto& [prefix, text] : {std::pair("language_model.model.", "model."), std::pair("language_model.lm_head.", "lm_head."), std::pair("model.language_model.", "model.")})
    if (name.starts_with(prefix)) return text + name.substr(std::string_view(prefix).size());
  return name;
}

}  // namespace exo
