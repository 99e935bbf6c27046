#include "frontend/driver/desk/catalogue.h"

#include <algorithm>

#include "frontend/hub/cache.h"
#include "frontend/hub/selection.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

using Entries = std::vector<CatalogueEntry>;

void add(Entries& entries, const std::string& name, const fs::path& path) {
  auto stored = describeStoredModel(path);
  if (stored.ok()) entries.push_back({name, std::move(stored).value()});
}

std::vector<fs::path> childrenOf(const fs::path& folder) {
  std::vector<fs::path> children;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) children.push_back(entry.path());
  std::sort(children.begin(), children.end());
  return children;
}

/// Of a split file only the first part is one to open.
bool isFirstPart(const fs::path& file) {
  if (file.extension() != ".gguf") return false;
  const std::string stem = file.stem().string();
  const size_t of = stem.rfind("-of-");
  return of == std::string::npos || stem.substr(0, of).ends_with("00001");
}

void addFiles(Entries& entries, const fs::path& folder, const std::string& prefix) {
  for (const fs::path& file : childrenOf(folder)) {
    if (isFirstPart(file)) add(entries, prefix + file.stem().string(), file);
  }
}

bool isModelFolder(const fs::path& folder) {
  std::error_code error;
  return fs::exists(folder / "config.json", error);
}

/// A model, a file, or a folder of such.
void addFolder(Entries& entries, const fs::path& given) {
  std::error_code error;
  const fs::path folder = fs::canonical(given, error);
  if (error) return;
  if (!fs::is_directory(folder, error)) return add(entries, folder.stem().string(), folder);
  if (isModelFolder(folder)) return add(entries, folder.filename().string(), folder);
  addFiles(entries, folder, "");
  for (const fs::path& child : childrenOf(folder)) {
    if (isModelFolder(child)) add(entries, child.filename().string(), child);
    else if (fs::is_directory(child, error)) addFiles(entries, child, "");
  }
}

/// "models--ORG--NAME".
std::optional<hub::Repository> repositoryOf(const std::string& folder) {
  constexpr std::string_view kPrefix = "models--";
  const size_t cut = folder.find("--", kPrefix.size());
  if (!folder.starts_with(kPrefix) || cut == std::string::npos) return std::nullopt;
  return hub::parseRepository(folder.substr(kPrefix.size(), cut - kPrefix.size()) + "/" + folder.substr(cut + 2));
}

void addPulled(Entries& entries, const fs::path& cache) {
  for (const fs::path& folder : childrenOf(cache)) {
    const auto repository = repositoryOf(folder.filename().string());
    if (!repository) continue;
    const auto snapshot = hub::Cache(cache, *repository).snapshot(repository->revision);
    if (!snapshot) continue;
    const auto model = hub::modelInSnapshot(*snapshot, *repository);
    if (model.ok()) add(entries, repository->id(), *model);
    else addFiles(entries, *snapshot, repository->id() + ":");   // several GGUF files
  }
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

Entries Catalogue::list() const {
  Entries entries;
  for (const fs::path& folder : folders_) addFolder(entries, folder);
  if (!cache_.empty()) addPulled(entries, cache_);
  std::stable_sort(entries.begin(), entries.end(), [](const CatalogueEntry& a, const CatalogueEntry& b) { return a.name < b.name; });
  entries.erase(std::unique(entries.begin(), entries.end(), [](const CatalogueEntry& a, const CatalogueEntry& b) { return a.name == b.name; }), entries.end());
  return entries;
}

std::optional<CatalogueEntry> Catalogue::find(const std::string& name) const {
  constexpr std::string_view kLatest = ":latest";
  const std::string wanted = lower(name.ends_with(kLatest) ? name.substr(0, name.size() - kLatest.size()) : name);
  const Entries entries = list();
  std::vector<const CatalogueEntry*> by_last_part;
  for (const CatalogueEntry& entry : entries) {
    const std::string whole = lower(entry.name);
    if (whole == wanted) return entry;
    if (whole.substr(whole.rfind('/') + 1) == wanted) by_last_part.push_back(&entry);
  }
  if (by_last_part.size() != 1) return std::nullopt;
  return *by_last_part[0];
}

}  // namespace exo
