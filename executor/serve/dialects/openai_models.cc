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

Json modelEntry(const ModelInfo& model, int64_t created) {
  return {{"id", model.name},
          {"object", "model"},
          {"created", created},
          {"owned_by", "exo"},
          {"context_length", model.context_length},
          {"max_model_len", model.context_length},
          {"meta", {{"n_vocab", model.vocab_size}, {"n_ctx", model.context_length}, {"chat_template", model.chat_template != nullptr}}},
          {"type", "model"},
          {"display_name", model.name},
          {"created_at", rfc3339(created)}};
}

Json modelList(const ModelInfo& model, int64_t created) {
  return {{"object", "list"}, {"data", Json::array({modelEntry(model, created)})}, {"has_more", false}, {"first_id", model.name}, {"last_id", model.name}};
}

}  // namespace exo::serve
