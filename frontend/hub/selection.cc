#include "frontend/hub/selection.h"

#include <algorithm>
#include <map>

namespace exo::hub {
namespace {

namespace fs = std::filesystem;

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool isAtTop(const std::string& path) { return path.find('/') == std::string::npos; }
bool isWeights(const std::string& path) { return isAtTop(path) && path.ends_with(".safetensors"); }
bool isPublished(const std::string& path) { return isWeights(path) && path.starts_with("model"); }
bool isText(const std::string& path) { return isAtTop(path) && (path.ends_with(".json") || path.ends_with(".jinja")); }

/// "Model-Q4_K_M-00001-of-00003.gguf" → "Model-Q4_K_M": what parts of one file share.
std::string wholeName(const std::string& path) {
  std::string name = path.substr(0, path.size() - std::string(".gguf").size());
  const size_t of = name.rfind("-of-");
  const size_t part = of == std::string::npos ? of : name.rfind('-', of - 1);
  return part == std::string::npos ? name : name.substr(0, part);
}

/// "Q4_K_M" is the variant of "Model-Q4_K_M" and of "model.q4_k_m", not of "Model-IQ4_K_M".
bool isVariant(const std::string& whole, const std::string& variant) {
  const std::string name = lower(whole), end = lower(variant);
  if (!name.ends_with(end)) return false;
  const size_t before = name.size() - end.size();
  return before == 0 || !std::isalnum(static_cast<unsigned char>(name[before - 1]));
}

/// The parts of the one GGUF file that is meant, sorted.
Result<std::vector<std::string>> ggufParts(const std::vector<std::string>& paths, const Repository& repository) {
  std::map<std::string, std::vector<std::string>> models;
  for (const std::string& path : paths) {
    if (path.ends_with(".gguf")) models[wholeName(path)].push_back(path);
  }
  if (models.empty()) return makeError(ErrorCode::kNotFound, repository.id(), ": expected safetensors or GGUF files, there are none");
  std::vector<std::vector<std::string>> matching;
  std::string names;
  for (const auto& [whole, parts] : models) {
    names += "\n  " + whole;
    if (repository.variant.empty() || isVariant(whole, repository.variant)) matching.push_back(parts);
  }
  if (matching.size() == 1) {
    std::sort(matching[0].begin(), matching[0].end());
    return matching[0];
  }
  const std::string asked = repository.variant.empty() ? ": has several GGUF files; say which" : ": " + std::to_string(matching.size()) + " GGUF files are called \"" + repository.variant + "\", expected one";
  return makeError(ErrorCode::kNotFound, repository.id(), asked, " (ORG/NAME:VARIANT, the end of one of these names):", names);
}

}  // namespace

Result<std::vector<RemoteFile>> selectFiles(const std::vector<RemoteFile>& files, const Repository& repository) {
  const auto any = [&](bool (*is)(const std::string&)) { return std::any_of(files.begin(), files.end(), [&](const RemoteFile& f) { return is(f.path); }); };
  std::vector<RemoteFile> selected;
  if (repository.variant.empty() && any(isWeights)) {
    bool (*const is_weights)(const std::string&) = any(isPublished) ? isPublished : isWeights;
    for (const RemoteFile& file : files) {
      if (isText(file.path) || is_weights(file.path)) selected.push_back(file);
    }
    return selected;
  }
  std::vector<std::string> paths;
  for (const RemoteFile& file : files) paths.push_back(file.path);
  EXO_ASSIGN(const std::vector<std::string> parts, ggufParts(paths, repository));
  for (const RemoteFile& file : files) {
    if (std::find(parts.begin(), parts.end(), file.path) != parts.end()) selected.push_back(file);
  }
  return selected;
}

Result<fs::path> modelInSnapshot(const fs::path& snapshot, const Repository& repository) {
  std::error_code error;
  if (repository.variant.empty() && fs::exists(snapshot / "config.json", error)) return snapshot;
  std::vector<std::string> paths;
  for (fs::recursive_directory_iterator entry(snapshot, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->is_regular_file(error)) paths.push_back(entry->path().lexically_relative(snapshot).string());
  }
  EXO_ASSIGN(const std::vector<std::string> parts, ggufParts(paths, repository));
  return snapshot / parts[0];
}

}  // namespace exo::hub
