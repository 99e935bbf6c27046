// Where a model directory keeps its chat template.
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "frontend/gguf/gguf.h"
#include "frontend/template/chat_template.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

constexpr uintmax_t kMaxFileBytes = 64 * 1024 * 1024;

/// Nothing if there is no such file.
Result<std::optional<std::string>> readFile(const fs::path& path) {
  std::error_code problem;
  if (!fs::exists(path, problem)) return std::optional<std::string>();
  if (!fs::is_regular_file(path, problem)) return makeError(ErrorCode::kIo, path.string(), " is not a regular file");
  auto size = fs::file_size(path, problem);
  if (problem) return makeError(ErrorCode::kIo, "cannot read ", path.string(), ": ", problem.message());
  if (size > kMaxFileBytes) return invalid(path.string(), " has ", size, " bytes; at most ", kMaxFileBytes, " are allowed");
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) return makeError(ErrorCode::kIo, "cannot read ", path.string(), ": ", std::strerror(errno));
  return std::optional(text.str());
}

Result<std::string> defaultOf(const nlohmann::json& list, const fs::path& path) {
  for (const auto& entry : list) {
    bool is_pair = entry.is_object() && entry.contains("name") && entry["name"].is_string() && entry.contains("template") && entry["template"].is_string();
    if (!is_pair) return invalid(path.string(), ": each element of \"chat_template\" must be {\"name\": text, \"template\": text}");
    if (entry["name"].get_ref<const std::string&>() == "default") return entry["template"].get<std::string>();
  }
  return makeError(ErrorCode::kNotFound, path.string(), ": none of the ", list.size(), " chat templates is named \"default\"");
}

/// Nothing if the file is absent or has no template.
Result<std::optional<std::string>> fromJsonFile(const fs::path& path) {
  EXO_ASSIGN(auto text, readFile(path));
  if (!text) return text;
  auto json = nlohmann::json::parse(*text, nullptr, false);
  if (json.is_discarded() || !json.is_object()) return invalid(path.string(), " is not a JSON object");
  auto found = json.find("chat_template");
  if (found == json.end() || found->is_null()) return std::optional<std::string>();
  if (found->is_string()) return std::optional(found->get<std::string>());
  if (!found->is_array()) return invalid(path.string(), ": \"chat_template\" must be a text or a list, got ", found->type_name());
  EXO_ASSIGN(std::string chosen, defaultOf(*found, path));
  return std::optional(std::move(chosen));
}

}  // namespace

Result<std::string> loadChatTemplate(const std::string& directory) {
  if (isGguf(directory)) {
    EXO_ASSIGN(const GgufModel model, GgufModel::open(directory));
    EXO_ASSIGN(const auto text, model.metadata().findText("tokenizer.chat_template"));
    if (!text) return makeError(ErrorCode::kNotFound, "no chat template in ", directory, ": expected tokenizer.chat_template in its metadata");
    return std::string(*text);
  }
  fs::path base(directory);
  EXO_ASSIGN(auto text, readFile(base / "chat_template.jinja"));
  if (text) return std::move(*text);
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    EXO_ASSIGN(auto found, fromJsonFile(base / name));
    if (found) return std::move(*found);
  }
  return makeError(ErrorCode::kNotFound, "no chat template in ", directory,
                   ": expected chat_template.jinja, or \"chat_template\" in tokenizer_config.json or chat_template.json");
}

}  // namespace exo
