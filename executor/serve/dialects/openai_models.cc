#include "executor/serve/dialects/openai_models.h"

#include <ctime>

namespace exo::serve {

std::string rfc3339(int64_t unix_seconds) {
  const std::time_t time = unix_seconds;
  std::tm parts{};
  ::gmtime_r(&time, &parts);
  char text[40];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts));
}

Json storedModelEntry(const std::string& name, int64_t context_length, int64_t created) {
  return {{"id", name},
          {"object", "model"},
          {"created", created},
          {"owned_by", "exo"},
          {"context_length", context_length},
          {"max_model_len", context_length},
          {"type", "model"},
          {"display_name", name},
          {"created_at", rfc3339(created)}};
}

Json modelEntry(const ModelInfo& model, int64_t created) {
  Json entry = storedModelEntry(model.name, model.context_length, created);
  entry["meta"] = {{"n_vocab", model.vocab_size}, {"n_ctx", model.context_length}, {"chat_template", model.chat_template != nullptr}};
  return entry;
}

Json modelList(const ModelInfo& model, int64_t created) {
  return {{"object", "list"}, {"data", Json::array({modelEntry(model, created)})}, {"has_more", false}, {"first_id", model.name}, {"last_id", model.name}};
}

}  // namespace exo::serve
