#include "frontend/config/model_cards.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "frontend/config/suggest.h"
#include "frontend/gguf/gguf.h"

namespace exo {
namespace {

namespace fs = std::filesystem;

std::string lowerCase(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

fs::path modelCardFolder() {
  const char* folder = std::getenv("EXO_MODELS");
  return folder && *folder ? fs::path(folder) : fs::path(EXO_MODELS_DIR);
}

std::vector<std::string> modelCards() {
  std::vector<std::string> names;
  std::error_code code;
  for (fs::directory_iterator entry(modelCardFolder(), code), end; !code && entry != end; entry.increment(code))
    if (entry->path().extension() == ".json") names.push_back(entry->path().stem().string());
  std::sort(names.begin(), names.end());
  return names;
}

Result<fs::path> findModel(const std::string& model) {
  std::error_code code;
  const fs::path path(model);
  if (fs::is_directory(path, code)) {
    if (fs::exists(path / "config.json", code)) return path;
    return makeError(ErrorCode::kNotFound, model, ": expected a config.json in this directory, found none");
  }
  if ((path.extension() == ".json" || isGguf(path)) && fs::is_regular_file(path, code)) return path;
  const std::vector<std::string> cards = modelCards();
  const std::string wanted = lowerCase(model);
  for (const std::string& card : cards)
    if (lowerCase(card) == wanted) return modelCardFolder() / (card + ".json");
  return makeError(ErrorCode::kNotFound, "model \"", model, "\": expected a directory, a .gguf or .json file, or a card of ",
                   modelCardFolder().string(), didYouMean(wanted, cards));
}

}  // namespace exo
