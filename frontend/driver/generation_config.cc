#include "frontend/driver/generation_config.h"

#include "frontend/config/json_reader.h"

namespace exo {

namespace {

Status addIds(const std::vector<int64_t>& ids, int64_t vocab_size, const std::string& where, std::vector<int32_t>& out) {
  for (int64_t id : ids) {
    if (id < 0 || id >= vocab_size) return invalid(where, ": expected a token id below ", vocab_size, ", got ", id);
    out.push_back(static_cast<int32_t>(id));
  }
  return {};
}

}  // namespace

Result<GenerationConfig> readGenerationConfig(const Model& model) {
  std::vector<int64_t> eos = model.config.eos_token_ids, bos = model.config.bos_token_ids;
  std::string where = "config.json: eos_token_id";
  const std::filesystem::path path = model.directory / "generation_config.json";
  std::error_code error;
  if (!model.directory.empty() && std::filesystem::exists(path, error)) {
    EXO_ASSIGN(const Json json, readJsonFile(path));
    EXO_ASSIGN(const JsonObject object, JsonObject::root(json, path.filename().string()));
    const Json* id = object.find("eos_token_id");
    if (id && id->is_number_integer()) {
      EXO_ASSIGN(const int64_t single, object.integer("eos_token_id"));
      eos = {single};
      where = object.path("eos_token_id");
    } else if (id) {
      EXO_ASSIGN(const auto list, object.findIntegers("eos_token_id"));
      eos = *list;
      where = object.path("eos_token_id");
    }
  }
  GenerationConfig result;
  EXO_TRY(addIds(eos, model.config.vocab_size, where, result.eos_ids));
  std::vector<int32_t> first;
  EXO_TRY(addIds(bos, model.config.vocab_size, "config.json: bos_token_id", first));
  if (!first.empty()) result.bos_id = first[0];
  return result;
}

}  // namespace exo
