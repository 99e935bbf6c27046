// Model cards: config.json files of known models, kept in models/ under a short name, so that plans can be made
// without a download.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ir/base/result.h"

namespace exo {

/// The folder of the cards: environment variable EXO_MODELS, else the source tree's models/.
std::filesystem::path modelCardFolder();

/// Names of all cards, sorted; empty when there is no such folder.
std::vector<std::string> modelCards();

/// What `model` means: a directory with a config.json, a .json file, or the name of a card (case does not matter).
/// The result may be given to loadModelConfig.  Error kNotFound with the nearest card.
Result<std::filesystem::path> findModel(const std::string& model);

}  // namespace exo
