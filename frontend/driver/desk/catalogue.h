// The models on this machine's disk that can be served: downloaded ones (exoc pull, Hugging Face's tools) and those in given folders.
// Threads: any; everything is read anew at each call.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "frontend/config/stored_model.h"
#include "ir/base/result.h"

namespace exo {

struct CatalogueEntry {
  std::string name;     // "Qwen/Qwen3-0.6B", or a folder's or file's own name
  StoredModel stored;
};

class Catalogue {
 public:
  /// `cache`: the hub's, may be empty. `folders`: models, or folders of models.
  Catalogue(std::filesystem::path cache, std::vector<std::filesystem::path> folders) : cache_(std::move(cache)), folders_(std::move(folders)) {}

  /// Sorted by name, names unique: of two the first found. What cannot be described (another format, a download that has not ended) is left out.
  std::vector<CatalogueEntry> list() const;
  /// By name, in any case, with or without ":latest"; or by its last part where only one model has it.
  std::optional<CatalogueEntry> find(const std::string& name) const;

 private:
  std::filesystem::path cache_;
  std::vector<std::filesystem::path> folders_;
};

}  // namespace exo
