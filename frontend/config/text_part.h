// Models that take more than text (gemma3: images too): in their config.json the language model is one part among others, "text_config", and
// so are its weights. Only that part is read; the others are named.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "frontend/config/json_reader.h"

namespace exo {

struct TextPart {
  Json json;                         // as a configuration of its own, with what the whole file says for all its parts
  std::vector<std::string> ignored;  // "vision_config (siglip_vision_model)"
};

/// Nothing for a file of a language model.  Error: parts that are not known, a text part of another family.
Result<std::optional<TextPart>> findTextPart(const JsonObject& json);

/// The name that a tensor of the language model has in a checkpoint of it alone: "language_model.model.norm.weight" and
/// "model.language_model.norm.weight" become "model.norm.weight". Other names stay.
std::string textTensorName(std::string name);

}  // namespace exo
